//! Servers that forwards lead to, and clients that use a forward.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{HANG, Random};

/// A connected socket of either family.
pub trait Pipe: Read + Write + Send {
    /// Shuts the writing side down.
    fn finish(&self);
    /// Another handle of the socket, for another thread.
    fn twin(&self) -> Box<dyn Pipe>;
}

/// A boxed [`Pipe`].
pub type Socket = Box<dyn Pipe>;

impl Pipe for TcpStream {
    fn finish(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn twin(&self) -> Socket {
        Box::new(self.try_clone().unwrap())
    }
}

impl Pipe for UnixStream {
    fn finish(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn twin(&self) -> Socket {
        Box::new(self.try_clone().unwrap())
    }
}

/// A server that forwards lead to. It serves until the test's process ends.
pub struct Target {
    /// The address it listens on; port 0 for a Unix socket.
    pub addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Target {
    /// One that gives back what it is sent, on 127.0.0.1.
    pub fn echo() -> Self {
        Self::tcp("127.0.0.1:0", echo)
    }

    /// Listens on TCP and serves each connection in a thread of its own.
    pub fn tcp(addr: &str, serve: impl Fn(Socket) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let accept = move || -> Socket { Box::new(listener.accept().unwrap().0) };
        run(accept, serve, Arc::clone(&accepted));
        Self { addr, accepted }
    }

    /// Listens on a Unix socket.
    pub fn unix(path: &Path, serve: impl Fn(Socket) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let accept = move || -> Socket { Box::new(listener.accept().unwrap().0) };
        run(accept, serve, Arc::clone(&accepted));
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            accepted,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections have come in.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn run(
    accept: impl Fn() -> Socket + Send + 'static,
    serve: impl Fn(Socket) + Send + Sync + 'static,
    accepted: Arc<AtomicUsize>,
) {
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        loop {
            let socket = accept();
            accepted.fetch_add(1, Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(socket));
        }
    });
}

/// Gives back what it is sent, to the end.
pub fn echo(mut socket: Socket) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        if socket.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    socket.finish();
}

/// Serves a connection from which nothing is ever read.
pub fn never_reads(socket: Socket) {
    std::thread::sleep(4 * HANG);
    drop(socket);
}

/// Reads to the end, and only then says how much it was and its digest.
pub fn digests(socket: Socket) {
    let mut socket = socket;
    let (length, digest) = drain(&mut socket);
    let _ = writeln!(socket, "{length} {digest}");
    socket.finish();
}

/// As [`digests`], but reads a quarter of `per_second` bytes every quarter of
/// a second.
pub fn digests_slowly(per_second: usize) -> impl Fn(Socket) + Send + Sync {
    move |mut socket| {
        let (mut length, mut hash) = (0, Sha256::new());
        let mut buffer = vec![0; per_second / 4];
        loop {
            let mut filled = 0;
            while filled < buffer.len() {
                match socket.read(&mut buffer[filled..]) {
                    Ok(more @ 1..) => filled += more,
                    _ => break,
                }
            }
            hash.update(&buffer[..filled]);
            length += filled;
            if filled < buffer.len() {
                let _ = writeln!(socket, "{length} {}", hex::encode(hash.finalize()));
                socket.finish();
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// Gives the bytes of this seed without end.
pub fn gives_for_ever(seed: u64) -> impl Fn(Socket) + Send + Sync {
    move |mut socket| {
        let mut random = Random::new(seed);
        while socket.write_all(&random.bytes(64 << 10)).is_ok() {}
    }
}

/// Gives so many bytes of this seed, says that it is all, and then reads: a
/// digest of what comes back goes to `heard`.
pub fn gives_then_hears(
    seed: u64,
    length: usize,
    heard: std::sync::mpsc::Sender<(usize, String)>,
) -> impl Fn(Socket) + Send + Sync {
    let heard = std::sync::Mutex::new(heard);
    move |mut socket| {
        socket.write_all(&Random::new(seed).bytes(length)).unwrap();
        socket.finish();
        let _ = heard.lock().unwrap().send(drain(&mut socket));
    }
}

/// Reads to the end: how much it was, and its digest.
pub fn drain(socket: &mut impl Read) -> (usize, String) {
    let (mut length, mut hash) = (0, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    while let Ok(more @ 1..) = socket.read(&mut buffer) {
        hash.update(&buffer[..more]);
        length += more;
    }
    (length, hex::encode(hash.finalize()))
}

/// Connects to a local port, with a guard against hanging.
pub fn connect(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(HANG))?;
    socket.set_write_timeout(Some(HANG))?;
    Ok(Box::new(socket))
}

/// Connects to a Unix socket, with a guard against hanging.
pub fn connect_unix(path: &Path) -> std::io::Result<Socket> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(HANG))?;
    socket.set_write_timeout(Some(HANG))?;
    Ok(Box::new(socket))
}

/// Sends bytes to an echo and reads them back at the same time.
///
/// # Errors
/// Says what came back when it is not just that.
pub fn exchange(mut socket: Socket, seed: u64, length: usize) -> Result<(), String> {
    let mut writer = socket.twin();
    let writing = std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let mut hash = Sha256::new();
        let mut sent = 0;
        while sent < length {
            let chunk = random.bytes((length - sent).min(256 << 10));
            hash.update(&chunk);
            if let Err(error) = writer.write_all(&chunk) {
                return Err(format!("not sent after {sent}: {error}"));
            }
            sent += chunk.len();
        }
        writer.finish();
        Ok(hex::encode(hash.finalize()))
    });
    let (received, digest) = drain(&mut socket);
    let sent = writing.join().unwrap()?;
    if received != length {
        return Err(format!("{received} of {length} bytes came back"));
    }
    if sent != digest {
        return Err("other bytes came back than were sent".to_owned());
    }
    Ok(())
}

/// Whether an echo can be reached here.
pub fn answers(addr: SocketAddr) -> bool {
    connect(addr).is_ok_and(|socket| exchange(socket, 1, 1000).is_ok())
}

/// A local port that is free, and that the system gives to nobody of itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::SeqCst) % 2000;
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("::1", port)).is_ok();
        if free {
            return port;
        }
    }
}
