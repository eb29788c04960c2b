//! Paths in JSON. A path is bytes and JSON is text: a path that is UTF-8 is a string, and any other is an object with
//! its bytes in hexadecimal, and the path as it is shown to people.
//!
//! For `#[serde(with = "…")]`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use alknet_loader::shown;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AnyPath {
    Text(String),
    Bytes {
        bytes: String,
        #[serde(default)]
        shown: String,
    },
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let any = match path.to_str() {
        Some(text) => AnyPath::Text(text.to_owned()),
        None => AnyPath::Bytes {
            bytes: hex::encode(path.as_os_str().as_bytes()),
            shown: shown(path),
        },
    };
    any.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    match AnyPath::deserialize(deserializer)? {
        AnyPath::Text(text) => Ok(text.into()),
        AnyPath::Bytes { bytes, .. } => {
            let bytes = hex::decode(bytes).map_err(D::Error::custom)?;
            Ok(OsString::from_vec(bytes).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        #[serde(with = "super")]
        file: PathBuf,
    }

    #[test]
    fn any_path_survives_the_way_there_and_back() {
        for (bytes, json) in [
            (&b"/p/a.so"[..], r#"{"file":"/p/a.so"}"#),
            (b"/p/a\nb.so", r#"{"file":"/p/a\nb.so"}"#),
            (
                b"/p/\xff",
                r#"{"file":{"bytes":"2f702fff","shown":"/p/\\xff"}}"#,
            ),
        ] {
            let file = File {
                file: OsString::from_vec(bytes.to_vec()).into(),
            };
            let text = serde_json::to_string(&file).unwrap();
            assert_eq!(text, json);
            assert_eq!(serde_json::from_str::<File>(&text).unwrap(), file);
        }
    }
}
