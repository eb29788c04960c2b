//! A SOCKS5 or HTTP proxy that the node's connections go out through.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use alknet_socks5::{
    Address, AuthPolicy, Credentials, Dialect, PendingRequest, Reply, Target, accept_any,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The time that a target may take to answer.
const CONNECT: Duration = Duration::from_secs(3);

/// A proxy for a node to go out through, on a thread of its own, so that tests
/// without a runtime may have one too. It connects to the real target; a name
/// under `.test`, which no resolver knows, means 127.0.0.1. Ends with all its
/// tunnels when dropped.
pub struct UpstreamProxy {
    addr: SocketAddr,
    targets: Targets,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Targets = Arc<Mutex<Vec<String>>>;

impl UpstreamProxy {
    /// One that speaks SOCKS5, and asks for user name and password if some are
    /// given.
    pub fn socks5(credentials: Option<(&str, &str)>) -> Self {
        Self::start(Dialect::Socks5, credentials)
    }

    /// One that speaks HTTP CONNECT.
    pub fn http(credentials: Option<(&str, &str)>) -> Self {
        Self::start(Dialect::Http, credentials)
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The targets that accepted clients have asked for so far, as `host:port`.
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }

    fn start(dialect: Dialect, credentials: Option<(&str, &str)>) -> Self {
        let policy = match credentials {
            Some((username, password)) => {
                AuthPolicy::Password(Credentials::new(username, password).unwrap())
            }
            None => AuthPolicy::Open,
        };
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let targets = Targets::default();
        let (stop, stopped) = oneshot::channel();
        let serving = Serving {
            dialect,
            policy,
            targets: Arc::clone(&targets),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept_all(listener, Arc::new(serving)) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            addr,
            targets,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for UpstreamProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

struct Serving {
    dialect: Dialect,
    policy: AuthPolicy,
    targets: Targets,
}

async fn accept_all(listener: TcpListener, serving: Arc<Serving>) {
    let mut tunnels = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tunnels.spawn(serve(client, Arc::clone(&serving)));
        while tunnels.try_join_next().is_some() {}
    }
}

async fn serve(client: TcpStream, serving: Arc<Serving>) {
    let Ok(request) = accept_any(client, &serving.policy).await else {
        return;
    };
    if request.dialect() != serving.dialect {
        return;
    }
    let target = request.target().to_string();
    serving.targets.lock().unwrap().push(target);
    // Either end may fail; both are closed then, which is all there is to do.
    let _ = tunnel(request).await;
}

async fn tunnel(
    request: PendingRequest<TcpStream>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match timeout(CONNECT, dial(request.target())).await {
        Ok(Ok(mut upstream)) => {
            let mut client = request.reply(Reply::Succeeded).await?;
            copy_bidirectional(&mut client, &mut upstream).await?;
        }
        Ok(Err(error)) => drop(request.reply(reason(&error)).await?),
        Err(_) => drop(request.reply(Reply::TtlExpired).await?),
    }
    Ok(())
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    match &target.address {
        Address::Ip(ip) => TcpStream::connect((*ip, target.port)).await,
        Address::Domain(name) if name.as_str().ends_with(".test") => {
            TcpStream::connect(("127.0.0.1", target.port)).await
        }
        Address::Domain(name) => TcpStream::connect((name.as_str(), target.port)).await,
    }
}

fn reason(error: &io::Error) -> Reply {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reply::ConnectionRefused,
        io::ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
        io::ErrorKind::TimedOut => Reply::TtlExpired,
        _ => Reply::HostUnreachable,
    }
}
