//! Checking a document against a JSON Schema.

use std::collections::HashSet;

use jsonschema::{Draft, ValidationError, Validator, error::ValidationErrorKind as Kind};
use serde_json::Value;

use crate::document::{Document, Format};
use crate::fault::{Fault, Problem};
use crate::suggest::meant;
use crate::wording::{Wording, one_of};
use crate::{pointer, suggest};

/// The deepest nesting of alternatives that is followed.
const MAX_NESTING: usize = 8;

/// Says what is wrong with a JSON Schema (2020-12), before any document is checked against it.
///
/// # Errors
/// The fault of the schema and its place, in one line.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    build(schema).map(drop)
}

fn build(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .build(schema)
        .map_err(|error| {
            format!(
                "its JSON Schema is wrong at {}: {error}",
                error.instance_path()
            )
        })
}

impl Document {
    /// Checks the document against a JSON Schema (2020-12) and lists every fault, in the order of the text.
    ///
    /// References are resolved inside the schema only. A schema that is itself wrong is one fault.
    pub fn validate(&self, schema: &Value) -> Result<(), Vec<Fault>> {
        let validator = build(schema).map_err(|message| vec![Fault::at(self, "", message)])?;
        let mut report = Report {
            document: self,
            schema,
            wording: Wording::new(schema, self.format()),
            faults: Vec::new(),
        };
        for error in validator.iter_errors(self.value()) {
            report.add(&error, 0);
        }
        let mut faults = report.faults;
        drop_misspelt(&mut faults);
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort_by(|a, b| (a.position, &a.pointer).cmp(&(b.position, &b.pointer)));
        faults.dedup();
        Err(faults)
    }
}

struct Report<'a> {
    document: &'a Document,
    schema: &'a Value,
    wording: Wording<'a>,
    faults: Vec<Fault>,
}

impl<'a> Report<'a> {
    fn add(&mut self, error: &ValidationError<'_>, depth: usize) {
        let at = error.instance_path().as_str();
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    self.unknown_field(error, name);
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let field = self
                    .parent(error)
                    .and_then(|schema| self.wording.field(schema, name));
                let expected = field.map(|schema| self.wording.describe(schema));
                self.missing_field(at, name, expected);
            }
            Kind::PropertyNames { error: inner } => {
                let name = inner.instance().as_str().unwrap_or_default();
                let expected = self.expected(inner);
                let message = format!("a field here is named by {expected}, which {name:?} is not");
                self.faults
                    .push(Fault::at(self.document, &pointer::join(at, name), message));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.no_alternative(error, context, depth)
            }
            Kind::OneOfMultipleValid { .. } => {
                let expected = self.expected(error);
                let message = format!(
                    "takes more than one of the forms allowed: {expected}; keep the fields of one"
                );
                self.faults.push(Fault::at(self.document, at, message));
            }
            Kind::UniqueItems => self.push(
                at,
                Problem::Unexpected {
                    expected: "items that differ".to_owned(),
                    found: "the same item twice".to_owned(),
                },
            ),
            Kind::FalseSchema => self.unexpected(at, "nothing here".to_owned(), &[]),
            Kind::MinProperties { limit } => self.too_few_or_many(at, "at least", *limit),
            Kind::MaxProperties { limit } => self.too_few_or_many(at, "at most", *limit),
            Kind::Type { .. }
            | Kind::Enum { .. }
            | Kind::Constant { .. }
            | Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. }
            | Kind::MultipleOf { .. }
            | Kind::MinLength { .. }
            | Kind::MaxLength { .. }
            | Kind::MinItems { .. }
            | Kind::MaxItems { .. }
            | Kind::Pattern { .. }
            | Kind::Format { .. } => {
                let expected = self.expected(error);
                let texts = self.parent(error).map(|schema| self.wording.texts(schema));
                self.unexpected(at, expected, &texts.unwrap_or_default());
                self.say_how_to_write(at, self.parent(error));
            }
            _ => {
                self.faults.push(Fault::at(
                    self.document,
                    at,
                    error.masked_with("the value").to_string(),
                ));
            }
        }
    }

    /// The value fits none of several forms. If it is clear which was meant, what is wrong with that one is told; the
    /// rest is told by listing the forms.
    fn no_alternative(
        &mut self,
        error: &ValidationError<'_>,
        forms: &[Vec<ValidationError<'static>>],
        depth: usize,
    ) {
        let at = error.instance_path().as_str();
        if let Some((place, values)) = common_literals(at, forms) {
            let expected = one_of(&values);
            let texts = values
                .into_iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>();
            return self.unexpected(&place, expected, &texts);
        }
        if let Some(name) = self.common_tag(error, forms) {
            let values = self.tag_values(error, &name);
            let values = values.iter().collect::<Vec<_>>();
            return self.missing_field(at, &name, Some(one_of(&values)));
        }
        let of_its_kind = |form: &&Vec<ValidationError<'static>>| {
            let of_another_tag = |e: &ValidationError<'_>| {
                matches!(e.kind(), Kind::Constant { .. })
                    && is_at_or_in(e.instance_path().as_str(), at)
            };
            is_of_kind(form, at) && !form.iter().any(of_another_tag)
        };
        let has_its_fields = |form: &&Vec<ValidationError<'static>>| {
            !form.iter().any(|e| {
                matches!(e.kind(), Kind::Required { .. }) && e.instance_path().as_str() == at
            })
        };
        let form = only(forms.iter().filter(of_its_kind))
            .or_else(|| only(forms.iter().filter(of_its_kind).filter(has_its_fields)))
            .filter(|form| !form.is_empty() && depth < MAX_NESTING);
        match form {
            Some(form) => form.iter().for_each(|error| self.add(error, depth + 1)),
            None => {
                let expected = self.expected(error);
                let texts = self.parent(error).map(|schema| self.wording.texts(schema));
                self.unexpected(at, expected, &texts.unwrap_or_default());
            }
        }
    }

    /// The field that tells the forms apart, if it is missing.
    fn common_tag(
        &self,
        error: &ValidationError<'_>,
        forms: &[Vec<ValidationError<'static>>],
    ) -> Option<String> {
        let at = error.instance_path().as_str();
        let missing = |form: &[ValidationError<'static>]| {
            let names = form.iter().filter(|e| e.instance_path().as_str() == at);
            let names = names.filter_map(|e| match e.kind() {
                Kind::Required { property } => property.as_str().map(str::to_owned),
                _ => None,
            });
            names.collect::<Vec<_>>()
        };
        let (first, rest) = forms.split_first()?;
        let rest = rest.iter().map(|form| missing(form)).collect::<Vec<_>>();
        missing(first).into_iter().find(|name| {
            rest.iter().all(|names| names.contains(name))
                && self.tag_values(error, name).len() == forms.len()
        })
    }

    fn tag_values(&self, error: &ValidationError<'_>, name: &str) -> Vec<Value> {
        let forms = self.parent(error).and_then(crate::wording::alternatives);
        let values = forms.into_iter().flatten().filter_map(|form| {
            let field = self.wording.field(form, name)?;
            self.wording
                .literals(field)?
                .first()
                .map(|value| (*value).clone())
        });
        values.collect()
    }

    fn unknown_field(&mut self, error: &ValidationError<'_>, name: &str) {
        let at = error.instance_path().as_str();
        let valid = self
            .parent(error)
            .map(|schema| self.wording.fields(schema))
            .unwrap_or_default();
        let mut fault = unknown_field(self.document, at, name, valid);
        let is_typo = |hint: &str| hint.starts_with("did you mean");
        if !fault.hint.as_deref().is_some_and(is_typo)
            && let Some(place) = self.wording.places_of(name)
        {
            fault.hint = Some(self.belongs(&place).into());
        }
        self.faults.push(fault);
    }

    /// A hint that says where a misplaced field belongs.
    fn belongs(&self, place: &[&str]) -> String {
        let here = place
            .iter()
            .fold(String::new(), |pointer, name| pointer::join(&pointer, name));
        let whole = self.document.whole_pointer(&here);
        match self.document.format() {
            _ if whole.is_empty() => "it belongs outside of this".to_owned(),
            Format::Json => format!("it belongs at {whole}"),
            Format::Toml => {
                let table = pointer::segments(&whole).collect::<Vec<_>>().join(".");
                format!("it belongs under [{table}]")
            }
        }
    }

    fn missing_field(&mut self, at: &str, name: &str, expected: Option<String>) {
        let name = name.to_owned();
        self.push(at, Problem::MissingField { name, expected });
    }

    fn too_few_or_many(&mut self, at: &str, bound: &str, limit: u64) {
        let fields = if limit == 1 { "field" } else { "fields" };
        let expected = format!(
            "{} with {bound} {limit} {fields}",
            self.document.format().object()
        );
        let members = self.document.value().pointer(at).and_then(Value::as_object);
        let found = format!("one with {}", members.map_or(0, |members| members.len()));
        self.push(at, Problem::Unexpected { expected, found });
    }

    /// `texts` are the values that may have been meant.
    fn unexpected(&mut self, at: &str, expected: String, texts: &[&str]) {
        let mut fault = Fault::unexpected(self.document, at, expected);
        if !self.document.hides(at)
            && let Some(text) = self.document.value().pointer(at).and_then(Value::as_str)
        {
            fault.hint =
                suggest::closest(text, texts.iter().copied()).map(|text| meant(text).into());
        }
        self.faults.push(fault);
    }

    /// Adds a hint to the fault found last, if it does not have one.
    fn say_how_to_write(&mut self, at: &str, schema: Option<&'a Value>) {
        let kinds = schema.map(|schema| self.wording.kinds(schema));
        if let (Some(kinds), Some(value), Some(fault)) = (
            kinds,
            self.document.value().pointer(at),
            self.faults.last_mut(),
        ) && fault.hint.is_none()
            && !self.document.hides(at)
        {
            let whole = self.document.whole_pointer(at);
            let hint = suggest::rewritten(value, &kinds, &whole, self.document.format());
            fault.hint = hint.map(Into::into);
        }
    }

    fn push(&mut self, at: &str, problem: Problem) {
        self.faults.push(Fault::new(self.document, at, problem));
    }

    fn expected(&self, error: &ValidationError<'_>) -> String {
        match self.parent(error) {
            Some(schema) => self.wording.describe(schema),
            None => "another value".to_owned(),
        }
    }

    /// The schema that holds the keyword that failed.
    fn parent(&self, error: &ValidationError<'_>) -> Option<&'a Value> {
        let (parent, _keyword) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(parent)
    }
}

/// The fault of an unknown field, with the field that may have been meant.
pub(crate) fn unknown_field(
    document: &Document,
    at: &str,
    name: &str,
    valid: Vec<String>,
) -> Fault {
    let present = document.value().pointer(at).and_then(Value::as_object);
    let absent = valid
        .iter()
        .filter(|field| present.is_none_or(|object| !object.contains_key(*field)));
    let hint = match suggest::closest(name, absent.map(String::as_str)) {
        Some(name) => meant(name),
        None if valid.is_empty() => "no field may stand here".to_owned(),
        None => {
            let valid = valid
                .iter()
                .map(|field| format!("{field:?}"))
                .collect::<Vec<_>>();
            format!("the fields here are {}", valid.join(", "))
        }
    };
    let name = name.to_owned();
    Fault::new(
        document,
        &pointer::join(at, &name),
        Problem::UnknownField { name, valid },
    )
    .with_hint(hint)
}

/// A field under a wrong name is missing as well: one message is enough.
fn drop_misspelt(faults: &mut Vec<Fault>) {
    let misspelt = faults
        .iter()
        .filter_map(|fault| match (&fault.problem, &fault.hint) {
            (Problem::UnknownField { .. }, Some(hint)) => {
                let (parent, _) = fault.pointer.rsplit_once('/')?;
                Some((parent.to_owned(), hint.to_string()))
            }
            _ => None,
        });
    let misspelt = misspelt.collect::<HashSet<_>>();
    faults.retain(|fault| match &fault.problem {
        Problem::MissingField { name, .. } => {
            !misspelt.contains(&(fault.pointer.to_string(), meant(name)))
        }
        _ => true,
    });
}

/// The values that all forms together ask for in one place, if each asks for fixed ones and in the same.
fn common_literals<'a>(
    at: &str,
    forms: &'a [Vec<ValidationError<'static>>],
) -> Option<(String, Vec<&'a Value>)> {
    let mut place = None;
    let mut values = Vec::new();
    for form in forms {
        let near = form
            .iter()
            .filter(|error| is_at_or_in(error.instance_path().as_str(), at));
        let mut literals = near.filter_map(|error| {
            let values = match error.kind() {
                Kind::Constant { expected_value } => vec![expected_value.as_ref()],
                Kind::Enum { options } => options.as_array()?.iter().collect(),
                _ => return None,
            };
            Some((error.instance_path().as_str(), values))
        });
        let (here, found) = literals.next()?;
        if *place.get_or_insert(here) != here {
            return None;
        }
        values.extend(found);
    }
    Some((place?.to_owned(), values))
}

/// Whether a form failed for another reason than that the value at `at` is of another kind altogether.
fn is_of_kind(form: &[ValidationError<'static>], at: &str) -> bool {
    let mut here = form.iter().filter(|e| e.instance_path().as_str() == at);
    !here.any(|e| match e.kind() {
        Kind::Type { .. } | Kind::Enum { .. } | Kind::Constant { .. } => true,
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            !context.iter().any(|form| is_of_kind(form, at))
        }
        _ => false,
    })
}

/// Whether a pointer is `at` or that of a field directly in it.
fn is_at_or_in(pointer: &str, at: &str) -> bool {
    pointer == at
        || pointer
            .rsplit_once('/')
            .is_some_and(|(parent, _)| parent == at)
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let item = items.next()?;
    items.next().is_none().then_some(item)
}
