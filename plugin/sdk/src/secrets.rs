//! The secrets that a plugin can be granted, as a struct of the author's.

use std::fmt;

use alknet_handler::{Capabilities, ConfigError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{Error, MapDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer};

/// The secrets that a plugin can be granted: a struct whose members are of type
/// [`Secret`], or `Option<Secret>` where the plugin can do without.
pub trait PluginSecrets: Sized + Send + Sync + 'static {
    /// JSON Schema of an object whose members are the secrets.
    fn schema() -> serde_json::Value;

    /// Takes what was granted.
    ///
    /// # Errors
    /// When one is missing that is needed.
    fn take(granted: Capabilities) -> Result<Self, ConfigError>;
}

impl<T: DeserializeOwned + JsonSchema + Send + Sync + 'static> PluginSecrets for T {
    fn schema() -> serde_json::Value {
        schemars::schema_for!(T).to_value()
    }

    fn take(granted: Capabilities) -> Result<Self, ConfigError> {
        let members = granted.names().filter_map(|name| {
            let secret = granted.get(name)?;
            Some((name.to_owned(), Granted(secret.expose())))
        });
        T::deserialize(MapDeserializer::new(members)).map_err(|error: Error| {
            ConfigError::new(format!("the secrets that were granted: {error}"))
        })
    }
}

/// The secrets of a plugin that can be granted none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSecrets {}

/// A secret, wiped from memory when dropped and never shown.
#[derive(Clone)]
pub struct Secret(alknet_handler::Secret);

impl Secret {
    /// The secret itself. Keep what you copy from it as short-lived.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Secret, E> {
                Ok(Secret(alknet_handler::Secret::new(bytes.to_vec())))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// The bytes of a secret, for serde. It is given as bytes alone, never as text,
/// which serde's own error messages would repeat.
struct Granted<'a>(&'a [u8]);

impl<'de> IntoDeserializer<'de> for Granted<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Granted<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Two {
        needed: Secret,
        other: Option<Secret>,
    }

    fn granted(names: &[&str]) -> Capabilities {
        let secret = |name: &&str| {
            let value = alknet_handler::Secret::new(format!("hunter2-{name}").into_bytes());
            ((*name).to_owned(), value)
        };
        names.iter().map(secret).collect()
    }

    #[test]
    fn secrets_are_taken_by_name() {
        let two = Two::take(granted(&["needed"])).unwrap();
        assert_eq!(two.needed.expose(), b"hunter2-needed");
        assert!(two.other.is_none());
        assert!(!format!("{two:?}").contains("hunter2"));
        for (names, word) in [(&["other"][..], "needed"), (&["needed", "third"], "third")] {
            let message = Two::take(granted(names)).unwrap_err().message;
            assert!(message.contains(word), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_secret_of_another_type_is_not_shown() {
        #[derive(Debug, Deserialize, JsonSchema)]
        struct Wrong {
            #[allow(dead_code)]
            needed: u64,
        }
        let message = Wrong::take(granted(&["needed"])).unwrap_err().message;
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn the_schema_names_the_secrets() {
        let schema = Two::schema();
        assert_eq!(schema["properties"]["needed"]["type"], "string");
        assert_eq!(schema["additionalProperties"], false);
    }
}
