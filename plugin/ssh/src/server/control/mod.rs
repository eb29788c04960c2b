//! Requests of the node beyond the handler's own methods, as JSON.

mod explain;
mod policy_tests;

use alknet_control::{
    ConfigVerdict, ControlRequest, Explain, HandedOver, Refused, SessionList, SystemReport,
};
use alknet_handler::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::explain::{Circumstances, Engine};
use super::check_system;
use super::state::server_state::ServerState;

/// The state that one handler hands to the next.
#[derive(Default, Serialize, Deserialize)]
struct TransferredState {
    #[serde(default)]
    penalties: serde_json::Value,
}

/// Answers a request.
///
/// # Errors
/// When it is not understood.
pub(super) fn answer(core: &ServerState, request: &str) -> Result<String, ConfigError> {
    let request = serde_json::from_str(request).map_err(not_understood)?;
    match request {
        ControlRequest::IdentitiesChanged {} => {
            core.permissions_changed();
            Ok("{}".to_owned())
        }
        ControlRequest::CheckConfig { config } => {
            let refused = core.check(&config.to_string()).err();
            let refused =
                refused.map(|ConfigError { pointer, message }| Refused { pointer, message });
            Ok(json!(ConfigVerdict { refused }).to_string())
        }
        ControlRequest::CheckSystem {} => {
            let faults = check_system::faults(&core.active().config.services);
            Ok(json!(SystemReport { faults }).to_string())
        }
        ControlRequest::Sessions {} => {
            let sessions = core.list.list();
            Ok(json!(SessionList { sessions }).to_string())
        }
        ControlRequest::CloseSession { id } => {
            if core.list.close(id) {
                Ok("{}".to_owned())
            } else {
                Err(ConfigError {
                    pointer: String::new(),
                    message: format!("there is no session {id}"),
                })
            }
        }
        ControlRequest::HandOver {} => {
            let state = json!(TransferredState {
                penalties: core.admission.hand_over(),
            });
            Ok(json!(HandedOver { state: Some(state) }).to_string())
        }
        ControlRequest::TakeOver { state } => {
            let state: TransferredState = serde_json::from_value(state).map_err(not_understood)?;
            let limits = &core.active().config.limits;
            core.admission.take_over(&state.penalties, limits);
            Ok("{}".to_owned())
        }
        ControlRequest::Replaced { by } => {
            core.set_replaced(by.as_deref());
            Ok("{}".to_owned())
        }
        ControlRequest::Explain(Explain {
            identity,
            request,
            log_in,
        }) => {
            let request = serde_json::from_value(request).map_err(not_understood)?;
            let log_in: Option<Circumstances> =
                serde_json::from_value(log_in).map_err(not_understood)?;
            let log_in = log_in.unwrap_or_default();
            let verdict = Engine::in_force(core).explain(&identity, &log_in, &request);
            Ok(json!(verdict).to_string())
        }
        ControlRequest::RunTests(asked) => {
            let engine = Engine::of(core.would_decide(&asked.config.to_string())?);
            Ok(json!(policy_tests::run(&engine, &asked)).to_string())
        }
        // That is the SDK's.
        ControlRequest::SetLogFilter { .. } => Err(ConfigError::at("/command", "unknown command")),
    }
}

fn not_understood(error: serde_json::Error) -> ConfigError {
    ConfigError::new(format!("the request is not understood: {error}"))
}
