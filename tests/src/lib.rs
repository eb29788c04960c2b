//! Real processes, real clients.
