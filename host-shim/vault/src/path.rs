//! Derivation paths such as `m/74'/0'/1'/0'`, whose steps are all hardened
//! (SLIP-0010).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The highest index of a child, before its hardened bit is set.
const MAX_INDEX: u32 = 0x7fff_ffff;

/// A place in the key tree, written `m/74'/0'/1'/0'`. Every step is hardened,
/// since Ed25519 has no other kind (SLIP-0010).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivationPath(Cow<'static, [u32]>);

impl DerivationPath {
    /// A path known when compiling; `indices` are without their hardened bit.
    pub(crate) const fn fixed(indices: &'static [u32]) -> Self {
        Self(Cow::Borrowed(indices))
    }

    /// The indices from the root down, with their hardened bit set.
    pub(crate) fn hardened_indices(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|index| index | (MAX_INDEX + 1))
    }
}

impl FromStr for DerivationPath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let fail = |problem| PathError {
            path: path.to_owned(),
            problem,
        };
        let mut steps = path.split('/');
        if steps.next() != Some("m") {
            return Err(fail(PathProblem::NoRoot));
        }
        let indices = steps
            .map(|step| parse_step(step).map_err(fail))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Cow::Owned(indices)))
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|index| write!(f, "/{index}'"))
    }
}

fn parse_step(step: &str) -> Result<u32, PathProblem> {
    let digits = step.strip_suffix('\'').unwrap_or(step);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PathProblem::NotANumber(step.to_owned()));
    }
    if digits.len() == step.len() {
        return Err(PathProblem::NotHardened(step.to_owned()));
    }
    match digits.parse() {
        Ok(index) if index <= MAX_INDEX => Ok(index),
        _ => Err(PathProblem::TooLarge(step.to_owned())),
    }
}

/// Text that is not a derivation path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a derivation path: {problem}; expected something like m/74'/0'/1'/0'")]
pub struct PathError {
    /// The text.
    pub path: String,
    /// What is wrong with it.
    pub problem: PathProblem,
}

/// What keeps a text from being a derivation path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// It does not start with `m`.
    #[error("it does not start with `m/`")]
    NoRoot,
    /// A step is not a number.
    #[error("the step `{0}` is not a number followed by an apostrophe")]
    NotANumber(String),
    /// A step lacks its apostrophe; Ed25519 keys have hardened children only.
    #[error("the step `{0}` needs an apostrophe: Ed25519 has hardened steps only")]
    NotHardened(String),
    /// A step is beyond 2³¹ - 1.
    #[error("the step `{0}` is larger than {MAX_INDEX}")]
    TooLarge(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &str) -> PathProblem {
        path.parse::<DerivationPath>().unwrap_err().problem
    }

    #[test]
    fn reads_and_writes_paths() {
        for text in ["m", "m/0'", "m/74'/0'/1'/0'", "m/2147483647'"] {
            assert_eq!(text.parse::<DerivationPath>().unwrap().to_string(), text);
        }
        assert_eq!(crate::NODE_IDENTITY_PATH.to_string(), "m/74'/0'/0'/0'");
        assert_eq!(crate::HOST_KEY_PATH.to_string(), "m/74'/0'/1'/0'");
        assert_eq!(crate::SECRETS_PATH.to_string(), "m/74'/0'/2'/0'");
        let authority = crate::CERTIFICATE_AUTHORITY_PATH.to_string();
        assert_eq!(authority, "m/74'/0'/3'/0'");
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(problem(""), PathProblem::NoRoot);
        assert_eq!(problem("74'/0'"), PathProblem::NoRoot);
        assert_eq!(problem("m/"), PathProblem::NotANumber(String::new()));
        assert_eq!(problem("m/-1'"), PathProblem::NotANumber("-1'".into()));
        assert_eq!(problem("m/+1'"), PathProblem::NotANumber("+1'".into()));
        assert_eq!(problem("m/1''"), PathProblem::NotANumber("1''".into()));
        assert_eq!(problem("m/74'/0"), PathProblem::NotHardened("0".into()));
        assert_eq!(
            problem("m/2147483648'"),
            PathProblem::TooLarge("2147483648'".into())
        );
        assert_eq!(
            "m/74".parse::<DerivationPath>().unwrap_err().to_string(),
            "`m/74` is not a derivation path: the step `74` needs an apostrophe: Ed25519 has \
             hardened steps only; expected something like m/74'/0'/1'/0'"
        );
    }
}
