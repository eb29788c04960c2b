//! Decoding SOCKS, and a whole handshake.

use alknet_socks5::{AuthPolicy, Command, Message, Reply, Request, Target, accept_any, connect};
use divan::{Bencher, black_box};

/// A request with a name, from bytes.
#[divan::bench]
fn decode_request(bencher: Bencher<'_, '_>) {
    let request = Request {
        command: Command::Connect,
        target: Target::new("db.internal", 5432).unwrap(),
    };
    let bytes = request.encode();
    bencher.bench_local(|| Request::decode(black_box(&bytes)).unwrap());
}

/// Both ends of a handshake, over a pipe in memory.
#[divan::bench]
fn handshake(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let target = Target::new("db.internal", 5432).unwrap();
    bencher.bench_local(|| {
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1024);
            let serve = async {
                let request = accept_any(far, &AuthPolicy::Open).await.unwrap();
                request.reply(Reply::Succeeded).await.unwrap()
            };
            let (asked, _far) = tokio::join!(connect(&mut near, &target, None), serve);
            asked.unwrap()
        })
    });
}
