//! Any bytes as every message of the proxy protocols: no panic, no byte taken
//! that is not the message's, and what is decoded is encoded so that it
//! decodes to the same.
#![no_main]

use alknet_socks5::http::{ConnectRequest, ConnectResponse};
use alknet_socks5::{
    AuthStatus, Credentials, Greeting, Message, MethodChoice, Progress, Request, Response,
    Socks4Request, Socks4Response,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check::<Greeting>(bytes);
    check::<MethodChoice>(bytes);
    check::<Credentials>(bytes);
    check::<AuthStatus>(bytes);
    check::<Request>(bytes);
    check::<Response>(bytes);
    check::<Socks4Request>(bytes);
    check::<Socks4Response>(bytes);
    check::<ConnectRequest>(bytes);
    check::<ConnectResponse>(bytes);
});

fn check<M: Message>(bytes: &[u8]) {
    let (message, length) = match M::decode(bytes) {
        Ok(Progress::Done(message, length)) => (message, length),
        Ok(Progress::Need(missing)) => {
            assert!(missing > 0);
            return;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!((1..=bytes.len()).contains(&length) && length <= M::MAX_LENGTH);
    for end in 0..length {
        match M::decode(&bytes[..end]) {
            Ok(Progress::Need(missing)) => {
                assert!(
                    missing > 0 && end + missing <= length,
                    "reads past the message"
                );
            }
            Ok(Progress::Done(..)) => panic!("{end} of {length} bytes are a message"),
            Err(error) => panic!("{end} of {length} bytes: {error}"),
        }
    }
    let encoded = message.encode();
    match M::decode(&encoded) {
        Ok(Progress::Done(again, length)) => {
            assert_eq!(length, encoded.len());
            assert_eq!(again.encode(), encoded);
        }
        Ok(Progress::Need(missing)) => panic!("its own encoding lacks {missing} bytes"),
        Err(error) => panic!("its own encoding: {error}"),
    }
}
