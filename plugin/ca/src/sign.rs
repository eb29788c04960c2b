//! From a request to a certificate: who asks, what it may carry, and the record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alknet_certificate::{
    Asker, AuthorityError, GrantError, Issued, Records, RecordsError, SignAnswer, SignRequest,
    Signed, UserTerms,
};
use alknet_plugin::{AuthContext, Identity, IdentityError, Peer};

use crate::Ca;

impl Ca {
    /// Signs what is asked for, or says why not. Either is in the log.
    pub(crate) async fn sign(
        self: Arc<Self>,
        request: SignRequest,
        peer: &Peer,
        auth: &AuthContext,
    ) -> SignAnswer {
        let key = auth.tls_client_fingerprint.as_deref();
        let address = peer.remote_addr().map(|address| address.to_string());
        let answer = match self.identity(key).await {
            Ok(identity) => {
                let (ca, id, from) = (Arc::clone(&self), identity.id.clone(), peer.remote_addr());
                // It waits for the disk.
                let made =
                    tokio::task::spawn_blocking(move || ca.certify(&identity, &request, from));
                let made = made.await.map_err(|_| SignError::Failed);
                made.and_then(|made| made).map(|made| (id, made))
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok((identity, (serial, signed))) => {
                self.signed.add(1);
                tracing::info!(target: "certificate", identity, serial, remote_addr = address, tls_key = key, "signed");
                SignAnswer::Signed(signed)
            }
            Err(error) => {
                self.refused.add(1);
                tracing::info!(target: "certificate", reason = %error, remote_addr = address, tls_key = key, "refused");
                SignAnswer::Refused {
                    reason: error.told(),
                }
            }
        }
    }

    /// Whose the key of the handshake is now: a connection may be older than a change
    /// of the peers.
    async fn identity(&self, key: Option<&str>) -> Result<Identity, SignError> {
        let key = key.ok_or(SignError::NoKey)?;
        let found = self.identities.resolve_from_fingerprint(key).await;
        found
            .map_err(SignError::Store)?
            .ok_or_else(|| SignError::Unknown {
                key: key.to_owned(),
            })
    }

    fn certify(
        &self,
        identity: &Identity,
        request: &SignRequest,
        from: Option<SocketAddr>,
    ) -> Result<(u64, Signed), SignError> {
        let config = self.config.get();
        let records = Records::new(&config.records);
        let longest = Duration::from_secs(config.max_lifetime_seconds.into());
        let asker = Asker::Peer(from.map(|from| from.ip()));
        let mut terms = UserTerms::for_identity(identity, request, asker, longest)?;
        let revoked = records.revocations()?;
        if revoked.key_ids.contains(&terms.key_id) || revoked.holds_key(&request.public_key) {
            return Err(SignError::Revoked);
        }
        let by = from.map_or_else(|| "peer".to_owned(), |from| from.to_string());
        let issued = Issued::for_user(&terms, &request.public_key, by);
        let certificate = records.issue::<SignError>(|serial| {
            terms.serial = serial;
            let certificate = self.authority.sign_user(&request.public_key, &terms)?;
            Ok((certificate, issued))
        })?;
        let signed = Signed {
            certificate,
            authority: self.authority.public_line(),
            hosts: config.hosts.clone(),
        };
        Ok((terms.serial, signed))
    }
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("no key was shown in the handshake; show one with --identity-key")]
    NoKey,
    #[error(
        "no peer of this node has the key {key}; its operator adds it to node_keys in your entry of the peers file"
    )]
    Unknown { key: String },
    #[error("{0}")]
    Store(IdentityError),
    #[error("the key or the peer is revoked")]
    Revoked,
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the record of the authority cannot be kept: {0}")]
    Records(#[from] RecordsError),
    #[error("it failed")]
    Failed,
}

impl SignError {
    /// The reason for the peer, who is not told of the node's files.
    fn told(&self) -> String {
        match self {
            Self::Store(_) | Self::Records(_) | Self::Failed => {
                "the node cannot sign at the moment; its log says why".to_owned()
            }
            error => error.to_string(),
        }
    }
}
