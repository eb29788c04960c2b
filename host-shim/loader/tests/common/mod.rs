//! Small real libraries, made by the C compiler that Rust links with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use alknet_loader::elf::ROOT_SYMBOL;

/// A library that exports the root symbol: complete, for this machine, and small.
pub fn plugin() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        compile(
            &format!("int {ROOT_SYMBOL} = 1; int alknet(void) {{ return 7; }}"),
            &["-shared", "-fPIC"],
        )
    })
}

/// Compiles and links one C file without libraries.
pub fn compile(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("source.c");
    let output = folder.path().join("output");
    std::fs::write(&input, source).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let done = Command::new(compiler)
        .arg("-nostdlib")
        .args(flags)
        .arg("-o")
        .args([&output, &input])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(output).unwrap()
}

/// A plugins directory with one library in it, both writable by their owner alone.
pub struct Plugins {
    folder: tempfile::TempDir,
}

impl Plugins {
    pub fn with(bytes: &[u8]) -> Self {
        let plugins = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(plugins.library(), bytes).unwrap();
        set_mode(&plugins.library(), 0o644);
        set_mode(plugins.folder(), 0o755);
        plugins
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libx.so")
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
