//! The FFI-stable interface between the node and its protocol plugins.
