//! The end of a command that runs on a shared connection.

use alknet_ssh::Exit;
use serde::{Deserialize, Serialize};

/// How a command ended, and what became of the connection if that is why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) connection: Option<String>,
}
