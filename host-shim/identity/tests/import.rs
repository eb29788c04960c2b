//! `authorized_keys` files, line by line, as peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alknet_identity::{
    Authority, ImportSettings, Imported, Peer, PeersConfig, import_authorized_keys,
};
use jiff::tz::{Offset, TimeZone};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAD7iH49kblpJQrYKdyQce965pJrbRt2TuUYc5gxDPMp";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn settings() -> ImportSettings {
    ImportSettings {
        id_prefix: String::new(),
        user: None,
        zone: TimeZone::fixed(Offset::constant(2)),
    }
}

fn import(text: &str) -> Result<Imported, Vec<String>> {
    import_authorized_keys(text, &settings(), &PeersConfig::default())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The one peer that a line with these options becomes.
fn peer(options: &str) -> Peer {
    let imported = import(&format!("{options} {KEY} me\n")).unwrap();
    let config = PeersConfig {
        authorities: imported.authorities.clone(),
        peers: imported.peers.clone(),
        ..PeersConfig::default()
    };
    config.validate().unwrap();
    imported.peers[0].clone()
}

fn resource(peer: &Peer, kind: &str) -> String {
    peer.resources[kind].join(" ")
}

const ANYTHING: [&str; 7] = [
    "ssh:exec",
    "ssh:shell",
    "ssh:sftp",
    "ssh:agent",
    "ssh:forward:*:*",
    "ssh:listen:localhost:*",
    "ssh:streamlocal:/**",
];

#[test]
fn without_options_a_key_may_do_what_sshd_lets_it() {
    let peer = peer("");
    assert_eq!(peer.id, "me");
    assert_eq!(peer.scopes, ANYTHING);
    assert!(peer.resources.is_empty());
    assert_eq!(peer.keys, [format!("{KEY} me")]);
}

#[test]
fn options_are_heeded_in_their_order() {
    for (options, scopes, no_pty) in [
        ("restrict", &ANYTHING[..3], true),
        ("restrict,pty", &ANYTHING[..3], false),
        ("pty,restrict", &ANYTHING[..3], true),
        ("restrict,agent-forwarding", &ANYTHING[..4], true),
        (
            "no-agent-forwarding,no-port-forwarding",
            &ANYTHING[..3],
            false,
        ),
        ("no-pty,no-X11-forwarding,no-user-rc", &ANYTHING[..], true),
        (
            "RESTRICT,Port-Forwarding,agent-forwarding,pty",
            &ANYTHING[..],
            false,
        ),
    ] {
        let peer = peer(options);
        assert_eq!(peer.scopes, scopes, "{options}");
        assert_eq!(
            peer.resources.contains_key("ssh:no-pty"),
            no_pty,
            "{options}"
        );
    }
}

#[test]
fn destinations_become_scopes() {
    let peer_ = peer(
        r#"restrict,port-forwarding,permitopen="db.internal:5432",permitopen="[::1]:*",permitopen="*:80",permitlisten="8080",permitlisten="localhost:*",permitlisten="127.0.0.2:81""#,
    );
    assert_eq!(
        peer_.scopes[3..],
        [
            "ssh:forward:db.internal:5432",
            "ssh:forward:[::1]:*",
            "ssh:forward:*:80",
            "ssh:listen:localhost:8080",
            "ssh:listen:localhost:*",
            "ssh:listen:127.0.0.2:81",
        ]
    );
    // Who names places means no Unix sockets, to connect to or to listen on.
    for option in [r#"permitopen="db:1""#, r#"permitlisten="1""#] {
        let scopes = peer(option).scopes;
        assert!(
            !scopes.iter().any(|scope| scope.contains("streamlocal")),
            "{scopes:?}"
        );
    }
    // As in sshd, the destinations alone do not switch forwarding on again.
    let none = peer(r#"restrict,permitopen="db:1",permitlisten="1""#);
    assert_eq!(none.scopes, ANYTHING[..3]);
}

#[test]
fn other_options_become_conditions() {
    let peer = peer(
        r#"command="echo \"$SSH_ORIGINAL_COMMAND\"",from="10.0.0.0/8,!10.0.0.1,192.168.*",environment="A=b c",environment="A=again",environment="B=",expiry-time="20301231",expiry-time="20310101120000Z""#,
    );
    assert_eq!(peer.scopes[..2], ["ssh:exec", "ssh:agent"]);
    assert_eq!(
        resource(&peer, "ssh:command"),
        "echo \"$SSH_ORIGINAL_COMMAND\""
    );
    assert_eq!(
        resource(&peer, "ssh:from"),
        "10.0.0.0/8 !10.0.0.1 192.168.*"
    );
    assert_eq!(resource(&peer, "ssh:environment"), "A=b c B=");
    // The earlier one, in local time.
    assert_eq!(resource(&peer, "ssh:expires"), "2030-12-30T22:00:00Z");
}

#[test]
fn sshds_own_file_transfer_becomes_ours() {
    let peer = peer(r#"restrict,command="internal-sftp""#);
    assert_eq!(peer.scopes, ["ssh:sftp"]);
    assert!(!peer.resources.contains_key("ssh:command"));
    let faults = import(&format!("command=\"internal-sftp -R\" {KEY}\n")).unwrap_err();
    assert!(faults[0].contains("part of sshd"), "{faults:?}");
}

#[test]
fn an_authority_lets_in_by_its_principals() {
    let ca = |options: &str, user: Option<&str>| {
        let settings = ImportSettings {
            user: user.map(str::to_owned),
            id_prefix: "old-".to_owned(),
            ..settings()
        };
        let text = format!("{options} {KEY} our CA\n");
        import_authorized_keys(&text, &settings, &PeersConfig::default())
    };
    let imported = ca(r#"cert-authority,principals="ops,root""#, None).unwrap();
    assert_eq!(imported.authorities[0].id, "old-our-CA");
    assert_eq!(imported.authorities[0].keys, [format!("{KEY} our CA")]);
    let peer = &imported.peers[0];
    assert!(peer.keys.is_empty());
    assert_eq!(peer.certificates[0].principals, ["ops", "root"]);
    assert_eq!(peer.certificates[0].users, ["*"]);
    let imported = ca("cert-authority", Some("git")).unwrap();
    let grant = &imported.peers[0].certificates[0];
    assert_eq!(
        (&grant.principals[..], grant.users.len()),
        (&["git".to_owned()][..], 0)
    );
    let faults = ca("cert-authority", None).unwrap_err();
    assert!(faults[0].to_string().contains("--user"), "{}", faults[0]);

    // Another line about an authority that is known already.
    let present = PeersConfig {
        authorities: vec![Authority {
            id: "staff".to_owned(),
            keys: vec![KEY.to_owned()],
            disabled: false,
        }],
        ..PeersConfig::default()
    };
    let text = format!(
        "cert-authority,principals=\"a\" {KEY}\ncert-authority,restrict,principals=\"b\" {KEY}\n"
    );
    let imported = import_authorized_keys(&text, &settings(), &present).unwrap();
    assert!(imported.authorities.is_empty());
    assert_eq!(imported.peers[1].certificates[0].authority, "staff");
    assert_eq!(imported.peers[1].id, "line-2");
}

#[test]
fn ids_are_free_and_comments_and_empty_lines_are_skipped() {
    let text = format!("# mine\n\n{KEY} a b/c\n  {OTHER} a b/c\n");
    let imported = import(&text).unwrap();
    let ids: Vec<_> = imported.peers.iter().map(|peer| &peer.id).collect();
    assert_eq!(ids, ["a-b-c", "a-b-c-2"]);
    assert_eq!(imported.lines[1].line, 4);
}

#[test]
fn every_line_that_means_something_else_here_is_named() {
    let present = PeersConfig {
        peers: vec![Peer {
            id: "bob".to_owned(),
            keys: vec![OTHER.to_owned()],
            ..Peer::default()
        }],
        ..PeersConfig::default()
    };
    for (line, why) in [
        (format!("tunnel=\"0\" {KEY}"), "tunnel: tun(4)"),
        (
            format!("X11-forwarding {KEY}"),
            "x11-forwarding: X11 is never",
        ),
        (format!("user-rc {KEY}"), "user-rc: no user's rc"),
        (
            format!("no-touch-required {KEY}"),
            "no-touch-required: it is about FIDO",
        ),
        (
            format!("verify-required {KEY}"),
            "verify-required: it is about FIDO",
        ),
        (
            format!("zos-key-ring-label=\"x\" {KEY}"),
            "zos-key-ring-label: there is no such",
        ),
        (format!("pty=\"x\" {KEY}"), "pty: there is no such"),
        (
            format!("no-restrict {KEY}"),
            "no-restrict: there is no such",
        ),
        (
            format!("command {KEY}"),
            "command: a value in double quotes",
        ),
        (
            format!("command=\"a\",command=\"b\" {KEY}"),
            "command: it is given twice",
        ),
        (
            format!("from=\"*.example.com\" {KEY}"),
            "from: \"*.example.com\" is not an address",
        ),
        (
            format!("from=\"!10.0.0.1\" {KEY}"),
            "from: no address is let in",
        ),
        (
            format!("expiry-time=\"2030\" {KEY}"),
            "expiry-time: the time is written",
        ),
        (
            format!("expiry-time=\"20301301\" {KEY}"),
            "expiry-time: the time is written",
        ),
        (
            format!("environment=\"A B=c\" {KEY}"),
            "environment: this is not a variable",
        ),
        (
            format!("permitopen=\"db\" {KEY}"),
            "permitopen: a host, a colon",
        ),
        (
            format!("permitopen=\"db:0\" {KEY}"),
            "permitopen: a host, a colon",
        ),
        (
            format!("permitopen=\"*.db:1\" {KEY}"),
            "permitopen: patterns of hosts",
        ),
        (
            format!("permitlisten=\"web:80\" {KEY}"),
            "permitlisten: \"ssh:listen:web:80\"",
        ),
        (
            format!("principals=\"a\" {KEY}"),
            "principals: it counts only",
        ),
        (
            format!("command=ls {KEY}"),
            "the value of command is not within",
        ),
        (
            format!("restrict {OTHER}"),
            "already listed for peer \"bob\"",
        ),
        ("restrict".to_owned(), "no key follows"),
        (
            "restrict ssh-ed25519 AAAA".to_owned(),
            "the key is incomplete",
        ),
        (
            "restrict sk-ssh-ed25519@openssh.com AAAA".to_owned(),
            "FIDO",
        ),
        ("sk-ssh-ed25519@openssh.com AAAA".to_owned(), "FIDO"),
        (
            "restrict ssh-dss AAAA".to_owned(),
            "ssh-dss keys are not accepted",
        ),
    ] {
        let text = format!("# one\n{line}\n");
        let faults = import_authorized_keys(&text, &settings(), &present).unwrap_err();
        let said = faults[0].to_string();
        assert!(
            said.starts_with("line 2: ") && said.contains(why),
            "{line}\n{said}"
        );
    }
    let faults = import(&format!("{KEY}\n{KEY}\ntunnel=\"0\" {OTHER}\n")).unwrap_err();
    assert_eq!(faults.len(), 2, "all at once: {faults:?}");
}

#[test]
fn the_result_is_said_in_words() {
    let imported = import(&format!(
        "restrict,command=\"ls\",from=\"10.0.0.0/8\" {KEY}\n"
    ))
    .unwrap();
    let line = &imported.lines[0];
    assert_eq!(line.options, "restrict,command=\"ls\",from=\"10.0.0.0/8\"");
    assert_eq!(
        line.words,
        "may run `ls`, whatever it asks for. no terminal, no forwarding, no agent. from 10.0.0.0/8 only"
    );
}
