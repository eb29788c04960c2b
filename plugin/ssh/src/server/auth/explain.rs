//! The decision about a log-in that only `policy explain` asks about.

use std::net::IpAddr;
use std::time::SystemTime;

use alknet_handler::CertificateQuery;
use alknet_ssh_policy::{Conditions, Restrictions};
use russh::keys::{Certificate, PublicKey};

use super::certificate::UserCertificate;
use super::credential::Credential;
use super::credential::both;
use super::rules::LoginRules;
use crate::server::metrics::AuthError;

/// A log-in that is only thought of.
pub(crate) struct LogIn<'a> {
    /// The address it comes from, where one is given.
    pub(crate) from: Option<IpAddr>,
    /// The time of the log-in.
    pub(crate) at: SystemTime,
    /// The certificate it is made with, as in a `-cert.pub` file.
    pub(crate) certificate: Option<&'a str>,
}

/// The terms under which the log-in would succeed.
pub(crate) struct Terms {
    /// What is withheld from the session.
    pub(crate) restrictions: Restrictions,
    /// The certificate it was made with: the node knows whose that is.
    pub(crate) certificate: Option<CertificateQuery>,
}

impl LogIn<'_> {
    /// Decides as a real log-in does, but for the address where none is given.
    ///
    /// # Errors
    /// The reason for which it would be refused, in a sentence.
    pub(crate) fn terms(
        &self,
        conditions: &Conditions,
        rules: &LoginRules,
    ) -> Result<Terms, String> {
        if let (Some(sources), Some(from)) = (&conditions.from, self.from)
            && !sources.admit(from)
        {
            return Err(format!(
                "it cannot log in from {from}: ssh:from does not list it"
            ));
        }
        if conditions.expires.is_some_and(|expires| self.at >= expires) {
            return Err("it cannot log in: the time in its ssh:expires is over".to_owned());
        }
        let own = conditions.restrictions();
        let Some(text) = self.certificate else {
            return Ok(Terms {
                restrictions: own,
                certificate: None,
            });
        };
        let of = |refusal: AuthError| match (refusal, self.from) {
            (AuthError::NoAddress, _) => {
                "the certificate has a source-address: say where it comes from with --from"
                    .to_owned()
            }
            (refusal, _) => format!("it cannot log in with this certificate: {refusal}"),
        };
        let certificate = Certificate::from_openssh(text)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let checked = UserCertificate::check(&certificate, "", self.from, self.at).map_err(of)?;
        let (restrictions, query) = (checked.restrictions.clone(), checked.query.clone());
        let credential = Credential {
            key: PublicKey::from(certificate.public_key().clone()),
            certificate: Some(checked.into()),
            endpoint: None,
        };
        credential.check(rules).map_err(of)?;
        Ok(Terms {
            restrictions: both(&own, &restrictions).map_err(of)?,
            certificate: Some(query),
        })
    }
}
