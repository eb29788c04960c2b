//! What a guest's processes try against the node, its owner and other guests.

use alknet_session::Event;

use crate::support::{World, direct};
use crate::{Test, attack};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_guest_works_in_its_home_and_trees", guest_works),
    ("no_attack_of_a_guest_succeeds", attacks),
    ("a_tree_around_the_nodes_state_is_refused", private_tree),
];

fn guest_works(world: &World) {
    let line = "set -e; cd; pwd; echo a > file; chmod 700 file; mktemp; echo b > $TMPDIR/x; \
                cat ../../www/index.html; echo; cd ../../srv; mkdir d; mv d e; rmdir e; \
                ln -s /etc/passwd link; head -c1 link >/dev/null; rm link; \
                perl -e 'print 1+1' 2>/dev/null || echo 2; ls /usr >/dev/null; kill -0 $$; \
                nice true; echo done";
    let mut start = world.shell(line);
    start.confinement = Some(world.guest("works"));
    let (text, end) = world.start(start).finish();
    assert!(text.ends_with("done\n"), "{text}");
    assert!(text.contains("guests/works\n"), "{text}");
    assert_eq!(end, Event::Exited(0), "{text}");
}

fn attacks(world: &World) {
    if alknet_monitor::confinement_support().is_err() {
        println!("SKIPPED: the kernel has no Landlock");
        assert!(std::env::var_os("CI").is_none(), "CI has one");
        return;
    }
    // Another guest's home, a file of the owner, a process of the owner.
    std::fs::create_dir_all(world.root.join("guests/other")).unwrap();
    std::fs::write(world.root.join("guests/other/secret"), "other").unwrap();
    std::fs::write(world.root.join("owner"), "owner").unwrap();
    std::os::unix::fs::symlink(world.root.join("owner"), world.root.join("srv/out")).unwrap();
    let socket = world.root.join("srv/agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let own = std::env::current_exe().unwrap();
    let pid = std::process::id().to_string();
    let shared = format!("/dev/shm/alknet-{pid}");
    let _ = std::fs::write(&shared, "shared");
    let root = world.root.to_str().unwrap();
    let mut start = world.shell("");
    start.program = direct(&own, &["attack", root, &pid]);
    start.confinement = Some(world.guest("attacker"));
    let (text, end) = world.start(start).finish();
    let _ = std::fs::remove_file(&shared);
    assert_eq!(end, Event::Exited(0), "{text}");
    let failed = text.lines().filter(|line| line.starts_with("failed: "));
    assert_eq!(failed.count(), attack::COUNT, "{text}");
    // What is refused is there: the owner's own processes read it.
    let line = format!("cat {root}/state/mnemonic {root}/srv/out");
    let (text, _) = world.start(world.shell(&line)).finish();
    assert_eq!(text, "secret wordsowner");
}

fn private_tree(world: &World) {
    let mut start = world.shell("true");
    let mut guest = world.guest("greedy");
    guest.trees[0].path = world.root.clone();
    start.confinement = Some(guest);
    match world.start(start).event() {
        Some(Event::Refused { reason, .. }) => {
            assert!(reason.contains("the node itself"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}
