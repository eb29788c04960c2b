//! The codec, without a stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fmt::Debug;
use std::net::IpAddr;

use alknet_socks5::{
    Address, AddressError, AuthStatus, Command, Credentials, CredentialsError, DecodeError, Domain,
    Greeting, Message, Method, MethodChoice, Progress, Reply, Request, Response, Target,
};
use proptest::prelude::*;

fn done<M: Message + Debug>(bytes: &[u8]) -> M {
    match M::decode(bytes) {
        Ok(Progress::Done(message, length)) => {
            assert_eq!(length, bytes.len());
            message
        }
        other => panic!("{other:?}"),
    }
}

fn fault<M: Message + Debug>(bytes: &[u8]) -> DecodeError {
    M::decode(bytes).unwrap_err()
}

/// Every prefix asks for no more than what is missing, and what follows the
/// message is left alone.
fn check_every_split<M: Message + Debug>(whole: &[u8]) {
    for length in 0..whole.len() {
        match M::decode(&whole[..length]) {
            Ok(Progress::Need(more)) => {
                assert!(
                    more > 0 && length + more <= whole.len(),
                    "{whole:?} at {length}"
                );
            }
            other => panic!("{whole:?} at {length}: {other:?}"),
        }
    }
    let longer = [whole, b"early data"].concat();
    for bytes in [whole, &longer] {
        match M::decode(bytes) {
            Ok(Progress::Done(message, length)) => {
                assert_eq!(length, whole.len());
                assert_eq!(message.encode(), whole);
            }
            other => panic!("{whole:?}: {other:?}"),
        }
    }
}

#[test]
fn messages_are_the_bytes_of_the_rfc() {
    let greeting: Greeting = done(&[5, 2, 0, 2]);
    assert_eq!(greeting.methods(), [Method::NO_AUTH, Method::PASSWORD]);
    assert_eq!(greeting.encode(), [5, 2, 0, 2]);
    assert_eq!(done::<MethodChoice>(&[5, 0xff]).0, Method::NONE_ACCEPTABLE);
    assert_eq!(done::<AuthStatus>(&[1, 0]), AuthStatus::Accepted);
    assert_eq!(done::<AuthStatus>(&[1, 7]), AuthStatus::Refused);
    let credentials = Credentials::new("ab", "xyz").unwrap();
    assert_eq!(
        credentials.encode(),
        [1, 2, b'a', b'b', 3, b'x', b'y', b'z']
    );

    let request: Request = done(b"\x05\x01\x00\x03\x07db.home\x15\x38");
    assert_eq!(request.command, Command::Connect);
    assert_eq!(request.target.to_string(), "db.home:5432");
    let request: Request = done(&[5, 2, 0, 1, 10, 0, 0, 1, 0, 22]);
    assert_eq!(request.command, Command::Bind);
    assert_eq!(request.target.to_string(), "10.0.0.1:22");
    let v6 = [&[5, 3, 0, 4][..], &[0; 15], &[1, 0, 53]].concat();
    let request: Request = done(&v6);
    assert_eq!(request.command, Command::UdpAssociate);
    assert_eq!(request.target.to_string(), "[::1]:53");

    for (code, reply) in [
        (0, Reply::Succeeded),
        (1, Reply::GeneralFailure),
        (2, Reply::NotAllowed),
        (3, Reply::NetworkUnreachable),
        (4, Reply::HostUnreachable),
        (5, Reply::ConnectionRefused),
        (6, Reply::TtlExpired),
        (7, Reply::CommandNotSupported),
        (8, Reply::AddressTypeNotSupported),
    ] {
        let bytes = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(Response::new(reply).encode(), bytes);
        assert_eq!(done::<Response>(&bytes).reply, reply);
    }
}

#[test]
fn faults_are_named() {
    assert_eq!(fault::<Greeting>(&[4]), DecodeError::Version { found: 4 });
    assert_eq!(fault::<Request>(&[0]), DecodeError::Version { found: 0 });
    assert_eq!(
        fault::<Credentials>(&[5]),
        DecodeError::AuthVersion { found: 5 }
    );
    assert_eq!(
        fault::<Request>(&[5, 1, 0, 2]),
        DecodeError::AddressType { found: 2 }
    );
    assert_eq!(
        fault::<Response>(&[5, 9, 0, 1, 0, 0, 0, 0, 0, 0]),
        DecodeError::Reply { found: 9 }
    );
    let text = fault::<Greeting>(b"CONNECT db:1 HTTP/1.1").to_string();
    assert!(text.contains("looks like HTTP"), "{text}");
    let text = fault::<Greeting>(&[4, 1]).to_string();
    assert!(text.contains("set the program to SOCKS5"), "{text}");
}

#[test]
fn a_request_that_can_be_answered_is_read_whole_first() {
    let unknown = [5, 9, 0, 1, 10, 0, 0, 1, 0, 22];
    let bad_name = b"\x05\x01\x00\x03\x02a\n\x00\x16";
    for (bytes, error) in [
        (&unknown[..], DecodeError::Command { found: 9 }),
        (&bad_name[..], DecodeError::Domain),
    ] {
        for length in 0..bytes.len() {
            let progress = Request::decode(&bytes[..length]);
            assert!(
                matches!(progress, Ok(Progress::Need(_))),
                "{length}: {progress:?}"
            );
        }
        assert_eq!(fault::<Request>(bytes), error);
    }
}

#[test]
fn names_that_no_host_has_are_refused() {
    for name in ["", "a b", "a\0b", "a\nb", "\u{a0}"] {
        Target::new(name, 1).unwrap_err();
    }
    let longest = "a".repeat(255);
    assert_eq!(Domain::new(&longest).unwrap().as_str(), longest);
    let error = Domain::new(&"a".repeat(256)).unwrap_err();
    assert_eq!(error, AddressError::TooLong { length: 256 });
    assert_eq!(
        fault::<Request>(b"\x05\x01\x00\x03\x00\x00\x16"),
        DecodeError::Domain
    );
    assert_eq!(
        fault::<Request>(b"\x05\x01\x00\x03\x01\xff\x00\x16"),
        DecodeError::Domain
    );
    let ip = Target::new("::1", 1).unwrap().address;
    assert_eq!(ip, Address::Ip("::1".parse::<IpAddr>().unwrap()));
}

#[test]
fn credentials_have_bounds_and_do_not_show() {
    let long = "x".repeat(256);
    let error = |username: &str, password: &str| Credentials::new(username, password).unwrap_err();
    assert_eq!(error("", "b"), CredentialsError::NoUsername);
    assert_eq!(error(&long, "b"), CredentialsError::UsernameTooLong);
    assert_eq!(error("a", &long), CredentialsError::PasswordTooLong);
    let credentials = Credentials::new("alice", "hunter2").unwrap();
    let shown = format!("{credentials:?}");
    assert!(
        !shown.contains("alice") && !shown.contains("hunter2"),
        "{shown}"
    );
    for (username, password, same) in [
        ("alice", "hunter2", true),
        ("alice", "hunter3", false),
        ("alicf", "hunter2", false),
        ("alice", "", false),
        ("alic", "ehunter2", false),
    ] {
        let other = Credentials::new(username, password).unwrap();
        assert_eq!(credentials.matches(&other), same, "{username} {password}");
    }
}

fn target() -> impl Strategy<Value = Target> {
    let address = prop_oneof![
        any::<IpAddr>().prop_map(Address::Ip),
        "[a-zA-Z0-9.é_-]{1,120}".prop_map(|name| Address::Domain(Domain::new(&name).unwrap())),
    ];
    (address, any::<u16>()).prop_map(|(address, port)| Target { address, port })
}

proptest! {
    #[test]
    fn every_message_survives_every_split(
        target in target(),
        code in 0u8..9,
        methods in proptest::collection::vec(any::<u8>(), 0..=255),
        username in proptest::collection::vec(any::<u8>(), 1..=255),
        password in proptest::collection::vec(any::<u8>(), 0..=255),
    ) {
        for command in [Command::Connect, Command::Bind, Command::UdpAssociate] {
            let request = Request { command, target: target.clone() };
            prop_assert_eq!(&done::<Request>(&request.encode()), &request);
            check_every_split::<Request>(&request.encode());
        }
        let mut response = done::<Response>(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        response.bound = target;
        prop_assert_eq!(&done::<Response>(&response.encode()), &response);
        check_every_split::<Response>(&response.encode());

        let methods: Vec<_> = methods.into_iter().map(Method).collect();
        let greeting = Greeting::new(&methods);
        prop_assert_eq!(greeting.methods(), &methods);
        check_every_split::<Greeting>(&greeting.encode());
        check_every_split::<MethodChoice>(&MethodChoice(Method(code)).encode());
        check_every_split::<AuthStatus>(&AuthStatus::Refused.encode());

        let credentials = Credentials::new(username, password).unwrap();
        prop_assert!(done::<Credentials>(&credentials.encode()).matches(&credentials));
        check_every_split::<Credentials>(&credentials.encode());
    }

    #[test]
    fn garbage_never_panics(
        first in prop_oneof![Just(5u8), Just(1u8), any::<u8>()],
        rest in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [vec![first], rest].concat();
        let _ = Greeting::decode(&bytes);
        let _ = MethodChoice::decode(&bytes);
        let _ = Credentials::decode(&bytes);
        let _ = AuthStatus::decode(&bytes);
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
    }
}
