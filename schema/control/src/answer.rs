//! What a handler answers.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Whether a configuration would be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigVerdict {
    /// Why not; none where it would be.
    #[serde(default)]
    pub refused: Option<Refused>,
}

/// Why a configuration would not be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// JSON pointer (RFC 6901) to the fault; empty for the whole.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong and what to do about it.
    #[serde(default)]
    pub message: String,
}

/// What became of the tests of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// How many passed.
    #[serde(default)]
    pub passed: u64,
    /// Those that did not, in their order.
    #[serde(default)]
    pub failed: Vec<FailedTest>,
}

/// A test that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedTest {
    /// JSON pointer (RFC 6901) to the test, or to what is wrong in it, within the
    /// configuration.
    pub pointer: String,
    /// What was expected, what was decided instead, and why.
    pub message: String,
    /// JSON pointer to the rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What the machine lacks of what the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemReport {
    /// Each as the place in the configuration that names it (a JSON pointer) and what
    /// is wrong.
    #[serde(default)]
    pub faults: Vec<(String, String)>,
}

/// Which sessions are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// By id.
    #[serde(default)]
    pub sessions: Vec<SessionInfo>,
}

/// A session, with what is known of it. A member of another type is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionInfo {
    /// Unique within the handler.
    pub id: u64,
    /// Whose it is.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub identity: Option<String>,
    /// Where the peer is, as `ip:port`.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub remote_addr: Option<String>,
    /// When it began, in milliseconds since 1970.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub since_unix_ms: Option<u64>,
    /// Since when nothing is heard from the peer; none while something is.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub away_since_unix_ms: Option<u64>,
    /// How many channels it has open.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub channels: Option<u64>,
    /// How many forwards.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub forwards: Option<u64>,
    /// How many listeners.
    #[serde(
        default,
        deserialize_with = "if_it_is_one",
        skip_serializing_if = "Option::is_none"
    )]
    pub listeners: Option<u64>,
}

/// What the handler that takes another's place should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandedOver {
    /// In a form of the plugin's own, which later versions of it read.
    #[serde(default)]
    pub state: Option<Value>,
}

/// Takes what is not of the member's type for none, so that the others are read.
fn if_it_is_one<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_another_type_is_left_out() {
        let session = r#"{"id":4,"identity":"a","channels":"many","listeners":null}"#;
        let session: SessionInfo = serde_json::from_str(session).unwrap();
        let identity = Some("a".to_owned());
        let expected = SessionInfo {
            id: 4,
            identity,
            ..SessionInfo::default()
        };
        assert_eq!(session, expected);
        assert!(serde_json::from_str::<SessionInfo>(r#"{"no":"id"}"#).is_err());
    }
}
