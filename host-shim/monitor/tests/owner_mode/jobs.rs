//! Starting, signalling, detaching and ending.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use alknet_monitor::Whose;
use alknet_session::{
    Answer, Control, Event, JobFilter, MAX_ARGUMENT, Program, Request, Socket, UnixTarget,
    UnixVerdict,
};

use crate::Test;
use crate::support::{World, direct, eventually, lives};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_command_runs_and_its_status_arrives", a_command_runs),
    ("a_program_that_is_not_there_is_127", not_found),
    ("nothing_of_the_node_is_inherited", nothing_is_inherited),
    ("a_terminal_becomes_the_controlling_one", terminal),
    ("a_signal_reaches_the_group", signal),
    ("a_malformed_request_is_refused", malformed),
    ("a_command_is_as_long_as_the_system_takes", long_commands),
    ("any_number_of_jobs_is_listed", many_jobs),
    ("what_was_detached_lives_until_it_is_ended", detached),
    ("a_closed_channel_ends_everything", closed),
    ("double_forks_and_sessions_do_not_escape", daemons),
    ("a_fork_storm_is_ended", storm),
    ("the_children_of_a_killed_keeper_end", killed_keeper),
    ("a_process_is_known_by_its_job", whose),
    ("a_helper_gets_its_library_and_request", helper),
    ("a_unix_socket_is_bound_opened_and_removed", unix_sockets),
    ("a_link_does_not_lead_out_of_a_granted_directory", links),
];

fn a_command_runs(world: &World) {
    let mut start = world.shell("echo $A $HOME; id -u; umask; exit 3");
    start.environment.push(("A".into(), "b c".into()));
    start.umask = Some(0o27);
    let home = own_home();
    let (text, end) = world.start(start).finish();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(text, format!("b c {home}\n{uid}\n0027\n"));
    assert_eq!(end, Event::Exited(3));
}

fn own_home() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let known = lines.find(|fields| fields[2] == uid);
    let known = known.map(|fields| fields[5].to_owned());
    known.unwrap_or_else(|| std::env::var("HOME").unwrap())
}

fn not_found(world: &World) {
    for (program, expected) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let mut start = world.shell("");
        start.program = direct(program.as_ref(), &[]);
        match world.start(start).event() {
            Some(Event::Refused { reason, status }) => {
                assert_eq!(status, expected, "{reason}");
                assert!(reason.starts_with(program), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn nothing_is_inherited(world: &World) {
    let line = "ls -l /proc/self/fd | wc -l; cat /proc/self/stat; grep Sig /proc/self/status; \
                echo x >/dev/tty";
    let (text, _) = world.start(world.shell(line)).finish();
    // A line of `total`, three descriptors, and the directory that `ls` reads.
    assert!(text.starts_with("5\n"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
    assert!(text.contains("/dev/tty"), "{text}");
    // Field 7 is the controlling terminal.
    let stat = text.lines().find(|line| line.contains("(cat)")).unwrap();
    assert_eq!(stat.split(' ').nth(6), Some("0"), "{stat}");
}

fn terminal(world: &World) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let near = openpt(flags).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let far = ioctl_tiocgptpeer(&near, flags).unwrap();
    let mut start = world.shell("echo ready >/dev/tty; read word; echo got $word; tty");
    start.terminal = true;
    let streams = [far.as_fd(), far.as_fd(), far.as_fd()];
    let socket = world.ask(&Request::Start(Box::new(start)), &streams);
    drop(far);
    let mut near = std::fs::File::from(near);
    std::io::Write::write_all(&mut near, b"word\n").unwrap();
    let mut text = String::new();
    let mut bytes = [0; 256];
    // A terminal that hung up is an error.
    while let Ok(count @ 1..) = near.read(&mut bytes) {
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert!(
        text.contains("ready") && text.contains("got word"),
        "{text}"
    );
    assert!(text.contains("/dev/pts/"), "{text}");
    let started = socket.receive::<Event>().unwrap().unwrap().message;
    assert!(matches!(started, Event::Started { .. }));
}

fn signal(world: &World) {
    let mut job = world.start(world.shell("echo ready; sleep 60 & wait"));
    job.started();
    assert_eq!(job.line(), "ready");
    job.tell(Control::Signal(15));
    let signalled = Event::Signaled {
        signal: 15,
        core_dumped: false,
    };
    assert_eq!(job.event(), Some(signalled));
    // The child of the shell is in its group.
    assert_eq!(job.event(), Some(Event::Empty));
    assert_eq!(job.event(), None);
}

fn malformed(world: &World) {
    let mut start = world.shell("true");
    start.account = Some("root".into());
    let refused = world.start(start).event();
    assert!(
        matches!(refused, Some(Event::Refused { status: 126, .. })),
        "{refused:?}"
    );
    let start = Request::Start(Box::new(world.shell("true")));
    let socket = world.ask(&start, &[world.handler.as_fd()]);
    let refused = socket.receive::<Event>().unwrap().unwrap().message;
    assert!(matches!(refused, Event::Refused { .. }), "{refused:?}");
    let mut start = world.shell("true");
    start.confinement = Some(world.guest("../state"));
    let refused = world.start(start).event();
    assert!(
        matches!(refused, Some(Event::Refused { .. })),
        "{refused:?}"
    );
}

fn detached(world: &World) {
    let mut start = world.shell("trap '' HUP; sleep 60 & echo $!");
    start.identity = "detached".into();
    let mut job = world.start(start);
    let (id, _) = job.started();
    let pid: i32 = job.line().parse().unwrap();
    assert_eq!(job.event(), Some(Event::Exited(0)));
    let filter = || JobFilter {
        identity: Some("detached".into()),
        detached: true,
        ..JobFilter::default()
    };
    assert_eq!(world.jobs(filter()), []);
    job.tell(Control::Detach);
    drop(job);
    eventually("it is detached", || !world.jobs(filter()).is_empty());
    let jobs = world.jobs(filter());
    assert_eq!(
        (jobs[0].id, jobs[0].note.as_str(), jobs[0].session),
        (id, "note", (1, 1))
    );
    assert!(lives(pid));
    world.end(filter(), 0);
    assert!(!lives(pid));
    assert_eq!(world.jobs(filter()), []);
}

fn closed(world: &World) {
    let mut job = world.start(world.shell("sleep 60 & echo $!; wait"));
    job.started();
    let pid: i32 = job.line().parse().unwrap();
    drop(job);
    eventually("it has ended", || !lives(pid));
}

/// A shell that forks twice, takes a session of its own and ignores signals.
const DAEMON: &str =
    "(setsid sh -c 'trap \"\" HUP TERM; (sleep 61; sleep 61) & echo $!; wait' &) &";

fn daemons(world: &World) {
    let mut start = world.shell(DAEMON);
    start.identity = "daemons".into();
    let mut job = world.start(start);
    job.started();
    let pid: i32 = job.line().parse().unwrap();
    assert_eq!(job.event(), Some(Event::Exited(0)));
    job.tell(Control::End(100));
    assert_eq!(job.event(), Some(Event::Empty));
    assert!(!lives(pid));
}

fn storm(world: &World) {
    // Forty chains: each process starts its successor and ends. Storms that
    // grow are for a limit of processes, not for a machine that others use.
    let line = "f() { sleep 0.002; f & }; trap '' TERM HUP; \
                for i in 1 2 3 4 5 6 7 8 9 10; do f & f & f & f & done; echo go; wait";
    let mut start = world.shell(line);
    start.identity = "storm".into();
    let mut job = world.start(start);
    job.started();
    job.line();
    std::thread::sleep(std::time::Duration::from_millis(150));
    job.tell(Control::End(0));
    let events: Vec<_> = std::iter::from_fn(|| job.event()).collect();
    assert_eq!(events.last(), Some(&Event::Empty), "{events:?}");
}

fn killed_keeper(world: &World) {
    let mut job = world.start(world.shell("sleep 60 & echo $!; wait"));
    let (_, leader) = job.started();
    let pid: i32 = job.line().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{leader}/stat")).unwrap();
    let keeper = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(1)
        .unwrap();
    let keeper = rustix::process::Pid::from_raw(keeper.parse().unwrap()).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    eventually("they have ended", || !lives(pid) && !lives(leader));
}

fn whose(world: &World) {
    let mut start = world.shell(DAEMON);
    start.identity = "bob".into();
    let mut job = world.start(start);
    job.started();
    let pid: i32 = job.line().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ask = |pid| runtime.block_on(world.link.whose(pid)).unwrap();
    let bob = Whose::Peer {
        identity: "bob".into(),
        confined: false,
    };
    assert_eq!(ask(pid), bob);
    assert_eq!(ask(std::process::id().cast_signed()), Whose::Other);
    job.tell(Control::End(0));
}

fn helper(world: &World) {
    let library = world.root.join("library");
    std::fs::write(&library, "library").unwrap();
    for (confinement, fails) in [
        (None, false),
        (Some(world.guest("helped")), false),
        (Some(world.guest("helped")), true),
    ] {
        let mut start = world.shell("");
        start.program = Program::Helper {
            request: "{\"a\":1}".into(),
        };
        start.confinement = confinement;
        if fails {
            start.environment.push(("FAIL".into(), "1".into()));
        }
        let file = std::fs::File::open(&library).unwrap();
        let (text, end) = world.start_with(start, Some(file.into())).finish();
        assert!(text.starts_with("library {\"a\":1}\n"), "{text}");
        let expected = if fails { 126 } else { 7 };
        assert_eq!(end, Event::Exited(expected), "{text}");
    }
}

fn long_commands(world: &World) {
    let line = |length: usize| format!("#{}\necho done", "x".repeat(length - 11));
    let (text, end) = world.start(world.shell(&line(MAX_ARGUMENT))).finish();
    assert_eq!((text.as_str(), end), ("done\n", Event::Exited(0)));
    let refused = world.start(world.shell(&line(MAX_ARGUMENT + 1))).event();
    let Some(Event::Refused {
        reason,
        status: 126,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("longer than 131071 bytes"), "{reason}");
    // Many variables and arguments together.
    let mut start = world.shell("");
    let word = || std::ffi::OsString::from("x".repeat(100_000));
    start.program = direct(Path::new("printf"), &["%.1s"]);
    if let Program::Direct { arguments, .. } = &mut start.program {
        arguments.extend([word(), word(), word()]);
    }
    start.environment.push(("A".into(), word()));
    let (text, end) = world.start(start).finish();
    assert_eq!((text.as_str(), end), ("xxx", Event::Exited(0)));
}

/// More than a socket holds at a time.
fn many_jobs(world: &World) {
    const MANY: usize = 40;
    let jobs: Vec<_> = (0..MANY)
        .map(|_| {
            let mut start = world.shell("exec sleep 600");
            start.identity = "many".into();
            start.note = "n".repeat(16 * 1024);
            let job = world.start(start);
            job.started();
            job
        })
        .collect();
    let filter = || JobFilter {
        identity: Some("many".into()),
        ..JobFilter::default()
    };
    assert_eq!(world.jobs(filter()).len(), MANY);
    assert_eq!(world.link.jobs(filter()).unwrap().len(), MANY);
    let none = std::time::Duration::ZERO;
    world.link.end(filter(), none).unwrap();
    assert!(world.jobs(filter()).is_empty());
    drop(jobs);
}

fn target(path: std::path::PathBuf, beneath: Option<std::path::PathBuf>) -> UnixTarget {
    UnixTarget {
        identity: "alice".into(),
        account: None,
        confinement: None,
        path,
        beneath,
    }
}

fn unix_sockets(world: &World) {
    let path = world.root.join("srv/socket");
    let bound = world.ask(&Request::BindUnix(target(path.clone(), None)), &[]);
    assert_eq!(answer(&bound), Answer::Found { path: path.clone() });
    assert!(!path.exists(), "made before it was granted");
    bound.send(&UnixVerdict::Granted, &[]).unwrap();
    let received = bound.receive::<Answer>().unwrap().unwrap();
    assert_eq!(received.message, Answer::Socket);
    let listener = received.descriptors.into_iter().next().unwrap();
    let again = world.ask(&Request::BindUnix(target(path.clone(), None)), &[]);
    assert_eq!(answer(&again), Answer::Found { path: path.clone() });
    again.send(&UnixVerdict::Granted, &[]).unwrap();
    let refused = answer(&again);
    assert!(
        matches!(
            refused,
            Answer::Refused {
                errno: Some(98),
                ..
            }
        ),
        "{refused:?}"
    );
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true).unwrap();
    // What is not granted is not connected to.
    let opened = world.ask(&Request::OpenUnix(target(path.clone(), None)), &[]);
    assert_eq!(answer(&opened), Answer::Found { path: path.clone() });
    drop(opened);
    let opened = world.ask(&Request::OpenUnix(target(path.clone(), None)), &[]);
    assert_eq!(answer(&opened), Answer::Found { path: path.clone() });
    assert!(listener.accept().is_err());
    opened.send(&UnixVerdict::Granted, &[]).unwrap();
    let received = opened.receive::<Answer>().unwrap().unwrap();
    assert_eq!(received.message, Answer::Socket);
    assert_eq!(received.descriptors.len(), 1);
    listener.accept().unwrap();
    assert!(listener.accept().is_err());
    drop(bound);
    eventually("the path is removed", || !path.exists());
}

fn answer(socket: &Socket) -> Answer {
    socket.receive::<Answer>().unwrap().unwrap().message
}

fn links(world: &World) {
    let granted = world.root.join("srv/granted");
    std::fs::create_dir(&granted).unwrap();
    std::os::unix::fs::symlink(world.root.join("www"), granted.join("link")).unwrap();
    let path = world.root.join("www/socket");
    let _listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    for bind in [false, true] {
        let name = if bind { "link/new" } else { "link/socket" };
        let target = target(granted.join(name), Some(granted.clone()));
        let request = if bind {
            Request::BindUnix(target)
        } else {
            Request::OpenUnix(target)
        };
        let refused = world
            .ask(&request, &[])
            .receive::<Answer>()
            .unwrap()
            .unwrap()
            .message;
        assert!(matches!(refused, Answer::Refused { .. }), "{refused:?}");
    }
    // The node's own sockets are nobody's.
    let own = world.root.join("state/admin.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&own).unwrap();
    let request = Request::OpenUnix(target(own, None));
    let refused = world
        .ask(&request, &[])
        .receive::<Answer>()
        .unwrap()
        .unwrap()
        .message;
    assert!(
        matches!(
            refused,
            Answer::Refused {
                errno: Some(13),
                ..
            }
        ),
        "{refused:?}"
    );
}
