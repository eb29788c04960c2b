//! The words of messages, help texts, manual pages and documents: none is on the
//! list in `tests/words.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::{Run, artifacts, workspace};
use proc_macro2::{TokenStream, TokenTree};

/// A line of the list.
struct Word {
    written: String,
    any_ending: bool,
    instead: String,
}

fn list() -> Vec<Word> {
    let text = fs::read_to_string(workspace().join("tests/words.txt")).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (written, instead) = line.split_once("  ").unwrap_or_else(|| panic!("{line:?}"));
            Word {
                written: written.trim_end_matches('*').to_owned(),
                any_ending: written.ends_with('*'),
                instead: instead.trim().to_owned(),
            }
        })
        .collect()
}

/// After "is no" and "is none", what does not say that a thing is not another.
const ALLOWED_AFTER_NO: [&str; 6] = [" longer", " more", " less", " better", " different", " of "];

/// The words of a text that are on the list. Parts of names, paths and keys of the
/// configuration (`/plugins/folder`, `folder = …`, `{folder}`) are not words.
fn found<'l>(list: &'l [Word], text: &str) -> Vec<&'l Word> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = format!(" {} ", words.join(" "));
    let is_part = |c: char| c.is_alphanumeric() || "_/{}<>%.$=`".contains(c);
    list.iter()
        .filter(|word| {
            text.match_indices(&word.written).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let rest = &text[at + word.written.len()..];
                let after = rest.chars().next();
                let denies = ["is no", "are no", "is none"].contains(&word.written.as_str());
                let is_absence = denies
                    && (text[..at].ends_with("there ")
                        || ALLOWED_AFTER_NO.iter().any(|after| rest.starts_with(after)));
                !is_absence
                    && !before.is_some_and(is_part)
                    && (word.any_ending
                        || !after.is_some_and(|c| is_part(c) && c != '.')
                            && !rest.starts_with(" ="))
            })
        })
        .collect()
}

/// Every text and doc comment of a source file, with its line.
fn texts(tokens: TokenStream, into: &mut Vec<(usize, String)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => texts(group.stream(), into),
            TokenTree::Literal(literal) => {
                let written = literal.to_string();
                if written.contains('"') {
                    // A line that ends with a backslash goes on in the next one.
                    let text = written.replace("\\\n", " ").replace("\\n", " ");
                    into.push((literal.span().start().line, text));
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// The files below a directory that end so, but those of tests.
fn files(directory: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // Decisions and their words are of their time.
            if !["target", "tests", "adr"].contains(&name.as_str()) {
                files(&path, ending, into);
            }
        } else if name.ends_with(ending) && name != "tests.rs" {
            into.push(path);
        }
    }
}

/// Every finding as a line for whoever has to correct it.
fn complain(list: &[Word], place: &str, text: &str, into: &mut Vec<String>) {
    for word in found(list, text) {
        let (written, instead) = (&word.written, &word.instead);
        into.push(format!("{place}: {written:?}; write: {instead}"));
    }
}

#[test]
fn messages_and_documents_use_the_words_of_the_field() {
    let list = list();
    let mut complaints = Vec::new();
    let (mut sources, mut pages) = (Vec::new(), Vec::new());
    for directory in ["plugin", "host-shim", "schema"] {
        files(&workspace().join(directory), ".rs", &mut sources);
        files(&workspace().join(directory), ".md", &mut pages);
    }
    pages
        .extend(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| workspace().join(name)));
    assert!(sources.len() > 300 && pages.len() > 10);
    for source in sources {
        let tokens: TokenStream = fs::read_to_string(&source).unwrap().parse().unwrap();
        let mut all = Vec::new();
        texts(tokens, &mut all);
        for (line, text) in all {
            let place = format!("{}:{line}", source.display());
            complain(&list, &place, &text, &mut complaints);
        }
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", page.display(), number + 1);
            complain(&list, &place, line, &mut complaints);
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn help_and_manual_pages_use_the_words_of_the_field() {
    let list = list();
    let directory = tempfile::tempdir().unwrap();
    let mut complaints = Vec::new();
    for program in [&artifacts().node, &artifacts().client] {
        Run::new(program).arg("man").arg(directory.path()).output();
    }
    let pages: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(pages.len() > 20, "{pages:?}");
    for page in pages {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        complain(&list, &name, &text.replace('\\', ""), &mut complaints);
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_list_finds_words_and_leaves_names_alone() {
    let list = list();
    let count = |text: &str| found(&list, text).len();
    assert_eq!(count("\"make a Folder for it\""), 1);
    assert_eq!(count("this is no\n    file."), 1);
    assert_eq!(count("one more to mend; mending helps"), 2);
    for fine in [
        "/plugins/folder",
        "folder = \"x\"",
        "{folder}/x",
        "there is no key",
        "it is no longer so",
    ] {
        assert_eq!(count(fine), 0, "{fine}");
    }
}
