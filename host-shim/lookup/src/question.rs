//! What is asked about a peer.

use std::fmt;
use std::hash::{Hash, Hasher};

use alknet_handler::CertificateQuery;
use zeroize::Zeroizing;

use crate::protocol::{Certificate, Request};

/// What a peer has proven, by which it is asked about and remembered.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// A public key.
    Fingerprint(String),
    /// A certificate.
    Certificate(Box<Certificate>),
    /// A bearer token.
    Token(Zeroizing<String>),
}

impl Question {
    pub(crate) fn of_certificate(query: &CertificateQuery) -> Self {
        Self::Certificate(Box::new(Certificate {
            ca_fingerprint: query.ca_fingerprint.clone(),
            principals: query.principals.clone(),
            serial: query.serial,
            key_id: query.key_id.clone(),
            user: query.requested_user.clone(),
        }))
    }

    /// The line that asks it, with its end.
    pub(crate) fn line(&self, id: u64) -> Zeroizing<Vec<u8>> {
        let request = match self {
            Self::Fingerprint(fingerprint) => Request::Fingerprint { id, fingerprint },
            Self::Certificate(certificate) => Request::Certificate { id, certificate },
            Self::Token(token) => Request::Token { id, token },
        };
        // Types without maps are always JSON.
        let mut line = Zeroizing::new(serde_json::to_vec(&request).unwrap_or_default());
        line.push(b'\n');
        line
    }
}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Fingerprint(fingerprint) => (0, fingerprint).hash(state),
            Self::Certificate(certificate) => (1, certificate).hash(state),
            Self::Token(token) => (2, token.as_str()).hash(state),
        }
    }
}

/// Does not show a token.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(fingerprint) => {
                f.debug_tuple("Fingerprint").field(fingerprint).finish()
            }
            Self::Certificate(certificate) => {
                f.debug_tuple("Certificate").field(certificate).finish()
            }
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_line_of_json() {
        let text = |question: &Question| String::from_utf8(question.line(7).to_vec()).unwrap();
        let key = Question::Fingerprint("SHA256:abc".to_owned());
        assert_eq!(text(&key), "{\"id\":7,\"fingerprint\":\"SHA256:abc\"}\n");
        let token = Question::Token(Zeroizing::new("a\nb".to_owned()));
        assert_eq!(text(&token), "{\"id\":7,\"token\":\"a\\nb\"}\n");
        assert_eq!(format!("{token:?}"), "Token(…)");
        let certificate = Question::of_certificate(&CertificateQuery {
            ca_fingerprint: "SHA256:ca".to_owned(),
            key_id: "k".to_owned(),
            serial: 3,
            principals: vec!["p".to_owned()],
            requested_user: "u".to_owned(),
        });
        assert_eq!(
            text(&certificate),
            "{\"id\":7,\"certificate\":{\"ca_fingerprint\":\"SHA256:ca\",\"principals\":[\"p\"],\
             \"serial\":3,\"key_id\":\"k\",\"user\":\"u\"}}\n"
        );
    }
}
