//! Describes to the launcher of processes the peer that a process is for: its
//! account, or its confinement as a guest.

use std::path::{Path, PathBuf};

use alknet_session::{Confinement, HandlerSessions, Mode};

use super::note::Note;
use crate::server::auth::Holder;
use crate::server::process::Peer;
use crate::server::session::context::SessionContext;
use crate::server::state::access::{AccessError, Grant};

/// The kinds of resources that say what a guest may reach beside its home.
const FILES: &str = "files";
const NETWORK: &str = "network";

/// The sentence for a peer without an account that wants more than forwards.
const NO_ACCOUNT: &str = "you have no account on this node; its operator gives you one with \
                          accounts = [...] in your entry";

/// The longest note that the monitor keeps.
const LONGEST_NOTE: usize = 16 * 1024;

/// The holder of a grant in the form that a launcher takes.
///
/// # Errors
/// When nobody has logged in.
pub(crate) fn peer(shared: &SessionContext, grant: &Grant) -> Result<Peer, AccessError> {
    let holder = shared
        .access
        .holder()
        .ok_or(AccessError::NotAuthenticated)?;
    let context = shared
        .core
        .launcher
        .as_ref()
        .and_then(|launcher| launcher.context());
    let confinement = context.map(|context| confinement(context, &holder));
    let (confinement, refusal) = match confinement {
        None => (None, None),
        Some(Ok(confinement)) => (confinement, None),
        Some(Err(refusal)) => (None, Some(refusal)),
    };
    let address = shared.origin.peer.map(|peer| peer.ip().to_canonical());
    let note = grant
        .request()
        .map(|request| Note::new(&holder, address, &request).to_json());
    Ok(Peer {
        session: (shared.core.generation(), shared.id),
        account: holder.account,
        confinement,
        refusal,
        origin: shared.origin,
        // Without a note, a job ends with its channel.
        note: note
            .filter(|note| note.len() <= LONGEST_NOTE)
            .unwrap_or_default(),
        identity: holder.identity.id,
    })
}

/// The confinement of a guest's processes and Unix sockets. `None` for peers
/// that are not guests, and where the monitor decides by itself.
///
/// # Errors
/// The reason for which nothing is started: a guest cannot be confined, or a
/// peer has no account.
pub(crate) fn confinement(
    context: &HandlerSessions,
    holder: &Holder,
) -> Result<Option<Confinement>, String> {
    let identity = &holder.identity;
    if context.mode == Mode::Accounts {
        return match holder.account {
            Some(_) => Ok(None),
            None => Err(NO_ACCOUNT.to_owned()),
        };
    }
    if holder.subject().is_unconfined() {
        return Ok(None);
    }
    if let Some(reason) = &context.no_confinement {
        return Err(reason.clone());
    }
    let values = |kind| identity.resources.get(kind).into_iter().flatten();
    Ok(Some(Confinement {
        home: home(&context.guest_homes, &identity.id),
        // The node has checked them.
        trees: values(FILES).filter_map(|tree| tree.parse().ok()).collect(),
        network: values(NETWORK).any(|value| value == "true"),
    }))
}

/// The home directory of a guest: named after it, as one plain name.
fn home(homes: &Path, id: &str) -> PathBuf {
    let mut name = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            b'.' if !name.is_empty() => name.push('.'),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    homes.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_one_plain_name() {
        let name = |id| {
            home(Path::new("/g"), id)
                .into_os_string()
                .into_string()
                .unwrap()
        };
        assert_eq!(name("alice-2.b_c"), "/g/alice-2.b_c");
        assert_eq!(name(".."), "/g/%2E.");
        assert_eq!(name("a/../b"), "/g/a%2F..%2Fb");
        assert_eq!(name("é%"), "/g/%C3%A9%25");
    }
}
