use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr, RString};
use alknet_plugin_interface::{PluginError, guard};

/// The id of the extension that the node's monitor enters in a process of its
/// own, with the rights of a peer.
pub(crate) const ID: &str = "alknet.helper/1";

/// Does what the text of `Program::Helper` asks, over the standard input and
/// output of this process, and blocks until that is done. Answers
/// `{"status": number}`, the status to exit with.
pub(crate) extern "C" fn call(request: RStr<'_>) -> RResult<RString, PluginError> {
    guard(
        || match alknet_ssh::run_helper(request.as_str()) {
            Ok(status) => {
                let answer = serde_json::json!({ "status": status });
                RResult::ROk(answer.to_string().into())
            }
            Err(error) => RResult::RErr(PluginError::because(error)),
        },
        |panic| RResult::RErr(PluginError::new(format!("the helper panicked: {panic}"))),
    )
}
