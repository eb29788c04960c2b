//! Terminal modes as SSH encodes them (RFC 4254 section 8), applied to
//! termios(3).

use russh::Pty;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios,
};

/// The values for a character that is switched off, in SSH and in the system.
const NO_CHARACTER: u32 = 255;
const DISABLED: u8 = 0;

/// Sets a terminal's modes as a peer encoded them (RFC 4254 section 8). Modes
/// that this system does not have are left out.
pub(super) fn apply(modes: &[(Pty, u32)], termios: &mut Termios) {
    for (mode, value) in modes {
        if let Some(index) = special_code(*mode) {
            let code = match *value {
                NO_CHARACTER => DISABLED,
                code => u8::try_from(code).unwrap_or(DISABLED),
            };
            termios.special_codes[index] = code;
        } else if let Some(flag) = Flag::of(*mode) {
            flag.set(termios, *value != 0);
        } else {
            // No speed would mean to hang up; odd ones are the line's affair,
            // and there is no line.
            let _ = match (mode, value) {
                (Pty::TTY_OP_ISPEED, 1..) => termios.set_input_speed(*value),
                (Pty::TTY_OP_OSPEED, 1..) => termios.set_output_speed(*value),
                _ => Ok(()),
            };
        }
    }
}

enum Flag {
    Input(InputModes),
    Output(OutputModes),
    Control(ControlModes),
    Local(LocalModes),
}

impl Flag {
    fn of(mode: Pty) -> Option<Self> {
        Some(match mode {
            Pty::IGNPAR => Self::Input(InputModes::IGNPAR),
            Pty::PARMRK => Self::Input(InputModes::PARMRK),
            Pty::INPCK => Self::Input(InputModes::INPCK),
            Pty::ISTRIP => Self::Input(InputModes::ISTRIP),
            Pty::INLCR => Self::Input(InputModes::INLCR),
            Pty::IGNCR => Self::Input(InputModes::IGNCR),
            Pty::ICRNL => Self::Input(InputModes::ICRNL),
            #[cfg(target_os = "linux")]
            Pty::IUCLC => Self::Input(InputModes::IUCLC),
            Pty::IXON => Self::Input(InputModes::IXON),
            Pty::IXANY => Self::Input(InputModes::IXANY),
            Pty::IXOFF => Self::Input(InputModes::IXOFF),
            Pty::IMAXBEL => Self::Input(InputModes::IMAXBEL),
            #[cfg(any(target_os = "linux", target_os = "macos"))]
            Pty::IUTF8 => Self::Input(InputModes::IUTF8),
            Pty::ISIG => Self::Local(LocalModes::ISIG),
            Pty::ICANON => Self::Local(LocalModes::ICANON),
            #[cfg(target_os = "linux")]
            Pty::XCASE => Self::Local(LocalModes::XCASE),
            Pty::ECHO => Self::Local(LocalModes::ECHO),
            Pty::ECHOE => Self::Local(LocalModes::ECHOE),
            Pty::ECHOK => Self::Local(LocalModes::ECHOK),
            Pty::ECHONL => Self::Local(LocalModes::ECHONL),
            Pty::NOFLSH => Self::Local(LocalModes::NOFLSH),
            Pty::TOSTOP => Self::Local(LocalModes::TOSTOP),
            Pty::IEXTEN => Self::Local(LocalModes::IEXTEN),
            Pty::ECHOCTL => Self::Local(LocalModes::ECHOCTL),
            Pty::ECHOKE => Self::Local(LocalModes::ECHOKE),
            Pty::PENDIN => Self::Local(LocalModes::PENDIN),
            Pty::OPOST => Self::Output(OutputModes::OPOST),
            #[cfg(target_os = "linux")]
            Pty::OLCUC => Self::Output(OutputModes::OLCUC),
            Pty::ONLCR => Self::Output(OutputModes::ONLCR),
            Pty::OCRNL => Self::Output(OutputModes::OCRNL),
            Pty::ONOCR => Self::Output(OutputModes::ONOCR),
            Pty::ONLRET => Self::Output(OutputModes::ONLRET),
            Pty::CS7 => Self::Control(ControlModes::CS7),
            Pty::CS8 => Self::Control(ControlModes::CS8),
            Pty::PARENB => Self::Control(ControlModes::PARENB),
            Pty::PARODD => Self::Control(ControlModes::PARODD),
            _ => return None,
        })
    }

    fn set(self, termios: &mut Termios, on: bool) {
        match self {
            Self::Input(flag) => termios.input_modes.set(flag, on),
            Self::Output(flag) => termios.output_modes.set(flag, on),
            Self::Local(flag) => termios.local_modes.set(flag, on),
            // Two sizes of characters share their bits: one is set, none
            // cleared.
            Self::Control(flag) if ControlModes::CSIZE.contains(flag) => {
                if on {
                    termios.control_modes.remove(ControlModes::CSIZE);
                    termios.control_modes.insert(flag);
                }
            }
            Self::Control(flag) => termios.control_modes.set(flag, on),
        }
    }
}

fn special_code(mode: Pty) -> Option<SpecialCodeIndex> {
    Some(match mode {
        Pty::VINTR => SpecialCodeIndex::VINTR,
        Pty::VQUIT => SpecialCodeIndex::VQUIT,
        Pty::VERASE => SpecialCodeIndex::VERASE,
        Pty::VKILL => SpecialCodeIndex::VKILL,
        Pty::VEOF => SpecialCodeIndex::VEOF,
        Pty::VEOL => SpecialCodeIndex::VEOL,
        Pty::VEOL2 => SpecialCodeIndex::VEOL2,
        Pty::VSTART => SpecialCodeIndex::VSTART,
        Pty::VSTOP => SpecialCodeIndex::VSTOP,
        Pty::VSUSP => SpecialCodeIndex::VSUSP,
        Pty::VREPRINT => SpecialCodeIndex::VREPRINT,
        Pty::VWERASE => SpecialCodeIndex::VWERASE,
        Pty::VLNEXT => SpecialCodeIndex::VLNEXT,
        Pty::VDISCARD => SpecialCodeIndex::VDISCARD,
        #[cfg(target_os = "linux")]
        Pty::VSWTCH => SpecialCodeIndex::VSWTC,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustix::termios::tcgetattr;

    use super::*;

    #[test]
    fn modes_speeds_and_characters_arrive_where_they_belong() {
        let near = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let mut termios = tcgetattr(&near).unwrap();
        let modes = [
            (Pty::ECHO, 0),
            (Pty::ICRNL, 0),
            (Pty::ONLCR, 1),
            (Pty::CS8, 1),
            (Pty::CS7, 0),
            (Pty::VINTR, 7),
            (Pty::VSUSP, 255),
            (Pty::VEOF, 70_000),
            (Pty::TTY_OP_OSPEED, 19_200),
            (Pty::TTY_OP_ISPEED, 0),
            (Pty::VSTATUS, 1),
        ];
        apply(&modes, &mut termios);
        assert!(!termios.local_modes.contains(LocalModes::ECHO));
        assert!(!termios.input_modes.contains(InputModes::ICRNL));
        assert!(termios.output_modes.contains(OutputModes::ONLCR));
        let size = termios.control_modes & ControlModes::CSIZE;
        assert_eq!(size, ControlModes::CS8);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VINTR], 7);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VSUSP], DISABLED);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VEOF], DISABLED);
        assert_eq!(termios.output_speed(), 19_200);
    }
}
