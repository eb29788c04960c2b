//! Benchmarks: `compare` beside a stock sshd, and `micro` of single parts. They
//! are bench targets, so that nothing of them is built for tests. README.md says
//! how to run them.

#![forbid(unsafe_code)]
