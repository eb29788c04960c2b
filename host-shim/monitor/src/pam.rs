//! PAM (pam(3)) around a job of an account: the account phase, credentials and
//! the session, in the keeper, which stays root and closes the session when no
//! process is left. Authentication is the node's: a key has been proven.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use crate::leader::StartError;

/// The PAM service: the name of the file in /etc/pam.d.
const SERVICE: &CStr = c"alknet-node";

// _pam_types.h of Linux-PAM.
const SUCCESS: c_int = 0;
const CONVERSATION_ERROR: c_int = 19;
const TTY: c_int = 3;
const REMOTE_HOST: c_int = 4;
const ESTABLISH: c_int = 2;
const DELETE: c_int = 4;

#[repr(C)]
struct Conversation {
    converse: extern "C" fn(c_int, *mut c_void, *mut c_void, *mut c_void) -> c_int,
    data: *mut c_void,
}

#[link(name = "pam")]
// SAFETY: the signatures are those of pam_appl.h; handles are opaque.
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        handle: *mut *mut c_void,
    ) -> c_int;
    fn pam_end(handle: *mut c_void, status: c_int) -> c_int;
    fn pam_set_item(handle: *mut c_void, item: c_int, value: *const c_void) -> c_int;
    fn pam_acct_mgmt(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_setcred(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_open_session(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_close_session(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_getenvlist(handle: *mut c_void) -> *mut *mut c_char;
    fn pam_strerror(handle: *mut c_void, status: c_int) -> *const c_char;
}

/// Answers every question of a PAM module with an error: nobody is there to be
/// asked.
extern "C" fn converse(_: c_int, _: *mut c_void, _: *mut c_void, _: *mut c_void) -> c_int {
    CONVERSATION_ERROR
}

/// An open session; closed when it is dropped.
pub(crate) struct Session {
    handle: *mut c_void,
    status: c_int,
    has_credentials: bool,
    is_open: bool,
}

impl Session {
    /// Opens a session of an account. `terminal` is the name of one, if any.
    ///
    /// # Errors
    /// When PAM does not let the account in.
    pub(crate) fn open(
        account: &str,
        remote: Option<&str>,
        terminal: Option<&CStr>,
    ) -> Result<Self, StartError> {
        let malformed = |_| StartError::new("the account's name is malformed");
        let account = CString::new(account).map_err(malformed)?;
        let remote = CString::new(remote.unwrap_or_default()).map_err(malformed)?;
        let conversation = Conversation {
            converse,
            data: ptr::null_mut(),
        };
        let mut handle = ptr::null_mut();
        let (service, user) = (SERVICE.as_ptr(), account.as_ptr());
        // SAFETY: all four live during the call; PAM copies what it keeps.
        let status = unsafe { pam_start(service, user, &raw const conversation, &raw mut handle) };
        if status != SUCCESS || handle.is_null() {
            return Err(StartError::new("PAM could not be started"));
        }
        let mut session = Self {
            handle,
            status,
            has_credentials: false,
            is_open: false,
        };
        session.set(REMOTE_HOST, &remote)?;
        // As sshd has it for sessions without one.
        session.set(TTY, terminal.unwrap_or(c"ssh"))?;
        // SAFETY: the handle is open.
        let status = unsafe { pam_acct_mgmt(handle, 0) };
        session.check("the account", status)?;
        // SAFETY: the handle is open.
        let status = unsafe { pam_setcred(handle, ESTABLISH) };
        session.check("the account's credentials", status)?;
        session.has_credentials = true;
        // SAFETY: the handle is open.
        let status = unsafe { pam_open_session(handle, 0) };
        session.check("the account's session", status)?;
        session.is_open = true;
        Ok(session)
    }

    /// The variables that the modules add to the environment, without those
    /// about the connection.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut variables = Vec::new();
        // SAFETY: the handle is open.
        let list = unsafe { pam_getenvlist(self.handle) };
        if list.is_null() {
            return variables;
        }
        for index in 0.. {
            // SAFETY: the list ends with a null pointer, and ends the loop.
            let entry = unsafe { list.add(index) };
            // SAFETY: as above.
            let text = unsafe { *entry };
            if text.is_null() {
                break;
            }
            // SAFETY: the text ends with a NUL, and is ours (pam_getenvlist(3)).
            let variable = unsafe { CStr::from_ptr(text) }.to_bytes();
            if let Some(equals) = variable.iter().position(|byte| *byte == b'=') {
                let (name, value) = variable.split_at(equals);
                if !name.starts_with(b"SSH_") {
                    let text = |bytes| std::ffi::OsStr::from_bytes(bytes).to_owned();
                    variables.push((text(name), text(value.get(1..).unwrap_or_default())));
                }
            }
            // SAFETY: it was allocated by malloc(3), and nothing refers to it.
            unsafe { libc::free(text.cast()) };
        }
        // SAFETY: as above.
        unsafe { libc::free(list.cast()) };
        variables
    }

    fn set(&mut self, item: c_int, value: &CStr) -> Result<(), StartError> {
        // SAFETY: the handle is open, and PAM copies the value.
        let status = unsafe { pam_set_item(self.handle, item, value.as_ptr().cast()) };
        self.check("PAM", status)
    }

    fn check(&mut self, what: &str, status: c_int) -> Result<(), StartError> {
        self.status = status;
        if status == SUCCESS {
            return Ok(());
        }
        // SAFETY: the handle is open.
        let text = unsafe { pam_strerror(self.handle, status) };
        let reason = match text.is_null() {
            true => "unknown".into(),
            // SAFETY: it is a text that the library owns.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy(),
        };
        Err(StartError::at(what, io::Error::other(reason.into_owned())))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_open {
            // SAFETY: the handle is open.
            self.status = unsafe { pam_close_session(self.handle, 0) };
        }
        if self.has_credentials {
            // SAFETY: the handle is open.
            self.status = unsafe { pam_setcred(self.handle, DELETE) };
        }
        // SAFETY: the handle is open, and not used afterwards.
        unsafe { pam_end(self.handle, self.status) };
    }
}
