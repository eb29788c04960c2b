//! Plugins that must be signed, with signatures of the `ssh-keygen` of this
//! machine.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::swapping::{plugins, serving, swap, variant};
use integration_tests::{Run, Setup, TestKey, artifacts, requires};

const NAMESPACE: &str = "alknet-plugin";

/// A node whose one plugin `release` must have signed.
struct Signed {
    setup: Setup,
    release: TestKey,
    plugin: PathBuf,
}

impl Signed {
    fn new(more: &str) -> Self {
        let setup = Setup::new();
        let plugin = setup.plugins().join("libalknet_ssh_plugin.so");
        let release = TestKey::make(setup.folder(), "release");
        let signers = format!("signers = [{:?}]\n{more}", release.public_line());
        setup.replace("[plugins]\n", &format!("[plugins]\n{signers}\n"));
        Self {
            setup,
            release,
            plugin,
        }
    }

    fn signature(&self) -> PathBuf {
        self.plugin.with_extension("so.sig")
    }

    fn sign(&self, key: &TestKey, namespace: &str) {
        sign(key, namespace, &self.plugin);
    }

    /// The node would start with the plugin.
    fn assert_loaded(&self) {
        let ended = self.setup.on_state("check").ended();
        assert_eq!(ended.code(), 0, "{ended}");
    }

    /// The node names the file and the fault on one line.
    fn assert_refused(&self, words: &[&str]) {
        let ended = self.setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{ended}");
        let file = format!("{}: ", self.plugin.display());
        ended.line_with(&[&[file.as_str()], words].concat());
    }
}

fn sign(key: &TestKey, namespace: &str, file: &Path) {
    let _ = fs::remove_file(file.with_extension("so.sig"));
    Run::new("ssh-keygen")
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .args([&*key.file, file])
        .output();
}

#[test]
fn a_plugin_that_a_configured_key_signed_serves() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    signed.sign(&signed.release, NAMESPACE);
    signed.assert_loaded();
    let node = signed.setup.start();
    assert!(
        node.stdout().contains("serving alknet/ssh"),
        "{}",
        node.stdout()
    );
}

#[test]
fn without_a_signature_the_way_to_make_one_is_named() {
    let signed = Signed::new("");
    signed.assert_refused(&[
        "is not signed",
        "libalknet_ssh_plugin.so.sig",
        "ssh-keygen -Y sign -n alknet-plugin -f KEY",
        "SHA256:",
        "(test)",
    ]);
    // A node that starts goes on without it, where it may.
    let setup = &signed.setup;
    setup.replace("[plugins]\n", "[plugins]\nallow_none = true\n");
    let node = signed.setup.start();
    node.logged(&["WARN", "is not signed"]);
    assert!(
        node.stdout().contains("serving nothing"),
        "{}",
        node.stdout()
    );
}

#[test]
fn a_signature_by_another_key_or_for_something_else_is_none() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    let stranger = TestKey::make(signed.setup.folder(), "stranger");
    signed.sign(&stranger, NAMESPACE);
    signed.assert_refused(&["is signed by SHA256:", "not a configured signer", "(test)"]);
    signed.sign(&signed.release, "file");
    signed.assert_refused(&["its signature is for \"file\", not for \"alknet-plugin\""]);
}

#[test]
fn a_signature_of_other_contents_is_none() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    signed.sign(&signed.release, NAMESPACE);
    let mut bytes = fs::read(&signed.plugin).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&signed.plugin, bytes).unwrap();
    signed.assert_refused(&["the signature by SHA256:", "is of other contents"]);
}

#[test]
fn a_damaged_signature_is_named_and_not_followed() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    signed.sign(&signed.release, NAMESPACE);
    let good = fs::read(signed.signature()).unwrap();
    let mut flipped = good.clone();
    flipped[60] ^= 2;
    let large = vec![b'x'; 20_000];
    for (bytes, words) in [
        (&good[..good.len() / 2], "is damaged"),
        (&flipped, "is"),
        (b"", "is damaged: it is empty"),
        (b"-----BEGIN SSH SIGNATURE-----\n", "is damaged"),
        (&large, "is damaged: it has 20000 bytes"),
    ] {
        fs::write(signed.signature(), bytes).unwrap();
        signed.assert_refused(&["signature", words]);
    }
    let elsewhere = signed.setup.folder().join("elsewhere.sig");
    fs::write(&elsewhere, &good).unwrap();
    fs::remove_file(signed.signature()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, signed.signature()).unwrap();
    let ended = signed.setup.on_state("check").ended();
    ended.line_with(&["libalknet_ssh_plugin.so.sig", "is a symbolic link"]);
}

#[test]
fn where_signatures_are_optional_a_wrong_one_still_counts() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("require_signature = false");
    signed.assert_loaded();
    let stranger = TestKey::make(signed.setup.folder(), "stranger");
    signed.sign(&stranger, NAMESPACE);
    signed.assert_refused(&["not a configured signer"]);
    signed.sign(&signed.release, NAMESPACE);
    signed.assert_loaded();
}

#[test]
fn a_check_of_one_file_asks_for_what_the_node_asks_for() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    let check = |args: &[&str]| {
        let check = signed.setup.node(&["plugins", "check"]);
        check.arg(&signed.plugin).args(args).ended()
    };
    let state = signed.setup.state().display().to_string();
    // Where there is no node, nobody asks for a signature.
    assert_eq!(check(&[]).code(), 0);
    let ended = check(&["--state", &state]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["refused", "is not signed"]);
    signed.sign(&signed.release, NAMESPACE);
    let ended = check(&["--state", &state]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("signed by SHA256:"), "{ended}");
    assert!(ended.out().contains("node.toml asks"), "{ended}");
    let ended = check(&["--state", "/nowhere"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/nowhere/node.toml does not exist"]);
}

#[test]
fn a_rollback_asks_who_had_signed_the_version_before() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let signed = Signed::new("");
    signed.sign(&signed.release, NAMESPACE);
    let Signed {
        setup,
        release,
        plugin,
    } = signed;
    let next = TestKey::make(setup.folder(), "next");
    let both = format!("{:?}, {:?}", release.public_line(), next.public_line());
    setup.replace(&format!("{:?}", release.public_line()), &both);
    let node = setup.start();
    let setup = &node.setup;
    fs::write(&plugin, variant(&artifacts().plugin, 1)).unwrap();
    sign(&next, NAMESPACE, &plugin);
    let ended = swap(setup);
    assert_eq!(ended.code(), 0, "{ended}");
    // The first key is retired: what it signed does not come back.
    let second = format!("{:?}", next.public_line());
    setup.replace(&both, &second);
    let ended = plugins(setup, &["rollback"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["was signed by SHA256:", "plugins reload"]);
    assert_eq!(serving(setup, "ssh")["id"], 2);
    setup.replace(&second, &both);
    let ended = plugins(setup, &["rollback"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(serving(setup, "ssh")["id"], 3);
}

#[test]
fn what_cannot_be_a_signer_is_named_with_its_place() {
    let setup = Setup::new();
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7";
    for (config, words) in [
        (
            "signers = [\"release.pub\"]",
            ["node.toml:", "/plugins/signers/0", "ssh-ed25519"],
        ),
        (
            &format!("signers = [{rsa:?}]"),
            ["node.toml:", "/plugins/signers/0", "ssh-ed25519"],
        ),
        (
            "signers = [\"ssh-ed25519 AAAAC3Nz\"]",
            ["node.toml:", "/plugins/signers/0", ".pub file"],
        ),
        (
            "require_signature = true",
            ["node.toml:", "/plugins/require_signature", "no signers"],
        ),
    ] {
        let text = fs::read_to_string(setup.config_file()).unwrap();
        setup.replace("[plugins]\n", &format!("[plugins]\n{config}\n"));
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&words);
        fs::write(setup.config_file(), text).unwrap();
    }
}
