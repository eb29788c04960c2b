//! Which contents are taken for a plugin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod common;

use std::path::Path;

use alknet_loader::Refusal;
use common::{compile, plugin};

const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;

#[test]
fn a_complete_plugin_passes() {
    alknet_loader::elf::check(Path::new("libx.so"), plugin()).unwrap();
}

#[test]
fn a_plugin_cut_at_any_length_is_refused() {
    for length in 0..plugin().len() {
        let refusal = refusal(&plugin()[..length]);
        let expected = if length < 4 { "not_elf" } else { "truncated" };
        assert_eq!(refusal.kind(), expected, "{length}: {refusal}");
    }
}

#[test]
fn a_stripped_plugin_cut_at_any_length_is_refused() {
    use alknet_loader::elf::ROOT_SYMBOL;
    let stripped = compile(
        &format!("int {ROOT_SYMBOL} = 1;"),
        &["-shared", "-fPIC", "-s"],
    );
    alknet_loader::elf::check(Path::new("libx.so"), &stripped).unwrap();
    for length in 4..stripped.len() {
        assert_eq!(refusal(&stripped[..length]).kind(), "truncated", "{length}");
    }
}

#[test]
fn what_is_cut_off_is_named() {
    let size = plugin().len();
    let message = refusal(&plugin()[..size - 1]).to_string();
    assert_eq!(
        message,
        format!(
            "libx.so: is incomplete: the section table ends at byte {size}, the file has {}; copy the library again",
            size - 1
        )
    );
}

#[test]
fn flipped_bits_never_panic() {
    let mut bytes = plugin().to_vec();
    for position in 0..bytes.len() {
        for bit in [0, 3, 7] {
            bytes[position] ^= 1 << bit;
            // Most flips outside the headers cannot be seen here.
            let _ = alknet_loader::elf::check(Path::new("libx.so"), &bytes);
            bytes[position] ^= 1 << bit;
        }
    }
}

#[test]
fn another_machine_is_named_beside_this_one() {
    let this = std::env::consts::ARCH;
    let (number, other) = if this == "aarch64" {
        (62_u16, "x86_64")
    } else {
        (183, "aarch64")
    };
    if cfg!(all(target_pointer_width = "64", target_endian = "little")) {
        let mut bytes = plugin().to_vec();
        bytes[E_MACHINE..E_MACHINE + 2].copy_from_slice(&number.to_ne_bytes());
        assert_eq!(
            refusal(&bytes).to_string(),
            format!(
                "libx.so: is for {other}, this node runs {this}; install the plugin built for {this}"
            )
        );
    }
    for position in [4, 5] {
        let mut bytes = plugin().to_vec();
        bytes[position] ^= 3;
        assert!(matches!(refusal(&bytes), Refusal::WrongMachine { .. }));
    }
}

#[test]
fn other_kinds_of_elf_files_are_named() {
    let object = compile("int x;", &["-c"]);
    assert!(
        refusal(&object)
            .to_string()
            .contains("is an object file that was not linked")
    );
    let mut executable = plugin().to_vec();
    executable[E_TYPE..E_TYPE + 2].copy_from_slice(&2_u16.to_ne_bytes());
    assert!(
        refusal(&executable)
            .to_string()
            .contains("is an executable")
    );
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(refusal(&program).to_string().contains("is an executable"));
}

#[test]
fn a_library_that_is_no_plugin_is_named_so() {
    let foreign = compile("int alknet(void) { return 7; }", &["-shared", "-fPIC"]);
    let message = refusal(&foreign).to_string();
    assert!(
        message.starts_with("libx.so: is not an alknet plugin: it has no `export_plugin!`"),
        "{message}"
    );
    // Using the symbol is not exporting it.
    let root = alknet_loader::elf::ROOT_SYMBOL;
    let user = compile(
        &format!("extern int {root}; int f(void) {{ return {root}; }}"),
        &["-shared", "-fPIC"],
    );
    assert_eq!(refusal(&user).kind(), "not_a_plugin");
}

#[test]
fn a_plugin_whose_panics_end_the_process_is_refused() {
    let root = alknet_loader::elf::ROOT_SYMBOL;
    let using = |symbols: &[&str]| {
        let declared = symbols.iter().map(|name| format!("void {name}(void);"));
        let called = symbols.iter().map(|name| format!("{name}();"));
        let (declared, called): (String, String) = (declared.collect(), called.collect());
        let text = format!("int {root} = 1; {declared} void f(void) {{ {called} }}");
        compile(&text, &["-shared", "-fPIC"])
    };
    // Backtraces alone.
    let aborting = using(&["_Unwind_Backtrace", "_Unwind_Resume"]);
    assert_eq!(refusal(&aborting).kind(), "aborts");
    let unwinding = using(&["_Unwind_Backtrace", "_Unwind_RaiseException"]);
    alknet_loader::elf::check(Path::new("libx.so"), &unwinding).unwrap();
}

fn refusal(bytes: &[u8]) -> Refusal {
    alknet_loader::elf::check(Path::new("libx.so"), bytes).unwrap_err()
}

#[test]
fn what_cargo_builds_without_cdylib_is_named_so() {
    let rlib = alknet_loader::elf::check(Path::new("libx.rlib"), b"!<arch>\n/               0");
    let message = rlib.unwrap_err().to_string();
    assert!(
        message.starts_with("libx.rlib: is a Rust library (.rlib)")
            && message.ends_with("crate-type = [\"cdylib\"]"),
        "{message}"
    );
    let section =
        "__attribute__((section(\".rustc\"))) int metadata = 1; int f(void) { return 1; }";
    let dylib = refusal(&compile(section, &["-shared", "-fPIC"]));
    assert_eq!(dylib.kind(), "crate_type", "{dylib}");
}
