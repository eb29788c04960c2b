//! `plugins new`: writes a crate that is a plugin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failed, fail};

/// The example of the guide. The crate is that, under another name.
const LIBRARY: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../plugin/echo/src/lib.rs"
));
const MANIFEST: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../plugin/sdk/template/Cargo.toml.in"
));
const README: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../plugin/sdk/template/README.md.in"
));

/// Names of crates that cargo, the compiler or the crate itself has a use for.
/// `ssh` is the plugin that nodes have already.
const TAKEN: [&str; 55] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "ssh",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tokio",
    "tracing",
    "trait",
    "true",
    "try",
    "type",
    "use",
    "where",
];

#[derive(Args)]
pub(super) struct NewArgs {
    /// The plugin's name: lower-case letters, digits and `-`. It serves the ALPN
    /// `alknet/NAME`
    name: String,
    /// The directory to make for it [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The directory of the crate alknet-plugin, in place of its published version
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

pub(super) fn new(args: NewArgs) -> Result<(), Failed> {
    let NewArgs { name, dir, sdk } = args;
    let type_name = type_name(&name).map_err(fail)?;
    let sdk = match sdk {
        Some(directory) => by_path(&directory).map_err(fail)?,
        None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    };
    let directory = dir.unwrap_or_else(|| PathBuf::from(&name));
    let file = name.replace('-', "_");
    let filled = |template: &str| {
        template
            .replace("{name}", &name)
            .replace("{file}", &file)
            .replace("{sdk}", &sdk)
    };
    write(
        &directory,
        &[
            ("Cargo.toml", &filled(MANIFEST)),
            ("README.md", &filled(README)),
            (".gitignore", "/target\n"),
            ("src/lib.rs", &library(&name, &type_name)),
        ],
    )
    .map_err(|error| {
        fail(format_args!(
            "failed to write {}: {error}",
            directory.display()
        ))
    })?;
    let directory = directory.display();
    say!("wrote {directory}: a plugin that serves alknet/{name}");
    say!("build it:  cd '{directory}' && cargo build --release");
    say!("check it:  alknet-node plugins check --deep target/release/lib{file}.so");
    Ok(())
}

/// The type of a plugin of that name.
fn type_name(name: &str) -> Result<String, String> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    if !starts_well || !alknet_loader::is_plugin_name(name) {
        return Err(format!(
            "{name:?} cannot be the name of a plugin: take 1 to 64 lower-case letters, digits and \
             '-', a letter first"
        ));
    }
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    let type_name: String = words.collect();
    let mut used = LIBRARY.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_used = type_name != "Echo" && used.any(|word| word == type_name);
    if is_used || TAKEN.contains(&name) || name == "alknet-plugin" {
        return Err(format!(
            "{name:?} cannot be the name of a plugin: it means something else already; take another"
        ));
    }
    Ok(type_name)
}

fn library(name: &str, type_name: &str) -> String {
    LIBRARY
        .replace("An example plugin: on ALPN", "On ALPN")
        .replace("alknet/echo", &format!("alknet/{name}"))
        .replace("name: \"echo\"", &format!("name: \"{name}\""))
        .replace("the echo plugin", &format!("the {name} plugin"))
        .replace("Echo", type_name)
}

/// The dependency on an SDK that lies in a directory.
fn by_path(directory: &Path) -> Result<String, String> {
    let manifest = directory.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .map_err(|error| format!("--sdk {}: failed to read: {error}", manifest.display()))?;
    if !text.contains("name = \"alknet-plugin\"") {
        return Err(format!(
            "--sdk {}: is not the crate alknet-plugin; name the directory plugin/sdk of the sources",
            directory.display()
        ));
    }
    let directory = fs::canonicalize(directory)
        .map_err(|error| format!("--sdk {}: {error}", directory.display()))?;
    let path = directory
        .to_str()
        .ok_or("--sdk: the path is not UTF-8, as cargo wants it")?;
    Ok(format!("{{ path = {} }}", toml_edit::Value::from(path)))
}

/// Makes the directory, which must not be there, with these files in it.
fn write(directory: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    fs::create_dir(directory)?;
    fs::create_dir(directory.join("src"))?;
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types() {
        assert_eq!(type_name("my-plugin2").unwrap(), "MyPlugin2");
        assert_eq!(type_name("echo").unwrap(), "Echo");
        for name in [
            "", "My", "2x", "-x", "a_b", "a b", "ssh", "fn", "config", "secret",
        ] {
            let error = type_name(name).unwrap_err();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn nothing_of_the_example_is_left() {
        let text = library("hello", "Hello");
        for word in [
            "\"echo\"",
            "alknet/echo",
            "Echo",
            "echo plugin",
            "example plugin",
        ] {
            assert!(!text.contains(word), "{word}\n{text}");
        }
        assert!(text.contains("handler: Hello,") && text.contains("alpn: \"alknet/hello\""));
    }
}
