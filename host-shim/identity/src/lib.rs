//! Who a peer is: the peers configuration and its identity provider.
