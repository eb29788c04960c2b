//! What the manual pages of `alknet` say beyond commands and options.

use alknet_manual::{Examples, Manual};

pub(crate) const MANUAL: Manual = Manual {
    examples: &[
        Examples {
            page: "alknet",
            examples: &[
                ("Run a command on a node", "alknet exec home uname -a"),
                (
                    "Reach it with the ssh that is there",
                    "alknet ssh-config home >> ~/.ssh/config && ssh home",
                ),
            ],
        },
        Examples {
            page: "alknet-connect",
            examples: &[(
                "In ~/.ssh/config, for ssh, git, rsync and scp",
                "Host home\n    ProxyCommand alknet connect 192.0.2.7:4433 --node-key ed25519:…",
            )],
        },
        Examples {
            page: "alknet-cp",
            examples: &[
                (
                    "Copy a directory to a node",
                    "alknet cp -r photos home:backup/",
                ),
                (
                    "Copy a file from it",
                    "alknet cp home:backup/photos/1.jpg .",
                ),
            ],
        },
        Examples {
            page: "alknet-exec",
            examples: &[
                (
                    "Run a command, with the node's key given",
                    "alknet exec ed25519:…@192.0.2.7 uname -a",
                ),
                ("Through a pipe", "tar c src | alknet exec home tar x"),
                ("On a terminal", "alknet exec -t home top"),
                (
                    "Keep the connection for later commands",
                    "alknet exec -o ControlMaster=auto -o ControlPersist=10m home true",
                ),
            ],
        },
        Examples {
            page: "alknet-forward",
            examples: &[
                (
                    "Reach a server behind the node",
                    "alknet forward home -L 8080:intranet:80",
                ),
                (
                    "Let the node's users reach a port here",
                    "alknet forward home -R 9000:localhost:3000",
                ),
            ],
        },
        Examples {
            page: "alknet-ping",
            examples: &[("Five round trips", "alknet ping home -c 5")],
        },
        Examples {
            page: "alknet-socks",
            examples: &[(
                "Browse through the node",
                "alknet socks home &\ncurl --socks5-hostname 127.0.0.1:1080 https://example.com/",
            )],
        },
        Examples {
            page: "alknet-ssh-config",
            examples: &[(
                "Add a node to the configuration of ssh",
                "alknet ssh-config 192.0.2.7:4433 --node-key ed25519:… >> ~/.ssh/config",
            )],
        },
        Examples {
            page: "alknet-identity-key",
            examples: &[(
                "The line for node_keys in peers.toml",
                "alknet identity-key ~/.config/alknet/identity",
            )],
        },
    ],
    files: &[
        (
            "~/.config/alknet/nodes.toml",
            "Names for nodes, with their address and keys.",
        ),
        (
            "~/.config/alknet/known_nodes",
            "Keys of nodes that were trusted the first time.",
        ),
        ("~/.ssh/known_hosts", "SSH host keys, as ssh keeps them."),
        (
            "~/.ssh/id_ed25519, ~/.ssh/id_ecdsa, ~/.ssh/id_rsa",
            "Keys to log in with, unless -i names one.",
        ),
    ],
};
