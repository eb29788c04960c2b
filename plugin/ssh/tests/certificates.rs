//! Certificates that no honest client would show.

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

use alknet_ssh::PrivateKey;
use russh::client::AuthResult;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Certificate, PublicKeyOrCertificate};
use support::{Node, guard, identity, key};
use tokio::io::duplex;

/// A node that trusts an authority, which is given too.
fn node() -> (Node, Arc<PrivateKey>) {
    let node = Node::with(r#"{"certificates":{"enabled":true}}"#, &[]);
    let authority = key();
    node.identities.trust(&authority, identity("alice", &[]));
    (node, authority)
}

fn certificate(key: &PrivateKey, authority: &PrivateKey, from: u64, until: u64) -> Certificate {
    let nonce = [7; 16];
    let mut builder = Builder::new(nonce, key.public_key().clone(), from, until).unwrap();
    builder.key_id("laptop").unwrap();
    builder.valid_principal("alice").unwrap();
    builder.sign(authority).unwrap()
}

const ALWAYS: (u64, u64) = (0, u64::MAX);

async fn log_in(node: &Node, key: &Arc<PrivateKey>, certificate: Certificate) -> bool {
    let (near, far) = duplex(64 * 1024);
    let _served = node.serve_stream(far);
    let config = Arc::new(russh::client::Config::default());
    let connecting = russh::client::connect_stream(config, near, AnyHost);
    let mut session = guard("a connection", connecting).await.unwrap();
    let attempt = session.authenticate_openssh_cert("alice", Arc::clone(key), certificate);
    matches!(guard("a log-in", attempt).await, Ok(AuthResult::Success))
}

#[tokio::test]
async fn a_sound_one_logs_in() {
    let (node, authority) = node();
    let key = key();
    let sound = certificate(&key, &authority, ALWAYS.0, ALWAYS.1);
    assert!(log_in(&node, &key, sound).await);
}

#[tokio::test]
async fn one_that_was_altered_is_refused() {
    let (node, authority) = node();
    let key = key();
    let sound = certificate(&key, &authority, ALWAYS.0, ALWAYS.1);
    let mut bytes = sound.to_bytes().unwrap();
    let place = bytes.windows(5).position(|window| window == b"alice");
    bytes[place.unwrap()] = b'A';
    let forged = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(forged.valid_principals(), ["Alice"]);
    assert!(!log_in(&node, &key, forged).await);
    // A signature with its last byte changed.
    let mut bytes = sound.to_bytes().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_bytes(&bytes).unwrap();
    assert!(!log_in(&node, &key, forged).await);
}

#[tokio::test]
async fn one_for_hosts_is_refused() {
    let (node, authority) = node();
    let key = key();
    let mut builder = Builder::new([7; 16], key.public_key().clone(), 0, u64::MAX).unwrap();
    builder.cert_type(CertType::Host).unwrap();
    builder.valid_principal("alice").unwrap();
    let certificate = builder.sign(&*authority).unwrap();
    assert!(!log_in(&node, &key, certificate).await);
}

#[tokio::test]
async fn one_of_somebody_elses_key_is_refused() {
    let (node, authority) = node();
    let theirs = certificate(&key(), &authority, ALWAYS.0, ALWAYS.1);
    let mine = key();
    assert!(!log_in(&node, &mine, theirs).await);
}

#[tokio::test]
async fn one_of_an_authority_nobody_knows_is_refused() {
    let (node, _) = node();
    let key = key();
    let of_its_own = certificate(&key, &key, ALWAYS.0, ALWAYS.1);
    assert!(!log_in(&node, &key, of_its_own).await);
}

/// russh takes times beyond the reach of its clock for none at all.
#[tokio::test]
async fn one_that_begins_after_all_times_is_refused() {
    let (node, authority) = node();
    let key = key();
    let early = certificate(&key, &authority, u64::MAX - 1, u64::MAX);
    assert!(!log_in(&node, &key, early).await);
    let past = certificate(&key, &authority, 1, 2);
    assert!(!log_in(&node, &key, past).await);
}

struct AnyHost;

impl russh::client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}
