//! OpenSSH certificates as a node signs them, key revocation lists, and the
//! record of both.
//!
//! An [`Authority`] signs certificates for users and hosts
//! (PROTOCOL.certkeys of OpenSSH). [`Records`] is the directory in which it keeps
//! the serial numbers, what was signed and what is revoked; the revocation list in
//! it is one that sshd and `ssh-keygen -Q` read (PROTOCOL.krl). What a certificate
//! says of alknet's own stands in the extensions [`SCOPES`] and [`ACCOUNTS`], which
//! narrow what a peer may do and never add to it.

#![forbid(unsafe_code)]

mod authority;
mod extensions;
mod grant;
mod krl;
mod login;
mod records;
mod terms;

pub use authority::{Authority, AuthorityError};
pub use extensions::{ACCOUNTS, ListError, NAMESPACE, SCOPES, read_list, write_list};
pub use grant::{Asker, GrantError, Has};
pub use krl::Revocations;
pub use login::{LONGEST_MESSAGE, SignAnswer, SignRequest, Signed};
pub use records::{Issued, Records, RecordsError};
pub use terms::{HostTerms, Permits, UserTerms, Validity};
