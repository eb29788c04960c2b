//! Configuration documents (JSON, TOML) whose faults carry file, pointer, line, expected and found.
