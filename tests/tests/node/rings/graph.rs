//! The modules of a crate, which of them import which, and the rings in that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::Source;

/// A module's path from the root of its crate; empty for the root.
type Name = Vec<String>;

/// The modules of a crate.
pub(crate) struct Crate(BTreeMap<Name, Source>);

/// Modules that stand beside each other, each of which imports the next by one
/// way or another.
pub(crate) struct Ring {
    /// The module in which they stand; empty for the root.
    pub(crate) room: String,
    /// Their names; `self` is the text of the room's own file.
    pub(crate) members: BTreeSet<String>,
    /// The imports that make it one: `a::b -> c`.
    pub(crate) imports: BTreeSet<String>,
}

impl Crate {
    /// Reads a crate by the file at its root.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let text = fs::read_to_string(root).unwrap();
        let directory = root.parent().unwrap();
        add(Vec::new(), Source::read(&text), directory, &mut modules);
        Self(modules)
    }

    /// Which module's own text a path leads to, seen from another one.
    fn resolve(&self, from: &Name, written: &[String]) -> Option<Name> {
        let mut at = from.clone();
        let mut is_found = false;
        for (index, word) in written.iter().enumerate() {
            match word.as_str() {
                "crate" if index == 0 => at.clear(),
                "self" if index == 0 => {}
                "super" => {
                    at.pop()?;
                }
                word => {
                    let source = self.0.get(&at)?;
                    let child: Name = at.iter().cloned().chain([word.to_owned()]).collect();
                    if self.0.contains_key(&child) {
                        at = child;
                    } else if let Some(path) = source.names.get(word)
                        // Who is not inside sees only what is handed on.
                        && (from.starts_with(&at) || source.handed_on.contains(word))
                    {
                        // A name that stands for itself is a crate's.
                        if path.len() == 1 && path[0] == word {
                            return None;
                        }
                        let rest = &written[index + 1..];
                        let whole: Vec<_> = path.iter().chain(rest).cloned().collect();
                        return self.resolve(&at, &whole);
                    } else {
                        // An item; or, at the beginning, another crate.
                        return is_found.then_some(at);
                    }
                }
            }
            is_found = true;
        }
        is_found.then_some(at)
    }

    /// What a module's own text takes from which other module's.
    fn imports(&self, name: &Name, source: &Source) -> BTreeSet<Name> {
        // What is only handed on is nothing that the module needs itself.
        let used = |(name, _): &(&String, _)| {
            !source.handed_on.contains(*name) || source.words.contains(*name)
        };
        let names = source.names.iter().filter(used).map(|(_, path)| path);
        let mut found: BTreeSet<_> = names
            .chain(&source.paths)
            .filter_map(|path| self.resolve(name, path))
            .collect();
        found.remove(name);
        found
    }

    /// The rings in every room.
    pub(crate) fn rings(&self) -> Vec<Ring> {
        let mut rooms: BTreeMap<Name, Vec<Import>> = BTreeMap::new();
        for (from, source) in &self.0 {
            for to in self.imports(from, source) {
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                let inside =
                    |name: &Name| name.get(common).map_or("self", String::as_str).to_owned();
                rooms
                    .entry(from[..common].to_vec())
                    .or_default()
                    .push(Import {
                        from: inside(from),
                        to: inside(&to),
                        whole: format!("{} -> {}", shown(from), shown(&to)),
                    });
            }
        }
        let mut rings = Vec::new();
        for (room, all) in rooms {
            for members in components(&all) {
                let is_inside = |import: &&Import| {
                    members.contains(&import.from) && members.contains(&import.to)
                };
                rings.push(Ring {
                    room: room.join("::"),
                    imports: all
                        .iter()
                        .filter(is_inside)
                        .map(|import| import.whole.clone())
                        .collect(),
                    members,
                });
            }
        }
        rings
    }

    /// What a module and those below it import of another one: `a::b -> c`.
    pub(crate) fn imports_of(&self, one: &str, other: &str) -> Vec<String> {
        let below = |name: &Name, room: &str| {
            let name = name.join("::");
            name == room || name.starts_with(&format!("{room}::"))
        };
        let mut found = Vec::new();
        for (from, source) in self.0.iter().filter(|(name, _)| below(name, one)) {
            for to in self.imports(from, source) {
                if below(&to, other) {
                    found.push(format!("{} -> {}", shown(from), shown(&to)));
                }
            }
        }
        found
    }

    /// Whether there is such a module.
    pub(crate) fn has(&self, module: &str) -> bool {
        let name: Name = module.split("::").map(str::to_owned).collect();
        self.0.contains_key(&name)
    }
}

fn add(name: Name, source: Source, directory: &Path, modules: &mut BTreeMap<Name, Source>) {
    let mut source = source;
    for child in std::mem::take(&mut source.declared) {
        let inside = directory.join(&child);
        let files = [directory.join(format!("{child}.rs")), inside.join("mod.rs")];
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
        let text = text.unwrap_or_else(|| panic!("no file of module {child} in {directory:?}"));
        let name = name.iter().cloned().chain([child]).collect();
        add(name, Source::read(&text), &inside, modules);
    }
    for (child, inline) in std::mem::take(&mut source.inline) {
        let inside = directory.join(&child);
        let name = name.iter().cloned().chain([child]).collect();
        add(name, inline, &inside, modules);
    }
    modules.insert(name, source);
}

/// One module's import of another, seen from the room in which both stand.
struct Import {
    from: String,
    to: String,
    whole: String,
}

fn shown(name: &Name) -> String {
    if name.is_empty() {
        return "crate".to_owned();
    }
    name.join("::")
}

/// The sets of more than one module each of which reaches all the others.
fn components(imports: &[Import]) -> BTreeSet<BTreeSet<String>> {
    let reached: BTreeMap<_, _> = imports
        .iter()
        .map(|import| (import.from.as_str(), reach(imports, &import.from)))
        .collect();
    let is_back = |from: &str, other: &str| reached.get(other).is_some_and(|to| to.contains(from));
    reached
        .iter()
        .filter(|(from, to)| to.contains(*from))
        .map(|(from, to)| {
            to.iter()
                .filter(|other| is_back(from, other))
                .map(|&member| member.to_owned())
                .collect()
        })
        .collect()
}

fn reach<'i>(imports: &'i [Import], from: &str) -> BTreeSet<&'i str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for import in imports.iter().filter(|import| import.from == module) {
            if reached.insert(import.to.as_str()) {
                next.push(&import.to);
            }
        }
    }
    reached
}
