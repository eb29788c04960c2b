//! Settings for log-ins by OpenSSH user certificate, and for revoked keys
//! (`RevokedKeys`, sshd_config(5)).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;

/// Log-ins by OpenSSH user certificate, and what is revoked. Which authorities
/// are trusted, and for whom, the peers file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Whether certificates are looked at. A client's offer of a certificate
    /// cannot be told from one of its plain key, so with this on, a key that
    /// the node does not know is refused only after it has signed. Default
    /// false.
    pub enabled: bool,
    /// A file of what lets nobody in any more, whether as a key, as the key of
    /// a certificate or as that of its authority: a key revocation list as
    /// `ssh-keygen -k` makes it, which can also hold serial numbers and key
    /// ids of certificates, or public keys, one a line. An absolute path. Read
    /// at the start and with each reload. Default none.
    #[schemars(regex(pattern = r"^/[^\u0000]*$"), extend("examples" = ["/etc/alknet/revoked.krl"]))]
    pub revoked_keys: Option<String>,
    /// Host certificates to present with the host keys they are for, as
    /// sshd's `HostCertificate`: files as `alknet-node ca sign --host` or
    /// `ssh-keygen -s CA -h` makes them. Absolute paths. Read at the start and
    /// with each reload; one that has expired is left out. Default none.
    #[schemars(inner(regex(pattern = r"^/[^\u0000]*$")), extend("examples" = [["/etc/alknet/host_key-cert.pub"]]))]
    pub host_certificates: Vec<String>,
}

impl Certificates {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        let absolute =
            |path: &String, pointer: String| match path.starts_with('/') && !path.contains('\0') {
                true => Ok(()),
                false => Err(SshConfigError::at(
                    &pointer,
                    format!("{path:?} is not an absolute path"),
                )),
            };
        if let Some(path) = &self.revoked_keys {
            absolute(path, "/certificates/revoked_keys".to_owned())?;
        }
        for (index, path) in self.host_certificates.iter().enumerate() {
            absolute(path, format!("/certificates/host_certificates/{index}"))?;
        }
        Ok(())
    }
}
