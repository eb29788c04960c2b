//! The SSH server towards stock and other clients: commands, shells, files, and those who abuse it.

mod abuse;
mod agent;
mod background_jobs;
mod ends_of_commands;
mod field_tools;
mod interop;
mod long_commands;
mod long_path;
mod openssh;
mod session_abuse;
mod sftp;
mod shell;
mod signatures;
mod ssh_audit;
mod stall;
mod subsystem;
mod tcp;
mod unproven;
