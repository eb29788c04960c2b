//! What a source file imports, by its tokens.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as it is written: `["super", "session", "Shared"]`.
pub(crate) type Written = Vec<String>;

/// What one module's own text says; what stands under `#[cfg(test)]` is left out.
#[derive(Default)]
pub(crate) struct Source {
    /// The modules it declares without a body.
    pub(crate) declared: Vec<String>,
    /// The modules it has bodies for.
    pub(crate) inline: Vec<(String, Source)>,
    /// What names stand for, by `use`.
    pub(crate) names: HashMap<String, Written>,
    /// The names that are imported for others (`pub use`).
    pub(crate) handed_on: BTreeSet<String>,
    /// What else it takes: globs, and paths in the middle of the code.
    pub(crate) paths: Vec<Written>,
    /// Every word of the code outside of `use`.
    pub(crate) words: BTreeSet<String>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut source = Self::default();
        source.items(text.parse().unwrap());
        source
    }

    fn items(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        let mut is_public = false;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    at += 1;
                    if let Some(TokenTree::Group(attribute)) = tokens.get(at) {
                        at += 1;
                        if is_for_tests(&attribute.stream()) {
                            at += length_of_item(&tokens[at..]);
                        }
                    }
                    continue;
                }
                TokenTree::Ident(word) if word == "pub" => {
                    is_public = true;
                    at += 1;
                    if matches!(tokens.get(at), Some(TokenTree::Group(_))) {
                        at += 1;
                    }
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let length = length_of_item(&tokens[at..]);
                    self.import(&tokens[at + 1..at + length], &[], is_public);
                    at += length;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                            let mut inline = Self::default();
                            inline.items(body.stream());
                            self.inline.push((name.to_string(), inline));
                        } else {
                            self.declared.push(name.to_string());
                        }
                    }
                    at += 3;
                }
                TokenTree::Ident(_) => {
                    let path = path_at(&tokens[at..]);
                    self.words.insert(path[0].clone());
                    at += path.len() * 3 - 2;
                    if path.len() > 1 {
                        self.paths.push(path);
                    }
                }
                TokenTree::Group(group) => {
                    self.items(group.stream());
                    at += 1;
                }
                _ => at += 1,
            }
            is_public = false;
        }
    }

    /// Reads a tree of imports: `a::{b, c as d, e::*}`.
    fn import(&mut self, tokens: &[TokenTree], before: &[String], is_public: bool) {
        let mut path = before.to_vec();
        let mut name = None;
        let mut is_renamed = false;
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "as" => is_renamed = true,
                TokenTree::Ident(word) if is_renamed => name = Some(word.to_string()),
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
                    for part in inner.split(is_comma).filter(|part| !part.is_empty()) {
                        self.import(part, &path, is_public);
                    }
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    self.paths.push(path);
                    return;
                }
                _ => {}
            }
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let Some(name) = name.or_else(|| path.last().cloned()) else {
            return;
        };
        if is_public {
            self.handed_on.insert(name.clone());
        }
        self.names.insert(name, path);
    }
}

/// Whether an attribute keeps an item for tests.
fn is_for_tests(attribute: &TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "test" || text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
}

/// How many tokens an item takes up: to its semicolon, or to its body.
fn length_of_item(tokens: &[TokenTree]) -> usize {
    let is_use = matches!(tokens.first(), Some(TokenTree::Ident(word)) if word == "use");
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => !is_use && group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    let end = tokens.iter().position(ends);
    end.map_or(tokens.len(), |end| end + 1)
}

/// The path that begins here; of one word where it goes no further.
fn path_at(tokens: &[TokenTree]) -> Written {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let Some((TokenTree::Ident(word), after)) = rest.split_first() {
        path.push(word.to_string());
        match after {
            [TokenTree::Punct(first), TokenTree::Punct(second), next @ ..]
                if first.as_char() == ':'
                    && second.as_char() == ':'
                    && matches!(next.first(), Some(TokenTree::Ident(_))) =>
            {
                rest = next;
            }
            _ => break,
        }
    }
    path
}
