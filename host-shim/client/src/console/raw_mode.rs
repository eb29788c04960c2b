//! The terminal on standard input while a remote one takes its place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use alknet_ssh::client::TerminalSize;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty,
    tcgetattr, tcgetwinsize, tcsetattr,
};

/// Puts the terminal into raw mode while it lives.
pub(crate) struct RawMode {
    tty: OwnedFd,
    before: Termios,
}

impl RawMode {
    pub(crate) fn on() -> io::Result<Self> {
        let tty = rustix::stdio::stdin().try_clone_to_owned()?;
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &raw)?;
        Ok(Self { tty, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is nothing to be done about a failure.
        let _ = tcsetattr(self.tty.as_fd(), OptionalActions::Now, &self.before);
    }
}

/// Whether standard input is a terminal.
pub(crate) fn is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// The size of the terminal; zeros if it has none.
pub(crate) fn size() -> TerminalSize {
    match tcgetwinsize(rustix::stdio::stdin()) {
        Ok(size) => TerminalSize {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
            width: size.ws_xpixel.into(),
            height: size.ws_ypixel.into(),
        },
        Err(_) => TerminalSize::default(),
    }
}

/// The modes of the terminal, by the opcodes of RFC 4254 section 8.
pub(crate) fn modes() -> Vec<(u8, u32)> {
    let Ok(termios) = tcgetattr(rustix::stdio::stdin()) else {
        return Vec::new();
    };
    let mut modes = Vec::new();
    for (opcode, index) in SPECIAL_CODES {
        // A code that is switched off is 0 here and 255 there.
        let code = match termios.special_codes[*index] {
            0 => 255,
            code => code,
        };
        modes.push((*opcode, code.into()));
    }
    let mut flag = |opcode: u8, is_set: bool| modes.push((opcode, is_set.into()));
    for (opcode, mode) in INPUT {
        flag(*opcode, termios.input_modes.contains(*mode));
    }
    for (opcode, mode) in LOCAL {
        flag(*opcode, termios.local_modes.contains(*mode));
    }
    for (opcode, mode) in OUTPUT {
        flag(*opcode, termios.output_modes.contains(*mode));
    }
    modes.push((ISPEED, termios.input_speed()));
    modes.push((OSPEED, termios.output_speed()));
    modes
}

const ISPEED: u8 = 128;
const OSPEED: u8 = 129;

const SPECIAL_CODES: &[(u8, SpecialCodeIndex)] = &[
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (18, SpecialCodeIndex::VDISCARD),
];

const INPUT: &[(u8, InputModes)] = &[
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

const LOCAL: &[(u8, LocalModes)] = &[
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

const OUTPUT: &[(u8, OutputModes)] = &[
    (70, OutputModes::OPOST),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];
