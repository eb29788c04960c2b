//! The transfer of a handler's state to its successor, in a form that only the
//! plugin knows.

use alknet_control::{ControlRequest, HandedOver};
use alknet_loader::Generation;

/// Has one version of a plugin tell the next what it should go on with, such
/// as the addresses it refuses. Neither has to know how.
pub(super) fn transfer_state(before: &Generation, now: &Generation) {
    let handed = before
        .handler
        .control(&ControlRequest::HandOver {}.to_json());
    let handed = handed
        .ok()
        .and_then(|answer| serde_json::from_str(&answer).ok());
    let Some(HandedOver { state: Some(state) }) = handed else {
        return;
    };
    let request = ControlRequest::TakeOver { state };
    if let Err(error) = now.handler.control(&request.to_json()) {
        tracing::debug!(plugin = now.plugin, %error, "a version took nothing over from the last");
    }
}
