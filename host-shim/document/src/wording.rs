//! What a JSON Schema asks for, in words.

use serde_json::{Map, Value};

use crate::document::{Format, clip};

/// The deepest nesting of alternatives that is followed.
const MAX_NESTING: usize = 4;

/// The most alternatives that are listed.
const MAX_LISTED: usize = 16;

/// Words for the parts of one schema.
#[derive(Clone, Copy)]
pub(crate) struct Wording<'a> {
    root: &'a Value,
    format: Format,
}

impl<'a> Wording<'a> {
    pub(crate) fn new(root: &'a Value, format: Format) -> Self {
        Self { root, format }
    }

    /// The values that a schema allows, in words: "an integer from 1 to 65535".
    pub(crate) fn describe(self, schema: &'a Value) -> String {
        self.nested(schema, 0)
    }

    /// The schema that `$ref` and a single `allOf` lead to.
    pub(crate) fn resolve(self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..16 {
            let reference = schema.get("$ref").and_then(Value::as_str);
            let target =
                reference.and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
            let only = || match schema
                .get("allOf")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
            {
                Some([only]) if schema.get("type").is_none() => Some(only),
                _ => None,
            };
            match target.or_else(only) {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    /// The names of all fields that a schema knows, through references and combinations.
    pub(crate) fn fields(self, schema: &'a Value) -> Vec<String> {
        let mut names = Vec::new();
        self.collect_fields(schema, 0, &mut names);
        names.sort();
        names.dedup();
        names
    }

    /// The schema of one field.
    pub(crate) fn field(self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        self.resolve(schema).get("properties")?.get(name)
    }

    /// The kinds of values that a schema allows, by their names in JSON Schema; none if it does not say.
    pub(crate) fn kinds(self, schema: &'a Value) -> Vec<&'a str> {
        match self.resolve(schema).get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The place where a field of that name may stand, as the names of the fields around it.
    pub(crate) fn places_of(self, name: &str) -> Option<Vec<&'a str>> {
        let mut level = vec![(Vec::new(), self.root)];
        for _ in 0..MAX_NESTING {
            let mut next = Vec::new();
            for (place, schema) in level {
                let fields = self.resolve(schema).get("properties");
                for (field, schema) in fields.and_then(Value::as_object).into_iter().flatten() {
                    if field == name {
                        return Some(place);
                    }
                    let inner = place.iter().copied().chain([field.as_str()]).collect();
                    next.push((inner, schema));
                }
            }
            level = next;
        }
        None
    }

    /// The values that a schema lists, or `None` if it does not list them.
    pub(crate) fn literals(self, schema: &'a Value) -> Option<Vec<&'a Value>> {
        let schema = self.resolve(schema);
        if let Some(value) = schema.get("const") {
            return Some(vec![value]);
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return Some(values.iter().collect());
        }
        let forms = alternatives(schema)?;
        let forms = forms.iter().map(|form| {
            form.get("const")
                .map(|value| vec![value])
                .or_else(|| Some(form.get("enum")?.as_array()?.iter().collect()))
        });
        forms
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat())
    }

    /// All texts that a schema lists, also beside values that it does not list.
    pub(crate) fn texts(self, schema: &'a Value) -> Vec<&'a str> {
        let schema = self.resolve(schema);
        let forms = alternatives(schema).map(Vec::as_slice).unwrap_or_default();
        let listed = std::iter::once(schema)
            .chain(forms)
            .filter_map(|form| self.literals(form));
        listed.flatten().filter_map(Value::as_str).collect()
    }

    fn collect_fields(self, schema: &'a Value, depth: usize, names: &mut Vec<String>) {
        if depth > 8 {
            return;
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            // `$schema` is for editors.
            names.extend(
                properties
                    .keys()
                    .filter(|name| !name.starts_with('$'))
                    .cloned(),
            );
        }
        let reference = schema.get("$ref").and_then(Value::as_str);
        if let Some(target) = reference.and_then(|r| self.root.pointer(r.strip_prefix('#')?)) {
            self.collect_fields(target, depth + 1, names);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in schema
                .get(keyword)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.collect_fields(part, depth + 1, names);
            }
        }
    }

    fn nested(self, schema: &'a Value, depth: usize) -> String {
        let mut forms = Vec::new();
        self.collect_forms(schema, depth, &mut forms);
        either(&forms)
    }

    /// The forms a value may take, those inside forms among them.
    fn collect_forms(self, schema: &'a Value, depth: usize, words: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let mut add = |form: String| {
            if !words.contains(&form) {
                words.push(form);
            }
        };
        if let Some(literals) = self.literals(schema) {
            return add(one_of(&literals));
        }
        if let Some(forms) = alternatives(schema).filter(|_| depth < MAX_NESTING) {
            for form in forms.iter().filter(|form| !self.is_unwritable(form)) {
                self.collect_forms(form, depth + 1, words);
            }
            return;
        }
        let Some(object) = schema.as_object() else {
            let nothing = schema == &Value::Bool(false);
            return add(if nothing { "nothing here" } else { "a value" }.to_owned());
        };
        match object.get("type") {
            Some(Value::String(kind)) => add(self.kind(kind, object, depth)),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let kinds = kinds.filter(|kind| !(*kind == "null" && self.format == Format::Toml));
                kinds.for_each(|kind| add(self.kind(kind, object, depth)));
            }
            _ => add(self.kind(implied_kind(object), object, depth)),
        }
    }

    /// Whether the format cannot express a form: TOML has no null.
    fn is_unwritable(self, form: &'a Value) -> bool {
        self.format == Format::Toml && self.resolve(form).get("type") == Some(&Value::from("null"))
    }

    fn kind(self, kind: &str, schema: &'a Map<String, Value>, depth: usize) -> String {
        match kind {
            "null" => "null".to_owned(),
            "boolean" => "true or false".to_owned(),
            "integer" => number("an integer", schema),
            "number" => number("a number", schema),
            "string" => text(schema),
            "array" => self.array(schema, depth),
            "object" => self.object(schema, depth),
            _ => "another value".to_owned(),
        }
    }

    fn array(self, schema: &'a Map<String, Value>, depth: usize) -> String {
        let bounds = match (count(schema, "minItems"), count(schema, "maxItems")) {
            (None | Some(0), None) => String::new(),
            (Some(least), None) => format!(" of at least {}", items(least)),
            (None | Some(0), Some(most)) => format!(" of at most {}", items(most)),
            (Some(least), Some(most)) if least == most => format!(" of {}", items(most)),
            (Some(least), Some(most)) => format!(" of {least} to {}", items(most)),
        };
        let each = match schema.get("items") {
            Some(item) if item.is_object() && depth < MAX_NESTING => {
                format!(", each {}", self.nested(item, depth + 1))
            }
            _ => String::new(),
        };
        format!("an array{bounds}{each}")
    }

    /// Among alternatives an object is named by what tells it apart: a fixed field, or the fields it must have.
    fn object(self, schema: &'a Map<String, Value>, depth: usize) -> String {
        let noun = self.format.object();
        if depth == 0 {
            return noun.to_owned();
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let tags = properties
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| {
                let value = self.resolve(schema).get("const")?;
                Some(match self.format {
                    Format::Json => format!("{name:?}: {}", literal(value)),
                    Format::Toml => format!("{name} = {}", literal(value)),
                })
            });
        let tags = tags.collect::<Vec<_>>();
        if !tags.is_empty() {
            return format!("{noun} with {}", tags.join(" and "));
        }
        let required = schema.get("required").and_then(Value::as_array);
        let required = required
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect::<Vec<_>>();
        match required.as_slice() {
            [] => noun.to_owned(),
            [one] => format!("{noun} with the field {one}"),
            more => format!("{noun} with the fields {}", more.join(", ")),
        }
    }
}

/// `one of "a", "b"`.
pub(crate) fn one_of(values: &[&Value]) -> String {
    let listed = values.iter().take(MAX_LISTED).map(|value| literal(value));
    let listed = listed.collect::<Vec<_>>().join(", ");
    match values.len() {
        0 => "nothing".to_owned(),
        1 => listed,
        many if many > MAX_LISTED => format!("one of {listed} and {} more", many - MAX_LISTED),
        _ => format!("one of {listed}"),
    }
}

/// The forms a value may take, if the schema lists several.
pub(crate) fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf"))?;
    forms.as_array().filter(|forms| !forms.is_empty())
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => clip(text),
        other => other.to_string(),
    }
}

fn either(words: &[String]) -> String {
    match words {
        [] => "a value".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The kind of value that a schema without `type` is about, by its keywords.
fn implied_kind(schema: &Map<String, Value>) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| schema.contains_key(*name));
    if has(&["properties", "required", "additionalProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems", "maxItems"]) {
        "array"
    } else if has(&["pattern", "minLength", "maxLength"]) {
        "string"
    } else if has(&[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ]) {
        "number"
    } else {
        ""
    }
}

fn number(noun: &str, schema: &Map<String, Value>) -> String {
    let get = |name| schema.get(name).filter(|value| value.is_number());
    let mut words = match (get("minimum"), get("maximum")) {
        (Some(least), Some(most)) => format!("{noun} from {least} to {most}"),
        (Some(least), None) => format!("{noun} of at least {least}"),
        (None, Some(most)) => format!("{noun} of at most {most}"),
        (None, None) => noun.to_owned(),
    };
    if let Some(bound) = get("exclusiveMinimum") {
        words.push_str(&format!(" above {bound}"));
    }
    if let Some(bound) = get("exclusiveMaximum") {
        words.push_str(&format!(" below {bound}"));
    }
    if let Some(factor) = get("multipleOf") {
        words.push_str(&format!(" that is a multiple of {factor}"));
    }
    words
}

fn text(schema: &Map<String, Value>) -> String {
    let mut words = match (count(schema, "minLength"), count(schema, "maxLength")) {
        (None | Some(0), None) => "a string".to_owned(),
        (Some(1), None) => "a non-empty string".to_owned(),
        (Some(least), None) => format!("a string of at least {least} characters"),
        (None | Some(0), Some(most)) => format!("a string of at most {most} characters"),
        (Some(least), Some(most)) if least == most => format!("a string of {most} characters"),
        (Some(least), Some(most)) => format!("a string of {least} to {most} characters"),
    };
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        if let Some(title) = schema.get("title").and_then(Value::as_str) {
            words = title.to_owned();
        }
        // An example says more to a person than a regular expression.
        let examples = schema.get("examples").and_then(Value::as_array);
        match examples.and_then(|examples| examples.first()) {
            Some(example) => words.push_str(&format!(" such as {}", literal(example))),
            None => words.push_str(&format!(" matching {pattern}")),
        }
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        words.push_str(&format!(" (format {format})"));
    }
    words
}

fn count(schema: &Map<String, Value>, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

fn items(count: u64) -> String {
    if count == 1 {
        "1 item".to_owned()
    } else {
        format!("{count} items")
    }
}
