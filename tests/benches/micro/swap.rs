//! Putting another version of the SSH plugin into a running node.

use std::cell::Cell;

use divan::Bencher;
use integration_tests::swapping::{SSH, install, swap, variant};
use integration_tests::{Setup, artifacts};

/// `alknet-node plugins reload` of another version of the SSH plugin, until that
/// serves: staged, tried out, loaded, its handler made, the old one draining.
#[divan::bench(sample_count = 12, sample_size = 1)]
fn another_version(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 64\n");
    let node = setup.start();
    let mark = Cell::new(0);
    bencher
        .with_inputs(|| {
            mark.set(mark.get() + 1);
            install(&node.setup, &variant(&artifacts().plugin, mark.get()), SSH);
        })
        .bench_local_values(|()| assert_eq!(swap(&node.setup).code(), 0));
}
