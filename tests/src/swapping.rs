//! Plugins that are installed, swapped and damaged while a node serves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use alknet_quic::QuicStream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Dialled, Ended, Setup, TestNode, artifacts, dial_as};

/// The file of the SSH plugin.
pub const SSH: &str = "libalknet_ssh_plugin.so";
/// The file of the odd plugin; it comes last.
pub const ODD: &str = "zz_odd.so";

/// A library that is the same, but for its digest.
pub fn variant(library: &Path, mark: u64) -> Vec<u8> {
    let mut bytes = fs::read(library).unwrap();
    bytes.extend_from_slice(format!("variant {mark}").as_bytes());
    bytes
}

/// Puts a file into the plugins directory by rename, as an installer would.
pub fn install(setup: &Setup, bytes: &[u8], name: &str) {
    let fresh = setup.plugins().join(format!(".{name}.fresh"));
    fs::write(&fresh, bytes).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(fresh, setup.plugins().join(name)).unwrap();
}

/// `alknet-node plugins …` on this state directory.
pub fn plugins(setup: &Setup, args: &[&str]) -> Ended {
    let args = [&["plugins"], args, &["--state"]].concat();
    setup.node(&args).arg(setup.state()).ended()
}

/// `alknet-node plugins reload`.
pub fn swap(setup: &Setup) -> Ended {
    plugins(setup, &["reload"])
}

/// `alknet-node status --json`.
pub fn status(setup: &Setup) -> Value {
    let text = setup.on_state("status").arg("--json").output();
    serde_json::from_str(&text).unwrap()
}

/// The generation of a plugin that serves.
pub fn serving(setup: &Setup, plugin: &str) -> Value {
    let status = status(setup);
    let generations = status["generations"].as_array().unwrap();
    let found = generations
        .iter()
        .find(|one| one["plugin"] == plugin && one["state"] == "serving");
    found.unwrap_or_else(|| panic!("{status:#}")).clone()
}

/// A node with the odd plugin beside SSH, which does as `ODD_SETTINGS` says;
/// that can be changed.
pub struct Odd {
    /// The node.
    pub node: TestNode,
    /// The file with the settings.
    pub settings: PathBuf,
}

impl Odd {
    /// Starts a node with these settings, `NAME=value` a line.
    pub fn start(settings: &str) -> Self {
        Self::start_with(settings, Setup::new(), TestNode::start)
    }

    /// Starts a node in the given state directory, by the given function.
    pub fn start_with(
        settings: &str,
        mut setup: Setup,
        start: impl FnOnce(Setup) -> TestNode,
    ) -> Self {
        let file = setup.folder().join("settings");
        fs::write(&file, settings).unwrap();
        setup.env("ODD_SETTINGS", file.to_str().unwrap());
        setup.install(&artifacts().odd, ODD);
        Self {
            node: start(setup),
            settings: file,
        }
    }

    /// The next version of the odd plugin, with these settings from now on.
    pub fn next(&self, mark: u64, settings: &str) {
        fs::write(&self.settings, settings).unwrap();
        install(&self.node.setup, &variant(&artifacts().odd, mark), ODD);
    }
}

/// A connection to the odd plugin that stays open.
pub struct Echo {
    _quic: Dialled,
    stream: QuicStream,
}

impl Echo {
    /// Connects, and sees that it works.
    pub async fn open(node: &TestNode) -> Self {
        let quic = dial_as(node, None, b"odd/echo").await.unwrap();
        let stream = quic.stream().await;
        let mut echo = Self {
            _quic: quic,
            stream,
        };
        echo.works().await;
        echo
    }

    /// Checks that what is sent comes back.
    pub async fn works(&mut self) {
        self.stream.write_all(b"still here").await.unwrap();
        let mut back = [0; 10];
        self.stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"still here");
    }
}

/// Contents of a file that is not a plugin.
pub struct BadLibrary {
    /// A one-word name of the fault.
    pub name: &'static str,
    /// The contents.
    pub bytes: Vec<u8>,
    /// The words of the node's message about it.
    pub words: &'static str,
}

/// Each kind of contents that no plugin has.
pub fn bad_libraries() -> Vec<BadLibrary> {
    let good = fs::read(&artifacts().plugin).unwrap();
    let mut wrong_machine = good.clone();
    // e_machine of the ELF header: 0xf3 is RISC-V.
    wrong_machine[18..20].copy_from_slice(&[0xf3, 0]);
    let bad = |name, bytes: &[u8], words| BadLibrary {
        name,
        bytes: bytes.to_vec(),
        words,
    };
    vec![
        bad("empty", b"", "the file is empty"),
        bad("text", b"#!/bin/sh\n", "not an ELF shared library"),
        bad("zeros", &[0; 5000], "not an ELF shared library"),
        bad("cut", &good[..good.len() / 2], "incomplete"),
        bad("machine", &wrong_machine, "is for"),
        bad(
            "program",
            &fs::read(&artifacts().client).unwrap(),
            "not a shared library",
        ),
        bad(
            "foreign",
            &fs::read(foreign_library()).unwrap(),
            "is not an alknet plugin",
        ),
    ]
}

/// A shared library of somebody else: the C library of this process.
fn foreign_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("libc.so") || path.contains("libc-") || path.contains("ld-musl"))
        .expect("a C library is loaded");
    path.into()
}
