//! The root module that a plugin exports, and the registration bundle it
//! answers with.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{ROption, RResult, RStr, RString, RVec};

use crate::{HandlerContext, HandlerObject, PluginError};

/// The root module every plugin exports, frozen at interface version 1.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// Says what the plugin is and how to make its handler. Cheap, without
    /// side effects, callable any number of times.
    pub registration: extern "C" fn() -> RegistrationBundle,
    /// Looks up an addition to the interface by its id. Unknown ids give
    /// `RNone`; this is how everything later is added.
    #[sabi(last_prefix_field)]
    pub extension: extern "C" fn(id: RStr<'_>) -> ROption<Extension>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}

    const BASE_NAME: &'static str = "alknet_plugin";
    const NAME: &'static str = "alknet_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// What a plugin is, and how to make its handler.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RegistrationBundle {
    /// The plugin's name, by which the node's configuration refers to it:
    /// lower-case letters, digits and `-`, as `ssh`.
    pub name: RString,
    /// The plugin's own version (semver).
    pub version: RString,
    /// The [`INTERFACE_VERSION`](crate::INTERFACE_VERSION) it was built for.
    pub interface_version: u32,
    /// The compiler that built it, as `rustc --version` prints it.
    pub rustc: RString,
    /// The target triple it was built for.
    pub target: RString,
    /// The ALPNs it serves (RFC 7301 protocol ids).
    pub alpns: RVec<RVec<u8>>,
    /// JSON Schema (2020-12) of its configuration.
    pub config_schema: RString,
    /// JSON Schema (2020-12) of the capabilities it may be granted: an object
    /// whose property names are the names of secrets.
    pub capabilities_schema: RString,
    /// Makes a handler from what the node injects. All checks happen here: a
    /// handler that was made can serve.
    pub factory: extern "C" fn(HandlerContext) -> RResult<HandlerObject, PluginError>,
    /// A JSON object with whatever later versions add; `{}` at first.
    pub more: RString,
}

/// A function of a plugin found by name: JSON text in, JSON text out.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Extension {
    /// Calls the function. Its request and its answer are defined with the
    /// extension's id.
    pub call: extern "C" fn(request: RStr<'_>) -> RResult<RString, PluginError>,
}
