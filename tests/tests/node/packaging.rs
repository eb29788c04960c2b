//! What a package brings along: manual pages, completions, the systemd unit.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::{HANG, Run, Setup, artifacts, requires, workspace};
use rustix::process::Signal;
use serde_json::Value;

pub(super) fn programs() -> [(&'static str, &'static Path); 2] {
    let built = artifacts();
    [("alknet", &built.client), ("alknet-node", &built.node)]
}

#[test]
fn every_command_has_a_manual_page_that_renders() {
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in programs() {
        let pages = folder.path().join(name);
        Run::new(program).arg("man").arg(&pages).output();
        let printed = Run::new(program).arg("man").output();
        let own = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert_eq!(printed, own);
        for page in fs::read_dir(&pages).unwrap() {
            let page = page.unwrap().path();
            let text = fs::read_to_string(&page).unwrap();
            let command = page.file_stem().unwrap().to_str().unwrap();
            let title = format!(
                ".TH {command} 1 \" \" \"{name} {}\"",
                env!("CARGO_PKG_VERSION")
            );
            assert!(text.contains(&title), "{}: {text}", page.display());
            if requires(&["mandoc"]) {
                let ended = Run::new("mandoc")
                    .args(["-T", "lint", "-W", "error"])
                    .arg(&page)
                    .ended();
                assert_eq!((ended.code(), ended.out().as_str()), (0, ""), "{ended}");
                let ended = Run::new("mandoc").args(["-T", "html"]).arg(&page).ended();
                assert!(ended.out().contains("DESCRIPTION"), "{ended}");
            }
        }
    }
    let node = folder.path().join("alknet-node");
    assert!(node.join("alknet-node-plugins-reload.1").exists());
    assert!(
        !node.join("alknet-node-probe.1").exists(),
        "it is for the node alone"
    );
    let ended = Run::new(&artifacts().node)
        .args(["man", "/dev/null/x"])
        .ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["cannot write /dev/null/x"]);
}

/// A socket in place of systemd's, and where it is.
fn supervisor(setup: &Setup) -> (UnixDatagram, PathBuf) {
    let path = setup.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    (socket, path)
}

fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn systemd_is_told_of_reloads_and_of_the_time_a_stop_takes() {
    let mut setup = Setup::new();
    let (socket, path) = supervisor(&setup);
    setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let node = setup.start();
    assert_eq!(told(&socket), "READY=1\n");
    node.signal(Signal::HUP);
    assert!(told(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(&socket), "READY=1\n");
    // A reload that fails is over as well.
    node.setup.append("node.toml", "nonsense");
    node.signal(Signal::HUP);
    assert!(told(&socket).starts_with("RELOADING=1\n"));
    assert_eq!(told(&socket), "READY=1\n");
    node.terminate();
    // drain_seconds is 10.
    assert_eq!(told(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=53000000\n");
    assert!(node.wait().status.success());
}

#[test]
fn the_watchdog_gets_signs_of_life() {
    let setup = Setup::new();
    let (socket, path) = supervisor(&setup);
    // systemd names the process that it means.
    let script = "WATCHDOG_PID=$$ exec \"$0\" run --state \"$1\"";
    let _node = Run::new("sh")
        .args(["-c", script])
        .arg(&artifacts().node)
        .arg(setup.state())
        .env("NOTIFY_SOCKET", path)
        .env("WATCHDOG_USEC", "100000")
        .spawn();
    assert_eq!(told(&socket), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(told(&socket), "WATCHDOG=1\n");
    }
}

#[test]
fn systemd_understands_the_unit() {
    if !requires(&["systemd-analyze"]) {
        return;
    }
    let unit = workspace().join("host-shim/packaging/debian/alknet-node.service");
    let unit = fs::read_to_string(unit).unwrap();
    // The manual page and the program are not installed here.
    let unit = unit
        .replace("/usr/bin/alknet-node", artifacts().node.to_str().unwrap())
        .replace("Documentation=man:alknet-node(1)\n", "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alknet-node.service");
    fs::write(&file, unit).unwrap();
    let verify = || {
        let ended = Run::new("systemd-analyze").arg("verify").arg(&file).ended();
        assert_eq!((ended.code(), ended.err().as_str()), (0, ""), "{ended}");
    };
    verify();
    // The node of one account.
    let drop_in = workspace().join("host-shim/packaging/debian/single-account.conf");
    let drop_in = fs::read_to_string(drop_in).unwrap();
    let drop_in = drop_in.replace("/usr/bin/alknet-node", artifacts().node.to_str().unwrap());
    let drop_ins = folder.path().join("alknet-node.service.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("single-account.conf"), drop_in).unwrap();
    verify();
}

/// The names in a group of systemd's, with those of the groups in it.
fn system_calls(group: &str) -> BTreeSet<String> {
    let said = Run::new("systemd-analyze")
        .args(["syscall-filter", group])
        .output();
    let names = said.lines().skip(1).map(str::trim);
    names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .flat_map(|name| match name.starts_with('@') {
            true => system_calls(name),
            false => BTreeSet::from([name.to_owned()]),
        })
        .collect()
}

/// What the filter of the drop-in lets through, as systemd.exec(5) reads it.
fn allowed_by(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in unit.lines() {
        let Some(filter) = line.strip_prefix("SystemCallFilter=") else {
            continue;
        };
        let (names, is_allowed) = match filter.strip_prefix('~') {
            Some(names) => (names, false),
            None => (filter, true),
        };
        for name in names.split_whitespace() {
            let calls = match name.starts_with('@') {
                true => system_calls(name),
                false => BTreeSet::from([name.to_owned()]),
            };
            match is_allowed {
                true => allowed.extend(calls),
                false => allowed.retain(|call| !calls.contains(call)),
            }
        }
    }
    allowed
}

#[test]
fn the_filter_of_the_single_account_lets_a_guest_be_confined() {
    if !requires(&["systemd-analyze"]) {
        return;
    }
    let packaging = workspace().join("host-shim/packaging/debian");
    let drop_in = fs::read_to_string(packaging.join("single-account.conf")).unwrap();
    let allowed = allowed_by(&drop_in);
    for needed in [
        "capset",
        "clone3",
        "close_range",
        "execveat",
        "landlock_add_rule",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "memfd_create",
        "openat2",
        "pidfd_open",
        "pidfd_send_signal",
        "prctl",
        "prlimit64",
        "seccomp",
        "setsid",
        "signalfd4",
        "unshare",
    ] {
        assert!(allowed.contains(needed), "{needed}");
    }
    // What the monitor does without where it is refused (ADR 58).
    assert!(!allowed.contains("mount"));
    // Accounts are walled off by their own rights; no filter is in their way.
    let unit = fs::read_to_string(packaging.join("alknet-node.service")).unwrap();
    assert!(!unit.contains("SystemCallFilter="));
    for refused in [
        "NoNewPrivileges=yes",
        "RestrictNamespaces=",
        "RestrictSUIDSGID=",
    ] {
        assert!(!unit.contains(refused), "{refused}");
    }
}

#[test]
fn a_node_runs_from_its_package() {
    if !requires(&["cargo-deb", "dpkg-deb", "dpkg-shlibdeps", "ssh"]) {
        return;
    }
    let setup = Setup::empty();
    let debs = setup.folder().join("debs");
    // Packing takes its time on a busy machine; what is packed is built before.
    artifacts();
    let mut pack = Command::new(workspace().join("host-shim/packaging/build-debs"));
    pack.arg(&debs).env("ALKNET_PROFILE", "release");
    // As in `artifacts`: these would have everything built anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            pack.env_remove(&name);
        }
    }
    assert!(pack.status().unwrap().success());
    let root = setup.folder().join("root");
    for deb in fs::read_dir(&debs).unwrap() {
        let deb = deb.unwrap().path();
        let name = deb.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("alknet-node") {
            let fields = Run::new("dpkg-deb").arg("-f").arg(&deb).arg("Depends");
            let needs = fields.output();
            assert!(needs.contains("libpam0g"), "no PAM: {needs}");
        }
        Run::new("dpkg-deb").arg("-x").arg(deb).arg(&root).output();
    }
    for file in [
        "usr/lib/systemd/system/alknet-node.service",
        "usr/share/man/man1/alknet-node-plugins-reload.1.gz",
        "usr/share/man/man1/alknet-ssh-config.1.gz",
        "usr/share/bash-completion/completions/alknet",
        "usr/share/bash-completion/completions/alknet-node",
    ] {
        assert!(root.join(file).exists(), "no {file}");
    }
    let node = root.join("usr/bin/alknet-node");
    let plugins = root.join("usr/lib/alknet/plugins");
    let made = Run::new(&node)
        .args(["init", "--listen", "127.0.0.1:0", "--authorize"])
        .arg(setup.key.public_file())
        .arg("--state")
        .arg(setup.state())
        .output();
    // Where the next package will put the next version.
    let said = format!("plugins are loaded from {}", plugins.display());
    assert!(made.contains(&said), "{made}");
    let (socket, path) = supervisor(&setup);
    let _node = Run::new(&node)
        .args(["run", "--state"])
        .arg(setup.state())
        .env("NOTIFY_SOCKET", path)
        .spawn();
    assert_eq!(told(&socket), "READY=1\n");
    let status = Run::new(&node)
        .args(["status", "--json", "--state"])
        .arg(setup.state())
        .output();
    let status: Value = serde_json::from_str(&status).unwrap();
    let generation = &status["generations"][0];
    assert_eq!(
        generation["file"].as_str().map(Path::new),
        Some(&*plugins.join("libalknet_ssh_plugin.so"))
    );
    let config = Run::new(root.join("usr/bin/alknet"))
        .args(["ssh-config", "--name", "packaged", "--known-nodes"])
        .arg(setup.folder().join("known_nodes"))
        .arg("--identity-file")
        .arg(&setup.key.file)
        .arg(status["node"]["listen"].as_str().unwrap())
        .env("HOME", setup.folder())
        .output();
    let file = setup.folder().join("ssh_config");
    fs::write(&file, config).unwrap();
    let hello = Run::new("ssh")
        .arg("-F")
        .arg(&file)
        .args(["-o", "BatchMode=yes", "packaged", "echo hello"])
        .env("HOME", setup.folder())
        .ended();
    assert_eq!(hello.out(), "hello\n", "{hello}");
}
