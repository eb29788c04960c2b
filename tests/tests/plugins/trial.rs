//! The trial that a plugin goes through before the node opens it: whatever it
//! does there, the node goes on, and says in one line why it was refused.
//!
//! `ALKNET_DAMAGED=200 cargo test -p integration-tests --test plugins trial -- --nocapture`
//! tries so many damaged files of each kind and prints the figures.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use integration_tests::swapping::{
    Echo, ODD, Odd, install, plugins, serving, status, swap, variant,
};
use integration_tests::{Random, Setup, TestNode, artifacts, sha256_of_file};
use rustix::process::Signal;
use tokio::runtime::Runtime;

/// What a library does in its trial, and the words that name it.
const FAULTS: [(&str, &str); 16] = [
    ("CONSTRUCT=exit-well", "ended that process with status 0"),
    ("CONSTRUCT=claim", "ended that process with status 0"),
    ("CONSTRUCT=forge", "spoke in the name of that process"),
    ("CONSTRUCT=mumble", "spoke in the name of that process"),
    ("CONSTRUCT=flood", "wrote more than 1 MiB"),
    ("CONSTRUCT=spin", "too much CPU time"),
    ("CONSTRUCT=memory", "signal 6 (SIGABRT)"),
    ("CONSTRUCT=exit-outside", "ended that process with status 0"),
    ("LOAD=exit-well", "ended that process with status 0"),
    ("LOAD=forge", "spoke in the name of that process"),
    (
        "LOAD=exit-soon\nFACTORY=late",
        "ended that process with status 0",
    ),
    ("FACTORY=panic-unguarded", "signal 6 (SIGABRT)"),
    ("FACTORY=exit-well", "ended that process with status 0"),
    ("FACTORY=forge", "spoke in the name of that process"),
    ("FACTORY=flood", "wrote more than 1 MiB"),
    ("FACTORY=memory", "signal 6 (SIGABRT)"),
];

#[test]
fn whatever_a_library_does_in_its_trial_the_node_goes_on() {
    let mut odd = Odd::start("VERSION=1.0.0\n");
    let runtime = Runtime::new().unwrap();
    let mut echo = runtime.block_on(Echo::open(&odd.node));
    // `exit-soon` must not come too late.
    fs::write(odd.settings.with_extension("tried"), "").unwrap();
    for (mark, (settings, words)) in FAULTS.iter().enumerate() {
        odd.next(mark as u64, &format!("{settings}\n"));
        let ended = swap(&odd.node.setup);
        assert_eq!(ended.code(), 1, "{settings}: {ended}");
        assert_eq!(ended.err().lines().count(), 1, "{settings}: {ended}");
        let line = ended.line_with(&["refused", ODD, words]);
        println!("{settings:?}: {line}");
        assert!(odd.node.is_running(), "{settings}");
        assert_eq!(serving(&odd.node.setup, "odd")["version"], "1.0.0");
    }
    runtime.block_on(echo.works());
}

#[test]
fn what_a_plugin_says_of_itself_is_one_line() {
    let setup = Setup::new();
    let file = setup.install(&artifacts().odd, ODD);
    let long = "\u{1b}[31mred\u{202e}\u{7} ".repeat(1000);
    let check = setup.node(&["plugins", "check"]).arg(&file);
    let ended = check.env("ODD_RUSTC", &long).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let said = ended.out();
    let mut lines = said.lines();
    let line = lines.find(|line| line.contains("built by")).unwrap();
    assert!(line.contains("red"), "{line:?}");
    assert!(
        line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "{line:?}"
    );
    assert!(line.chars().count() < 400, "{line}");
}

#[test]
fn a_large_file_takes_no_memory() {
    let setup = Setup::new();
    let good = fs::read(&artifacts().odd).unwrap();
    let node = setup.start();
    let peak = peak_kib(&node);
    for (name, start) in [("zeros.so", &[0; 64][..]), ("start.so", &good[..4096])] {
        // Sparse: it takes no room on the disk.
        let file = File::create(node.setup.plugins().join(name)).unwrap();
        file.write_all_at(start, 0).unwrap();
        file.set_len(500 << 20).unwrap();
    }
    // This one is what it says: its section table is moved to the end.
    let (begin, size) = (word(&good, 40), half(&good, 60) * 64);
    let mut header = good[..64].to_vec();
    let end = (500 << 20) - size;
    header[40..48].copy_from_slice(&(end as u64).to_le_bytes());
    let honest = File::create(node.setup.plugins().join("honest.so")).unwrap();
    honest.write_all_at(&good, 0).unwrap();
    honest.write_all_at(&header, 0).unwrap();
    honest
        .write_all_at(&good[begin..][..size], end as u64)
        .unwrap();
    let ended = swap(&node.setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["zeros.so", "not an ELF shared library"]);
    ended.line_with(&["start.so", "its section table, which comes last, ends at"]);
    assert!(ended.out().contains("odd: version"), "{ended}");
    let more = peak_kib(&node) - peak;
    assert!(more < 64 << 10, "{more} KiB more");
}

#[test]
fn names_of_files_are_bytes() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    for name in [&b"bad\xff.so"[..], b"two\nlines.so"] {
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        fs::write(setup.plugins().join(name), "no library").unwrap();
    }
    // It serves from such a file as well.
    fs::remove_file(setup.plugins().join(ODD)).unwrap();
    fs::write(&odd.settings, "VERSION=2.0.0\n").unwrap();
    let good = setup
        .plugins()
        .join(std::ffi::OsStr::from_bytes(b"odd\xfe.so"));
    fs::write(&good, variant(&artifacts().odd, 7)).unwrap();
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(!ended.err().contains("panic"), "{ended}");
    assert_eq!(ended.err().lines().count(), 2, "{ended}");
    ended.line_with(&["refused", "bad\\xff.so"]);
    ended.line_with(&["refused", "two\\nlines.so"]);
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    for args in [
        &["list"][..],
        &["reload"],
        &["reload", "--json"],
        &["list", "--json"],
    ] {
        let ended = plugins(setup, args);
        assert!(!ended.err().contains("panic"), "{ended}");
        assert!(
            ended.out().contains("xfe.so") || args[0] == "reload",
            "{ended}"
        );
    }
    let text = setup.on_state("status").output();
    let line = text.lines().find(|line| line.contains("two\\nlines.so"));
    assert!(line.unwrap().contains("refused"), "{text}");
    let refused = status(setup)["refused"].clone();
    assert_eq!(refused.as_array().unwrap().len(), 2, "{refused:#}");
    let named = &refused[0]["file"]["bytes"];
    assert!(
        named.as_str().unwrap().ends_with("626164ff2e736f"),
        "{refused:#}"
    );
    // The configuration is reloaded beside them, by a signal as well.
    odd.node.signal(Signal::HUP);
    odd.node.logged(&["configuration reloaded"]);
    odd.node.logged(&["ERROR", "two\\nlines.so"]);
}

/// How many damaged files of each kind.
fn count() -> usize {
    let given = std::env::var("ALKNET_DAMAGED").ok();
    given.map_or(12, |count| count.parse().unwrap())
}

const SEED: u64 = 20_261_130;

#[test]
fn a_damaged_field_never_ends_the_node() {
    let good = fs::read(&artifacts().odd).unwrap();
    let fields = fields(&good);
    let mut random = Random::new(SEED);
    let damaged: Vec<_> = (0..count())
        .map(|_| damage(&good, &fields, &mut random))
        .collect();
    let digest = format!("sha256:{}", sha256_of_file(&artifacts().odd));
    let tally = feed(damaged.iter().cloned(), &[digest]);
    println!("damaged fields, digests listed: {tally:?}");
    assert_eq!(tally.accepted, 0);
    let tally = feed(damaged.into_iter(), &[]);
    println!("damaged fields, no digests listed: {tally:?}");
}

/// A library with another value in one field that differs from the one it had,
/// and what was done to it.
fn damage(good: &[u8], fields: &[Field], random: &mut Random) -> (String, Vec<u8>) {
    loop {
        let field = &fields[random.number() as usize % fields.len()];
        let mut bytes = good.to_vec();
        let before = bytes[field.at..][..field.length].to_vec();
        let value = match random.number() % 4 {
            0 => random.bytes(field.length),
            1 => vec![0; field.length],
            2 => vec![0xff; field.length],
            _ => {
                let mut value = before.clone();
                value[0] = value[0].wrapping_add(1 + (random.number() % 255) as u8);
                value
            }
        };
        bytes[field.at..][..field.length].copy_from_slice(&value);
        if value != before {
            let what = format!("{} {before:x?} -> {value:x?}", field.name);
            return (what, bytes);
        }
    }
}

/// Where no digests are listed, a flipped bit in the code may go unseen, and
/// may do anything later: README says so. What ends the process on the way to
/// its first connection is seen.
#[test]
fn a_flipped_bit_never_ends_the_node_before_it_serves() {
    let good = fs::read(&artifacts().odd).unwrap();
    let mut random = Random::new(SEED + 1);
    let flipped: Vec<_> = (0..count())
        .map(|_| {
            let at = random.number() as usize % good.len();
            let bit = 1 << (random.number() % 8);
            let mut bytes = good.clone();
            bytes[at] ^= bit;
            (format!("byte {at} ^ {bit:#x}"), bytes)
        })
        .collect();
    let digest = format!("sha256:{}", sha256_of_file(&artifacts().odd));
    let tally = feed(flipped.iter().cloned(), &[digest]);
    println!("flipped bits, digests listed: {tally:?}");
    assert_eq!(tally.accepted, 0);
    let tally = feed(flipped.into_iter(), &[]);
    println!("flipped bits, no digests listed: {tally:?}");
}

#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// What the dynamic loader or the trial saw, of those refused.
    in_trial: usize,
    slowest: Duration,
}

/// Has a running node load each of these in place of the odd plugin. It must
/// not end.
fn feed(libraries: impl Iterator<Item = (String, Vec<u8>)>, digests: &[String]) -> Tally {
    let setup = Setup::new();
    fs::remove_file(setup.plugins().join("libalknet_ssh_plugin.so")).unwrap();
    if !digests.is_empty() {
        let allowed = format!("[plugins]\nallow_digests = {digests:?}\n");
        setup.replace("[plugins]\n", &allowed);
    }
    let mut odd = Odd::start_with("VERSION=1.0.0\n", setup, TestNode::start);
    let mut tally = Tally::default();
    for (what, bytes) in libraries {
        install(&odd.node.setup, &bytes, ODD);
        let began = Instant::now();
        let ended = swap(&odd.node.setup);
        let took = began.elapsed();
        tally.slowest = tally.slowest.max(took);
        assert!(odd.node.is_running(), "{what}: the node has ended\n{ended}");
        match ended.code() {
            0 => tally.accepted += 1,
            _ => {
                ended.line_with(&["refused", ODD]);
                assert_eq!(ended.err().lines().count(), 1, "{what}: {ended}");
                tally.refused += 1;
                tally.in_trial += usize::from(ended.err().contains("process of its own"));
            }
        }
        println!("{what}: {} ms, {}", took.as_millis(), ended.err().trim());
    }
    // Nor does what was let in spoil its end.
    let stopped = odd.node.stop();
    assert!(
        stopped.status.success(),
        "{:?}\n{}",
        stopped.status,
        stopped.log
    );
    tally
}

/// A field of a header or table.
struct Field {
    name: String,
    at: usize,
    length: usize,
}

/// The fields of the ELF header, the program headers, the dynamic segment and
/// the section headers (elf(5), 64-bit, little-endian).
fn fields(library: &[u8]) -> Vec<Field> {
    const HEADER: [(&str, usize, usize); 18] = [
        ("ei_class", 4, 1),
        ("ei_data", 5, 1),
        ("ei_version", 6, 1),
        ("ei_osabi", 7, 1),
        ("e_type", 16, 2),
        ("e_machine", 18, 2),
        ("e_version", 20, 4),
        ("e_entry", 24, 8),
        ("e_phoff", 32, 8),
        ("e_shoff", 40, 8),
        ("e_flags", 48, 4),
        ("e_ehsize", 52, 2),
        ("e_phentsize", 54, 2),
        ("e_phnum", 56, 2),
        ("e_shentsize", 58, 2),
        ("e_shnum", 60, 2),
        ("e_shstrndx", 62, 2),
        ("ei_pad", 8, 8),
    ];
    const SEGMENT: [(&str, usize, usize); 8] = [
        ("p_type", 0, 4),
        ("p_flags", 4, 4),
        ("p_offset", 8, 8),
        ("p_vaddr", 16, 8),
        ("p_paddr", 24, 8),
        ("p_filesz", 32, 8),
        ("p_memsz", 40, 8),
        ("p_align", 48, 8),
    ];
    const SECTION: [(&str, usize, usize); 4] = [
        ("sh_type", 4, 4),
        ("sh_addr", 16, 8),
        ("sh_offset", 24, 8),
        ("sh_size", 32, 8),
    ];
    let (word, half) = (|at| word(library, at), |at| half(library, at));
    let mut found: Vec<Field> = Vec::new();
    let mut add = |of: &str, base: usize, fields: &[(&str, usize, usize)]| {
        found.extend(fields.iter().map(|(name, at, length)| Field {
            name: format!("{of}{name}"),
            at: base + at,
            length: *length,
        }));
    };
    add("", 0, &HEADER);
    for index in 0..half(56) {
        let base = word(32) + index * 56;
        add(&format!("segment {index} "), base, &SEGMENT);
        let is_dynamic = library[base..][..4] == 2_u32.to_le_bytes();
        if is_dynamic {
            for entry in 0..word(base + 32) / 16 {
                let base = word(base + 8) + entry * 16;
                let name = format!("dynamic {:#x} ", word(base));
                add(&name, base, &[("d_tag", 0, 8), ("d_val", 8, 8)]);
            }
        }
    }
    for index in 0..half(60) {
        add(
            &format!("section {index} "),
            word(40) + index * 64,
            &SECTION,
        );
    }
    found
}

fn word(library: &[u8], at: usize) -> usize {
    u64::from_le_bytes(library[at..][..8].try_into().unwrap()) as usize
}

fn half(library: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(library[at..][..2].try_into().unwrap()))
}

fn peak_kib(node: &TestNode) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
