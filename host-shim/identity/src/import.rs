//! The import of an `authorized_keys` file: one peer for each line, or every
//! line that has no counterpart.

use std::collections::HashMap;

use alknet_openssh::{AuthorizedKey, KeyError, OptionsError, split_options};
use jiff::tz::TimeZone;

use crate::allowance::{Allowance, OptionError};
use crate::{Authority, CertificateGrant, Peer, PeersConfig};

/// How an `authorized_keys` file is to be read.
#[derive(Clone, Debug)]
pub struct ImportSettings {
    /// What the ids of new peers begin with.
    pub id_prefix: String,
    /// The account whose file it is: the user name that certificates have to
    /// name, where the file names no principals.
    pub user: Option<String>,
    /// The time zone of times without `Z`.
    pub zone: TimeZone,
}

/// Peers and authorities that were made of an `authorized_keys` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Authorities that were not there yet.
    pub authorities: Vec<Authority>,
    /// One peer for each line.
    pub peers: Vec<Peer>,
    /// What became of each line.
    pub lines: Vec<ImportedLine>,
}

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedLine {
    /// The line, counted from 1.
    pub line: usize,
    /// The options as they stand there.
    pub options: String,
    /// The key, `SHA256:…`.
    pub fingerprint: String,
    /// The id of the new peer.
    pub peer: String,
    /// What that peer may do, in a person's words.
    pub words: String,
}

/// Makes peers of an `authorized_keys` file (sshd(8)), beside those that are
/// there already: one for each line, with the scopes and conditions that its
/// options come to. Without options that is what sshd gives a key.
///
/// # Errors
/// Every line that cannot be turned into the same thing here; then nothing is
/// imported.
pub fn import_authorized_keys(
    text: &str,
    settings: &ImportSettings,
    present: &PeersConfig,
) -> Result<Imported, Vec<ImportFault>> {
    let mut import = Import::new(settings, present);
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(problem) = import.line(index + 1, line) {
            faults.push(ImportFault {
                line: index + 1,
                problem,
            });
        }
    }
    if faults.is_empty() {
        Ok(import.done)
    } else {
        Err(faults)
    }
}

struct Import<'a> {
    settings: &'a ImportSettings,
    /// Ids that are taken.
    peers: Vec<String>,
    authorities: Vec<String>,
    /// The owner of each key, by its fingerprint.
    owners: HashMap<String, Owner>,
    done: Imported,
}

#[derive(Clone)]
enum Owner {
    Peer(String),
    Authority(String),
}

impl<'a> Import<'a> {
    fn new(settings: &'a ImportSettings, present: &PeersConfig) -> Self {
        let mut owners = HashMap::new();
        let mut own = |lines: &[String], owner: Owner| {
            let keys = lines.iter().filter_map(|line| line.parse().ok());
            owners.extend(keys.map(|key: AuthorizedKey| (key.fingerprint, owner.clone())));
        };
        for peer in &present.peers {
            own(&peer.keys, Owner::Peer(peer.id.clone()));
        }
        for authority in &present.authorities {
            own(&authority.keys, Owner::Authority(authority.id.clone()));
        }
        Self {
            settings,
            peers: present.peers.iter().map(|peer| peer.id.clone()).collect(),
            authorities: present
                .authorities
                .iter()
                .map(|known| known.id.clone())
                .collect(),
            owners,
            done: Imported::default(),
        }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), ImportProblem> {
        // As sshd does: what is not a key by itself has options in front.
        let (options, key) = match line.parse::<AuthorizedKey>() {
            Ok(key) => (Vec::new(), key),
            Err(KeyError::Options { .. } | KeyError::UnknownAlgorithm) => {
                let (options, rest) = split_options(line)?;
                (options, rest.parse()?)
            }
            Err(error) => return Err(error.into()),
        };
        let shown = match line.find(&key.algorithm) {
            Some(end) if !options.is_empty() => line.get(..end).unwrap_or_default().trim(),
            _ => "",
        };
        let mut allowance = Allowance::default();
        for option in &options {
            let added = allowance.add(option, &self.settings.zone);
            added.map_err(|fault| ImportProblem::Option {
                name: option.name.clone(),
                fault,
            })?;
        }
        let resources = allowance.resources();
        let resources = resources.map_err(|(name, fault)| ImportProblem::Option {
            name: name.to_owned(),
            fault,
        })?;
        let mut peer = Peer {
            scopes: allowance.scopes(),
            resources,
            ..Peer::default()
        };
        let mut words = allowance.words();
        if allowance.is_authority {
            let grant = self.grant(number, &key, &allowance)?;
            words = format!(
                "whoever has a certificate of {} with the principal {}{}: {words}",
                grant.authority,
                grant.principals.join(" or "),
                match grant.users.as_slice() {
                    [any] if any == "*" => ", by any user name",
                    _ => "",
                },
            );
            peer.certificates.push(grant);
        } else {
            if allowance.principals.is_some() {
                return Err(ImportProblem::PrincipalsOfAKey);
            }
            if let Some(owner) = self.owners.get(&key.fingerprint) {
                return Err(known(owner));
            }
            peer.keys.push(key.line.clone());
        }
        let id = free_id(&self.settings.id_prefix, &key.comment, number, &self.peers);
        if peer.certificates.is_empty() {
            let owner = Owner::Peer(id.clone());
            self.owners.insert(key.fingerprint.clone(), owner);
        }
        self.peers.push(id.clone());
        peer.id.clone_from(&id);
        self.done.peers.push(peer);
        self.done.lines.push(ImportedLine {
            line: number,
            options: shown.to_owned(),
            fingerprint: key.fingerprint,
            peer: id,
            words,
        });
        Ok(())
    }

    /// The certificates that the line lets in, of an authority that is new or
    /// known.
    fn grant(
        &mut self,
        number: usize,
        key: &AuthorizedKey,
        allowance: &Allowance,
    ) -> Result<CertificateGrant, ImportProblem> {
        let user = self.settings.user.clone();
        let (principals, users) = match &allowance.principals {
            Some(principals) => {
                let users = user.unwrap_or_else(|| "*".to_owned());
                (principals.clone(), vec![users])
            }
            None => (vec![user.ok_or(ImportProblem::WhoseFile)?], Vec::new()),
        };
        let authority = match self.owners.get(&key.fingerprint) {
            Some(Owner::Authority(id)) => id.clone(),
            Some(owner) => return Err(known(owner)),
            None => {
                let prefix = &self.settings.id_prefix;
                let id = free_id(prefix, &key.comment, number, &self.authorities);
                self.authorities.push(id.clone());
                let owner = Owner::Authority(id.clone());
                self.owners.insert(key.fingerprint.clone(), owner);
                self.done.authorities.push(Authority {
                    id: id.clone(),
                    keys: vec![key.line.clone()],
                    disabled: false,
                });
                id
            }
        };
        Ok(CertificateGrant {
            authority,
            principals,
            users,
        })
    }
}

fn known(owner: &Owner) -> ImportProblem {
    ImportProblem::Known {
        owner: match owner {
            Owner::Peer(id) => format!("peer {id:?}"),
            Owner::Authority(id) => format!("authority {id:?}"),
        },
    }
}

/// An id that is not taken, made of the comment as far as it can be one, or
/// of the line's number.
fn free_id(prefix: &str, comment: &str, number: usize, taken: &[String]) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let plain: String = comment
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(40)
        .collect();
    let plain = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let base = match plain {
        "" => format!("{prefix}line-{number}"),
        plain => format!("{prefix}{plain}"),
    };
    let mut id = base.clone();
    let mut next = 2;
    while taken.contains(&id) {
        id = format!("{base}-{next}");
        next += 1;
    }
    id
}

/// A line that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ImportFault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: ImportProblem,
}

/// Why a line cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportProblem {
    /// The options are not sound as text.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The key cannot be authorised.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An option has no counterpart.
    #[error("{name}: {fault}")]
    Option {
        /// The option.
        name: String,
        /// The reason.
        fault: OptionError,
    },
    /// A plain key has principals.
    #[error("principals: it counts only with cert-authority")]
    PrincipalsOfAKey,
    /// The file's account is not known.
    #[error(
        "cert-authority: without principals= it lets in certificates for the account whose file this is; name that account with --user"
    )]
    WhoseFile,
    /// The key is there already.
    #[error("the key is already listed for {owner}; remove one of the two")]
    Known {
        /// The peer or authority that has the key.
        owner: String,
    },
}
