//! The sections of a manual page that a command line does not say by itself.

use std::fmt::Write as _;

/// What the manual of a program says beyond its commands and options.
#[derive(Clone, Copy, Debug)]
pub struct Manual {
    /// Examples by page, as `alknet-exec`.
    pub examples: &'static [Examples],
    /// The files of the program, on every page: path and meaning.
    pub files: &'static [(&'static str, &'static str)],
}

/// The examples of one page.
#[derive(Clone, Copy, Debug)]
pub struct Examples {
    /// The name of the page, as `alknet-exec`.
    pub page: &'static str,
    /// What somebody wants, and the command for it.
    pub examples: &'static [(&'static str, &'static str)],
}

impl Manual {
    /// The sections EXAMPLES and FILES of a page, as roff (man(7)).
    pub(crate) fn sections(&self, page: &str) -> String {
        let mut out = String::new();
        if let Some(found) = self.examples.iter().find(|of| of.page == page) {
            out.push_str(".SH EXAMPLES\n");
            for (what, command) in found.examples {
                let (what, command) = (escaped(what), escaped(command));
                // Writing to a String does not fail.
                let _ = write!(out, ".TP\n{what}\n.nf\n{command}\n.fi\n");
            }
        }
        if !self.files.is_empty() {
            out.push_str(".SH FILES\n");
            for (path, meaning) in self.files {
                let (path, meaning) = (escaped(path), escaped(meaning));
                let _ = write!(out, ".TP\n\\fI{path}\\fR\n{meaning}\n");
            }
        }
        out
    }
}

/// As roff prints it unchanged: backslashes and hyphens escaped, and no line that
/// begins like a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.split('\n').map(|line| match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANUAL: Manual = Manual {
        examples: &[Examples {
            page: "x-y",
            examples: &[("Do it", "x y -z \\n\n.hidden")],
        }],
        files: &[("~/.x", "What x keeps")],
    };

    #[test]
    fn a_page_gets_its_examples_and_all_get_the_files() {
        assert_eq!(
            MANUAL.sections("x-y"),
            ".SH EXAMPLES\n.TP\nDo it\n.nf\nx y \\-z \\en\n\\&.hidden\n.fi\n\
             .SH FILES\n.TP\n\\fI~/.x\\fR\nWhat x keeps\n"
        );
        assert!(MANUAL.sections("x").starts_with(".SH FILES"));
    }
}
