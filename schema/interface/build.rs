//! Records the compiler and the target, for the registration bundles of plugins.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=ALKNET_RUSTC={version}");
    println!("cargo:rustc-env=ALKNET_TARGET={target}");
    println!("cargo:rerun-if-changed=build.rs");
}
