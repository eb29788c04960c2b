//! Who gets in, who does not, and what of it is remembered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{AuthContext, ProtocolHandler};
use alknet_ssh::{Client, ClientError, ClientOptions, Exit, PrivateKey, fetch_host_key};
use russh::client::{AuthResult, Handle};
use russh::keys::ssh_key::EcdsaCurve;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{MethodKind, MethodSet};
use support::{Node, TestConnection, guard, identity, key, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const PIPE: usize = 64 * 1024;

#[tokio::test]
async fn a_known_key_logs_in_and_the_connection_learns_whose_it_is() {
    let node = Node::new();
    let (client, served) = node.client(PIPE).await;
    assert_eq!(served.connection.identity.get().unwrap().id, "alice");
    assert_eq!(node.status()["auth"]["accepted"], 1);
    client.disconnect().await;
    served.finish().await;
}

#[tokio::test]
async fn an_unknown_key_does_not_and_another_may_follow() {
    let node = Node::new();
    let (near, far) = duplex(PIPE);
    let served = node.serve_stream(far);
    let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
    for _ in 0..20 {
        let refused = client.authenticate("someone", key()).await;
        assert!(matches!(refused, Err(ClientError::AuthenticationFailed)));
    }
    client
        .authenticate("someone", Arc::clone(&node.user))
        .await
        .unwrap();
    assert_eq!(node.status()["auth"]["refused"], 20);
    assert!(served.connection.identity.get().is_some());
}

#[tokio::test]
async fn too_many_keys_close_the_connection() {
    let node = Node::with(r#"{"limits":{"max_key_offers":5}}"#, &[]);
    let (near, far) = duplex(PIPE);
    let served = node.serve_stream(far);
    let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
    let closed = guard("the end", async {
        for attempt in 0..20 {
            match client.authenticate("someone", key()).await {
                Err(ClientError::AuthenticationFailed) => {}
                _ => return attempt,
            }
        }
        20
    })
    .await;
    assert!((5..8).contains(&closed), "{closed}");
    drop(client);
    served.finish().await;
}

#[tokio::test]
async fn every_key_type_on_offer_works() {
    let node = Node::new();
    for algorithm in [
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
    ] {
        let key = Arc::new(PrivateKey::random(&mut rand::rng(), algorithm).unwrap());
        node.identities.add(&key, identity("bob", &["ssh:exec"]));
        let (near, far) = duplex(PIPE);
        node.serve_stream(far);
        let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
        client.authenticate("someone", key).await.unwrap();
        let output = run(&client, "exit 3", b"").await.unwrap();
        assert_eq!(output.exit, Exit::Status(3));
    }
}

#[tokio::test]
async fn rsa_works_with_sha2_and_never_with_sha1() {
    let node = Node::new();
    let rsa = Arc::new(rsa_key(2048));
    node.identities.add(&rsa, identity("bob", &[]));
    for (hash, good) in [
        (Some(HashAlg::Sha256), true),
        (Some(HashAlg::Sha512), true),
        (None, false),
    ] {
        let mut session = raw(&node).await;
        let with_hash = PrivateKeyWithHashAlg::new(Arc::clone(&rsa), hash);
        let result = session.authenticate_publickey("someone", with_hash).await;
        assert_eq!(matches!(result, Ok(AuthResult::Success)), good, "{hash:?}");
    }
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
    client.authenticate("someone", rsa).await.unwrap();
}

#[tokio::test]
async fn a_short_rsa_key_is_refused() {
    let node = Node::new();
    let rsa = Arc::new(rsa_key(1024));
    node.identities.add(&rsa, identity("bob", &[]));
    let mut session = raw(&node).await;
    let key = PrivateKeyWithHashAlg::new(rsa, Some(HashAlg::Sha256));
    let result = session.authenticate_publickey("someone", key).await;
    assert!(!matches!(result, Ok(AuthResult::Success)));
}

#[tokio::test]
async fn other_methods_are_refused_and_public_keys_named_instead() {
    let node = Node::new();
    let only_keys = |result: AuthResult| {
        let AuthResult::Failure {
            remaining_methods, ..
        } = result
        else {
            panic!("accepted");
        };
        assert_eq!(
            remaining_methods,
            MethodSet::from([MethodKind::PublicKey].as_slice())
        );
    };
    let mut session = raw(&node).await;
    only_keys(session.authenticate_none("someone").await.unwrap());
    only_keys(
        session
            .authenticate_password("someone", "guess")
            .await
            .unwrap(),
    );
    let user = PrivateKeyWithHashAlg::new(Arc::clone(&node.user), None);
    let result = session
        .authenticate_publickey("someone", user)
        .await
        .unwrap();
    assert!(matches!(result, AuthResult::Success));
}

#[tokio::test]
async fn guessing_passwords_closes_the_connection() {
    let node = Node::with(r#"{"limits":{"max_auth_tries":3}}"#, &[]);
    let mut session = raw(&node).await;
    let refused = guard("the end", async {
        let mut refused = 0;
        while session
            .authenticate_password("root", "guess")
            .await
            .is_ok_and(|result| !result.success())
        {
            refused += 1;
            assert!(refused < 20);
        }
        refused
    })
    .await;
    assert!((2..=4).contains(&refused), "{refused}");
}

#[tokio::test]
async fn one_connection_is_never_two_people() {
    let node = Node::new();
    let other = key();
    node.identities
        .add(&other, identity("mallory", &["ssh:exec"]));

    // The endpoint knows the peer as mallory by its TLS key.
    let connection = TestConnection::new();
    let (near, far) = duplex(PIPE);
    connection.push(far);
    let auth = AuthContext {
        identity: Some(identity("mallory", &[])),
        ..AuthContext::default()
    };
    tokio::spawn(node.handler.handle(connection, auth));
    let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
    let refused = client.authenticate("someone", Arc::clone(&node.user)).await;
    assert!(matches!(refused, Err(ClientError::AuthenticationFailed)));
    client
        .authenticate("someone", Arc::clone(&other))
        .await
        .unwrap();

    // The first stream of a connection logged in as alice.
    let (_first, served) = node.client(PIPE).await;
    let (near, far) = duplex(PIPE);
    served.connection.push(far);
    let mut second = node.connect(near, &ClientOptions::default()).await.unwrap();
    let refused = second.authenticate("someone", other).await;
    assert!(matches!(refused, Err(ClientError::AuthenticationFailed)));
    second
        .authenticate("someone", Arc::clone(&node.user))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_client_refuses_a_server_it_does_not_expect() {
    let node = Node::new();
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let refused = Client::connect(near, &ClientOptions::default(), |_| false).await;
    assert!(matches!(refused, Err(ClientError::HostKeyRefused)));
}

#[tokio::test]
async fn a_host_key_can_be_fetched() {
    let node = Node::new();
    let (near, far) = duplex(PIPE);
    let served = node.serve_stream(far);
    let key = fetch_host_key(near, &ClientOptions::default())
        .await
        .unwrap();
    assert_eq!(key.key_data(), node.host_key.public_key().key_data());
    node.idle().await;
    served.finish().await;
}

#[tokio::test]
async fn a_silent_peer_is_closed_when_the_time_to_log_in_is_over() {
    let node = Node::with(r#"{"limits":{"login_grace_seconds":1}}"#, &[]);
    // One that says nothing, and one that gets as far as the keys.
    let (mut silent, far) = duplex(PIPE);
    let first = node.serve_stream(far);
    let (near, far) = duplex(PIPE);
    let second = node.serve_stream(far);
    let client = node.connect(near, &ClientOptions::default()).await.unwrap();
    guard("the end", async {
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).await.unwrap();
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(node.status()["auth"]["timeouts"], 2);
    first.finish().await;
    second.finish().await;
}

#[tokio::test]
async fn a_connection_on_which_nobody_logs_in_is_closed() {
    let node = Node::with(r#"{"limits":{"login_grace_seconds":1}}"#, &[]);
    let connection = TestConnection::new();
    guard("the end", node.serve(&connection))
        .await
        .unwrap()
        .unwrap();
    assert!(connection.close_reason().unwrap().contains("logged in"));
}

#[tokio::test]
async fn what_is_not_ssh_is_closed_at_once() {
    let node = Node::new();
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 5000],
        b"SSH-2.0-x\r\n\xff\xff\xff\xff garbage instead of keys".to_vec(),
        b"SSH-1.5-old\r\n".to_vec(),
    ] {
        let (mut near, far) = duplex(PIPE);
        let served = node.serve_stream(far);
        let _ = near.write_all(&garbage).await;
        let mut rest = Vec::new();
        guard("the end", near.read_to_end(&mut rest)).await.unwrap();
        drop(near);
        served.finish().await;
    }
    assert_eq!(node.status()["sessions"], 0);
}

#[tokio::test]
async fn clients_without_aes_gcm_are_offered_what_they_have() {
    use russh::cipher::{AES_128_CTR, AES_256_GCM, CHACHA20_POLY1305};
    use russh::mac::{HMAC_SHA256, HMAC_SHA256_ETM};
    for (version, cipher, mac, served) in [
        ("dropbear_2022.83", CHACHA20_POLY1305, HMAC_SHA256_ETM, true),
        ("paramiko_2.12.0", AES_128_CTR, HMAC_SHA256_ETM, true),
        ("paramiko_2.12.0", AES_128_CTR, HMAC_SHA256, true),
        ("libssh2_1.10.0", AES_128_CTR, HMAC_SHA256, true),
        ("OpenSSH_9.2p1", AES_128_CTR, HMAC_SHA256_ETM, true),
        ("OpenSSH_9.2p1", AES_256_GCM, HMAC_SHA256_ETM, true),
    ] {
        let node = Node::new();
        let (near, far) = duplex(PIPE);
        node.serve_stream(far);
        let config = russh::client::Config {
            client_id: russh::SshId::Standard(format!("SSH-2.0-{version}").into()),
            preferred: russh::Preferred {
                cipher: vec![cipher].into(),
                mac: vec![mac].into(),
                ..russh::Preferred::default()
            },
            ..russh::client::Config::default()
        };
        let connected = russh::client::connect_stream(Arc::new(config), near, AnyHost).await;
        assert_eq!(connected.is_ok(), served, "{version} {cipher:?} {mac:?}");
    }
}

/// A session of russh's own client, for what ours does not do.
async fn raw(node: &Node) -> Handle<AnyHost> {
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let config = Arc::new(russh::client::Config::default());
    russh::client::connect_stream(config, near, AnyHost)
        .await
        .unwrap()
}

struct AnyHost;

impl russh::client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

fn rsa_key(bits: usize) -> PrivateKey {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let bits = bits.to_string();
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", &bits, "-N", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(
        made.success(),
        "ssh-keygen (package openssh-client) is needed"
    );
    PrivateKey::read_openssh_file(&path).unwrap()
}
