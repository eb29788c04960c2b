//! SOCKS5 over any byte stream, and its neighbours SOCKS4a and HTTP CONNECT:
//! codecs without I/O and a thin async shell.
//!
//! The codec ([`Message`] and its implementations) follows RFC 1928 and the
//! username/password sub-negotiation of RFC 1929, for both ends; in [`http`],
//! CONNECT of RFC 9110 with the Basic credentials of RFC 7617. It decodes from
//! any prefix of a message and says how many bytes are missing, so a caller
//! that reads just those never takes a byte that belongs to the tunnelled
//! protocol.
//!
//! The shell runs the handshakes. A client has [`connect`], [`http::connect`]
//! and, where the kind of proxy is a setting, [`upstream::connect`]. A server
//! has [`accept`], and [`accept_any`] for clients of all three protocols. The
//! server's reply is the caller's to give, once the outcome is known:
//!
//! ```
//! use alknet_socks5::{AuthPolicy, HandshakeError, Reply, accept_any};
//! # use tokio::io::{AsyncRead, AsyncWrite};
//!
//! async fn serve(client: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), HandshakeError> {
//!     let request = accept_any(client, &AuthPolicy::Open).await?;
//!     println!("wanted: {}", request.target());
//!     // Open the connection here, and tell what came of it.
//!     request.reply(Reply::ConnectionRefused).await?;
//!     Ok(())
//! }
//! ```
//!
//! There are no time limits here; wrap the handshakes in one.

#![forbid(unsafe_code)]

mod address;
mod client;
mod codec;
mod credentials;
mod error;
pub mod http;
mod message;
mod server;
mod socks4;
mod stream;
pub mod upstream;

pub use address::{Address, AddressError, Domain, Target};
pub use client::connect;
pub use codec::{DecodeError, Message, Progress};
pub use credentials::{Credentials, CredentialsError};
pub use error::HandshakeError;
pub use message::{AuthStatus, Command, Greeting, Method, MethodChoice, Reply, Request, Response};
pub use server::{AuthPolicy, Dialect, PendingRequest, accept, accept_any};
pub use socks4::{Socks4Request, Socks4Response};
