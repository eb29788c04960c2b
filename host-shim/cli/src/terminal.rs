use std::fmt;
use std::io::Write as _;

use alknet_text::visible_lines;

/// What the user is told, on standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    quiet: bool,
    verbose: bool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { quiet, verbose }
    }

    /// Whether nothing but errors is to be said.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The options that make another process of ours say as much.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match (self.quiet, self.verbose) {
            (true, _) => &["-q"],
            (false, true) => &["-v"],
            (false, false) => &[],
        }
    }

    /// Why the command failed.
    pub(crate) fn error(self, message: &dyn fmt::Display) {
        say(message);
    }

    /// Something the user should know, unless `-q` was given.
    pub(crate) fn notice(self, message: &dyn fmt::Display) {
        if !self.quiet {
            say(message);
        }
    }

    /// Something for those who asked with `-v`.
    pub(crate) fn detail(self, message: &dyn fmt::Display) {
        if self.verbose {
            say(message);
        }
    }
}

fn say(message: &dyn fmt::Display) {
    // There is nobody to tell when standard error is gone.
    let message = message.to_string();
    let _ = writeln!(std::io::stderr(), "alknet: {}", visible_lines(&message));
}
