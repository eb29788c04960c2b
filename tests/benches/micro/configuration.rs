//! Reading and checking configurations, with few rules and with many.

use alknet_document::{Document, Format};
use alknet_ssh_config::{SshConfig, ssh_config_schema};
use divan::{Bencher, black_box};

/// An SSH configuration with so many rules, as JSON.
fn json(rules: usize) -> String {
    let rule = |number: usize| {
        let target = format!("10.{}.{}.0/24:443", number / 256, number % 256);
        format!("{{\"target\":\"{target}\",\"action\":\"allow\"}}")
    };
    let rules: Vec<_> = (0..rules).map(rule).collect();
    format!("{{\"forwarding\":{{\"rules\":[{}]}}}}", rules.join(","))
}

/// From text to what the plugin works with, with all checks of the plugin's.
#[divan::bench(args = [0, 10, 10_000])]
fn plugin_reads(bencher: Bencher<'_, '_>, rules: usize) {
    let text = json(rules);
    bencher.bench_local(|| SshConfig::from_json(black_box(&text)).unwrap().policy());
}

/// From text to a document that fits the plugin's schema, as the node checks it.
#[divan::bench(args = [10, 10_000])]
fn node_validates(bencher: Bencher<'_, '_>, rules: usize) {
    let text = json(rules);
    let schema = ssh_config_schema();
    bencher.bench_local(|| {
        let document = Document::parse(black_box(&text), Format::Json, "bench.json").unwrap();
        document.validate(&schema).unwrap();
        document
    });
}
