//! The node's configuration file, in JSON or TOML.

pub(crate) mod cut_short;
pub mod draft;
pub(crate) mod iroh_faults;
pub(crate) mod log_filter;
pub(crate) mod peers_file;
pub mod problem;
pub(crate) mod settings;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use alknet_lookup::LookupConfig;
use alknet_quic::Congestion;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// An address and a port, as far as a pattern can tell: of IPv6 it knows the
/// characters only.
const ADDRESS: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[[0-9a-fA-F:.]+(%[0-9]+)?\]):(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})$";
/// As [`ADDRESS`], of this machine only.
const LOOPBACK: &str = r"^(127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[[0:]*:0{0,3}1\]):(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})$";

/// The name of a Unix account (useradd(8)).
const ACCOUNT: &str = r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$";

/// The address that the node listens on by default.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4433";

/// The configuration of a node. Paths are relative to the directory of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = named_schema)]
pub struct NodeConfig {
    /// The UDP address to serve QUIC on, `ip:port`; IPv6 in brackets. Default
    /// `127.0.0.1:4433`. A change needs a restart.
    #[schemars(
        with = "String",
        regex(pattern = ADDRESS),
        extend("title" = "an IP address and a port", "examples" = ["127.0.0.1:4433", "[::1]:4433"])
    )]
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// A TCP address to serve on as well, `ip:port`, for clients without QUIC
    /// such as stock `ssh -p`. None by default. A change needs a restart.
    #[schemars(
        with = "Option<String>",
        regex(pattern = ADDRESS),
        extend("title" = "an IP address and a port", "examples" = ["127.0.0.1:2222", "[::1]:2222"])
    )]
    #[serde(deserialize_with = "optional_address")]
    pub tcp_listen: Option<SocketAddr>,
    /// The ALPN whose plugin serves the TCP connections, which name none
    /// themselves. Default `alknet/ssh`. A change needs a restart.
    #[schemars(length(min = 1, max = 255))]
    pub tcp_alpn: String,
    /// The file with the BIP39 mnemonic all keys derive from; mode 0600.
    /// Default `mnemonic`. A change needs a restart.
    pub mnemonic_file: PathBuf,
    /// A file with the mnemonic's passphrase (BIP39), mode 0600; the first
    /// line counts. None by default. A change needs a restart.
    pub passphrase_file: Option<PathBuf>,
    /// SSH host keys to use in place of the derived one: unencrypted private
    /// keys in OpenSSH's format, mode 0600, preferred first. None by default.
    /// A change needs a restart.
    pub host_key_files: Vec<PathBuf>,
    /// The file that lists the peers. Default `peers.toml`.
    pub peers_file: PathBuf,
    /// The file with the encrypted secrets that `alknet-node secret` keeps;
    /// mode 0600. Default `secrets.json`.
    pub secrets_file: PathBuf,
    /// That peers' processes run as Unix accounts, and how. None by default,
    /// which means the same as an empty table where a peer has `accounts`. For
    /// a node that is started as root. A change needs a restart.
    pub accounts: Option<AccountsConfig>,
    /// Where plugins come from and how they are configured.
    pub plugins: PluginsConfig,
    /// A program that is asked who a peer is that the peers file does not know. None by
    /// default. A change needs a restart.
    pub lookup: Option<LookupConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What is told to a Prometheus server.
    pub metrics: MetricsConfig,
    /// How many connections there may be.
    pub connections: ConnectionsConfig,
    /// What a peer may be away for.
    pub limits: LimitsConfig,
    /// How QUIC connections send.
    pub transport: TransportConfig,
    /// Reaching the node through iroh as well: by its key, from behind NAT.
    pub iroh: IrohConfig,
    /// The node's own threads.
    pub runtime: RuntimeConfig,
    /// How the node stops.
    pub shutdown: ShutdownConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4433)),
            tcp_listen: None,
            tcp_alpn: "alknet/ssh".to_owned(),
            mnemonic_file: "mnemonic".into(),
            passphrase_file: None,
            host_key_files: Vec::new(),
            peers_file: "peers.toml".into(),
            secrets_file: "secrets.json".into(),
            accounts: None,
            plugins: PluginsConfig::default(),
            lookup: None,
            log: LogConfig::default(),
            metrics: MetricsConfig::default(),
            connections: ConnectionsConfig::default(),
            limits: LimitsConfig::default(),
            transport: TransportConfig::default(),
            iroh: IrohConfig::default(),
            runtime: RuntimeConfig::default(),
            shutdown: ShutdownConfig::default(),
        }
    }
}

/// How peers' processes run as Unix accounts, on a node that is started as
/// root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsConfig {
    /// The account of the process that has to do with the network: it loads the
    /// plugins and holds the keys, and cannot become anybody else. Default
    /// `alknet`.
    #[schemars(regex(pattern = ACCOUNT))]
    pub network_user: String,
    /// The account that stands for every user name that is not among the
    /// `accounts` of a peer. None by default: such a user name is refused.
    #[schemars(with = "Option<AccountName>")]
    pub default_account: Option<String>,
    /// Whether a peer's account may be one with the user id 0. Default false.
    pub allow_root: bool,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            network_user: "alknet".to_owned(),
            default_account: None,
            allow_root: false,
        }
    }
}

/// The name of a Unix account.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct AccountName(#[schemars(regex(pattern = ACCOUNT), extend("examples" = ["deploy"]))] String);

/// Where plugins come from and how they are configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// The directory whose `*.so` files are loaded, at the start and by
    /// `alknet-node plugins reload`. Default `plugins`.
    pub folder: PathBuf,
    /// Whether a file of that directory that changes is loaded by itself, once it
    /// has been left alone for a moment. Default false.
    pub watch: bool,
    /// Seconds that connections get to end on a version of a plugin that was
    /// replaced, 0 to 2592000. None by default: they may take as long as they
    /// like.
    #[schemars(range(min = 0, max = 2_592_000))]
    pub drain_seconds: Option<u32>,
    /// How many replaced versions may have connections left, 1 to 64. With
    /// more, those on the oldest are ended. Default 4.
    #[schemars(range(min = 1, max = 64))]
    pub max_draining: u16,
    /// If given, only files with one of these digests are loaded; each
    /// `sha256:` and 64 hex digits, as `sha256sum` prints them.
    #[schemars(inner(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$")), transform = example_of_a_digest)]
    pub allow_digests: Option<Vec<String>>,
    /// If any, only files signed by one of these keys are loaded; each the one
    /// line of a `.pub` file, `ssh-ed25519 AAAA… comment`. The signature of
    /// `x.so` lies beside it as `x.so.sig`, made by `ssh-keygen -Y sign -n
    /// alknet-plugin`. None by default.
    #[schemars(with = "Vec<SignerLine>")]
    pub signers: Vec<String>,
    /// Whether a file without a signature is refused. Default true if there
    /// are `signers`, else false. A wrong signature is refused either way.
    pub require_signature: Option<bool>,
    /// The configuration of each plugin under the plugin's name, checked
    /// against the plugin's own JSON Schema.
    pub config: BTreeMap<String, Map<String, Value>>,
    /// Which of the node's secrets each plugin is given, under the plugin's
    /// name, as in `ssh = ["proxy"]`. `alknet-node secret set NAME` stores
    /// one. A change counts when the plugin is loaded next.
    #[schemars(with = "BTreeMap<String, Vec<SecretName>>")]
    pub secrets: BTreeMap<String, Vec<String>>,
    /// Whether the node starts although no plugin serves, and waits for one
    /// that `alknet-node plugins reload` loads. Default false: a start that
    /// would serve nothing fails. A change needs a restart.
    pub allow_none: bool,
}

/// The name of a secret: lower-case letters, digits and `. _ -`, starting with
/// a letter or digit, at most 64.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct SecretName(
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,63}$"), extend("examples" = ["proxy"]))]
    String,
);

/// An Ed25519 public key as in a `.pub` file.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct SignerLine(
    #[schemars(
        regex(pattern = r"^ssh-ed25519 [A-Za-z0-9+/=]+( .*)?$"),
        extend("examples" = ["ssh-ed25519 AAAA… release key"])
    )]
    String,
);

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            folder: "plugins".into(),
            watch: false,
            drain_seconds: None,
            max_draining: 4,
            allow_digests: None,
            signers: Vec::new(),
            require_signature: None,
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            allow_none: false,
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The form of a log line on standard error. Default `human`.
    pub format: LogFormat,
    /// Which events are logged: `error`, `warn`, `info`, `debug`, `trace` or
    /// `off`, then `target=level` for parts of the program, separated by
    /// commas, as in `info,plugin::ssh=debug`. Default `info`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is told to a Prometheus server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// The TCP address to answer `GET /metrics` on, `ip:port`; a loopback
    /// address. None by default. A change needs a restart.
    #[schemars(
        with = "Option<String>",
        regex(pattern = LOOPBACK),
        extend("title" = "a loopback address and a port", "examples" = ["127.0.0.1:9464", "[::1]:9464"])
    )]
    #[serde(deserialize_with = "optional_address")]
    pub listen: Option<SocketAddr>,
    /// Names by which it may be asked, beside `localhost` and addresses: what
    /// the `Host` of a request may say. None by default. A change needs a
    /// restart.
    pub hosts: Vec<String>,
}

/// How many connections there may be, QUIC and TCP together; further ones are
/// turned away before a plugin sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// In all, 1 to 1000000. Over TCP never more than half as many as the
    /// process may have descriptors. Default 4096.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
    /// From one address, or one /64 of IPv6; 1 to 1000000. Default 1024.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_per_address: u32,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self {
            max: 4096,
            max_per_address: 1024,
        }
    }
}

/// What a peer may be away for: its machine sleeps, or it has no network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Seconds that nothing need be heard of a peer that has logged in over
    /// QUIC and has a session open; then its connection is closed. The client
    /// has a limit of its own, and the lesser of both counts. Before the log-in
    /// it is 30. 30 to 2592000 (30 days). Default 43200 (12 hours). A change
    /// needs a restart.
    #[schemars(range(min = 30, max = 2_592_000))]
    pub offline_seconds: u32,
    /// Bytes that are kept for all peers together that are away, which is what
    /// was sent to them and may not have arrived. With more, the connection of
    /// the one that has been away for the longest time is closed. 1048576 to
    /// 68719476736. Default 268435456 (256 MiB).
    #[schemars(range(min = 1_048_576_u64, max = 68_719_476_736_u64))]
    pub offline_buffer_bytes: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            offline_seconds: 12 * 60 * 60,
            offline_buffer_bytes: 256 << 20,
        }
    }
}

/// How QUIC connections send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransportConfig {
    /// The congestion controller of what the node sends. Default `adaptive`. A
    /// change needs a restart.
    pub congestion: CongestionConfig,
}

/// A congestion controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CongestionConfig {
    /// RFC 9438; slow where packets are lost at random.
    Cubic,
    /// The same, but takes a loss for congestion only where there is a queue
    /// or much is lost.
    #[default]
    Adaptive,
}

impl From<CongestionConfig> for Congestion {
    fn from(config: CongestionConfig) -> Self {
        match config {
            CongestionConfig::Cubic => Self::Cubic,
            CongestionConfig::Adaptive => Self::Adaptive,
        }
    }
}

/// Reaching the node through iroh as well: by its key, from behind NAT. What is
/// served is the same as over QUIC. All of it needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IrohConfig {
    /// Whether the node is reached through iroh. Its endpoint id is its node key.
    /// Default false. A change needs a restart.
    pub enabled: bool,
    /// The UDP address of its own to listen on for direct ways, `ip:port`; `[::]`
    /// takes IPv4 as well. Default `[::]:4434`. A change needs a restart.
    #[schemars(
        with = "String",
        regex(pattern = ADDRESS),
        extend("title" = "an IP address and a port", "examples" = ["[::]:4434", "192.0.2.1:4434"])
    )]
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The relays to be reachable through, each the URL of one of your own. None
    /// by default: the node is reached directly only. A change needs a restart.
    #[schemars(with = "Vec<RelayUrl>")]
    pub relays: Vec<String>,
    /// Whether to use the public relays of iroh's makers as well, which then know
    /// the addresses of the node and of its peers. Default false. A change needs a
    /// restart.
    pub public_relays: bool,
    /// Whether to tell the public discovery service of iroh's makers which relay
    /// leads to the node, so that clients need to know its endpoint id alone.
    /// Default false. A change needs a restart.
    pub discovery: bool,
}

/// The URL of a relay.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct RelayUrl(
    #[schemars(
        regex(pattern = r"^https?://[A-Za-z0-9.:\[\]_-]+/?$"),
        extend("examples" = ["https://relay.example.org"])
    )]
    String,
);

impl Default for IrohConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from(([0_u16; 8], 4434)),
            relays: Vec::new(),
            public_relays: false,
            discovery: false,
        }
    }
}

/// The node's own threads; plugins have theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// Threads for QUIC, 1 to 256. By default half of the processors, at
    /// least 1. A change needs a restart.
    #[schemars(range(min = 1, max = 256))]
    pub worker_threads: Option<u16>,
}

/// How the node stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// Seconds that live sessions get to end after SIGTERM or SIGINT, 0 to
    /// 86400. A second signal ends the wait. Default 10.
    #[schemars(range(min = 0, max = 86400))]
    pub drain_seconds: u32,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain_seconds: 10 }
    }
}

/// Allows the field `$schema` in the schema, for editors. The document's reader
/// leaves that field out.
fn named_schema(schema: &mut schemars::Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    if let Some(properties) = properties {
        let description = "The JSON Schema of this file, for editors; the node ignores it.";
        let field = json!({ "description": description, "type": "string" });
        properties.insert("$schema".to_owned(), field);
    }
}

/// Adds an example to the schema, which messages show in place of the pattern.
fn example_of_a_digest(schema: &mut schemars::Schema) {
    if let Some(items) = schema
        .get_mut("items")
        .and_then(|items| items.as_object_mut())
    {
        items.insert(
            "examples".to_owned(),
            ["sha256:<64 hex digits>"].as_slice().into(),
        );
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?)
}

fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref().map(parse_address).transpose()
}

/// Reads an address, or gives an error that says what one looks like: the
/// pattern of the schema lets through numbers that are too large.
fn parse_address<E: serde::de::Error>(text: &str) -> Result<SocketAddr, E> {
    text.parse().map_err(|_| {
        E::custom(format!(
            "expected ip:port, such as 127.0.0.1:4433 or [::1]:4433, with a port up to 65535, found {text:?}"
        ))
    })
}

/// The JSON Schema (2020-12) of the configuration file.
pub fn schema() -> Value {
    schemars::schema_for!(NodeConfig).to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_schema_is_the_generated_one() {
        for (file, schema) in [
            ("node-config.schema.json", schema()),
            (
                "peers.schema.json",
                schemars::schema_for!(alknet_identity::PeersConfig).to_value(),
            ),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../schema/json")
                .join(file);
            let generated = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                std::fs::write(&path, &generated).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == generated,
                "schema/json/{file} is stale: run this test with UPDATE_SCHEMAS=1 and commit"
            );
        }
    }

    #[test]
    fn the_default_listen_address_is_the_documented_one() {
        assert_eq!(NodeConfig::default().listen.to_string(), DEFAULT_LISTEN);
    }
}
