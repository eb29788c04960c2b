//! Which files are read at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod common;

use std::path::Path;
use std::time::Duration;

use alknet_loader::{CopyError, Digest, Refusal, Trust, TrustedFile};
use common::{Plugins, plugin, set_mode};

#[test]
fn a_private_file_is_read_whole() {
    let plugins = Plugins::with(plugin());
    let file = TrustedFile::read(&plugins.library(), &Trust::default()).unwrap();
    assert_eq!(copied(&file).unwrap(), plugin());
    assert_eq!(file.digest(), Digest::of(plugin()));
}

#[test]
fn another_file_of_its_name_has_no_effect_and_a_change_in_place_is_seen() {
    let plugins = Plugins::with(plugin());
    let file = TrustedFile::read(&plugins.library(), &Trust::default()).unwrap();
    let fresh = plugins.library().with_extension("fresh");
    std::fs::write(&fresh, "other").unwrap();
    std::fs::rename(&fresh, plugins.library()).unwrap();
    assert_eq!(copied(&file).unwrap(), plugin());

    let plugins = Plugins::with(plugin());
    let file = TrustedFile::read(&plugins.library(), &Trust::default()).unwrap();
    std::fs::write(plugins.library(), "other").unwrap();
    let error = copied(&file).unwrap_err();
    assert!(matches!(error, CopyError::Changed), "{error}");
}

fn copied(file: &TrustedFile) -> Result<Vec<u8>, CopyError> {
    let copy = tempfile::NamedTempFile::new().unwrap();
    file.copy_to(copy.as_file())?;
    Ok(std::fs::read(copy.path()).unwrap())
}

#[test]
fn a_file_or_folder_that_others_may_write_to_is_refused_with_the_cure() {
    for (mode, who) in [
        (0o664, "group"),
        (0o646, "others"),
        (0o666, "group and others"),
    ] {
        let plugins = Plugins::with(plugin());
        set_mode(&plugins.library(), mode);
        let path = plugins.library();
        let path = path.display();
        assert_eq!(
            refusal(&plugins.library()).to_string(),
            format!(
                "{path}: the file is writable by {who} (mode {mode:04o}); run: chmod go-w '{path}'"
            )
        );
    }
    for mode in [0o775, 0o757, 0o1777] {
        let plugins = Plugins::with(plugin());
        set_mode(plugins.folder(), mode);
        let refusal = refusal(&plugins.library());
        let Refusal::Writable { path, what, .. } = &refusal else {
            panic!("{refusal}")
        };
        assert_eq!(
            (path.as_path(), *what),
            (&*plugins.folder().canonicalize().unwrap(), "the directory")
        );
    }
}

#[test]
fn a_folder_further_up_may_be_shared_only_with_the_sticky_bit() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("plugins");
    std::fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o755);
    let library = folder.join("libx.so");
    std::fs::write(&library, plugin()).unwrap();
    set_mode(&library, 0o644);
    set_mode(outer.path(), 0o1777);
    TrustedFile::read(&library, &Trust::default()).unwrap();
    set_mode(outer.path(), 0o777);
    assert_eq!(refusal(&library).kind(), "writable");
}

#[test]
fn a_symbolic_link_is_refused_as_a_file_and_followed_as_a_folder() {
    let plugins = Plugins::with(plugin());
    let link = plugins.folder().join("link.so");
    std::os::unix::fs::symlink("libx.so", &link).unwrap();
    assert!(matches!(refusal(&link), Refusal::Symlink { .. }));
    std::os::unix::fs::symlink("nowhere", plugins.folder().join("dangling.so")).unwrap();
    assert!(matches!(
        refusal(&plugins.folder().join("dangling.so")),
        Refusal::Symlink { .. }
    ));

    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("current");
    std::os::unix::fs::symlink(plugins.folder(), &folder).unwrap();
    TrustedFile::read(&folder.join("libx.so"), &Trust::default()).unwrap();
    set_mode(plugins.folder(), 0o777);
    assert_eq!(refusal(&folder.join("libx.so")).kind(), "writable");
}

#[test]
fn a_loop_of_links_ends() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("b", folder.path().join("a")).unwrap();
    std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
    assert_eq!(refusal(&folder.path().join("a/libx.so")).kind(), "io");
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let plugins = Plugins::with(plugin());
    let fifo = plugins.folder().join("fifo.so");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let socket = plugins.folder().join("socket.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let folder = plugins.folder().join("folder.so");
    std::fs::create_dir(&folder).unwrap();
    for (path, what) in [
        (fifo, "a named pipe"),
        (socket, "a socket"),
        (folder, "a directory"),
    ] {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(refusal(&path)));
        let refusal = receive.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(
            matches!(refusal, Refusal::NotAFile { found, .. } if found == what),
            "{refusal}"
        );
    }
}

#[test]
fn missing_empty_and_oversized_files_are_told_apart() {
    let plugins = Plugins::with(b"");
    assert!(matches!(refusal(&plugins.library()), Refusal::Empty { .. }));
    assert!(matches!(
        refusal(&plugins.folder().join("no.so")),
        Refusal::Missing { .. }
    ));
    assert!(matches!(
        refusal(&plugins.folder().join("no/libx.so")),
        Refusal::Missing { .. }
    ));
    let file = std::fs::File::options()
        .write(true)
        .open(plugins.library())
        .unwrap();
    file.set_len(alknet_loader::trust::MAX_SIZE + 1).unwrap();
    assert!(matches!(
        refusal(&plugins.library()),
        Refusal::TooLarge { .. }
    ));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let plugins = Plugins::with(plugin());
    std::os::unix::fs::chown(plugins.library(), Some(12345), None).unwrap();
    let path = plugins.library();
    assert_eq!(
        refusal(&plugins.library()).to_string(),
        format!(
            "{}: the file belongs to uid 12345, neither root nor uid 0 which this process runs as; use a place that only these two can change",
            path.display()
        )
    );
    std::os::unix::fs::chown(plugins.library(), Some(0), None).unwrap();
    std::os::unix::fs::chown(plugins.folder(), Some(12345), None).unwrap();
    assert!(matches!(
        refusal(&plugins.library()),
        Refusal::Owner {
            what: "the directory",
            ..
        }
    ));
}

#[test]
fn a_list_of_digests_admits_only_those() {
    let plugins = Plugins::with(plugin());
    let good = Digest::of(plugin());
    let other = Digest::of(b"other");
    TrustedFile::read(&plugins.library(), &allowing(&[other, good])).unwrap();
    assert_eq!(
        TrustedFile::read(&plugins.library(), &allowing(&[]))
            .unwrap_err()
            .to_string(),
        format!(
            "{}: has digest {good}, which is not allowed (allowed: none); if this is the version you want, allow its digest",
            plugins.library().display()
        )
    );
    // Damage that no structure check can see: every bit of the file counts.
    let mut damaged = plugin().to_vec();
    let middle = damaged.len() / 2;
    for bit in 0..8 {
        damaged[middle] ^= 1 << bit;
        std::fs::write(plugins.library(), &damaged).unwrap();
        let refusal = TrustedFile::read(&plugins.library(), &allowing(&[good])).unwrap_err();
        assert!(
            matches!(refusal, Refusal::DigestNotAllowed { .. }),
            "{refusal}"
        );
        damaged[middle] ^= 1 << bit;
    }
}

#[test]
fn a_refusal_is_one_line_whatever_the_name() {
    let plugins = Plugins::with(plugin());
    let odd = refusal(&plugins.folder().join("a\nb\x1b[31m.so")).to_string();
    assert!(
        odd.contains("a\\nb\\u{1b}[31m.so: there is no such file"),
        "{odd}"
    );
}

fn refusal(path: &Path) -> Refusal {
    TrustedFile::read(path, &Trust::default()).unwrap_err()
}

fn allowing(digests: &[Digest]) -> Trust {
    Trust {
        allow_digests: Some(digests.to_vec()),
        ..Trust::default()
    }
}
