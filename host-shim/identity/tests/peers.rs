//! The peers configuration as a whole, and the store that answers from it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use alknet_handler::{CertificateQuery, Identity, IdentityProvider};
use alknet_identity::{Authority, CertificateGrant, Peer, PeerStore, PeersConfig};
use proptest::prelude::*;

const ALICE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAD7iH49kblpJQrYKdyQce965pJrbRt2TuUYc5gxDPMp";
const ALICE_PRINT: &str = "SHA256:mz+ISWus/X+oKX2AAPb5phxsUCpAwy9pd0GHUDe19dA";
const BOB: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDyMxO0fVds2cs9eckSshY8+GRC4MWVGTjbEQGwBVXMlK/W0+klcafDj4VJi2p1HbEjlPHsaQ1dX/e8ZQ8Yvkdg=";
const BOB_PRINT: &str = "SHA256:luobCenlUy+Nhr5Eb0XMhn5UvWXwjqkZ/RMgST3CeTU";
const NODE_KEY: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn peer(id: &str, keys: &[&str]) -> Peer {
    Peer {
        id: id.into(),
        keys: keys.iter().map(|key| (*key).into()).collect(),
        ..Peer::default()
    }
}

fn config(peers: impl Into<Vec<Peer>>) -> PeersConfig {
    PeersConfig {
        peers: peers.into(),
        ..PeersConfig::default()
    }
}

fn faults(config: &PeersConfig) -> Vec<String> {
    let error = config.validate().unwrap_err();
    error.faults.iter().map(ToString::to_string).collect()
}

async fn who(store: &PeerStore, fingerprint: &str) -> Option<String> {
    let found = store.resolve_from_fingerprint(fingerprint).await.unwrap();
    found.map(|identity| identity.id)
}

#[tokio::test]
async fn a_peer_is_found_by_each_of_its_keys() {
    let text = format!(
        r#"
        [[peers]]
        id = "alice"
        keys = ["{ALICE} alice@laptop"]
        node_keys = ["{}"]
        scopes = ["ssh:exec", "ssh:forward:*:*"]
        accounts = ["deploy", "www-data"]
        files = ["/srv/git:rw", "/srv/www:ro"]
        network = true
        resources = {{ repo = ["a", "b"] }}
        "#,
        NODE_KEY.to_uppercase().replace("ED25519", "ed25519")
    );
    let store = PeerStore::new(toml::from_str(&text).unwrap()).unwrap();
    let alice = Identity {
        id: "alice".into(),
        scopes: vec!["ssh:exec".into(), "ssh:forward:*:*".into()],
        resources: BTreeMap::from([
            ("accounts".into(), vec!["deploy".into(), "www-data".into()]),
            (
                "files".into(),
                vec!["/srv/git:rw".into(), "/srv/www:ro".into()],
            ),
            ("network".into(), vec!["true".into()]),
            ("repo".into(), vec!["a".into(), "b".into()]),
        ]),
    };
    for fingerprint in [ALICE_PRINT, NODE_KEY] {
        let found = store.resolve_from_fingerprint(fingerprint).await.unwrap();
        assert_eq!(found.as_ref(), Some(&alice));
    }
    for stranger in [BOB_PRINT, "", "alice", &ALICE_PRINT.to_lowercase()] {
        assert_eq!(who(&store, stranger).await, None);
    }
}

#[test]
fn a_slip_in_accounts_or_files_is_found() {
    let mut alice = peer("alice", &[ALICE]);
    alice.accounts = vec!["deploy".into(), "0".into(), "a b".into()];
    alice.files = vec!["/srv/git".into(), "/srv/www:ro".into()];
    alice
        .resources
        .insert("files".into(), vec!["/:rw".to_owned()]);
    let found = faults(&config([alice]));
    let expected = [
        "/peers/0/accounts/1: \"0\" cannot be the name of an account",
        "/peers/0/accounts/2: ",
        "/peers/0/files/0: ",
        "/peers/0/resources/files: write `files` as a field",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[tokio::test]
async fn an_ssh_key_is_no_tls_key() {
    // The same 32 bytes, taken out of the SSH key.
    use base64::Engine;
    let base64 = ALICE.split(' ').nth(1).unwrap();
    let blob = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap();
    let as_node_key = format!("ed25519:{}", hex::encode(&blob[19..]));

    let mut alice = peer("alice", &[ALICE]);
    let store = PeerStore::new(config([alice.clone()])).unwrap();
    assert_eq!(who(&store, &as_node_key).await, None);
    alice.node_keys.push(as_node_key.clone());
    store.replace(config([alice])).unwrap();
    assert_eq!(who(&store, &as_node_key).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn disabled_peers_tokens_and_certificates_are_unknown() {
    let mut alice = peer("alice", &[ALICE]);
    alice.disabled = true;
    let store = PeerStore::new(config([alice, peer("bob", &[BOB])])).unwrap();
    assert_eq!(who(&store, ALICE_PRINT).await, None);
    assert_eq!(who(&store, BOB_PRINT).await.as_deref(), Some("bob"));
    assert_eq!(store.resolve_from_token("bob").await, Ok(None));
    let certificate = CertificateQuery {
        ca_fingerprint: BOB_PRINT.into(),
        key_id: "bob".into(),
        serial: 1,
        principals: vec!["bob".into()],
        requested_user: "bob".into(),
    };
    assert_eq!(store.resolve_from_certificate(&certificate).await, Ok(None));
}

const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn authority(id: &str, keys: &[&str]) -> Authority {
    Authority {
        id: id.into(),
        keys: keys.iter().map(|key| (*key).into()).collect(),
        disabled: false,
    }
}

fn grant(authority: &str, principals: &[&str], users: &[&str]) -> CertificateGrant {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    CertificateGrant {
        authority: authority.into(),
        principals: owned(principals),
        users: owned(users),
    }
}

fn with_certificates(id: &str, certificates: &[CertificateGrant]) -> Peer {
    Peer {
        certificates: certificates.to_vec(),
        ..peer(id, &[])
    }
}

#[tokio::test]
async fn a_certificate_stands_for_the_peer_that_takes_its_principal() {
    let ca = CA.parse::<alknet_openssh::AuthorizedKey>().unwrap();
    let mut config = PeersConfig {
        authorities: vec![authority("staff", &[CA])],
        ..config([
            with_certificates("alice", &[grant("staff", &["alice", "ops"], &[])]),
            with_certificates("deploy", &[grant("staff", &["ci", "cd"], &["git", "www"])]),
            with_certificates("any", &[grant("staff", &["all"], &["*"])]),
        ])
    };
    let store = PeerStore::new(config.clone()).unwrap();
    let ask = |principals: &[&str], user: &str| {
        let query = CertificateQuery {
            ca_fingerprint: ca.fingerprint.clone(),
            key_id: "anything".into(),
            serial: 1,
            principals: principals.iter().map(|name| (*name).into()).collect(),
            requested_user: user.into(),
        };
        let store = &store;
        async move {
            let found = store.resolve_from_certificate(&query).await;
            found.map(|found| found.map(|identity| identity.id))
        }
    };
    for (principals, user, expected) in [
        (&["alice"][..], "alice", Some("alice")),
        (&["alice", "ops"], "ops", Some("alice")),
        // The user name must be a principal of both sides.
        (&["alice"], "ops", None),
        (&["alice"], "root", None),
        (&["bob"], "bob", None),
        (&[], "alice", None),
        (&["*"], "alice", None),
        (&["Alice"], "Alice", None),
        // Unless the users are listed.
        (&["cd"], "git", Some("deploy")),
        (&["cd"], "cd", None),
        (&["all"], "whoever", Some("any")),
    ] {
        let found = ask(principals, user).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{principals:?} {user}");
    }
    // With principals of two peers, the user name says who is meant, or nobody is.
    let found = ask(&["alice", "ci"], "git").await.unwrap();
    assert_eq!(found.as_deref(), Some("deploy"));
    let error = ask(&["ci", "all"], "git").await.unwrap_err().to_string();
    assert!(error.contains("deploy and any"), "{error}");

    config.authorities[0].disabled = true;
    store.replace(config.clone()).unwrap();
    assert_eq!(ask(&["alice"], "alice").await, Ok(None));
    config.authorities[0].disabled = false;
    config.peers[0].disabled = true;
    store.replace(config).unwrap();
    assert_eq!(ask(&["alice"], "alice").await, Ok(None));
    assert_eq!(
        who(&store, &ca.fingerprint).await,
        None,
        "a CA's key logs nobody in"
    );
}

#[test]
fn faults_of_certificates_and_conditions_are_named_with_their_place() {
    let mut alice = with_certificates(
        "alice",
        &[
            grant("staff", &[], &[]),
            grant("stuff", &["alice"], &[]),
            grant("staff", &["a*", "ops"], &["r?ot"]),
        ],
    );
    alice.keys = vec![CA.into()];
    alice.resources = BTreeMap::from([
        ("ssh:form".into(), vec!["*".into()]),
        ("ssh:from".into(), vec!["*".into(), "x.example".into()]),
        ("own/kind".into(), vec![]),
    ]);
    let bob = with_certificates("bob", &[grant("staff", &["ops"], &["r?ot"])]);
    let config = PeersConfig {
        authorities: vec![
            authority("staff", &[CA]),
            authority("staff", &["nonsense"]),
            authority("a b", &[]),
        ],
        ..config([alice, bob])
    };
    let expected = [
        "/authorities/1/id: the id `staff` is taken by /authorities/0",
        "/authorities/1/keys/0: the line does not start with a key type",
        "/authorities/2/id: \"a b\" cannot be",
        "/peers/0/keys/0: the key SHA256:",
        "/peers/0/certificates/0/principals: no principal is listed",
        "/peers/0/certificates/1/authority: no authority has the id \"stuff\"; there are staff",
        "/peers/0/certificates/2/principals/0: \"a*\" is not a principal",
        "/peers/0/certificates/2/users/0: \"r?ot\" is not a user name",
        "/peers/0/resources/ssh:form: ssh:form: there is no such kind",
        "/peers/0/resources/ssh:from/1: ssh:from: \"x.example\" is not an address",
        "/peers/1/certificates/0/principals/0: certificates of this authority with the principal \"ops\" lead to peer `alice`",
        "/peers/1/certificates/0/users/0: \"r?ot\" is not a user name",
    ];
    let found = faults(&config);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[tokio::test]
async fn replacing_is_all_or_nothing() {
    let store = Arc::new(PeerStore::new(config([peer("alice", &[ALICE])])).unwrap());
    let broken = config([peer("bob", &[BOB]), peer("carol", &["nonsense"])]);
    store.replace(broken).unwrap_err();
    assert_eq!(who(&store, ALICE_PRINT).await.as_deref(), Some("alice"));
    assert_eq!(who(&store, BOB_PRINT).await, None);

    store.replace(config([peer("bob", &[BOB])])).unwrap();
    assert_eq!(who(&store, ALICE_PRINT).await, None);
    assert_eq!(who(&store, BOB_PRINT).await.as_deref(), Some("bob"));
    assert_eq!(store.config().peers[0].id, "bob");
}

#[test]
fn every_fault_is_named_with_its_place() {
    let mut alice = peer("alice", &[ALICE, "ssh-ed25519 AAAA"]);
    alice.node_keys = vec![
        "ed25519:12".into(),
        ALICE.into(),
        NODE_KEY.replace('d', "x"),
    ];
    alice.scopes = vec![
        "ssh:exec".into(),
        "ssh:exce".into(),
        "ssh:forward:db".into(),
    ];
    let copy = peer("copy", &[&format!("{ALICE} another comment")]);
    let found = faults(&config([alice, copy, peer("alice", &[]), peer("a:b", &[])]));
    let expected = [
        "/peers/0/keys/1: the key is incomplete",
        "/peers/0/node_keys/0: a node key has 64 hexadecimal digits after \"ed25519:\", this one has 2",
        "/peers/0/node_keys/1: a node key is written `ed25519:`",
        "/peers/0/node_keys/2: a node key is written `ed25519:`",
        "/peers/0/scopes/1: \"ssh:exce\" is not a known scope; there are ssh:exec,",
        "/peers/0/scopes/2: \"ssh:forward:db\": no port follows \"db\"; write <host>:<port>",
        "/peers/1/keys/0: the key SHA256:mz+ISWus/X+oKX2AAPb5phxsUCpAwy9pd0GHUDe19dA of peer \
         `copy` is already listed for peer `alice`",
        "/peers/2/id: the id `alice` is taken by /peers/0",
        "/peers/3/id: \"a:b\" cannot be a peer's id",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn ids_are_plain_words() {
    let long = "a".repeat(64);
    for id in ["alice", "7", "ci-runner_2", "alice@example.org", &long] {
        assert_eq!(config([peer(id, &[])]).validate(), Ok(()), "{id}");
    }
    let longer = "a".repeat(65);
    for id in ["", " ", "a b", "-a", "@a", "a\nb", "ssh:exec", "é", &longer] {
        assert_eq!(faults(&config([peer(id, &[])])).len(), 1, "{id}");
    }
}

#[test]
fn a_broken_node_key_says_where() {
    let mut alice = peer("alice", &[]);
    alice.node_keys = vec![NODE_KEY.replacen("d75a", "d7_a", 1)];
    assert_eq!(
        faults(&config([alice])),
        ["/peers/0/node_keys/0: '_' at position 11 of the node key is not a hexadecimal digit"]
    );
}

#[test]
fn a_node_key_of_two_peers_is_found_whatever_its_case() {
    let mut alice = peer("alice", &[]);
    alice.node_keys = vec![NODE_KEY.into()];
    let mut bob = peer("bob", &[]);
    bob.node_keys = vec![format!("ed25519:{}", NODE_KEY[8..].to_uppercase())];
    let found = faults(&config([alice, bob]));
    assert!(
        found[0].contains("of peer `bob` is already listed for peer `alice`"),
        "{found:?}"
    );
}

#[test]
fn unknown_fields_are_refused() {
    for text in [
        "peer = []",
        "[[peers]]\nid = 'a'\nkey = []",
        "[[peers]]\nkeys = []",
    ] {
        toml::from_str::<PeersConfig>(text).unwrap_err();
    }
    assert!(toml::from_str::<PeersConfig>("").unwrap().peers.is_empty());
}

#[test]
fn every_field_is_documented_in_the_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(PeersConfig)).unwrap();
    for properties in [
        &schema["properties"],
        &schema["$defs"]["Peer"]["properties"],
    ] {
        for (name, property) in properties.as_object().unwrap() {
            assert!(property["description"].is_string(), "{name}");
        }
    }
}

#[test]
fn the_written_file_explains_itself() {
    let mut alice = peer("alice", &[&format!("{ALICE} alice@laptop")]);
    alice.scopes = vec!["ssh:exec".into()];
    let text = config([alice]).to_toml_string();
    assert!(text.starts_with("# Who may connect"), "{text}");
    assert!(text.contains(&format!("# {ALICE_PRINT}\n")), "{text}");
    assert!(text.contains("ssh:forward:<host>:<port>"), "{text}");
}

prop_compose! {
    fn any_grant()(
        authority in ".{0,10}",
        principals in proptest::collection::vec("(?s).{0,10}", 0..3),
        users in proptest::collection::vec("(?s).{0,10}", 0..3),
    ) -> CertificateGrant {
        CertificateGrant { authority, principals, users }
    }
}

prop_compose! {
    fn any_authority()(
        id in ".{0,10}",
        keys in proptest::collection::vec("(?s).{0,20}", 0..3),
        disabled in any::<bool>(),
    ) -> Authority {
        Authority { id, keys, disabled }
    }
}

prop_compose! {
    fn any_peer()(
        id in ".{0,10}",
        keys in proptest::collection::vec(prop_oneof![Just(ALICE.to_owned()), "(?s).{0,20}"], 0..3),
        node_keys in proptest::collection::vec("(?s).{0,20}", 0..2),
        scopes in proptest::collection::vec("(?s).{0,20}", 0..3),
        certificates in proptest::collection::vec(any_grant(), 0..2),
        resources in proptest::collection::btree_map(
            "(?s).{0,8}",
            proptest::collection::vec("(?s).{0,8}", 0..3),
            0..3,
        ),
        accounts in proptest::collection::vec("(?s).{0,8}", 0..2),
        files in proptest::collection::vec("(?s).{0,8}", 0..2),
        network in any::<bool>(),
        disabled in any::<bool>(),
    ) -> Peer {
        Peer {
            id, keys, node_keys, certificates, scopes, accounts, files, network, resources,
            disabled,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        schema in proptest::option::of("(?s).{0,20}"),
        authorities in proptest::collection::vec(any_authority(), 0..2),
        peers in proptest::collection::vec(any_peer(), 0..3),
    ) {
        let config = PeersConfig { schema, authorities, peers };
        let text = config.to_toml_string();
        let read: PeersConfig = toml::from_str(&text).unwrap();
        prop_assert_eq!(read, config, "{}", text);
    }
}
