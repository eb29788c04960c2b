//! Kinds of messages from the server (draft-ietf-secsh-filexfer-02 section 3).

pub(crate) const VERSION: u8 = 2;
pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
pub(crate) const DATA: u8 = 103;
pub(crate) const NAME: u8 = 104;
pub(crate) const ATTRIBUTES: u8 = 105;
pub(crate) const EXTENDED: u8 = 201;
