//! Landlock (landlock(7)): an allow-list of files, TCP closed or open, signals
//! and tracing within the domain only.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{FileType, fstat};

use super::open;
use crate::sys;

/// The newest ABI whose rights this crate knows; older kernels enforce those
/// they have.
const KNOWN: ABI = ABI::V9;

/// Devices that programs expect.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The ABI of the kernel's Landlock.
///
/// # Errors
/// ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
pub(super) fn abi() -> io::Result<u32> {
    sys::landlock_abi()
}

/// The rules for a process.
pub(super) struct Rules(RulesetCreated);

impl Rules {
    /// Rules that allow nothing but, where `network` is set, TCP.
    pub(super) fn new(network: bool) -> io::Result<Self> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))
            .map_err(io::Error::other)?
            .scope(Scope::from_all(KNOWN))
            .map_err(io::Error::other)?;
        if !network {
            ruleset = ruleset
                .handle_access(AccessNet::from_all(ABI::V4))
                .map_err(io::Error::other)?;
        }
        ruleset.create().map(Self).map_err(io::Error::other)
    }

    /// Allows listing and reading below a directory.
    pub(super) fn read(self, file: &Option<impl AsFd>) -> io::Result<Self> {
        self.allow(file, make_bitflags!(AccessFs::{ReadFile | ReadDir}))
    }

    /// Allows listing, reading and executing below a directory.
    pub(super) fn read_and_execute(self, file: &Option<impl AsFd>) -> io::Result<Self> {
        self.allow(file, AccessFs::from_read(KNOWN))
    }

    /// Allows below a directory whatever the account may do, but for making
    /// device files.
    pub(super) fn everything(self, file: &Option<impl AsFd>) -> io::Result<Self> {
        let devices = make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev});
        self.allow(file, AccessFs::from_all(KNOWN) & !devices)
    }

    /// Allows reading from and writing to a terminal that is open.
    pub(super) fn terminal(self, terminal: &OwnedFd) -> io::Result<Self> {
        self.allow(
            &Some(terminal),
            make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev}),
        )
    }

    /// Allows the devices that programs expect.
    pub(super) fn devices(mut self) -> io::Result<Self> {
        for name in DEVICES {
            let device = open(&Path::new("/dev").join(name)).ok();
            let rights = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
            self = self.allow(&device, rights)?;
        }
        Ok(self)
    }

    fn allow(self, file: &Option<impl AsFd>, rights: BitFlags<AccessFs>) -> io::Result<Self> {
        let Some(file) = file else {
            return Ok(self);
        };
        let is_directory = FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory;
        let rights = match is_directory {
            true => rights,
            false => rights & AccessFs::from_file(KNOWN),
        };
        self.0
            .add_rule(PathBeneath::new(file.as_fd(), rights))
            .map(Self)
            .map_err(io::Error::other)
    }

    /// Holds this process to the rules, for good. Gives the kernel's ABI.
    pub(super) fn enforce(self) -> io::Result<u32> {
        let abi = abi()?;
        let status = self.0.restrict_self().map_err(io::Error::other)?;
        if status.ruleset == RulesetStatus::NotEnforced {
            return Err(io::Error::other("Landlock does not hold the process"));
        }
        Ok(abi)
    }
}
