//! The node's part: it runs as an account without rights and asks.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use alknet_monitor::NodeLink;
use alknet_session::{Answer, Event, Program, Request, Socket, Start, UnixTarget, UnixVerdict};

struct Node {
    handler: Socket,
}

pub(crate) fn run(root: &Path) -> ExitCode {
    let (link, secrets) = NodeLink::inherited().unwrap().unwrap();
    assert_eq!(**secrets, *b"mnemonic");
    assert_eq!(
        std::fs::read_to_string("/proc/self/fd/3").unwrap(),
        "passed"
    );
    assert_eq!(rustix::process::getuid().as_raw(), super::NETWORK);
    assert!(std::fs::read(root.join("state/mnemonic")).is_err());
    assert!(std::fs::write(root.join("peers.toml"), "").is_err());
    let handler = Socket::from(link.connect_handler().unwrap());
    let node = Node { handler };
    node.an_account_is_what_the_system_says(root);
    println!("test an_account_is_what_the_system_says ... ok");
    node.nobody_gets_an_account_that_is_not_theirs();
    println!("test nobody_gets_an_account_that_is_not_theirs ... ok");
    node.a_confined_account_reaches_its_trees_alone(root);
    println!("test a_confined_account_reaches_its_trees_alone ... ok");
    node.a_socket_is_the_accounts(root);
    println!("test a_socket_is_the_accounts ... ok");
    node.a_terminal_is_given_to_the_account();
    println!("test a_terminal_is_given_to_the_account ... ok");
    // The monitor exits with this.
    ExitCode::SUCCESS
}

impl Node {
    fn ask(&self, request: &Request, streams: &[std::os::fd::BorrowedFd<'_>]) -> Socket {
        let (near, far) = Socket::pair().unwrap();
        let mut all = vec![far.as_fd()];
        all.extend(streams);
        self.handler.send_request(request, &all).unwrap();
        near
    }

    /// What it writes, and its last event but `Empty`.
    fn run(&self, start: Start) -> (String, Event) {
        let (input, _far_input) = rustix::pipe::pipe().unwrap();
        let (output, far_output) = rustix::pipe::pipe().unwrap();
        let streams = [input.as_fd(), far_output.as_fd(), far_output.as_fd()];
        let socket = self.ask(&Request::Start(Box::new(start)), &streams);
        drop(far_output);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).unwrap();
        let mut last = None;
        while let Ok(Some(event)) = socket.receive::<Event>() {
            match event.message {
                Event::Empty => break,
                event => last = Some(event),
            }
        }
        (text, last.unwrap())
    }

    fn an_account_is_what_the_system_says(&self, root: &Path) {
        let line = "id -un; id -Gn; pwd; umask; echo $HOME $USER $SHELL $MAIL; touch file";
        let (text, end) = self.run(start("alice", "t-deploy", line));
        assert_eq!(end, Event::Exited(0), "{text}");
        let home = root.join("home").display().to_string();
        let expected = format!(
            "t-deploy\nt-deploy t-shared\n{home}\n0022\n\
             {home} t-deploy /bin/sh /var/mail/t-deploy\n"
        );
        assert_eq!(text, expected);
        // Whoever has a default account may have that.
        let (text, _) = self.run(start("alice", "t-www", "id -un; pwd"));
        assert!(text.contains("Could not chdir to home directory"), "{text}");
        assert!(text.ends_with("t-www\n/\n"), "{text}");
    }

    fn nobody_gets_an_account_that_is_not_theirs(&self) {
        for (identity, account) in [
            ("alice", "root"),
            ("alice", "t-network"),
            ("alice", "daemon"),
            ("alice", "no-such-account"),
            ("gone", "t-deploy"),
            ("mallory", "t-deploy"),
            ("mallory", "t-www"),
        ] {
            let (text, refused) = self.run(start(identity, account, "id"));
            assert_eq!(text, "");
            let Event::Refused {
                reason,
                status: 126,
            } = refused
            else {
                panic!("{identity} {account}: {refused:?}");
            };
            assert_eq!(
                reason,
                format!("{identity} may not have the account {account}")
            );
        }
        let mut none = start("alice", "t-deploy", "id");
        none.account = None;
        assert!(matches!(self.run(none).1, Event::Refused { .. }));
    }

    fn a_confined_account_reaches_its_trees_alone(&self, root: &Path) {
        let own = std::env::current_exe().unwrap();
        let line = format!(
            "set -e; echo x > {srv}/new; rm {srv}/new; echo y > ~/confined; mktemp; echo done",
            srv = root.join("srv").display()
        );
        let (text, _) = self.run(start("confined", "t-deploy", &line));
        assert!(text.ends_with("done\n"), "{text}");
        let mut attack = start("confined", "t-deploy", "");
        attack.program = Program::Direct {
            program: own.into(),
            arguments: vec![
                "attack".into(),
                root.into(),
                std::process::id().to_string().into(),
            ],
        };
        let (text, end) = self.run(attack);
        assert_eq!(end, Event::Exited(0), "{text}");
        let failed = text.lines().filter(|line| line.starts_with("failed: "));
        assert_eq!(failed.count(), super::attack::COUNT, "{text}");
    }

    fn a_socket_is_the_accounts(&self, root: &Path) {
        use std::os::unix::fs::MetadataExt;
        let path = root.join("srv/socket");
        let target = |account: &str| UnixTarget {
            identity: "alice".into(),
            account: Some(account.into()),
            confinement: None,
            path: path.clone(),
            beneath: None,
        };
        let www = self.ask(&Request::BindUnix(target("t-www")), &[]);
        let refused = granted(&www).unwrap_err();
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
        let bound = self.ask(&Request::BindUnix(target("t-deploy")), &[]);
        let _listener = granted(&bound).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), super::DEPLOY);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
        let opened = self.ask(&Request::OpenUnix(target("t-deploy")), &[]);
        granted(&opened).unwrap();
        let not_theirs = self.ask(&Request::OpenUnix(target("root")), &[]);
        let refused = not_theirs.receive::<Answer>().unwrap().unwrap().message;
        assert!(matches!(refused, Answer::Refused { .. }), "{refused:?}");
    }

    fn a_terminal_is_given_to_the_account(&self) {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let near = openpt(flags).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let far = ioctl_tiocgptpeer(&near, flags).unwrap();
        let mut start = start(
            "alice",
            "t-deploy",
            "echo ready > $(tty); stat -c %U $(tty)",
        );
        start.terminal = true;
        let streams = [far.as_fd(), far.as_fd(), far.as_fd()];
        let socket = self.ask(&Request::Start(Box::new(start)), &streams);
        drop(far);
        let mut text = String::new();
        let mut bytes = [0; 256];
        let mut near = File::from(near);
        while let Ok(count @ 1..) = near.read(&mut bytes) {
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        assert_eq!(text, "ready\r\nt-deploy\r\n");
        drop(socket);
    }
}

/// Grants what was found, and gets a descriptor for it.
fn granted(socket: &Socket) -> Result<OwnedFd, Answer> {
    loop {
        let received = socket.receive::<Answer>().unwrap().unwrap();
        match received.message {
            Answer::Found { .. } => socket.send(&UnixVerdict::Granted, &[]).unwrap(),
            Answer::Socket => return Ok(received.descriptors.into_iter().next().unwrap()),
            other => return Err(other),
        }
    }
}

fn start(identity: &str, account: &str, line: &str) -> Start {
    Start {
        identity: identity.into(),
        generation: 1,
        session: 1,
        account: Some(account.into()),
        program: Program::CommandLine {
            shell: None,
            line: line.into(),
        },
        terminal: false,
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        umask: None,
        confinement: None,
        remote: Some("192.0.2.1".into()),
        note: String::new(),
    }
}
