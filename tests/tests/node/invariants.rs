//! Reads the sources and manifests of the workspace and tests the rules that
//! they follow.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::{Run, requires, workspace};
use serde_json::Value;

/// The crates that a crate needs to run, itself among them.
fn tree(package: &str) -> BTreeSet<String> {
    cargo(&[
        "tree", "--locked", "-e", "normal", "--prefix", "none", "-p", package,
    ])
    .lines()
    .map(|line| line.split(' ').next().unwrap().to_owned())
    .collect()
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Run::new(cargo)
        .dir(workspace())
        .args(args.iter().copied())
        .output()
}

/// The packages of the workspace: name, directory, the root files of its targets.
pub(crate) fn packages() -> Vec<(String, PathBuf, Vec<PathBuf>)> {
    let text = cargo(&["metadata", "--locked", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let path = |value: &Value| PathBuf::from(value.as_str().unwrap());
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let roots = package["targets"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|target| {
                    let kind = target["kind"][0].as_str().unwrap();
                    ["lib", "cdylib", "bin"].contains(&kind)
                })
                .map(|target| path(&target["src_path"]))
                .collect();
            let folder = path(&package["manifest_path"]).parent().unwrap().to_owned();
            let name = package["name"].as_str().unwrap().to_owned();
            (name, folder, roots)
        })
        .collect()
}

#[test]
fn the_daemon_has_no_ssh_in_it() {
    let tree = tree("alknet-node");
    assert!(tree.contains("quinn"), "{tree:?}");
    for absent in [
        "russh",
        "alknet-ssh",
        "alknet-ssh-config",
        "alknet-ssh-plugin",
    ] {
        assert!(!tree.contains(absent), "{absent} is in the daemon");
    }
}

#[test]
fn vault_and_socks5_stand_alone() {
    let ours: BTreeSet<_> = packages().into_iter().map(|(name, ..)| name).collect();
    for package in ["alknet-vault", "alknet-socks5"] {
        let needed: Vec<_> = tree(package).intersection(&ours).cloned().collect();
        assert_eq!(needed, [package]);
    }
}

#[test]
fn there_is_one_crypto_backend_and_one_russh() {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let mut russh = Vec::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("name = ") else {
            continue;
        };
        let name = name.trim_matches('"');
        // It looks for files of certificates, and has no OpenSSL in it.
        let is_openssl = name.starts_with("openssl") && name != "openssl-probe";
        assert!(
            !name.starts_with("aws-lc") && !is_openssl,
            "{name} is in Cargo.lock"
        );
        if name == "russh" {
            russh.push(lines.next().unwrap().to_owned());
        }
    }
    assert_eq!(russh.len(), 1, "{russh:?}");
    assert!(russh[0].starts_with("version = \"0.65."), "{russh:?}");
}

/// Crates in which some code is `unsafe`, by what a macro expands to or by
/// hand; they deny it everywhere but there.
const WITH_UNSAFE: [&str; 4] = [
    "alknet-loader",
    "alknet-monitor",
    "alknet-plugin",
    "alknet-plugin-interface",
];

#[test]
fn every_other_crate_forbids_unsafe_code() {
    for (name, folder, roots) in packages() {
        if folder.starts_with(workspace().join("tests/fixtures")) {
            continue;
        }
        for root in roots {
            let text = fs::read_to_string(&root).unwrap();
            let forbids = text.contains("#![forbid(unsafe_code)]");
            let excepted = WITH_UNSAFE.contains(&name.as_str());
            assert!(forbids || excepted, "{} does not forbid it", root.display());
        }
    }
}

#[test]
fn unsafe_code_says_why_it_is_safe() {
    let mut found = BTreeSet::new();
    for (name, folder, _) in packages() {
        for file in rust_files(&folder.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let lines: Vec<_> = text.lines().collect();
            for (number, line) in lines.iter().enumerate() {
                let code = line.split("//").next().unwrap();
                if !["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|word| code.contains(word))
                {
                    continue;
                }
                let place = format!("{}:{}", file.display(), number + 1);
                let comment = lines[..number]
                    .iter()
                    .rev()
                    .take_while(|line| line.trim().starts_with("//"));
                assert!(
                    comment.clone().any(|line| line.contains("// SAFETY:")),
                    "{place} does not say why it is safe"
                );
                found.insert(name.clone());
            }
        }
    }
    let allowed: BTreeSet<_> = WITH_UNSAFE.map(str::to_owned).into();
    assert!(found.is_subset(&allowed), "{found:?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() && path.ends_with("target") => Vec::new(),
            _ if path.is_dir() => rust_files(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

/// Doc comments that are a question word and no more: they say nothing to
/// whoever does not know the answer already.
const NO_SENTENCES: [&str; 8] = [
    "Why.",
    "How.",
    "When.",
    "Where.",
    "Which.",
    "Who.",
    "Whose.",
    "Since when.",
];

#[test]
fn every_source_file_says_what_it_is_for() {
    let trees = ["host-shim", "plugin", "schema", "tests"];
    let files: Vec<_> = trees
        .iter()
        .flat_map(|tree| rust_files(&workspace().join(tree)))
        .collect();
    assert!(files.len() > 500, "{} files", files.len());
    let mut complaints = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // The front page of a published crate may be its README.
        let begins = ["//! ", "#![doc = include_str!("];
        if !begins.iter().any(|begin| text.starts_with(begin)) {
            complaints.push(format!("{} does not begin with //!", file.display()));
        }
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().strip_prefix("/// ");
            if comment.is_some_and(|comment| NO_SENTENCES.contains(&comment)) {
                complaints.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_top_of_the_repository_is_tidy() {
    if !requires(&["git"]) || !workspace().join(".git").exists() {
        return;
    }
    let listed = Run::new("git")
        .dir(workspace())
        .args(["-c", "safe.directory=*", "ls-files"])
        .output();
    let top: BTreeSet<_> = listed
        .lines()
        .map(|path| path.split('/').next().unwrap())
        .collect();
    let allowed: BTreeSet<_> = [
        ".cargo",
        ".ci",
        ".gitattributes",
        ".github",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "SECURITY.md",
        "clippy.toml",
        "deny.toml",
        "host-shim",
        "plugin",
        "rust-toolchain.toml",
        "schema",
        "tests",
    ]
    .into();
    let odd: Vec<_> = top.difference(&allowed).collect();
    assert!(odd.is_empty(), "{odd:?}");
}
