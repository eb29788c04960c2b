//! The SSH handler's configuration and its JSON Schema.
