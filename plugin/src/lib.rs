//! The SSH handler as a plugin: the boundary only.
