//! What replaced versions leave behind, and what somebody took away: counters
//! go on, copies go, and what is missing is made again.

use std::fs;

use integration_tests::swapping::{
    Echo, ODD, Odd, SSH, install, plugins, serving, status, swap, variant,
};
use integration_tests::{
    Alknet, NODE, Setup, TestNode, artifacts, connect_ssh, dial, eventually, proportional_kib,
};
use rustix::process::Signal;
use tokio::runtime::Runtime;

/// A session that ends.
fn visit(runtime: &Runtime, node: &TestNode) {
    runtime.block_on(async {
        let quic = dial(node).await;
        connect_ssh(node, &quic).await.disconnect().await;
    });
}

#[test]
fn counters_of_a_replaced_version_go_on_in_the_sums() {
    let node = Setup::new().start();
    let setup = &node.setup;
    let runtime = Runtime::new().unwrap();
    let total = || status(setup)["totals"]["ssh"]["sessions_total"].as_u64();
    for _ in 0..3 {
        visit(&runtime, &node);
    }
    eventually("three sessions are counted", || {
        (total() == Some(3)).then_some(())
    });
    install(setup, &variant(&artifacts().plugin, 1), SSH);
    assert_eq!(swap(setup).code(), 0);
    node.logged(&["the last connection on a replaced version has ended"]);
    eventually("it is gone", || {
        let live = status(setup)["generations"].as_array().unwrap().len();
        (live == 1).then_some(())
    });
    assert_eq!(total(), Some(3));
    visit(&runtime, &node);
    eventually("the next is counted as well", || {
        (total() == Some(4)).then_some(())
    });
}

#[test]
fn the_copy_of_a_version_that_nobody_uses_is_removed() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let runtime = Runtime::new().unwrap();
    // Somebody stays with the first.
    let mut echo = runtime.block_on(Echo::open(&odd.node));
    for mark in 1..4 {
        odd.next(mark, &format!("VERSION=2.0.{mark}\n"));
        assert_eq!(swap(setup).code(), 0);
    }
    // That one, the one that serves, the one to roll back to, and ssh.
    let copies = || fs::read_dir(setup.state().join("staging")).unwrap().count();
    let open = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", odd.node.pid())).unwrap();
        let links = descriptors.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
        links
            .filter(|link| link.to_string_lossy().contains("/staging/"))
            .count()
    };
    // That of ssh is open once more, for file transfer's process.
    let are_left = |left: usize| (copies() == left && open() == left + 1).then_some(());
    eventually("four copies are left", || are_left(4));
    runtime.block_on(echo.works());
    drop(echo);
    eventually("three copies are left", || are_left(3));
    assert_eq!(plugins(setup, &["rollback", "odd"]).code(), 0);
    assert_eq!(serving(setup, "odd")["version"], "2.0.2");
    // A version whose code went back to the system serves again.
    odd.next(1, "VERSION=2.0.1\n");
    assert_eq!(swap(setup).code(), 0);
    runtime.block_on(Echo::open(&odd.node));
}

#[test]
fn what_somebody_removed_is_made_again() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let (staging, socket) = (
        setup.state().join("staging"),
        setup.state().join("admin.sock"),
    );
    fs::remove_dir_all(&staging).unwrap();
    fs::remove_file(&socket).unwrap();
    eventually("both are there again", || {
        (staging.exists() && socket.exists()).then_some(())
    });
    odd.node
        .logged(&["the staging directory was gone; it is made again"]);
    odd.node
        .logged(&["the admin socket was gone; it is made again"]);
    assert_eq!(status(setup)["node"]["state"], "serving");
    // A signal needs neither to be there before.
    fs::remove_dir_all(&staging).unwrap();
    odd.next(1, "VERSION=2.0.0\n");
    odd.node.signal(Signal::HUP);
    odd.node.logged(&["plugin serves", "2.0.0"]);
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    // What somebody else put there is left alone.
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn file_transfer_goes_on_where_the_private_copies_are_removed() {
    let setup = Setup::new();
    let root = setup.serve_root("");
    fs::write(root.join("there"), "contents").unwrap();
    setup.grant(&["ssh:sftp"]);
    let node = setup.start();
    let user = Alknet::to(&node);
    fs::remove_dir_all(node.setup.state().join("staging")).unwrap();
    let there = format!("{NODE}:there");
    let back = node.setup.folder().join("back");
    let get = || {
        let ended = user.run(&["cp", &there, back.to_str().unwrap()]).ended();
        assert_eq!(ended.code(), 0, "{ended}");
        assert_eq!(fs::read(&back).unwrap(), b"contents");
        fs::remove_file(&back).unwrap();
    };
    get();
    // A handler made anew from the same library finds it as well.
    let ended = plugins(&node.setup, &["reload", "ssh", "--force"]);
    assert_eq!(ended.code(), 0, "{ended}");
    get();
    install(&node.setup, &variant(&artifacts().plugin, 1), SSH);
    assert_eq!(swap(&node.setup).code(), 0);
    fs::remove_dir_all(node.setup.state().join("staging")).unwrap();
    assert_eq!(plugins(&node.setup, &["rollback"]).code(), 0);
    get();
}

#[test]
fn one_command_reloads_plugins_and_configuration_each_by_itself() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let reload = || setup.on_state("reload").arg("--plugins").ended();
    // A bad plugin does not keep the configuration from being reloaded.
    install(setup, b"no library", ODD);
    setup.replace("watch = false", "watch = false\nmax_draining = 7");
    let ended = reload();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["refused", ODD]);
    let reloaded = "reloaded: generation 2, changed /plugins/max_draining\n";
    assert!(ended.out().contains(reloaded), "{ended}");
    // Nor the other way round.
    odd.next(1, "VERSION=2.0.0\n");
    setup.append("peers.toml", "\n[[peers]]\n");
    let ended = reload();
    assert_eq!(ended.code(), 1, "{ended}");
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    ended.line_with(&["the configuration stays as it was"]);
}

/// `cargo test -p integration-tests --test plugins leftovers -- --ignored --nocapture` says
/// what each swap of the SSH plugin holds on to.
#[test]
#[ignore = "it prints figures"]
fn memory_of_swaps() {
    let node = Setup::new().start();
    let setup = &node.setup;
    let runtime = Runtime::new().unwrap();
    let mut last = proportional_kib(node.pid());
    println!("start: {last} KiB");
    for mark in 1..11 {
        visit(&runtime, &node);
        install(setup, &variant(&artifacts().plugin, mark), SSH);
        assert_eq!(swap(setup).code(), 0);
        std::thread::sleep(std::time::Duration::from_secs(6));
        let now = proportional_kib(node.pid());
        println!("swap {mark}: {now} KiB, {} more", now as i64 - last as i64);
        last = now;
    }
}
