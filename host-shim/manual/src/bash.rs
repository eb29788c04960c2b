//! The script for bash.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::env::{self, EnvCompleter};

/// bash, which takes `:` and `=` for the ends of words (`COMP_WORDBREAKS`): a scope, a node's
/// key and HOST:PATH come in pieces, and of what is answered only the last piece is wanted.
pub(crate) struct Bash;

const SCRIPT: &str = r#"_NAME_complete() {
    local IFS=$'\n' line=$COMP_LINE words=() index=0 piece rest i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:space:]]*}"}
        # Without a space between them, two pieces are of one word.
        if ((i == 0 || ${#rest} < ${#line})); then
            index=${#words[@]}
            words+=("")
        fi
        line=${rest#"$piece"}
        # $2 ends at the cursor, and is empty where a piece like : does.
        if ((i == COMP_CWORD)) && [[ $piece != [:=]* ]]; then
            piece=$2
        fi
        words[index]+=$piece
    done
    local current=${words[index]} begun=
    if [[ $COMP_WORDBREAKS == *:* ]]; then
        begun=${current%"${current##*[:=]}"}
    fi
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$index" VARIABLE=bash PROGRAM -- "${words[@]}" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$begun"}")
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -F _NAME_complete BIN
"#;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        env::Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        env::Bash.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        let quoted = format!("'{}'", completer.replace('\'', r"'\''"));
        let script = SCRIPT
            .replace("NAME", &name.replace('-', "_"))
            .replace("BIN", bin)
            .replace("VARIABLE", var)
            .replace("PROGRAM", &quoted);
        buf.write_all(script.as_bytes())
    }

    fn write_complete(
        &self,
        cmd: &mut Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        env::Bash.write_complete(cmd, args, current_dir, buf)
    }
}
