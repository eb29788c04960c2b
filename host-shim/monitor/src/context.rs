//! What the monitor looks up once at its start and shares with every keeper.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::account::Account;
use crate::confine::{Filters, can_have_view, system_trees};
use crate::{MonitorConfig, confinement_support};

/// What the monitor knows from its start on, and each keeper with it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: MonitorConfig,
    /// The account of the monitor.
    pub(crate) own: Account,
    /// The program that runs now, whatever has been installed over it since.
    pub(crate) program: OwnedFd,
    /// Whether processes can be confined, or the reason for which they cannot.
    pub(crate) confinement: Result<(), String>,
    pub(crate) filters: Filters,
    /// Whether confined processes get a view of the file system of their own.
    pub(crate) has_view: bool,
    /// The limit on core dumps that this process was started with, which peers'
    /// processes get back.
    pub(crate) core: Rlimit,
}

impl Context {
    /// Looks everything up, and makes this process one that leaves no core and
    /// that only root may trace.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn new(config: MonitorConfig) -> io::Result<Self> {
        let core = getrlimit(Resource::Core);
        let none = Rlimit {
            current: Some(0),
            maximum: core.maximum,
        };
        setrlimit(Resource::Core, none)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let support = confinement_support();
        Ok(Self {
            own: Account::current(),
            program: openat(CWD, "/proc/self/exe", flags, Mode::empty())?,
            filters: Filters::new().map_err(io::Error::other)?,
            has_view: support.is_ok() && can_have_view(),
            confinement: support,
            core,
            config,
        })
    }

    /// The directories and files of the system that confined processes may
    /// read and execute.
    pub(crate) fn system_trees(&self) -> Vec<std::path::PathBuf> {
        system_trees(&self.own, &self.config.private)
    }
}
