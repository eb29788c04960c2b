//! How a node that lost its connections in a crash tells their clients so.

use std::sync::Arc;
use std::time::Duration;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use rustls::SignatureScheme;
use zeroize::Zeroizing;

use crate::{NodeSecret, path_mtu};

/// The text that is signed, which separates what is derived here from every
/// other use of the key. A TLS signature begins with 64 spaces (RFC 8446
/// section 4.4.3), so that no peer ever sees the signature of this text.
const CONTEXT: &[u8] = b"alknet-quic 1: keys of a node's endpoint";
const RESET_TOKENS: &[u8] = b"stateless reset tokens";
const CONNECTION_IDS: &[u8] = b"connection ids";

/// The least time between two stateless resets. A reset is shorter than what it
/// answers, so that it amplifies nothing; the clients of a restarted node all
/// need one.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// An endpoint that, after a restart with the same key, recognises the
/// connection IDs of before and knows their reset tokens.
///
/// # Errors
/// None in practice; the crypto library has the last word.
pub(crate) fn endpoint_config(secret: &NodeSecret) -> Result<EndpointConfig, rustls::Error> {
    let keys = derived(secret)?;
    let tokens = keys
        .expand(&[RESET_TOKENS], hmac::HMAC_SHA256)
        .map_err(|_| failed())?;
    let mut id_key = [0; 8];
    keys.expand(&[CONNECTION_IDS], Length(id_key.len()))
        .and_then(|output| output.fill(&mut id_key))
        .map_err(|_| failed())?;
    let id_key = u64::from_le_bytes(id_key);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::from(tokens)));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)))
        .min_reset_interval(RESET_INTERVAL);
    path_mtu::take_large_packets(&mut config);
    Ok(config)
}

/// Ed25519 signatures are deterministic (RFC 8032): that of a fixed text is a
/// secret which only the holder of the key knows, and always the same.
fn derived(secret: &NodeSecret) -> Result<Prk, rustls::Error> {
    let key = secret.signing_key();
    let signer = key
        .choose_scheme(&[SignatureScheme::ED25519])
        .ok_or_else(failed)?;
    let signature = Zeroizing::new(signer.sign(CONTEXT)?);
    Ok(Salt::new(HKDF_SHA256, CONTEXT).extract(&signature))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn failed() -> rustls::Error {
    rustls::Error::General("the keys of the endpoint cannot be derived".to_owned())
}
