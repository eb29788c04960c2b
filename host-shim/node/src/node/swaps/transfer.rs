//! The transfer of a handler's state to its successor, in a form that only the
//! plugin knows.

use alknet_loader::Generation;
use serde_json::{Value, json};

/// Has one version of a plugin tell the next what it should go on with, such
/// as the addresses it refuses. Neither has to know how.
pub(super) fn transfer_state(before: &Generation, now: &Generation) {
    let handed = before.handler.control(r#"{"command":"hand_over"}"#);
    let Some(state) = handed.ok().as_deref().and_then(state_of) else {
        return;
    };
    let request = json!({ "command": "take_over", "state": state });
    if let Err(error) = now.handler.control(&request.to_string()) {
        tracing::debug!(plugin = now.plugin, %error, "a version took nothing over from the last");
    }
}

fn state_of(answer: &str) -> Option<Value> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    answer.get("state").cloned()
}
