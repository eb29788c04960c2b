//! Environment variables by which a program can be made to start another one.

/// Variables by which programs start other programs or load code: names, and
/// beginnings of names. Those that say where to look for configuration are
/// among them, since configuration names programs.
const NAMES: &[&str] = &[
    "BASH_ENV",
    "BROWSER",
    "CLASSPATH",
    "CURL_HOME",
    "EDITOR",
    "ENV",
    "FCEDIT",
    "FPATH",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GNUPGHOME",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "JAVA_TOOL_OPTIONS",
    "KRB5_CONFIG",
    "LESSCLOSE",
    "LESSEDIT",
    "LESSKEY",
    "LESSOPEN",
    "LESS",
    "LOCALDOMAIN",
    "LOCPATH",
    "MAKEFLAGS",
    "MANOPT",
    "MANPATH",
    "MORE",
    "NLSPATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PATH",
    "PROMPT_COMMAND",
    "PS4",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "SHELL",
    "SHELLOPTS",
    "BASHOPTS",
    "SUDO_ASKPASS",
    "TAR_OPTIONS",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMPATH",
    "TMPDIR",
    "VISUAL",
    "WGETRC",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
const BEGINNINGS: &[&str] = &[
    "BASH_FUNC_",
    "BORG_",
    "CVS_",
    "DBUS_",
    "DYLD_",
    "GIT_",
    "HG",
    "LD_",
    "LUA_",
    "MALLOC_",
    "NODE_",
    "NPM_",
    "PERL",
    "PHP",
    "PYTHON",
    "RCLONE_",
    "RESTIC_",
    "RSYNC_",
    "RUBY",
    "SSH_",
    "SVN_",
    "XDG_",
];
const ENDINGS: &[&str] = &["PAGER", "_EDITOR", "_ASKPASS", "_RSH", "_SSH"];

/// Whether a variable of that name can make a program start another, or load
/// code: `PAGER`, `GIT_SSH`, `LD_PRELOAD`, `BASH_ENV` and their like. No peer
/// sets one for a program that it was granted by name. `GIT_PROTOCOL`, which
/// git itself sends, is not among them.
pub fn can_start_programs(name: &str) -> bool {
    name != "GIT_PROTOCOL"
        && (NAMES.contains(&name)
            || BEGINNINGS.iter().any(|start| name.starts_with(start))
            || ENDINGS.iter().any(|end| name.ends_with(end)))
}

/// What a program that was granted by name finds in its environment, so that it
/// starts nothing interactive: no pager, no editor, no question.
pub const QUIET_ENVIRONMENT: &[(&str, &str)] = &[
    ("PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("LESSSECURE", "1"),
    ("SYSTEMD_PAGERSECURE", "1"),
    ("EDITOR", "false"),
    ("VISUAL", "false"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("BROWSER", "false"),
    ("GIT_BROWSER", "false"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_programs_is_told_from_what_does_not() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_KEY_0",
            "GIT_EXTERNAL_DIFF",
            "GIT_PAGER",
            "PAGER",
            "MANPAGER",
            "SYSTEMD_PAGER",
            "BASH_ENV",
            "ENV",
            "PATH",
            "EDITOR",
            "VISUAL",
            "HOME",
            "XDG_CONFIG_HOME",
            "PERL5LIB",
            "PYTHONSTARTUP",
            "RSYNC_RSH",
            "SSH_ASKPASS",
            "BASH_FUNC_ls%%",
            "LESSOPEN",
            "NODE_OPTIONS",
        ] {
            assert!(can_start_programs(name), "{name}");
        }
        for name in ["LANG", "LC_ALL", "GIT_PROTOCOL", "RELEASE", "TZ", "COLUMNS"] {
            assert!(!can_start_programs(name), "{name}");
        }
        for (name, _) in QUIET_ENVIRONMENT {
            assert!(can_start_programs(name) || name.contains("LESS") || name.contains("SECURE"));
        }
    }
}
