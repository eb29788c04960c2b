//! No modules of a crate import each other in a ring, but for those that
//! `host-shim/docs/ARCHITECTURE.md` names and gives a reason for.

mod graph;
mod source;

use std::collections::BTreeSet;
use std::fs;

use integration_tests::workspace;

use self::graph::Crate;
use crate::invariants::packages;

const PAGE: &str = "host-shim/docs/ARCHITECTURE.md";

/// A line of the page's table.
struct Exception {
    package: String,
    room: String,
    members: BTreeSet<String>,
    is_used: bool,
}

/// The rows of the table below "Import rings": crate, room, ring, reason.
fn exceptions() -> Vec<Exception> {
    let text = fs::read_to_string(workspace().join(PAGE)).unwrap();
    let (_, section) = text.split_once("## Import rings\n").unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    rows.filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [package, room, ring, reason] = cells[..] else {
                panic!("not four cells: {line}");
            };
            assert!(reason.len() > 10, "no reason: {line}");
            Exception {
                package: package.replace('`', ""),
                room: match room.replace('`', "") {
                    room if room == "crate" => String::new(),
                    room => room,
                },
                members: ring
                    .replace('`', "")
                    .split(", ")
                    .map(str::to_owned)
                    .collect(),
                is_used: false,
            }
        })
        .collect()
}

#[test]
fn modules_do_not_import_each_other_in_a_ring() {
    let mut exceptions = exceptions();
    let mut complaints = Vec::new();
    for (package, _, roots) in packages() {
        for root in roots {
            for ring in Crate::read(&root).rings() {
                let exception = exceptions.iter_mut().find(|exception| {
                    exception.package == package
                        && exception.room == ring.room
                        && ring.members.is_subset(&exception.members)
                });
                if let Some(exception) = exception {
                    exception.is_used = true;
                    continue;
                }
                let members: Vec<_> = ring.members.into_iter().collect();
                let imports: Vec<_> = ring.imports.into_iter().collect();
                complaints.push(format!(
                    "{package}, in `{}`: {}\n    {}",
                    ring.room,
                    members.join(", "),
                    imports.join("\n    ")
                ));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "modules import each other in a ring. Move what both need to a module below \
         them, or name the ring in {PAGE}:\n{}",
        complaints.join("\n")
    );
    for exception in exceptions {
        let Exception { package, room, .. } = &exception;
        assert!(
            exception.is_used,
            "{package} has no such ring in `{room}` any more; strike it from {PAGE}"
        );
    }
}

/// A crate of a few files, read.
fn sample(files: &[(&str, &str)]) -> Crate {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let file = directory.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    Crate::read(&directory.path().join("lib.rs"))
}

fn found(krate: &Crate) -> Vec<String> {
    let rings = krate.rings().into_iter();
    rings
        .map(|ring| {
            let members: Vec<_> = ring.members.into_iter().collect();
            format!("{}: {}", ring.room, members.join(" "))
        })
        .collect()
}

#[test]
fn a_ring_is_found_whichever_way_it_is_written() {
    let lib = ("lib.rs", "mod a; mod b; mod c; pub use a::A;");
    let one_way = [
        lib,
        ("a.rs", "use crate::b::B;"),
        ("b.rs", ""),
        ("c.rs", "use crate::A;"),
    ];
    assert_eq!(found(&sample(&one_way)), [""; 0]);
    for back in [
        "use crate::A;",
        "use super::{a::{A as B}};",
        "fn f() -> crate::a::A {}",
        "mod inside { use super::super::a::*; }",
        "fn f() { use super::a; a::f() }",
    ] {
        let ring = [
            lib,
            ("a.rs", "use crate::b::B;"),
            ("b.rs", back),
            ("c.rs", ""),
        ];
        assert_eq!(found(&sample(&ring)), [": a b"], "{back}");
    }
    let tests = "#[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a::A;";
    let tests = [
        lib,
        ("a.rs", "use crate::b::B;"),
        ("b.rs", tests),
        ("c.rs", ""),
    ];
    assert_eq!(found(&sample(&tests)), [""; 0]);
}

#[test]
fn a_ring_through_rooms_is_found_where_the_rooms_stand() {
    let krate = sample(&[
        ("lib.rs", "mod room; mod other;"),
        ("other.rs", "use crate::room::one::One;"),
        (
            "room/mod.rs",
            "pub mod one; pub mod two; struct Own; pub use two::Two;",
        ),
        ("room/one.rs", "use super::Own;"),
        ("room/two.rs", "use crate::other;"),
    ]);
    assert_eq!(found(&krate), [": other room"]);
    assert_eq!(krate.imports_of("room", "other"), ["room::two -> other"]);
    assert_eq!(
        krate.imports_of("other", "room::one"),
        ["other -> room::one"]
    );
    assert_eq!(krate.imports_of("other", "room::two"), [""; 0]);
    let own = sample(&[
        ("lib.rs", "mod room;"),
        ("room/mod.rs", "mod one; use one::One; struct Own(One);"),
        ("room/one.rs", "use super::Own;"),
    ]);
    assert_eq!(found(&own), ["room: one self"]);
}

/// The modules that each directory of the SSH crate must not import. Its
/// services stand beside each other, on the server's session; dispatch is on
/// top.
const KNOWS_NOTHING_OF: [(&str, &[&str]); 12] = [
    ("connection", &["client", "server", "sftp_protocol"]),
    ("sftp_protocol", &["client", "server", "connection"]),
    ("client", &["server"]),
    (
        "server::metrics",
        &["client", "server::state", "server::session"],
    ),
    (
        "server::audit",
        &["server::auth", "server::state", "server::session"],
    ),
    (
        "server::admission",
        &["server::auth", "server::audit", "server::state"],
    ),
    (
        "server::auth",
        &["server::admission", "server::state", "server::session"],
    ),
    ("server::egress", &["server::state", "server::session"]),
    ("server::state", &["server::session", "server::channel"]),
    (
        "server::session",
        &["server::channel", "server::exec", "server::forward"],
    ),
    ("server::exec", &["server::forward", "server::dispatch"]),
    ("server::forward", &["server::exec", "server::dispatch"]),
];

#[test]
fn rooms_of_the_ssh_crate_know_only_what_is_below_them() {
    let ssh = Crate::read(&workspace().join("plugin/ssh/src/lib.rs"));
    for (room, others) in KNOWS_NOTHING_OF {
        assert!(ssh.has(room), "there is no room {room}");
        for other in others {
            assert!(ssh.has(other), "there is no room {other}");
            let imports = ssh.imports_of(room, other);
            assert!(imports.is_empty(), "{room} imports {other}: {imports:?}");
        }
    }
}
