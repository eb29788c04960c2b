//! Version 3 of the file transfer protocol (draft-ietf-secsh-filexfer-02) with
//! OpenSSH's extensions: messages as bytes, without any I/O. It knows neither end.

pub(crate) mod attributes;
pub(crate) mod frames;
pub(crate) mod kinds;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod wire;
