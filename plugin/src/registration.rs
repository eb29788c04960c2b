use abi_stable::export_root_module;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RNone, ROption, RSome, RStr, RString};
use alknet_plugin_interface::{
    Extension, INTERFACE_VERSION, PluginModule, PluginModuleRef, RegistrationBundle, built_with,
    guard,
};

use crate::factory::factory;
use crate::helper;

/// The ALPN the node routes to this plugin.
const ALPN: &[u8] = b"alknet/ssh";

#[allow(unsafe_code)]
mod export {
    use super::*;

    /// What the loader finds: the root module, built once.
    #[export_root_module]
    fn root_module() -> PluginModuleRef {
        PluginModule {
            registration,
            extension,
        }
        .leak_into_prefix()
    }
}

extern "C" fn registration() -> RegistrationBundle {
    guard(
        || {
            bundle(
                schema_text(alknet_ssh_config::ssh_config_schema()),
                schema_text(alknet_ssh_config::capabilities_schema()),
            )
        },
        // An empty schema is not valid JSON: the node refuses the plugin.
        |_| bundle(RString::new(), RString::new()),
    )
}

fn bundle(config_schema: RString, capabilities_schema: RString) -> RegistrationBundle {
    RegistrationBundle {
        name: "ssh".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        interface_version: INTERFACE_VERSION,
        rustc: built_with::RUSTC.into(),
        target: built_with::TARGET.into(),
        alpns: [ALPN.to_vec().into()].into_iter().collect(),
        config_schema,
        capabilities_schema,
        factory,
        more: "{}".into(),
    }
}

fn schema_text(schema: serde_json::Value) -> RString {
    schema.to_string().into()
}

/// What this plugin adds to the interface.
extern "C" fn extension(id: RStr<'_>) -> ROption<Extension> {
    match id.as_str() {
        helper::ID => RSome(Extension { call: helper::call }),
        _ => RNone,
    }
}
