//! A plugin that signs: on ALPN `alknet/ca`, it certifies the keys of the node's
//! peers, who have proven who they are by the key of the TLS handshake.

#![forbid(unsafe_code)]

mod sign;

use std::time::Duration;
use std::{io, sync::Arc};

use alknet_certificate::{Authority, LONGEST_MESSAGE, Records, SignAnswer, SignRequest};
use alknet_plugin::{metrics::Counter, *};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

export_plugin! {
    name: "ca",
    alpn: "alknet/ca",
    config: Config,
    secrets: Secrets,
    handler: Ca,
}

/// The configuration of the plugin that signs; `alknet-node ca serve` writes it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The directory with the authority's records, as `alknet-node ca init` makes
    /// it. An absolute path.
    records: String,
    /// The longest lifetime that is signed, in seconds, 60 to 31536000. Default
    /// 57600, which is 16 hours.
    #[schemars(range(min = 60, max = 31_536_000))]
    max_lifetime_seconds: u32,
    /// The hosts that clients are told to believe the authority about, as patterns
    /// of known_hosts. None by default.
    hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            records: String::new(),
            max_lifetime_seconds: 57600,
            hosts: Vec::new(),
        }
    }
}

/// The secrets of the plugin that signs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secrets {
    /// The authority's private key in OpenSSH's format.
    #[serde(rename = "ca-key")]
    ca_key: Secret,
}

struct Ca {
    authority: Authority,
    config: LiveConfig<Config>,
    identities: Arc<dyn IdentityProvider>,
    signed: Counter,
    refused: Counter,
}

/// The time that a peer may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

impl Handler<Config, Secrets> for Ca {
    fn new(setup: Setup<Config, Secrets>) -> Result<Self, ConfigError> {
        let authority = Authority::from_openssh(setup.secrets.ca_key.expose());
        let authority =
            authority.map_err(|error| ConfigError::new(format!("the secret ca-key: {error}")))?;
        if !setup.trial {
            let records = Records::new(&setup.config.get().records);
            let checked = records.check();
            checked.map_err(|error| ConfigError::at("/records", error.to_string()))?;
        }
        Ok(Self {
            authority,
            signed: setup
                .metrics
                .counter("signed_total", "Certificates signed."),
            refused: setup.metrics.counter("refused_total", "Requests refused."),
            config: setup.config,
            identities: setup.identities,
        })
    }

    fn check(config: &Config) -> Result<(), ConfigError> {
        if !config.records.starts_with('/') {
            let message = "is not an absolute path; `alknet-node ca serve` sets it";
            return Err(ConfigError::at("/records", message));
        }
        if !(60..=31_536_000).contains(&config.max_lifetime_seconds) {
            let message = "is not a number of seconds from 60 to 31536000";
            return Err(ConfigError::at("/max_lifetime_seconds", message));
        }
        Ok(())
    }

    async fn serve(self: Arc<Self>, peer: Peer, auth: AuthContext) -> Result<(), HandlerError> {
        let asking = Arc::clone(&peer);
        each_stream(peer, move |stream| {
            Arc::clone(&self).answer(stream, Arc::clone(&asking), auth.clone())
        })
        .await
    }
}

impl Ca {
    async fn answer(
        self: Arc<Self>,
        stream: BoxStream,
        peer: Peer,
        auth: AuthContext,
    ) -> io::Result<()> {
        let (read, mut write) = tokio::io::split(stream);
        let mut text = Vec::new();
        let mut read = read.take(LONGEST_MESSAGE as u64);
        timeout(ASK_TIMEOUT, read.read_to_end(&mut text)).await??;
        let answer = match serde_json::from_slice::<SignRequest>(&text) {
            Ok(request) => self.sign(request, &peer, &auth).await,
            Err(error) => SignAnswer::Refused {
                reason: format!("the request is not understood: {error}"),
            },
        };
        write.write_all(&serde_json::to_vec(&answer)?).await?;
        write.shutdown().await
    }
}
