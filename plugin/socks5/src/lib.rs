//! SOCKS5 over any byte stream: a codec without I/O and a thin async shell.
