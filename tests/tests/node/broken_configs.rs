//! Faults that people make, and all that `check` says about each.

use std::fs;

use integration_tests::Setup;

/// The file, its text, and what is said. `KEY` stands for a public key.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "node.toml",
        "lisen = \"127.0.0.1:4433\"\n",
        "node.toml:1:1: unknown field \"lisen\"; did you mean \"listen\"?\n",
    ),
    (
        "node.toml",
        "[plugins.config.ssh]\nmax_channels = 5\n",
        "node.toml:2:1: /plugins/config/ssh: unknown field \"max_channels\"; it belongs under [plugins.config.ssh.limits]\n",
    ),
    (
        "node.toml",
        "[plugins.config.ssh.limits]\nmax_channels = \"128\"\n",
        "node.toml:2:16: /plugins/config/ssh/limits/max_channels: expected an integer from 1 to 1000, found \"128\"; write 128, without quotes\n",
    ),
    (
        "node.toml",
        "[plugins.config.ssh.limits]\nmax_channels = 0\n",
        "node.toml:2:16: /plugins/config/ssh/limits/max_channels: expected an integer from 1 to 1000, found 0\n",
    ),
    (
        "node.toml",
        "[shutdown]\ndrain_seconds = \"10 min\"\n",
        "node.toml:2:17: /shutdown/drain_seconds: expected an integer from 0 to 86400, found \"10 min\"; write 600: the field counts seconds\n",
    ),
    (
        "node.toml",
        "listen = \"localhost:4433\"\n",
        "node.toml:1:10: /listen: expected an IP address and a port such as \"127.0.0.1:4433\", found \"localhost:4433\"\n",
    ),
    (
        "node.toml",
        "listen = 4433\n",
        "node.toml:1:10: /listen: expected an IP address and a port such as \"127.0.0.1:4433\", found 4433\n",
    ),
    (
        "node.toml",
        "listen = 127.0.0.1:4433\n",
        "node.toml:1:15: a text stands in quotes; write \"127.0.0.1:4433\"\n",
    ),
    (
        "node.toml",
        "[plugins.config.ssh]\nlimits =\n",
        "node.toml:2:9: no value follows `limits =`; give it one, or take the line out; settings that belong together stand under [plugins.config.ssh.limits]\n",
    ),
    (
        "node.toml",
        "listen: \"127.0.0.1:4433\"\n",
        "node.toml:1:9: key with no value, expected `=`; a field is set with `=`: `listen = …`\n",
    ),
    (
        "node.toml",
        "tcp_listen = \"127.0.0.1:2222\"\ntcp_alpn = \"ssh\"\n",
        "node.toml:2:12: /tcp_alpn: no plugin serves \"ssh\", which TCP connections are for; they will be closed at once; served is \"alknet/ssh\"\n",
    ),
    (
        "node.toml",
        "[plugins.config.shh]\n",
        "node.toml:1:1: /plugins/config/shh: the plugin \"shh\" is configured but was not loaded; did you mean \"ssh\"?\n",
    ),
    (
        "node.toml",
        "[plugins]\nfolder = \"plugin\"\n",
        "node.toml:2:10: /plugins/folder: plugin: the plugins directory does not exist; create it and put plugins (*.so) there, or name another\n",
    ),
    (
        "node.json",
        "{\n  \"listen\": \"127.0.0.1:4433\",\n}\n",
        "node.json:2:29: trailing comma; remove this comma: nothing follows it\n",
    ),
    (
        "node.json",
        "{\n  \"listen\": \"127.0.0.1:4433\"\n  \"log\": {}\n}\n",
        "node.json:3:3: expected `,` or `}`; a comma is missing before this\n",
    ),
    (
        "peers.toml",
        "[[peers]]\nid = \"alice\"\nkeys = [\"~/.ssh/id_ed25519.pub\"]\n",
        "peers.toml:3:9: /peers/0/keys/0: the line does not start with a key type; give the whole line of a .pub file, which begins with one of ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521, ssh-rsa\n",
    ),
    (
        "peers.toml",
        "[[peers]]\nid = \"alice\"\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGMiUZZd\"]\n",
        "peers.toml:3:9: /peers/0/keys/0: the key is incomplete; copy the whole line again\n",
    ),
    (
        "peers.toml",
        "[peers]\nid = \"alice\"\nkeys = [\"KEY\"]\n",
        "peers.toml:1:1: /peers: expected an array, each a table with the field \"id\", found a table; write [[peers]], in two pairs of brackets\n",
    ),
    (
        "peers.toml",
        "[[peers]]\nid = \"alice\"\nkeys = [\"KEY\"]\n\n[[peers]]\nid = \"alice\"\n",
        "peers.toml:6:6: /peers/1/id: the id `alice` is taken by /peers/0; give each peer its own, or merge the two\n",
    ),
    (
        "peers.toml",
        "[[peers]]\nid = \"alice\"\nscopes = [\"exec\"]\n",
        "peers.toml:3:11: /peers/0/scopes/0: \"exec\" is not a known scope; there are ssh:exec, ssh:exec:<program>, ssh:forward:<host>:<port>, ssh:listen:<address>:<port>, ssh:streamlocal:<path>, ssh:shell, ssh:sftp, ssh:agent, ssh:env:<NAME>, ssh:unconfined\n",
    ),
    (
        "node.toml",
        "[[plugins.config.ssh.forwarding.rules]]\ntarget = \"10.0.0.0/8\"\naction = \"deny\"\n",
        "node.toml:2:10: /plugins/config/ssh/forwarding/rules/0/target: \"10.0.0.0/8\" is not a known target; there are <host>:<port>, listen:<address>:<port>, streamlocal:<path>, exec, exec:<program>, shell, sftp, agent, env:<NAME>\n",
    ),
];

#[test]
fn each_fault_is_told_with_its_place_and_its_remedy() {
    let setup = Setup::new();
    let sound = fs::read_to_string(setup.config_file()).unwrap();
    let nobody = fs::read_to_string(setup.state().join("peers.toml")).unwrap();
    let mut wrong = String::new();
    for (file, text, expected) in FAULTS {
        let text = text.replace("KEY", &setup.key.public_line());
        fs::write(setup.config_file(), &sound).unwrap();
        fs::write(setup.state().join("peers.toml"), &nobody).unwrap();
        fs::write(setup.state().join(file), &text).unwrap();
        let ended = setup.on_state("check").ended();
        let _ = fs::remove_file(setup.state().join("node.json"));
        assert_eq!(ended.code(), 1, "{text}\n{ended}");
        let said = ended
            .err()
            .replace(&format!("{}/", setup.state().display()), "")
            .replace("alknet-node: ", "");
        let said = said.strip_suffix("1 fault to correct\n").unwrap_or(&said);
        if said != *expected {
            wrong.push_str(&format!("{text}said:     {said}expected: {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
