//! `export_plugin!`: makes the root module of the library, in which the node
//! finds the plugin's handler.

use alknet_plugin_interface::abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
};
use alknet_plugin_interface::abi_stable::prefix_type::PrefixTypeTrait;
use alknet_plugin_interface::abi_stable::std_types::{ROption, RStr, RString, RVec};
use alknet_plugin_interface::{
    Extension, INTERFACE_VERSION, PluginModule, PluginModuleRef, RegistrationBundle, built_with,
    guard,
};

use crate::factory::factory;
use crate::{Plugin, PluginSecrets};

/// For the expansion of [`export_plugin!`](crate::export_plugin) alone.
#[doc(hidden)]
pub mod __private {
    pub use alknet_plugin_interface::abi_stable::library::LibHeader;

    pub use super::header;
    pub use crate::served::serve;
}

/// Makes the library a plugin: once, in the `lib.rs` of a crate with `crate-type =
/// ["cdylib"]`.
///
/// ```ignore
/// alknet_plugin::export_plugin! {
///     name: "echo",
///     alpn: "alknet/echo",
///     config: Config,
///     secrets: Secrets,
///     handler: Echo,
/// }
/// ```
///
/// `handler` implements [`Handler`](crate::Handler); `config` and `secrets` are
/// left out where there are none. `export_plugin!(Echo)` exports a type that
/// implements [`Plugin`](crate::Plugin) by hand.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:expr,
        alpn: $alpn:expr,
        $(config: $config:ty,)?
        $(secrets: $secrets:ty,)?
        handler: $handler:ty $(,)?
    ) => {
        const _: () = {
            struct Exported;

            impl $crate::Plugin for Exported {
                const NAME: &'static str = $name;
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
                const ALPNS: &'static [&'static str] = &[$alpn];
                const LOGS: $crate::LogRules = $crate::LogRules::of_crate(env!("CARGO_CRATE_NAME"));
                type Config = $crate::__given_or!($($config,)? $crate::NoConfig);
                type Secrets = $crate::__given_or!($($secrets,)? $crate::NoSecrets);

                fn create(
                    setup: $crate::Setup<Self::Config, Self::Secrets>,
                ) -> ::core::result::Result<
                    ::std::sync::Arc<dyn $crate::ProtocolHandler>,
                    $crate::ConfigError,
                > {
                    $crate::__private::serve::<$handler, _, _>(setup)
                }
            }

            $crate::export_plugin!(Exported);
        };
    };
    ($plugin:ty) => {
        const _: () = {
            // The name is abi_stable's; nothing else in the library has it.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::__private::LibHeader =
                $crate::__private::header::<$plugin>();
        };
    };
}

/// The first of one or two types.
#[doc(hidden)]
#[macro_export]
macro_rules! __given_or {
    ($given:ty, $default:ty) => {
        $given
    };
    ($default:ty) => {
        $default
    };
}

/// The header of the library, which leads to the root module.
#[allow(unsafe_code)]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: what the constructor gives was made from a `PluginModuleRef`.
    unsafe {
        LibHeader::from_constructor::<PluginModuleRef>(constructor::<P>, CheckTypeLayout::Yes)
    }
}

extern "C" fn constructor<P: Plugin>() -> RootModuleResult {
    __call_root_module_loader(root_module::<P>)
}

fn root_module<P: Plugin>() -> PluginModuleRef {
    PluginModule {
        registration: registration::<P>,
        extension: extension::<P>,
    }
    .leak_into_prefix()
}

extern "C" fn registration<P: Plugin>() -> RegistrationBundle {
    guard(
        || {
            let config = schemars::schema_for!(P::Config).to_value();
            let secrets = <P::Secrets as PluginSecrets>::schema();
            bundle::<P>(config.to_string().into(), secrets.to_string().into())
        },
        // An empty schema is not JSON: the node refuses the plugin.
        |_| bundle::<P>(RString::new(), RString::new()),
    )
}

fn bundle<P: Plugin>(config_schema: RString, capabilities_schema: RString) -> RegistrationBundle {
    let alpns = P::ALPNS.iter();
    RegistrationBundle {
        name: P::NAME.into(),
        version: P::VERSION.into(),
        interface_version: INTERFACE_VERSION,
        rustc: built_with::RUSTC.into(),
        target: built_with::TARGET.into(),
        alpns: alpns.map(|alpn| RVec::from(alpn.as_bytes())).collect(),
        config_schema,
        capabilities_schema,
        factory: factory::<P>,
        more: "{}".into(),
    }
}

extern "C" fn extension<P: Plugin>(id: RStr<'_>) -> ROption<Extension> {
    guard(|| P::extension(id.as_str()).into(), |_| ROption::RNone)
}
