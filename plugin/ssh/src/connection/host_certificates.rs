//! The server's host certificates: read from their files and checked for use
//! (PROTOCOL.certkeys).

use std::fs::File;
use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_handler::ConfigError;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PrivateKey};

/// The most bytes of a file that are read: more than any certificate has.
const MAX_LENGTH: u64 = 64 << 10;

/// Reads host certificates, each for one of these keys. One that is not valid at this
/// time is left out, and the log says so: clients would take it for a fault.
///
/// # Errors
/// When a file cannot be read, or is not a host certificate of one of the keys.
pub(crate) fn read(files: &[String], keys: &[PrivateKey]) -> Result<Vec<Certificate>, ConfigError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut certificates = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let certificate = one(path, keys).map_err(|fault| ConfigError {
            pointer: format!("/certificates/host_certificates/{index}"),
            message: format!("{path}: {fault}"),
        })?;
        let fault = match certificate {
            _ if now >= certificate.valid_before() => "has expired",
            _ if now < certificate.valid_after() => "is not valid yet",
            certificate => {
                certificates.push(certificate);
                continue;
            }
        };
        tracing::warn!(
            target: "alknet_ssh::auth",
            path,
            "a host certificate {fault} and is not presented; sign the host key again"
        );
    }
    Ok(certificates)
}

fn one(path: &str, keys: &[PrivateKey]) -> Result<Certificate, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(cannot)?;
    // A pipe would never end.
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    file.take(MAX_LENGTH)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    let certificate = Certificate::from_openssh(text.trim())
        .map_err(|_| "is not a certificate; expected the one line of a -cert.pub file")?;
    if certificate.cert_type() != CertType::Host {
        return Err(
            "is a certificate for users; sign the host key with --host (ssh-keygen: -h)".to_owned(),
        );
    }
    if certificate.verify_signature().is_err() {
        return Err("is damaged: its signature is wrong".to_owned());
    }
    let mut keys = keys.iter().map(|key| key.public_key().key_data());
    if !keys.any(|key| key == certificate.public_key()) {
        return Err(
            "is not of a host key of this node; `alknet-node status` prints those".to_owned(),
        );
    }
    Ok(certificate)
}
