//! Whatever is wrong with a new version of a plugin, the one that serves goes
//! on, and so do fifty sessions of stock OpenSSH.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use integration_tests::swapping::{
    Echo, ODD, Odd, SSH, bad_libraries, install, plugins, serving, status, swap, variant,
};
use integration_tests::{
    Crowd, Disk, Ended, Running, Setup, artifacts, requires, sha256, sha256_of_file,
};
use tokio::runtime::Runtime;

/// One node for all of it; what comes last is its end.
#[test]
fn nothing_that_is_wrong_with_a_new_version_costs_a_session() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    Crowd::allow(&setup);
    setup.append("node.toml", "\n[plugins.config.odd]\nmood = \"sour\"\n");
    setup.replace("\"info\"", "\"info,alknet_node=debug\"");
    // The end waits for the sessions.
    setup.append("node.toml", "\n[shutdown]\ndrain_seconds = 3600\n");
    let mut disk = Disk::default();
    let odd = Odd::start_with("VERSION=1.0.0\n", setup, |setup| disk.start(setup));
    let crowd = Crowd::gather(&odd.node, 50, 10);
    let runtime = Runtime::new().unwrap();
    let echo = runtime.block_on(Echo::open(&odd.node));
    let mut live = Live {
        odd,
        crowd,
        runtime,
        echo,
        mark: 0,
    };
    live.each_bad_file_in_place_of_ssh();
    live.each_way_to_be_wrong();
    live.each_way_to_change_the_file();
    live.the_file_changes_while_it_is_tried_out();
    live.what_hangs_is_given_up();
    live.two_reloads_at_once();
    live.without_room_for_a_copy(&disk);
    live.a_reload_during_the_end();
    let Live { odd, crowd, .. } = live;
    let rounds = crowd.disperse();
    println!("sessions and forwards had {rounds} answers");
    let stopped = odd.node.wait();
    assert!(stopped.status.success(), "{}", stopped.log);
    // Of the node itself; the odd plugin had its share.
    assert!(!stopped.log.contains(" ERROR panic: "), "{}", stopped.log);
}

/// Each way in which a new version of the odd plugin can be wrong: what it is
/// told to do, and the words that name it.
const FAULTS: [(&str, &[&str]); 13] = [
    ("LOAD=exit", &["ended that process with status 3"]),
    ("LOAD=abort", &["signal 6 (SIGABRT)"]),
    ("LOAD=segv", &["signal 11 (SIGSEGV)"]),
    ("INTERFACE=0", &["plugin interface 0", "speaks 1"]),
    ("VERSION=new", &["semantic versioning"]),
    ("NAME=Not A Name", &["lower-case"]),
    ("SCHEMA=garbage", &["not JSON"]),
    (
        r#"SCHEMA={"type":"no such type"}"#,
        &["JSON Schema is wrong"],
    ),
    (
        r#"SCHEMA={"properties":{"mood":{"type":"integer"}}}"#,
        &["node.toml:", "/plugins/config/odd/mood"],
    ),
    (
        r#"SCHEMA={"required":["tempo"]}"#,
        &["node.toml:", "/plugins/config/odd", "tempo"],
    ),
    (
        "ALPN=alknet/ssh",
        &["alknet/ssh", "is served by the plugin"],
    ),
    ("FACTORY=fail", &["the stars do not favour it"]),
    ("FACTORY=panic", &["has had enough"]),
];

/// A node that serves all the while.
struct Live {
    odd: Odd,
    crowd: Crowd,
    runtime: Runtime,
    /// A connection to the odd plugin that was there from the start.
    echo: Echo,
    mark: u64,
}

impl Live {
    fn setup(&self) -> &Setup {
        &self.odd.node.setup
    }

    /// A library like the odd plugin's that was not there before.
    fn fresh(&mut self) -> Vec<u8> {
        self.mark += 1;
        variant(&artifacts().odd, self.mark)
    }

    fn set(&self, settings: &str) {
        fs::write(&self.odd.settings, format!("{settings}\n")).unwrap();
    }

    /// The sessions, the old connection and new ones go on.
    fn goes_on(&mut self) {
        self.crowd.goes_on();
        self.runtime.block_on(self.echo.works());
        self.runtime.block_on(Echo::open(&self.odd.node));
    }

    /// A reload that refuses one file, in one line, and leaves all as it was.
    fn refused(&mut self, words: &[&str]) {
        let before = ["ssh", "odd"].map(|name| serving(self.setup(), name)["id"].clone());
        let ended = swap(self.setup());
        self.was_refused(&ended, words);
        let after = ["ssh", "odd"].map(|name| serving(self.setup(), name)["id"].clone());
        assert_eq!(before, after, "{ended}");
    }

    fn was_refused(&mut self, ended: &Ended, words: &[&str]) {
        assert_eq!(ended.code(), 1, "{words:?}: {ended}");
        assert_eq!(ended.err().lines().count(), 1, "{ended}");
        let said = ended.line_with(words);
        println!("{said}");
        assert!(said.contains("refused: "), "{ended}");
        assert!(ended.out().contains("serves on"), "{ended}");
        let status = status(self.setup());
        let refused = status["refused"][0]["reasons"][0].as_str().unwrap();
        assert!(said.ends_with(refused), "{status:#}");
        self.odd.node.logged(words);
        self.goes_on();
    }

    /// A reload after which this version of the odd plugin serves.
    fn accepted(&mut self, version: &str) {
        let ended = swap(self.setup());
        assert_eq!(ended.code(), 0, "{ended}");
        self.serves(version);
    }

    fn serves(&mut self, version: &str) {
        assert_eq!(serving(self.setup(), "odd")["version"], version);
        self.goes_on();
    }

    fn each_bad_file_in_place_of_ssh(&mut self) {
        let file = self.setup().plugins().join(SSH);
        for bad in bad_libraries() {
            // As cp does; and as an installer does.
            fs::write(&file, &bad.bytes).unwrap();
            self.refused(&[SSH, bad.words]);
            install(self.setup(), &bad.bytes, SSH);
            self.refused(&[SSH, bad.words]);
        }
        let good = fs::read(&artifacts().plugin).unwrap();
        install(self.setup(), &good, SSH);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        self.refused(&[SSH, "writable by group"]);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        self.refused(&[SSH, "a directory"]);
        fs::remove_dir(&file).unwrap();
        symlink(&artifacts().plugin, &file).unwrap();
        self.refused(&[SSH, "symbolic link"]);
        fs::remove_file(&file).unwrap();
        install(self.setup(), &good, SSH);
        let ended = swap(self.setup());
        assert_eq!(ended.code(), 0, "{ended}");
        assert!(ended.out().contains("ssh: unchanged"), "{ended}");
    }

    fn each_way_to_be_wrong(&mut self) {
        for (settings, words) in FAULTS {
            let library = self.fresh();
            self.set(settings);
            install(self.setup(), &library, ODD);
            self.refused(words);
        }
        // The next good one makes up for it all.
        let library = self.fresh();
        self.set("VERSION=1.1.0");
        install(self.setup(), &library, ODD);
        self.accepted("1.1.0");
        let status = status(self.setup());
        assert_eq!(status["refused"].as_array().unwrap().len(), 0, "{status:#}");
    }

    fn each_way_to_change_the_file(&mut self) {
        let file = self.setup().plugins().join(ODD);
        // In place, as cp does.
        let library = self.fresh();
        self.set("VERSION=1.2.0");
        fs::write(&file, library).unwrap();
        self.serves("1.1.0");
        self.accepted("1.2.0");
        // By a hard link.
        let elsewhere = self.setup().folder().join("elsewhere.so");
        let library = self.fresh();
        self.set("VERSION=1.3.0");
        fs::write(&elsewhere, library).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(&file).unwrap();
        fs::hard_link(&elsewhere, &file).unwrap();
        self.accepted("1.3.0");
        // By a symbolic link, which is not followed.
        let again = self.setup().plugins().join(".again");
        symlink(&elsewhere, &again).unwrap();
        fs::rename(&again, &file).unwrap();
        self.refused(&[ODD, "symbolic link"]);
        // Gone.
        fs::remove_file(&file).unwrap();
        let ended = swap(self.setup());
        assert_eq!(ended.code(), 0, "{ended}");
        assert!(ended.out().contains("is gone"), "{ended}");
        self.serves("1.3.0");
        // Under another name, now that the first is gone; and then twice.
        let (library, twin) = (self.fresh(), self.fresh());
        self.set("VERSION=1.4.0");
        install(self.setup(), &library, "zz_renamed.so");
        self.accepted("1.4.0");
        install(self.setup(), &twin, ODD);
        self.refused(&["keep one of the two"]);
        fs::remove_file(self.setup().plugins().join("zz_renamed.so")).unwrap();
        self.accepted("1.4.0");
    }

    fn the_file_changes_while_it_is_tried_out(&mut self) {
        let file = self.setup().plugins().join(ODD);
        let library = self.fresh();
        let digest = format!("sha256:{}", sha256(&library));
        self.set("VERSION=1.5.0\nLOAD=slow");
        install(self.setup(), &library, ODD);
        let reload = self.reload();
        self.odd.node.logged(&["trying out", &digest]);
        // In place, with what would end the node if it were looked at.
        fs::write(&file, &library[..library.len() / 2]).unwrap();
        let ended = reload.ended();
        assert_eq!(ended.code(), 0, "{ended}");
        assert_eq!(serving(self.setup(), "odd")["digest"], digest.as_str());
        self.serves("1.5.0");
        self.refused(&[ODD, "incomplete"]);
        // By rename: what was tried out serves, and what is there comes next.
        let (library, next) = (self.fresh(), self.fresh());
        let digest = format!("sha256:{}", sha256(&library));
        self.set("VERSION=1.6.0\nLOAD=slow");
        install(self.setup(), &library, ODD);
        let reload = self.reload();
        self.odd.node.logged(&["trying out", &digest]);
        install(self.setup(), &next, ODD);
        let ended = reload.ended();
        assert_eq!(ended.code(), 0, "{ended}");
        assert_eq!(serving(self.setup(), "odd")["digest"], digest.as_str());
        self.set("VERSION=1.7.0");
        self.accepted("1.7.0");
        let digest = format!("sha256:{}", sha256_of_file(&file));
        assert_eq!(serving(self.setup(), "odd")["digest"], digest.as_str());
    }

    fn what_hangs_is_given_up(&mut self) {
        for (settings, words) in [
            ("LOAD=hang", ["took more than 20 s", ODD]),
            ("FACTORY=hang", ["did not return within 20 s", ODD]),
            ("FACTORY=late", ["did not return within 20 s", ODD]),
        ] {
            let library = self.fresh();
            self.set(settings);
            install(self.setup(), &library, ODD);
            let reload = self.reload();
            // Neither the admin socket nor connections wait for that.
            self.serves("1.7.0");
            let ended = reload.ended();
            self.was_refused(&ended, &words);
            self.serves("1.7.0");
        }
        self.odd.node.logged(&["a factory came back too late"]);
    }

    fn two_reloads_at_once(&mut self) {
        let library = self.fresh();
        self.set("VERSION=1.8.0");
        install(self.setup(), &library, ODD);
        let (a, b) = (self.reload(), self.reload());
        let (a, b) = (a.ended(), b.ended());
        assert_eq!((a.code(), b.code()), (0, 0), "{a}{b}");
        let swapped = |ended: &Ended| ended.out().contains("odd: version 1.8.0");
        assert!(swapped(&a) != swapped(&b), "{a}{b}");
        self.serves("1.8.0");
    }

    fn without_room_for_a_copy(&mut self, disk: &Disk) {
        let library = self.fresh();
        self.set("VERSION=1.9.0");
        install(self.setup(), &library, ODD);
        let full = disk.fill(&self.odd.node);
        self.refused(&["the staged copy"]);
        drop(full);
        self.accepted("1.9.0");
        let ended = plugins(self.setup(), &["rollback", "odd"]);
        assert_eq!(ended.code(), 0, "{ended}");
        self.serves("1.8.0");
    }

    fn a_reload_during_the_end(&mut self) {
        self.odd.node.terminate();
        self.odd.node.logged(&["stopping"]);
        let library = self.fresh();
        install(self.setup(), &library, ODD);
        let ended = swap(self.setup());
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&["about to stop"]);
        self.crowd.goes_on();
    }

    fn reload(&self) -> Running {
        let setup = self.setup();
        let reload = setup.node(&["plugins", "reload", "--state"]);
        reload.arg(setup.state()).spawn()
    }
}
