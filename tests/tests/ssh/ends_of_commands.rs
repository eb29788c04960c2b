//! How commands end that run beside each other on one SSH connection.

use std::sync::Arc;

use alknet_ssh::client::RemoteProcess;
use alknet_ssh::{Client, Exit};
use integration_tests::{HANG, Setup, connect_ssh, dial};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What a command of its own number ends with, for one who lets go of its output
/// as soon as that has ended.
async fn ends(client: &Client, number: u32) -> Exit {
    let command = format!("cat; exit {number}");
    let process = client.exec(command, &[]).await.unwrap();
    let RemoteProcess {
        stdin,
        mut stdout,
        stderr: _unread,
        mut end,
        ..
    } = process;
    stdin.send(b"hello\n".to_vec()).await.unwrap();
    stdin.finish().await.unwrap();
    while stdout.chunk().await.is_some() {}
    drop(stdout);
    end.wait().await
}

/// The server's close comes after the end of the output, if only by a moment.
#[tokio::test]
async fn the_status_comes_after_the_output_was_let_go() {
    let node = Setup::new().start();
    for _ in 0..60 {
        let dialled = dial(&node).await;
        let client = Arc::new(connect_ssh(&node, &dialled).await);
        let mut commands = JoinSet::new();
        for number in 0..10 {
            let client = Arc::clone(&client);
            commands.spawn(async move {
                let end = timeout(HANG / 4, ends(&client, number)).await;
                assert_eq!(end.expect("it ends"), Exit::Status(number));
            });
        }
        commands.join_all().await;
    }
}
