//! What the tests of this crate share: a node in memory, and pipes.
//! Every test file uses a part of it.

#![allow(dead_code)]

pub mod monitor;
pub mod pipe;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use alknet_handler::{
    AuthContext, BoxFuture, BoxStream, ByteStream, Capabilities, CertificateQuery, Connection,
    HandlerError, Identity, IdentityAlreadySet, IdentityError, IdentityProvider, ProtocolHandler,
    StreamError,
};
use alknet_ssh::{
    Client, ClientError, ClientOptions, Exit, Launcher, PrivateKey, Resolver, SshHandler,
    SystemResolver,
};
use alknet_ssh_config::SshConfig;
use russh::keys::{Algorithm, HashAlg};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// No test step may take longer; it only ever runs out when something hangs.
pub const GUARD: Duration = Duration::from_secs(60);

/// Fails the test instead of hanging.
pub async fn guard<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(GUARD, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} hangs"),
    }
}

pub fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap())
}

pub fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(HashAlg::Sha256).to_string()
}

pub fn identity(id: &str, scopes: &[&str]) -> Identity {
    Identity {
        id: id.to_owned(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        ..Identity::default()
    }
}

/// Knows keys by their fingerprints.
#[derive(Default)]
pub struct Identities(Mutex<BTreeMap<String, Identity>>);

impl Identities {
    pub fn add(&self, key: &PrivateKey, identity: Identity) {
        self.0.lock().unwrap().insert(fingerprint(key), identity);
    }

    /// Whoever has a certificate of that authority is this.
    pub fn trust(&self, authority: &PrivateKey, identity: Identity) {
        let name = format!("authority {}", fingerprint(authority));
        self.0.lock().unwrap().insert(name, identity);
    }

    pub fn remove(&self, key: &PrivateKey) {
        self.0.lock().unwrap().remove(&fingerprint(key));
    }
}

impl IdentityProvider for Identities {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.lock().unwrap().get(fingerprint).cloned();
        Box::pin(async move { Ok(answer) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        query: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let name = format!("authority {}", query.ca_fingerprint);
        let answer = self.0.lock().unwrap().get(&name).cloned();
        Box::pin(async move { Ok(answer) })
    }
}

/// A connection whose streams the test hands in.
pub struct TestConnection {
    streams: Mutex<VecDeque<BoxStream>>,
    arrived: Semaphore,
    closed: OnceLock<String>,
    closed_notify: Notify,
    pub identity: OnceLock<Identity>,
    pub address: Option<SocketAddr>,
}

impl TestConnection {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: Mutex::default(),
            arrived: Semaphore::new(0),
            closed: OnceLock::new(),
            closed_notify: Notify::new(),
            identity: OnceLock::new(),
            address: Some("192.0.2.7:1234".parse().unwrap()),
        })
    }

    /// The peer opens a stream.
    pub fn push(&self, stream: impl ByteStream) {
        self.streams.lock().unwrap().push_back(Box::new(stream));
        self.arrived.add_permits(1);
    }

    /// The peer closes the connection.
    pub fn end(&self) {
        self.close(0, "the peer closed");
    }

    pub fn close_reason(&self) -> Option<&str> {
        self.closed.get().map(String::as_str)
    }
}

impl Connection for TestConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let closed = self.closed_notify.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.closed.get().is_some() {
                return Err(StreamError::ConnectionClosed);
            }
            tokio::select! {
                permit = self.arrived.acquire() => {
                    permit.unwrap().forget();
                    Ok(self.streams.lock().unwrap().pop_front().unwrap())
                }
                () = closed => Err(StreamError::ConnectionClosed),
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
        self.address
    }

    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet> {
        self.identity.set(identity).map_err(|_| IdentityAlreadySet)
    }

    fn close(&self, _: u32, reason: &str) {
        let _ = self.closed.set(reason.to_owned());
        self.closed_notify.notify_waiters();
    }
}

/// A node that serves SSH in memory, and one user it knows.
pub struct Node {
    pub handler: Arc<SshHandler>,
    pub identities: Arc<Identities>,
    pub host_key: PrivateKey,
    pub user: Arc<PrivateKey>,
}

impl Node {
    /// A node whose user may run any command.
    pub fn new() -> Self {
        Self::with("{}", &["ssh:exec"])
    }

    pub fn with(config: &str, scopes: &[&str]) -> Self {
        Self::with_resolver(config, scopes, Arc::new(SystemResolver::default()))
    }

    pub fn with_resolver(config: &str, scopes: &[&str], resolver: Arc<dyn Resolver>) -> Self {
        Self::with_launcher(config, scopes, Some(Launcher::direct()), resolver)
    }

    pub fn with_launcher(
        config: &str,
        scopes: &[&str],
        launcher: Option<Launcher>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let identities = Arc::new(Identities::default());
        let user = key();
        identities.add(&user, identity("alice", scopes));
        let handler = SshHandler::with_resolver(
            SshConfig::from_json(config).unwrap(),
            vec![host_key.clone()],
            Capabilities::default(),
            Arc::clone(&identities) as Arc<dyn IdentityProvider>,
            launcher,
            resolver,
        )
        .unwrap();
        Self {
            handler: Arc::new(handler),
            identities,
            host_key,
            user,
        }
    }

    /// Serves one connection.
    pub fn serve(&self, connection: &Arc<TestConnection>) -> JoinHandle<Result<(), HandlerError>> {
        let connection: Arc<TestConnection> = Arc::clone(connection);
        tokio::spawn(self.handler.handle(connection, AuthContext::default()))
    }

    /// Serves one stream as a connection of its own.
    pub fn serve_stream(&self, stream: impl ByteStream) -> Served {
        let connection = TestConnection::new();
        connection.push(stream);
        Served {
            task: self.serve(&connection),
            connection,
        }
    }

    /// A client without a login over a stream.
    pub async fn connect(
        &self,
        stream: impl ByteStream,
        options: &ClientOptions,
    ) -> Result<Client, ClientError> {
        let expected = self.host_key.public_key().clone();
        Client::connect(stream, options, move |key| {
            key.key_data() == expected.key_data()
        })
        .await
    }

    /// A client that has logged in, over a pipe of the given capacity.
    pub async fn client(&self, capacity: usize) -> (Client, Served) {
        let (near, far) = tokio::io::duplex(capacity);
        let served = self.serve_stream(far);
        let client = guard("a login", self.login(near)).await.unwrap();
        (client, served)
    }

    pub async fn login(&self, stream: impl ByteStream) -> Result<Client, ClientError> {
        self.login_as("someone", stream).await
    }

    pub async fn login_as(
        &self,
        user: &str,
        stream: impl ByteStream,
    ) -> Result<Client, ClientError> {
        let mut client = self.connect(stream, &ClientOptions::default()).await?;
        client.authenticate(user, Arc::clone(&self.user)).await?;
        Ok(client)
    }

    /// A logged-in session of russh's own client, for what ours does not ask.
    pub async fn russh<H>(&self, capacity: usize, handler: H) -> (russh::client::Handle<H>, Served)
    where
        H: russh::client::Handler<Error = russh::Error> + Send + 'static,
    {
        let (near, far) = tokio::io::duplex(capacity);
        let served = self.serve_stream(far);
        let config = Arc::new(russh::client::Config::default());
        let mut session = russh::client::connect_stream(config, near, handler)
            .await
            .unwrap();
        let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::clone(&self.user), None);
        let login = session
            .authenticate_publickey("someone", key)
            .await
            .unwrap();
        assert!(login.success());
        (session, served)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.handler.status()).unwrap()
    }

    /// Waits until the node has nothing left to do.
    pub async fn idle(&self) {
        guard("coming to rest", async {
            loop {
                let status = self.status();
                if ["sessions", "channels", "children"]
                    .iter()
                    .all(|name| status[*name] == 0)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// A connection that is being served.
pub struct Served {
    pub connection: Arc<TestConnection>,
    pub task: JoinHandle<Result<(), HandlerError>>,
}

impl Served {
    /// Closes the connection and waits for the handler to let go of it.
    pub async fn finish(self) {
        self.connection.end();
        guard("the end of a connection", self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

/// What a command said and how it ended.
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

/// Runs a command to its end.
pub async fn run(client: &Client, command: &str, input: &[u8]) -> Result<Output, ClientError> {
    run_with(client, command, &[], input).await
}

pub async fn run_with(
    client: &Client,
    command: &str,
    environment: &[(&str, &str)],
    input: &[u8],
) -> Result<Output, ClientError> {
    let mut process = client.exec(command, environment).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let feed = async {
        for chunk in input.chunks(100_000) {
            if process.stdin.send(chunk.to_vec()).await.is_err() {
                return;
            }
        }
        let _ = process.stdin.finish().await;
    };
    let take_stdout = async {
        while let Some(chunk) = process.stdout.chunk().await {
            stdout.extend_from_slice(&chunk);
        }
    };
    let take_stderr = async {
        while let Some(chunk) = process.stderr.chunk().await {
            stderr.extend_from_slice(&chunk);
        }
    };
    tokio::join!(feed, take_stdout, take_stderr);
    let exit = process.wait().await;
    Ok(Output {
        stdout,
        stderr,
        exit,
    })
}

/// Bytes that do not repeat soon and differ by seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Whether a process with this marker in its command line lives (zombies
/// have no command line).
pub fn process_alive(marker: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let is_process = entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit());
        is_process
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
                String::from_utf8_lossy(&line)
                    .split('\0')
                    .any(|word| word.contains(marker))
            })
    })
}

/// Zombie children of this process.
pub fn zombies() -> usize {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| {
                // pid (name) state ppid …; the name may hold anything.
                let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
                let mut fields = rest.split_whitespace();
                fields.next() == Some("Z") && fields.next() == Some(&own)
            })
        })
        .count()
}

/// Waits for a condition the node brings about in its own time.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    guard(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Asserts that a command was denied in words that say what would allow it, and
/// with the status that shells have for it.
pub fn assert_denied(output: &Output, remedy: &str) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.starts_with("alknet: "), "{words}");
    assert!(words.contains(remedy), "{words}");
    assert_eq!(output.exit, Exit::Status(126));
}
