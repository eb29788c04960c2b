//! What forwards lead to, and what uses them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The program at the far end of the forwards. A connection says first what it
/// wants: `D` and a number for so many bytes, `U` and a number to have that many
/// taken, `E` for an echo, `S` for bytes without end.
pub(crate) struct Load {
    port: u16,
}

/// Longer than anything takes; a connection that is silent for so long hangs.
const HANG: Duration = Duration::from_secs(60);
const BLOCK: usize = 256 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

impl Load {
    /// Starts it; it serves until the process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                // Whoever goes away early has a reason.
                std::thread::spawn(move || serve(socket).is_ok());
            }
        });
        Self { port }
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut line = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    let text = String::from_utf8_lossy(&line);
    let length = text.get(1..).and_then(|it| it.parse().ok()).unwrap_or(0);
    match line.first() {
        Some(b'D') => give(&mut socket, length),
        Some(b'S') => give(&mut socket, u64::MAX),
        Some(b'U') => {
            take(&mut socket, length)?;
            socket.write_all(b"K")
        }
        Some(b'E') => {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match socket.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => socket.write_all(&buffer[..length])?,
                }
            }
        }
        _ => Ok(()),
    }
}

fn give(to: &mut TcpStream, mut length: u64) -> std::io::Result<()> {
    while length > 0 {
        let part = length.min(BLOCK as u64);
        to.write_all(&ZEROS[..part as usize])?;
        length -= part;
    }
    Ok(())
}

fn take(from: &mut TcpStream, mut length: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    while length > 0 {
        let most = buffer.len().min(usize::try_from(length).unwrap_or(BLOCK));
        match from.read(&mut buffer[..most])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length -= more as u64,
        }
    }
    Ok(())
}

/// Connects to a forwarded port.
///
/// # Errors
/// When that fails.
pub(crate) fn dial(port: u16) -> Result<TcpStream, String> {
    let connected = || {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HANG))?;
        socket.set_write_timeout(Some(HANG))?;
        Ok(socket)
    };
    connected().map_err(|error: std::io::Error| format!("port {port}: {error}"))
}

/// Waits until a forwarded port leads somewhere.
///
/// # Errors
/// When it never does.
pub(crate) fn wait_for(port: u16) -> Result<(), String> {
    let deadline = Instant::now() + HANG;
    while Instant::now() < deadline {
        if echo_once(port).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the forward at port {port} never came up"))
}

/// Downloads so many bytes.
///
/// # Errors
/// When fewer come.
pub(crate) fn pull(port: u16, length: u64) -> Result<(), String> {
    let mut socket = dial(port)?;
    let asked = writeln!(socket, "D{length}");
    asked
        .and_then(|()| take(&mut socket, length))
        .map_err(|error| format!("download: {error}"))
}

/// Uploads so many bytes, until they have been taken at the other end.
///
/// # Errors
/// When they are not.
pub(crate) fn push(port: u16, length: u64) -> Result<(), String> {
    let mut socket = dial(port)?;
    let pushed = writeln!(socket, "U{length}")
        .and_then(|()| give(&mut socket, length))
        .and_then(|()| socket.read_exact(&mut [0]));
    pushed.map_err(|error| format!("upload: {error}"))
}

/// A download without end of which nothing is read as long as the socket is kept.
///
/// # Errors
/// When it cannot be asked for.
pub(crate) fn unread(port: u16) -> Result<TcpStream, String> {
    let mut socket = dial(port)?;
    writeln!(socket, "S").map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Downloads until `is_over`, counting what comes.
pub(crate) fn pull_until(
    port: u16,
    count: &AtomicU64,
    is_over: impl Fn() -> bool,
) -> Result<(), String> {
    let mut socket = unread(port)?;
    let mut buffer = vec![0; BLOCK];
    while !is_over() {
        match socket.read(&mut buffer) {
            Ok(0) => return Err("the download ended".to_owned()),
            Ok(more) => count.fetch_add(more as u64, Ordering::Relaxed),
            Err(error) => return Err(format!("the download stopped: {error}")),
        };
    }
    Ok(())
}

/// How long it takes from a new connection to the first byte that comes back,
/// in seconds.
///
/// # Errors
/// When none comes.
pub(crate) fn echo_once(port: u16) -> Result<f64, String> {
    let started = Instant::now();
    let mut socket = dial(port)?;
    let mut byte = [0];
    let echoed = socket
        .write_all(b"E\nx")
        .and_then(|()| socket.read_exact(&mut byte));
    echoed.map_err(|error| format!("echo: {error}"))?;
    Ok(started.elapsed().as_secs_f64())
}
