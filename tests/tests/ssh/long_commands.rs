//! Commands as long as Linux takes them.

use integration_tests::{Peers, Setup, Ssh, Transport, requires};

/// Linux takes 128 KiB for one argument (execve(2), MAX_ARG_STRLEN).
#[test]
fn a_command_may_be_as_long_as_the_system_takes() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let guest = integration_tests::TestKey::make(setup.folder(), "guest");
    Peers::new()
        .add("owner", &setup.key, &["ssh:exec"])
        .add_guest("guest", &guest, &["ssh:exec"])
        .write(&setup);
    let node = setup.start();
    for ssh in [
        Ssh::to(&node),
        Ssh::over(Transport::Tcp, &node, &node.setup.key),
        Ssh::with_key(&node, &guest),
    ] {
        for length in [60_000, 102_400, 131_000] {
            let line = format!("x={}; echo ${{#x}}", "y".repeat(length));
            let said = ssh.run(&line);
            assert_eq!(said.out(), format!("{length}\n"), "{said}");
        }
        // Two words of it are one argument of the shell.
        let word = "y".repeat(102_400);
        let said = ssh
            .program("ssh")
            .args(["node", "echo", &word, &word])
            .ended();
        assert_eq!(said.code(), 126, "{said}");
        said.line_with(&["longer than 131071 bytes"]);
        assert_eq!(ssh.run("echo still here").out(), "still here\n");
    }
}
