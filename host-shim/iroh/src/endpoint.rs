//! Endpoints of nodes and clients: the key, the sockets, relays and discovery.

use std::net::{Ipv4Addr, SocketAddr};

use alknet_quic::{NodeSecret, TransportSettings};
use alknet_text::visible;
use iroh::address_lookup::{DnsAddressLookup, PkarrPublisher, PkarrResolver};
use iroh::endpoint::{
    BindOpts, Builder, IdleTimeout, PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::{Endpoint, NetReportConfig, RelayMap, RelayMode, RelayUrl, SecretKey, Watcher};

/// What an endpoint is to be like. By default it has any free port on all
/// addresses, serves nothing, and knows no relay and no discovery.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The UDP address to bind; `[::]` binds IPv4 as well. Any free port of all
    /// addresses if `None`.
    pub listen: Option<SocketAddr>,
    /// Whether it is a node, which accepts connections.
    pub serves: bool,
    /// The protocols that a node serves.
    pub alpns: Vec<Vec<u8>>,
    /// The URLs of the relays to use, `https://HOST[:PORT]` or, without TLS to
    /// the relay itself, `http://HOST[:PORT]`.
    pub relays: Vec<String>,
    /// Whether to use the public relays of iroh's makers as well.
    pub public_relays: bool,
    /// Whether to use the public discovery service of iroh's makers: an endpoint
    /// that serves something tells it its relay, one that serves nothing asks it
    /// where others are.
    pub discovery: bool,
    /// Windows and timeouts. A node begins with the narrow receive window of
    /// strangers.
    pub settings: TransportSettings,
}

/// Binds an endpoint with a key; its endpoint id is the key's public half.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// When an address is not available or a relay's URL is not one.
pub async fn bind(secret: &NodeSecret, options: &Options) -> Result<Endpoint, BindError> {
    let serves = options.serves;
    let mut report = NetReportConfig::default();
    // It would ask the relay something else over plain HTTP.
    report.captive_portal_check = false;
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(secret.expose_seed()))
        .alpns(options.alpns.clone())
        .transport_config(transport(&options.settings, serves))
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(report)
        // None is resumed: each process dials a node once.
        .max_tls_tickets(1)
        .relay_mode(relay_mode(options)?);
    let builder = match options.discovery {
        true if serves => builder.address_lookup(PkarrPublisher::n0_dns()),
        true => builder
            .address_lookup(PkarrResolver::n0_dns())
            .address_lookup(DnsAddressLookup::n0_dns()),
        false => builder,
    };
    let builder = match options.listen {
        Some(addr) => at(builder, addr)?,
        None => builder,
    };
    let bound = builder.bind().await;
    bound.map_err(|error| BindError::Bind {
        addr: options.listen,
        reason: visible(&format!("{error:#}")).into_owned(),
    })
}

/// The URL of the relay that the endpoint is connected to, and whether it is at
/// this moment; `None` if it has chosen none.
pub fn relay_in_use(endpoint: &Endpoint) -> Option<(String, bool)> {
    let relays = endpoint.home_relay_status().get();
    let relay = relays.first()?;
    Some((relay.url().to_string(), relay.is_connected()))
}

/// The address of the node behind an endpoint, as clients take it: its id, and the
/// ways to it that the endpoint knows of at this moment.
pub fn node_address(endpoint: &Endpoint) -> String {
    let address = endpoint.addr();
    let relays = address.relay_urls().map(ToString::to_string);
    let relays = relays.map(|url| url.trim_end_matches('/').to_owned());
    let direct = address.ip_addrs().map(ToString::to_string);
    let ways: Vec<_> = relays.chain(direct).collect();
    match ways.is_empty() {
        true => format!("iroh:{}", endpoint.id()),
        false => format!("iroh:{}@{}", endpoint.id(), ways.join(",")),
    }
}

/// Why an endpoint cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The URL of a relay is not one.
    #[error(
        "{url:?} is not the URL of a relay ({reason}): expected https://HOST[:PORT] or http://HOST[:PORT]"
    )]
    Relay {
        /// The text that was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The sockets cannot be opened.
    #[error("cannot open UDP{} for iroh: {reason}{}", at_address(.addr), remedy(.addr))]
    Bind {
        /// The address asked for.
        addr: Option<SocketAddr>,
        /// What the library said.
        reason: String,
    },
}

fn at_address(addr: &Option<SocketAddr>) -> String {
    addr.map(|addr| format!(" {addr}")).unwrap_or_default()
}

fn remedy(addr: &Option<SocketAddr>) -> &'static str {
    match addr {
        Some(_) => {
            "; if another process listens there (`ss -lunp` names it), stop it or choose another port"
        }
        None => "",
    }
}

/// Checks the URL of a relay.
///
/// # Errors
/// When it is not one.
pub fn check_relay(text: &str) -> Result<(), BindError> {
    relay_url(text).map(drop)
}

/// The URL of a relay.
pub(crate) fn relay_url(text: &str) -> Result<RelayUrl, BindError> {
    let fault = |reason: String| BindError::Relay {
        url: text.to_owned(),
        reason,
    };
    let url: RelayUrl = text.parse().map_err(|error| fault(format!("{error}")))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(fault(format!("its scheme is {}", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(fault("the host is missing".to_owned()));
    }
    Ok(url)
}

fn relay_mode(options: &Options) -> Result<RelayMode, BindError> {
    let own = options.relays.iter().map(|text| relay_url(text));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    let all = match options.public_relays {
        true => RelayMode::Default.relay_map(),
        false if own.is_empty() => return Ok(RelayMode::Disabled),
        false => RelayMap::empty(),
    };
    all.extend(&RelayMap::from_iter(own));
    Ok(RelayMode::Custom(all))
}

/// Sets the addresses to bind: that one, or for `[::]` all of both families.
fn at(builder: Builder, addr: SocketAddr) -> Result<Builder, BindError> {
    let fault = |error| BindError::Bind {
        addr: Some(addr),
        reason: format!("{error}"),
    };
    let builder = builder.clear_ip_transports();
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
        // Some machines have no IPv6.
        let may_fail = BindOpts::default().set_is_required(false);
        return builder
            .bind_addr(v4)
            .and_then(|builder| builder.bind_addr_with_opts(addr, may_fail))
            .map_err(fault);
    }
    builder.bind_addr(addr).map_err(fault)
}

fn transport(settings: &TransportSettings, serves: bool) -> QuicTransportConfig {
    let window = match serves {
        true => settings.receive_window_before_login,
        false => settings.connection_receive_window,
    };
    QuicTransportConfig::builder()
        .stream_receive_window(VarInt::from_u32(settings.stream_receive_window))
        .receive_window(VarInt::from_u32(window))
        .send_window(settings.send_window.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(settings.max_streams))
        // Unused, so that a peer cannot make us keep anything there.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(settings.keep_alive_interval)
        // More than 2^62 ms cannot be expressed and means "never" anyway.
        .max_idle_timeout(IdleTimeout::try_from(settings.idle_timeout).ok())
        .build()
}
