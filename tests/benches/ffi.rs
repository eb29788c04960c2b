//! What the boundary to the plugin costs: the SSH handler linked statically, and
//! the same handler in a loaded plugin, take turns in one process. Uploads have
//! the handler read from the node's stream, downloads have it write.
//!
//!     cargo bench -p alknet-benches --bench ffi

#![forbid(unsafe_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use alknet_handler::{
    AuthContext, BoxFuture, BoxStream, Capabilities, CertificateQuery, Connection, Identity,
    IdentityAlreadySet, IdentityError, IdentityProvider, ProtocolHandler, Secret, StreamError,
};
use alknet_loader::{HandlerInputs, LoadedPlugin, PluginHandler, Stage, Trust};
use alknet_ssh::client::ChannelStream;
use alknet_ssh::{Client, ClientOptions, SshHandler};
use alknet_ssh_config::SshConfig;
use integration_tests::{Target, TestKey, artifacts};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

const CONNECTIONS: [usize; 3] = [1, 8, 64];
const ROUNDS: usize = 5;
/// Of all connections together.
const BYTES: usize = 256 << 20;
const BLOCK: usize = 256 << 10;
/// Of the pipe that stands for the network.
const PIPE: usize = 256 << 10;
/// The boundary may cost so much.
const MOST: f64 = 1.03;
const CONFIG: &str =
    r#"{"limits":{"max_startups":{"start":1000,"rate":30,"full":2000,"per_source":2000}}}"#;

/// A handler, and how the threads that it runs on are called.
struct Side {
    handler: Arc<dyn ProtocolHandler>,
    runs_on: Handle,
    threads: &'static str,
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let user = TestKey::make(directory.path(), "user");
    let host_key = fs::read(&TestKey::make(directory.path(), "host").file).unwrap();
    let host = runtime("node");
    // As the plugin makes it.
    let own = runtime("static");
    let sides = [
        linked(&host_key, &user, &own),
        loaded(&host_key, &user, &host, directory.path()),
    ];
    println!(
        "processor time beside a handler that is linked statically, medians of {ROUNDS} rounds\n"
    );
    println!(
        "{:>11} {:<9} {:>12} {:>12} {:>14} {:>9}",
        "connections", "direction", "static s/GiB", "plugin s/GiB", "ratio", "of handler"
    );
    for connections in CONNECTIONS {
        for up in [true, false] {
            row(&host, &sides, &user, connections, up);
        }
    }
}

fn row(host: &Runtime, sides: &[Side; 2], user: &TestKey, connections: usize, up: bool) {
    let mut taken = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    let mut of_handlers = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = Vec::new();
        for (side, taken) in sides.iter().zip(&mut taken) {
            let cost = transfer(host, side, user, connections, up);
            taken.push(cost.0);
            round.push(cost);
        }
        ratios.push(round[1].0 / round[0].0);
        of_handlers.push(round[1].1 / round[0].1);
    }
    let (ratio, of_handler) = (median(&ratios), median(&of_handlers));
    let verdict = if ratio <= MOST + 0.005 {
        "reached"
    } else {
        "missed"
    };
    println!(
        "{connections:>11} {:<9} {:>12.2} {:>12.2} {:>7.3} ({:.2} to {:.2}) {of_handler:>7.3}  ≤ {MOST} {verdict}",
        if up { "read" } else { "write" },
        median(&taken[0]),
        median(&taken[1]),
        ratio,
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
}

/// Processor time for a GiB: of the process, and of the handler's threads.
fn transfer(
    host: &Runtime,
    side: &Side,
    user: &TestKey,
    connections: usize,
    up: bool,
) -> (f64, f64) {
    let each = BYTES / connections;
    let target = Target::tcp("127.0.0.1:0", move |mut socket| {
        if up {
            let mut buffer = vec![0; BLOCK];
            while socket.read(&mut buffer).is_ok_and(|length| length > 0) {}
            let _ = socket.write_all(b"k");
        } else {
            // Nothing fills the windows before it counts.
            let _ = socket.read(&mut [0]);
            let zeros = vec![0; BLOCK];
            for _ in 0..each / BLOCK {
                if socket.write_all(&zeros).is_err() {
                    return;
                }
            }
        }
        socket.finish();
    });
    let port = target.port();
    let key = user.ssh();
    let open = async |handler: Arc<dyn ProtocolHandler>, runs_on: Handle| {
        let (near, far) = tokio::io::duplex(PIPE);
        let connection = Arc::new(OneStream::new(far));
        let served = handler.handle(Arc::clone(&connection) as _, AuthContext::default());
        runs_on.spawn(served);
        let options = ClientOptions::default();
        let mut client = Client::connect(near, &options, |_| true).await.unwrap();
        client.authenticate("user", Arc::clone(&key)).await.unwrap();
        let channel = client.direct_tcpip("127.0.0.1", port).await.unwrap();
        (connection, client, channel)
    };
    let all = host.block_on(async {
        let mut all = Vec::new();
        for _ in 0..connections {
            all.push(open(Arc::clone(&side.handler), side.runs_on.clone()).await);
        }
        all
    });
    let before = (process_time(), threads_time(side.threads));
    let (mut kept, mut moving) = (Vec::new(), Vec::new());
    for (connection, client, channel) in all {
        kept.push((connection, client));
        moving.push(host.spawn(move_bytes(channel, each, up)));
    }
    host.block_on(async {
        for one in moving {
            one.await.unwrap();
        }
    });
    let gib = BYTES as f64 / f64::from(1 << 30);
    let of_process = (process_time() - before.0) / gib;
    let of_threads = (threads_time(side.threads) - before.1) / gib;
    for (connection, client) in kept {
        host.block_on(client.disconnect());
        connection.close(0, "");
    }
    (of_process, of_threads)
}

async fn move_bytes(mut channel: ChannelStream, length: usize, up: bool) {
    if up {
        let zeros = vec![0; BLOCK];
        for _ in 0..length / BLOCK {
            channel.write_all(&zeros).await.unwrap();
        }
        channel.shutdown().await.unwrap();
        let mut answer = [0];
        channel.read_exact(&mut answer).await.unwrap();
    } else {
        channel.write_all(b"g").await.unwrap();
        let mut buffer = vec![0; BLOCK];
        let mut left = length / BLOCK * BLOCK;
        while left > 0 {
            match channel.read(&mut buffer).await.unwrap() {
                0 => panic!("{left} bytes are missing"),
                more => left -= more,
            }
        }
    }
}

fn linked(host_key: &[u8], user: &TestKey, runtime: &Runtime) -> Side {
    let _inside = runtime.enter();
    let handler = SshHandler::new(
        SshConfig::from_json(CONFIG).unwrap(),
        alknet_ssh::parse_host_keys(&[Secret::new(host_key.to_vec())]).unwrap(),
        Capabilities::default(),
        Arc::new(OneUser(user.fingerprint())),
        None,
    );
    Side {
        handler: Arc::new(handler.unwrap()),
        runs_on: runtime.handle().clone(),
        threads: "static",
    }
}

fn loaded(host_key: &[u8], user: &TestKey, host: &Runtime, directory: &std::path::Path) -> Side {
    let library = directory.join("plugin.so");
    fs::copy(&artifacts().plugin, &library).unwrap();
    let stage = Stage::open(&directory.join("stage")).unwrap();
    let trust = Trust {
        allow_digests: None,
        signers: Vec::new(),
        allow_unsigned: true,
    };
    let plugin = LoadedPlugin::load(&library, &trust, &stage).unwrap();
    let inputs = HandlerInputs {
        config: serde_json::from_str(CONFIG).unwrap(),
        host_keys: vec![Secret::new(host_key.to_vec())],
        capabilities: Capabilities::default(),
        identities: Arc::new(OneUser(user.fingerprint())),
        log_filter: "error".to_owned(),
        generation: 1,
        config_generation: Arc::new(AtomicU64::new(1)),
        more: json!({}),
    };
    let handler = PluginHandler::create(&plugin, inputs, host.handle().clone()).unwrap();
    // What it runs is used until the process ends.
    std::mem::forget(plugin);
    Side {
        handler: Arc::new(handler),
        runs_on: host.handle().clone(),
        threads: "ssh-1",
    }
}

fn runtime(name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .event_interval(4)
        .thread_name(name);
    builder.enable_all().build().unwrap()
}

/// A connection over a single stream.
struct OneStream {
    stream: Mutex<Option<BoxStream>>,
    closed: Notify,
}

impl OneStream {
    fn new(stream: impl alknet_handler::ByteStream) -> Self {
        Self {
            stream: Mutex::new(Some(Box::new(stream))),
            closed: Notify::new(),
        }
    }
}

impl Connection for OneStream {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let stream = self.stream.lock().unwrap().take();
            match stream {
                Some(stream) => Ok(stream),
                None => {
                    self.closed.notified().await;
                    Err(StreamError::ConnectionClosed)
                }
            }
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async { Err(StreamError::ConnectionClosed) })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        b"alknet/ssh".to_vec()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, 2, 7], 1234)))
    }

    fn set_identity(&self, _: Identity) -> Result<(), IdentityAlreadySet> {
        Ok(())
    }

    fn close(&self, _: u32, _: &str) {
        self.closed.notify_one();
    }
}

/// Knows one key, whose owner may connect anywhere.
struct OneUser(String);

impl IdentityProvider for OneUser {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let found = (fingerprint == self.0).then(|| Identity {
            id: "user".to_owned(),
            scopes: vec!["ssh:forward:*:*".to_owned()],
            ..Identity::default()
        });
        Box::pin(async move { Ok(found) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        _: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }
}

fn process_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Of the threads of this process whose names start so (schedstat).
fn threads_time(name: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |task: fs::DirEntry| {
        let called = fs::read_to_string(task.path().join("comm")).ok()?;
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let time: f64 = times.split_whitespace().next()?.parse().ok()?;
        called.starts_with(name).then_some(time / 1e9)
    };
    tasks.filter_map(of).sum()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
