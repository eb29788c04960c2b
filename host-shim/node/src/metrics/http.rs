//! A small HTTP/1.1 server (RFC 9112) that answers `GET /metrics` and nothing
//! else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Collector;
use super::text::CONTENT_TYPE;

/// The most connections that are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// The time that a request may take to arrive: in all (`HEAD_TIMEOUT`), and
/// from one part to the next (`IDLE_TIMEOUT`).
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that an answer may take to leave, and the peer to close after it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;

/// Answers `GET /metrics` (HTTP/1.1, RFC 9112), one request a connection.
pub(crate) struct Responder {
    listener: TcpListener,
    addr: SocketAddr,
    /// The values of `Host` that are answered, beside those of the machine
    /// itself.
    hosts: Arc<[String]>,
}

/// The metrics' address is not available.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {addr} for metrics: {source}; choose another port in metrics.listen")]
pub struct MetricsBindError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl Responder {
    /// Listens. Must be called inside a tokio runtime.
    pub(crate) fn bind(addr: SocketAddr, hosts: &[String]) -> Result<Self, MetricsBindError> {
        let failed = |source| MetricsBindError { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            addr: listener.local_addr().map_err(failed)?,
            listener: TcpListener::from_std(listener).map_err(failed)?,
            hosts: hosts.into(),
        })
    }

    /// The address it listens on.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until dropped.
    pub(crate) async fn serve(self, collector: Collector) {
        let collector = Arc::new(collector);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept on the metrics listener");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (collector, hosts) = (Arc::clone(&collector), Arc::clone(&self.hosts));
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &collector, &hosts).await {
                    tracing::debug!(%error, "a request for metrics failed");
                }
                drop(place);
            });
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    collector: &Collector,
    hosts: &[String],
) -> io::Result<()> {
    let mut head = Vec::new();
    let asked = timeout(HEAD_TIMEOUT, read_head(&mut stream, &mut head, hosts)).await;
    let answer = match asked.map_err(|_| io::ErrorKind::TimedOut)?? {
        Asked::Metrics => response("200 OK", CONTENT_TYPE, &collector.text().await),
        Asked::Nothing => return Ok(()),
        Asked::Other(status) => {
            let text = format!("{status}\nThe metrics are at GET /metrics.\n");
            response(status, "text/plain; charset=utf-8", &text)
        }
    };
    let answered = timeout(ANSWER_TIMEOUT, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closed with unread bytes, the connection would be reset, and the
        // answer may be lost.
        let mut rest = [0; 1024];
        while let Ok(read) = timeout(IDLE_TIMEOUT, stream.read(&mut rest)).await {
            if read? == 0 {
                break;
            }
        }
        Ok(())
    });
    answered.await.map_err(|_| io::ErrorKind::TimedOut)?
}

enum Asked {
    Metrics,
    /// The peer closed the connection without a request.
    Nothing,
    /// The request is to be answered with this status.
    Other(&'static str),
}

async fn read_head(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
    hosts: &[String],
) -> io::Result<Asked> {
    loop {
        let mut buffer = [0; 1024];
        let read = timeout(IDLE_TIMEOUT, stream.read(&mut buffer)).await;
        let read = read.map_err(|_| io::ErrorKind::TimedOut)??;
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        return Ok(match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => asked(&request, hosts),
            Ok(httparse::Status::Partial) if read == 0 && head.is_empty() => Asked::Nothing,
            Ok(httparse::Status::Partial) if read == 0 => Asked::Other("400 Bad Request"),
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => continue,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                Asked::Other("431 Request Header Fields Too Large")
            }
            Err(_) => Asked::Other("400 Bad Request"),
        });
    }
}

fn asked(request: &httparse::Request<'_, '_>, hosts: &[String]) -> Asked {
    let named = request.headers.iter();
    let mut named = named.filter(|header| header.name.eq_ignore_ascii_case("host"));
    match (named.next(), named.next()) {
        (Some(host), None) if is_ours(host.value, hosts) => {}
        (Some(_), None) => return Asked::Other("421 Misdirected Request"),
        // HTTP/1.0, which no browser speaks.
        (None, None) if request.version == Some(0) => {}
        _ => return Asked::Other("400 Bad Request"),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match (request.method, path) {
        (Some("GET"), "/metrics") => Asked::Metrics,
        (Some("GET"), _) => Asked::Other("404 Not Found"),
        _ => Asked::Other("405 Method Not Allowed"),
    }
}

/// Whether a request names the machine itself, or what the operator calls it.
/// A web page whose name was made to point here (DNS rebinding) has its browser
/// send that name.
fn is_ours(host: &[u8], hosts: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let host = host.trim();
    if host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if bare.unwrap_or(name).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // RFC 6761 section 6.3.
    name == "localhost"
        || name.ends_with(".localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(&name))
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebound_name_is_not_ours() {
        let hosts = ["metrics.example".to_owned()];
        for host in [
            "localhost",
            "LocalHost:9464",
            "node.localhost.",
            "127.0.0.1:9464",
            "192.0.2.1",
            "[::1]:9464",
            "[::1]",
            "Metrics.Example:80",
        ] {
            assert!(is_ours(host.as_bytes(), &hosts), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "metrics.example@evil.example",
        ] {
            assert!(!is_ours(host.as_bytes(), &hosts), "{host}");
        }
    }
}
