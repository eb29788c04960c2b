//! Finds, checks, stages and loads protocol plugins.
