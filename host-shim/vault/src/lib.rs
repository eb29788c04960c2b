//! The node's keys: a BIP39 mnemonic and SLIP-0010 derivation.
