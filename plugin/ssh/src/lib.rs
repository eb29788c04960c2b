//! An SSH-2 server and client over any byte stream.
