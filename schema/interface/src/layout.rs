//! A plain-text picture of the interface's layout, to compare with a golden
//! copy: a change that shows there is a change of the interface.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use abi_stable::StableAbi;
use abi_stable::type_layout::{TLFields, TypeLayout};

use crate::PluginModuleRef;

/// Every type that the root module leads to, with size and alignment in
/// bytes, its fields in their order, and the functions behind pointers.
/// Types of other crates are named but not opened.
pub fn describe() -> String {
    let mut walk = Walk::default();
    walk.visit(<PluginModuleRef as StableAbi>::LAYOUT);
    while let Some(layout) = walk.queue.pop() {
        walk.describe(layout);
    }
    walk.pictures.into_iter().collect()
}

#[derive(Default)]
struct Walk {
    seen: BTreeSet<String>,
    queue: Vec<&'static TypeLayout>,
    pictures: BTreeSet<String>,
}

impl Walk {
    fn visit(&mut self, layout: &'static TypeLayout) {
        let name = format!("{:?}", layout.get_utypeid());
        if self.seen.insert(name) {
            self.queue.push(layout);
        }
    }

    fn describe(&mut self, layout: &'static TypeLayout) {
        let mut picture = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            picture,
            "{}: size {}, align {}",
            layout.full_type(),
            layout.size(),
            layout.alignment()
        );
        if let Some(fields) = layout.get_fields() {
            self.fields(&mut picture, fields);
        }
        self.fields(&mut String::new(), layout.phantom_fields());
        if layout.package() == env!("CARGO_PKG_NAME") {
            self.pictures.insert(picture);
        }
    }

    fn fields(&mut self, picture: &mut String, fields: TLFields) {
        for field in fields {
            let inner = field.layout();
            let functions = field.function_range();
            if functions.is_empty() {
                let _ = writeln!(
                    picture,
                    "    {}: {}, size {}, align {}",
                    field.name(),
                    field.full_type(),
                    inner.size(),
                    inner.alignment()
                );
            }
            for function in functions {
                let _ = writeln!(picture, "    {}: {}", field.name(), function);
                for parameter in function.param_type_layouts.iter() {
                    self.visit(parameter());
                }
                if let Some(returned) = function.return_type_layout() {
                    self.visit(returned());
                }
            }
            self.visit(inner);
        }
    }
}
