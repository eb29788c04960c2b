//! The alknet client.
