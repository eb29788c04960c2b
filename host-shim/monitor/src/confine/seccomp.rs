//! seccomp (seccomp(2)), for what Landlock does not cover between processes of
//! one account. All that is refused here is refused with an error number; only
//! a system call of a foreign architecture ends the process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Built = Result<BpfProgram, seccompiler::BackendError>;

/// The filters, built once.
#[derive(Debug)]
pub(crate) struct Filters {
    always: Vec<BpfProgram>,
    /// Refuses `socket` for all families that reach other processes or hosts.
    without_network: BpfProgram,
    with_network: BpfProgram,
    /// Refuses changes of modes and owners, where there is no view with
    /// read-only mounts.
    attributes: BpfProgram,
    /// Refuses signals to other processes, where Landlock does not cover them
    /// yet.
    signals: BpfProgram,
    truncate: BpfProgram,
}

impl Filters {
    /// # Errors
    /// When this architecture is not supported.
    pub(crate) fn new() -> Result<Self, seccompiler::BackendError> {
        Ok(Self {
            always: vec![
                foreign_numbers(),
                build(refused()?, libc::EPERM)?,
                build(unknown(), libc::ENOSYS)?,
            ],
            without_network: build(sockets(false)?, libc::EACCES)?,
            with_network: build(sockets(true)?, libc::EACCES)?,
            attributes: build(attributes()?, libc::EPERM)?,
            signals: build(signals(), libc::EPERM)?,
            truncate: build(all(&truncate()), libc::EPERM)?,
        })
    }

    /// Holds this process to the filters, for good. `abi` is that of the
    /// kernel's Landlock.
    pub(crate) fn apply(&self, abi: u32, network: bool, has_view: bool) -> io::Result<()> {
        let mut filters: Vec<&BpfProgram> = self.always.iter().collect();
        filters.push(match network {
            true => &self.with_network,
            false => &self.without_network,
        });
        if !has_view {
            filters.push(&self.attributes);
        }
        if abi < 3 {
            filters.push(&self.truncate);
        }
        if abi < 6 {
            filters.push(&self.signals);
        }
        filters
            .into_iter()
            .try_for_each(|filter| apply_filter(filter).map_err(io::Error::other))
    }
}

/// The calls that are refused with EPERM.
fn refused() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = all(&[
        // Other processes: Landlock covers ptrace, not all of its relatives.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
        // The kernel: keys of the session, and large surfaces nobody needs.
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        // It opens sockets and files past these filters.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Mounts and namespaces.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_open_by_handle_at,
        // Memory and queues shared by name between processes of one account.
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
    ]);
    // What changes how another process runs.
    for (call, argument) in [
        (libc::SYS_prlimit64, 0),
        (libc::SYS_sched_setaffinity, 0),
        (libc::SYS_sched_setscheduler, 0),
        (libc::SYS_sched_setparam, 0),
        (libc::SYS_sched_setattr, 0),
    ] {
        rules.insert(call, vec![rule(argument, Is::Ne, 0)?]);
    }
    // The first argument says of what the second is the number.
    rules.insert(
        libc::SYS_setpriority,
        vec![
            rule(0, Is::Ne, u64::from(libc::PRIO_PROCESS))?,
            rule(1, Is::Ne, 0)?,
        ],
    );
    const IOPRIO_WHO_PROCESS: u64 = 1;
    rules.insert(
        libc::SYS_ioprio_set,
        vec![rule(0, Is::Ne, IOPRIO_WHO_PROCESS)?, rule(1, Is::Ne, 0)?],
    );
    // Input for a terminal in another's name.
    const TIOCLINUX: u64 = 0x541c;
    rules.insert(
        libc::SYS_ioctl,
        vec![rule(1, Is::Eq, libc::TIOCSTI)?, rule(1, Is::Eq, TIOCLINUX)?],
    );
    let user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    for call in [libc::SYS_unshare, libc::SYS_clone] {
        rules.insert(call, vec![rule(0, Is::MaskedEq(user), user)?]);
    }
    Ok(rules)
}

/// The calls that are refused with ENOSYS, so that the C library takes the
/// older call, whose flags a filter can see.
fn unknown() -> Rules {
    all(&[libc::SYS_clone3])
}

/// `socket` is refused for all families but those of the network where
/// `network` says so, and the one in which the kernel tells of interfaces.
/// Nobody thus reaches a Unix socket of the account: an agent, a bus.
fn sockets(network: bool) -> Result<Rules, seccompiler::BackendError> {
    let family = |is, family: libc::c_int| condition(0, is, u64::from(family.unsigned_abs()));
    let mut neither = vec![family(Is::Ne, libc::AF_NETLINK)?];
    if network {
        neither.push(family(Is::Ne, libc::AF_INET)?);
        neither.push(family(Is::Ne, libc::AF_INET6)?);
    }
    let other_netlink = vec![
        family(Is::Eq, libc::AF_NETLINK)?,
        condition(2, Is::Ne, u64::from(libc::NETLINK_ROUTE.unsigned_abs()))?,
    ];
    let rules = vec![SeccompRule::new(neither)?, SeccompRule::new(other_netlink)?];
    Ok(BTreeMap::from([(libc::SYS_socket, rules)]))
}

/// The calls that change modes, owners, times and extended attributes by a
/// path. Those that change a mode or times of an open file stay allowed, but
/// for root, which owns the system's files.
fn attributes() -> Result<Rules, seccompiler::BackendError> {
    const FCHMODAT2: i64 = 452;
    const SETXATTRAT: i64 = 463;
    const REMOVEXATTRAT: i64 = 466;
    const FILE_SETATTR: i64 = 469;
    #[cfg(target_arch = "x86_64")]
    let older = [libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
    #[cfg(not(target_arch = "x86_64"))]
    let older: [i64; 0] = [];
    let mut rules = all(&older);
    if rustix::process::geteuid().is_root() {
        rules.extend(all(&[libc::SYS_fchmod]));
    }
    rules.extend(all(&[
        FCHMODAT2,
        SETXATTRAT,
        REMOVEXATTRAT,
        FILE_SETATTR,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_fchown,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
    ]));
    // Without a path it is about the descriptor.
    let has_path = SeccompCondition::new(1, Length::Qword, Is::Ne, 0)?;
    let has_path = SeccompRule::new(vec![has_path])?;
    rules.insert(libc::SYS_utimensat, vec![has_path]);
    Ok(rules)
}

/// The calls that send a signal to another process, which Landlock covers from
/// ABI 6 on.
fn signals() -> Rules {
    all(&[
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_send_signal,
    ])
}

/// The call that cuts a file without opening it, which Landlock covers from ABI
/// 3 on.
fn truncate() -> [i64; 1] {
    [libc::SYS_truncate]
}

fn all(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn rule(argument: u8, is: Is, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![condition(argument, is, value)?])
}

/// A condition on the lower half of an argument, which is all that the calls
/// above look at.
fn condition(
    argument: u8,
    is: Is,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Length::Dword, is, value)
}

fn build(rules: Rules, error: libc::c_int) -> Built {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(error.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()
}

/// On x86-64, refuses the numbers of the x32 ABI, which name the same calls
/// and belong to the same architecture.
fn foreign_numbers() -> BpfProgram {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32: u32 = 0x4000_0000;
    let instruction = |code, jt, k| seccompiler::sock_filter { code, jt, jf: 0, k };
    vec![
        instruction(LOAD, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 1, X32),
        instruction(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        instruction(
            RETURN,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}
