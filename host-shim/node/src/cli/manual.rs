//! What the manual pages of `alknet-node` say beyond commands and options.

use alknet_manual::{Examples, Manual};

pub(super) const MANUAL: Manual = Manual {
    examples: &[
        Examples {
            page: "alknet-node",
            examples: &[
                ("Make a node and serve", "alknet-node up"),
                (
                    "Put a new plugin file to work, with sessions open",
                    "alknet-node plugins reload",
                ),
            ],
        },
        Examples {
            page: "alknet-node-init",
            examples: &[
                (
                    "For all addresses, with one key",
                    "alknet-node init --listen 0.0.0.0:4433 --authorize ~/.ssh/id_ed25519.pub",
                ),
                (
                    "The same node on another machine",
                    "alknet-node init --mnemonic-file words --authorize ~/.ssh/id_ed25519.pub",
                ),
            ],
        },
        Examples {
            page: "alknet-node-up",
            examples: &[(
                "For other machines too",
                "alknet-node up --listen 0.0.0.0:4433",
            )],
        },
        Examples {
            page: "alknet-node-reload",
            examples: &[
                ("What would change", "alknet-node reload --dry-run"),
                ("Plugins and configuration", "alknet-node reload --plugins"),
            ],
        },
        Examples {
            page: "alknet-node-peers-add",
            examples: &[(
                "Let somebody push with git",
                "alknet-node peers add alice alice.pub --scope ssh:exec:git-receive-pack",
            )],
        },
        Examples {
            page: "alknet-node-peers-grant",
            examples: &[
                ("Files", "alknet-node peers grant alice ssh:sftp"),
                (
                    "A database behind the node",
                    "alknet-node peers grant alice ssh:forward:db.internal:5432",
                ),
            ],
        },
        Examples {
            page: "alknet-node-peers-revoke",
            examples: &[(
                "What uses it ends at once",
                "alknet-node peers revoke alice ssh:sftp",
            )],
        },
        Examples {
            page: "alknet-node-peers-import",
            examples: &[(
                "The keys of an sshd",
                "alknet-node peers import ~/.ssh/authorized_keys --dry-run",
            )],
        },
        Examples {
            page: "alknet-node-policy-explain",
            examples: &[
                (
                    "May alice reach it?",
                    "alknet-node policy explain --identity alice forward db.internal:5432",
                ),
                (
                    "From another address, at another time",
                    "alknet-node policy explain --identity alice --from 203.0.113.7 \\\n    --as-of 2030-01-01T00:00:00Z shell",
                ),
            ],
        },
        Examples {
            page: "alknet-node-plugins-check",
            examples: &[(
                "The loader's verdict on a file",
                "alknet-node plugins check libalknet_ssh_plugin.so",
            )],
        },
        Examples {
            page: "alknet-node-plugins-new",
            examples: &[(
                "A plugin for ALPN alknet/hello",
                "alknet-node plugins new hello\ncd hello && cargo build --release",
            )],
        },
        Examples {
            page: "alknet-node-secret-set",
            examples: &[(
                "The password of a proxy",
                "printf 'user:password' | alknet-node secret set upstream",
            )],
        },
        Examples {
            page: "alknet-node-sessions-close",
            examples: &[(
                "End a session",
                "alknet-node sessions list\nalknet-node sessions close 1.7",
            )],
        },
        Examples {
            page: "alknet-node-status",
            examples: &[("For a script", "alknet-node status --json")],
        },
    ],
    files: &[
        (
            "~/.local/state/alknet",
            "The state directory, unless $XDG_STATE_HOME or --state names another; /var/lib/alknet for the packaged node. The other files are in it.",
        ),
        (
            "node.toml",
            "The configuration. alknet-node schema node describes every field.",
        ),
        ("peers.toml", "Who may connect, with which keys and scopes."),
        (
            "mnemonic",
            "24 words that all keys of the node come from. Keep a copy where nobody finds it.",
        ),
        (
            "secrets.json",
            "Secrets for plugins, encrypted under the words.",
        ),
        ("plugins", "The plugins, *.so."),
    ],
};
