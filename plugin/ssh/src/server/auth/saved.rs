//! Credentials in a form that is kept with a background job, for asking again
//! later.

use std::sync::Arc;

use alknet_handler::CertificateQuery;
use alknet_ssh_policy::Restrictions;
use russh::keys::PublicKey;
use serde::{Deserialize, Serialize};

use super::certificate::UserCertificate;
use super::credential::Credential;

/// A [`Credential`] as it is kept beside what outlives its session. Holds
/// nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedCredential {
    /// The key in OpenSSH's form.
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<SavedCertificate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedCertificate {
    authority: String,
    ca_fingerprint: String,
    key_id: String,
    serial: u64,
    principals: Vec<String>,
    requested_user: String,
    no_port_forwarding: bool,
    no_pty: bool,
    no_agent_forwarding: bool,
    force_command: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<String>>,
}

impl Credential {
    /// The credential in a form that outlives the session.
    pub(crate) fn save(&self) -> SavedCredential {
        let certificate = self.certificate.as_ref().map(|certificate| {
            let (query, restrictions) = (&certificate.query, &certificate.restrictions);
            SavedCertificate {
                authority: text(&certificate.authority),
                ca_fingerprint: query.ca_fingerprint.clone(),
                key_id: query.key_id.clone(),
                serial: query.serial,
                principals: query.principals.clone(),
                requested_user: query.requested_user.clone(),
                no_port_forwarding: restrictions.no_port_forwarding,
                no_pty: restrictions.no_pty,
                no_agent_forwarding: restrictions.no_agent_forwarding,
                force_command: restrictions.force_command.clone(),
                scopes: restrictions.scopes.clone(),
                accounts: certificate.accounts.clone(),
            }
        });
        SavedCredential {
            key: text(&self.key),
            endpoint: self.endpoint.as_deref().map(str::to_owned),
            certificate,
        }
    }
}

impl SavedCredential {
    /// The credential that was saved; `None` when this is not one.
    pub(crate) fn restore(&self) -> Option<Credential> {
        let certificate = match &self.certificate {
            None => None,
            Some(saved) => Some(Arc::new(saved.restore()?)),
        };
        Some(Credential {
            key: PublicKey::from_openssh(&self.key).ok()?,
            endpoint: self.endpoint.as_deref().map(Into::into),
            certificate,
        })
    }
}

impl SavedCertificate {
    fn restore(&self) -> Option<UserCertificate> {
        Some(UserCertificate {
            query: CertificateQuery {
                ca_fingerprint: self.ca_fingerprint.clone(),
                key_id: self.key_id.clone(),
                serial: self.serial,
                principals: self.principals.clone(),
                requested_user: self.requested_user.clone(),
            },
            authority: PublicKey::from_openssh(&self.authority).ok()?,
            restrictions: Restrictions {
                no_port_forwarding: self.no_port_forwarding,
                no_pty: self.no_pty,
                no_agent_forwarding: self.no_agent_forwarding,
                force_command: self.force_command.clone(),
                scopes: self.scopes.clone(),
            },
            accounts: self.accounts.clone(),
            // What outlives its session is where no peer is.
            sources: None,
        })
    }
}

fn text(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    key.to_openssh().unwrap_or_default()
}
