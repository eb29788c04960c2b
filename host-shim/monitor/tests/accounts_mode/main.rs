//! The monitor in accounts mode, as root: in a mount namespace with a database
//! of users of its own. The program is the monitor; its child, the same program
//! executed anew as an unprivileged account, stands for the node and runs the
//! tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../owner_mode/attack.rs"]
mod attack;
mod node;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::ExitCode;

use alknet_monitor::{
    AccountsConfig, MonitorConfig, NodeProgram, SESSION_HELPER, session_helper, start_accounts_mode,
};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use zeroize::Zeroizing;

/// Accounts of the test, with user ids that nobody has.
const NETWORK: u32 = 64_101;
const DEPLOY: u32 = 64_102;
const WWW: u32 = 64_103;
const SHARED: u32 = 64_110;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some(SESSION_HELPER) => {
            return session_helper(arguments, |_, request| {
                println!("{request} {}", rustix::process::getuid().as_raw());
                Ok(0)
            });
        }
        Some("attack") => return attack::attack(arguments),
        Some("node") => return node::run(Path::new(&arguments.next().unwrap())),
        _ => {}
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !own_users(&root) {
        println!("SKIPPED: needs root and a mount namespace");
        return ExitCode::from(u8::from(std::env::var_os("CI").is_some()));
    }
    make_files(&root);
    let config = MonitorConfig {
        guest_homes: root.join("guests"),
        private: vec![root.join("state")],
        accounts: Some(AccountsConfig {
            network_user: "t-network".into(),
            default_account: Some("t-www".into()),
            allow_root: false,
            peers: root.join("peers.toml"),
        }),
    };
    let node = NodeProgram {
        arguments: vec!["node".into(), root.clone().into()],
        environment: vec![("RUST_BACKTRACE".into(), "0".into())],
        secrets: Zeroizing::new(b"mnemonic".to_vec()),
        descriptors: vec![(fs::File::open(root.join("passed")).unwrap().into(), 3)],
    };
    start_accounts_mode(config, node).unwrap()
}

/// Gives this process, and no other, a database of users with those of the
/// test, which lies in `root`. Says whether the system lets it.
fn own_users(root: &Path) -> bool {
    use rustix::thread::UnshareFlags;
    #[expect(deprecated, reason = "unsound for the table of descriptors alone")]
    if rustix::thread::unshare(UnshareFlags::NEWNS).is_err() {
        return false;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
    let home = root.join("home").display().to_string();
    let user = |name: &str, id: u32, home: &str| format!("{name}:x:{id}:{id}::{home}:/bin/sh\n");
    let users = [
        user("t-network", NETWORK, "/nonexistent"),
        user("t-deploy", DEPLOY, &home),
        user("t-www", WWW, "/nonexistent"),
    ];
    let groups = format!(
        "t-network:x:{NETWORK}:\nt-deploy:x:{DEPLOY}:\nt-www:x:{WWW}:\n\
         t-shared:x:{SHARED}:t-deploy\n"
    );
    let shadow =
        ["t-network", "t-deploy", "t-www"].map(|name| format!("{name}:*:19000:0:99999:7:::\n"));
    for (file, more) in [
        ("passwd", users.concat()),
        ("group", groups),
        ("shadow", shadow.concat()),
    ] {
        let real = Path::new("/etc").join(file);
        let copy = root.join(file);
        let text = fs::read_to_string(&real).unwrap() + &more;
        fs::write(&copy, text).unwrap();
        let mode = fs::metadata(&real).unwrap().permissions();
        fs::set_permissions(&copy, mode).unwrap();
        mount_bind(&copy, &real).unwrap();
    }
    true
}

fn make_files(root: &Path) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, owner, mode) in [
        ("home", DEPLOY, 0o700),
        ("state", 0, 0o700),
        ("srv", DEPLOY, 0o755),
        ("www", 0, 0o755),
        ("guests", 0, 0o755),
    ] {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join("state/mnemonic"), "secret").unwrap();
    fs::write(root.join("passed"), "passed").unwrap();
    fs::write(root.join("owner"), "owner").unwrap();
    let own = std::env::current_exe().unwrap();
    let peers = format!(
        "[[peers]]\nid = \"alice\"\naccounts = [\"t-deploy\", \"root\", \"t-network\"]\n\
         scopes = []\n\
         [[peers]]\nid = \"gone\"\naccounts = [\"t-deploy\"]\ndisabled = true\n\
         [[peers]]\nid = \"confined\"\naccounts = [\"t-deploy\"]\n\
         files = [\"{srv}:rw\", \"{own}:ro\"]\n",
        srv = root.join("srv").display(),
        own = own.display(),
    );
    fs::write(root.join("peers.toml"), peers).unwrap();
}
