//! Reads a TOML file: its text, a cursor over its tables, and the errors found so far.
//!
//! Reading never stops at an error. The error is recorded with its position and the value becomes `None`, so that one
//! pass over the file finds all errors.

use std::{cell::RefCell, ops::RangeInclusive, path::Path, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    duration::parse_duration,
    error::{ConfigError, ConfigErrors, Position, format_suggestion, join_alternatives, quote_unless_secret},
    schema::Schema,
};
use crate::domain::{Named, sanitize};

/// The text of a file, and the errors and warnings found in it so far.
pub(super) struct TomlDoc<'t> {
    path: &'t Path,
    text: &'t str,
    errors: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<String>>,
}

/// A table of the file. Opening it reports its unknown fields.
#[derive(Clone, Copy)]
pub(super) struct TomlTable<'s> {
    pub doc: &'s TomlDoc<'s>,
    pub schema: &'static Schema,
    /// Byte offset of the table's header.
    pub offset: usize,
    entries: &'s DeTable<'s>,
}

/// A text with its byte offset.
#[derive(Clone, Copy)]
pub(super) struct TomlText<'s> {
    pub text: &'s str,
    pub offset: usize,
}

/// A value of the file and the name of its field.
#[derive(Clone, Copy)]
pub(super) struct TomlField<'s> {
    pub doc: &'s TomlDoc<'s>,
    pub name: &'static str,
    pub value: &'s DeValue<'s>,
    pub offset: usize,
}

impl<'t> TomlDoc<'t> {
    pub fn new(path: &'t Path, text: &'t str) -> Self {
        Self { path, text, errors: RefCell::default(), warnings: RefCell::default() }
    }

    pub fn add_error(&self, offset: usize, message: impl Into<String>) {
        self.errors.borrow_mut().push((offset, message.into()));
    }

    /// Adds a warning with its line. Warnings don't stop a run.
    pub fn add_warning(&self, offset: usize, message: &str) {
        let file = self.path.display().to_string();
        let line = Position::from_offset(self.text, offset).line;
        self.warnings.borrow_mut().push(format!("{}:{line}: {message}", sanitize(&file)));
    }

    pub fn has_no_errors(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// `keys.toml:12`, for messages of other modules.
    pub fn location(&self, offset: usize) -> String {
        format!("{}:{}", sanitize(&self.path.display().to_string()), self.line_number(offset))
    }

    pub fn line_number(&self, offset: usize) -> usize {
        Position::from_offset(self.text, offset).line
    }

    /// Returns the warnings. Errors are in the order of the file.
    ///
    /// # Errors
    /// All errors together.
    pub fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        errors.sort_by_key(|&(offset, _)| offset);
        errors.dedup();
        let to_error = |(offset, message)| ConfigError {
            file: Some(self.path.to_owned()),
            position: Some(Position::from_offset(self.text, offset)),
            message,
        };
        Err(ConfigErrors(errors.into_iter().map(to_error).collect()))
    }
}

impl<'s> TomlTable<'s> {
    pub fn open(doc: &'s TomlDoc<'s>, schema: &'static Schema, entries: &'s DeTable<'s>, offset: usize) -> Self {
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if let Some((former, current)) = schema.find_renamed(|former, _| former == name) {
                if entries.contains_key(current) {
                    let message = format!("{former} is the former name of {current}, which is set too; leave one out");
                    doc.add_error(key.span().start, message);
                }
            } else if !schema.fields.contains(&name) {
                let did_you_mean = format_suggestion(name, schema.fields.iter().copied());
                let message =
                    format!("{} is not a setting of {}{did_you_mean}", quote_unless_secret(name), schema.label);
                doc.add_error(key.span().start, message);
            }
        }
        Self { doc, schema, offset, entries }
    }

    pub fn field(&self, name: &'static str) -> Option<TomlField<'s>> {
        debug_assert!(self.schema.fields.contains(&name), "{name} is missing from the schema");
        let former = || Some(self.schema.find_renamed(|_, current| current == name)?.0);
        let written_name = if self.entries.contains_key(name) { name } else { former()? };
        let value = self.entries.get(written_name)?;
        Some(TomlField { doc: self.doc, name: written_name, value: value.get_ref(), offset: value.span().start })
    }

    pub fn require(&self, name: &'static str) -> Option<TomlField<'s>> {
        let field = self.field(name);
        if field.is_none() {
            self.doc.add_error(self.offset, format!("{} is missing from this {}", name, self.schema.label));
        }
        field
    }

    /// The tables of `[[name]]`, in any TOML notation.
    pub fn tables(&self, name: &'static str, schema: &'static Schema) -> Vec<TomlTable<'s>> {
        let Some(field) = self.field(name) else { return Vec::new() };
        let DeValue::Array(entries) = field.value else {
            self.doc
                .add_error(field.offset, format!("write [[{name}]] in double brackets, since there may be several"));
            return Vec::new();
        };
        let open_table = |entry: &'s Spanned<DeValue<'s>>| {
            let offset = entry.span().start;
            let Some(table) = entry.get_ref().as_table() else {
                self.doc.add_error(offset, format!("{} must be a table", schema.label));
                return None;
            };
            Some(TomlTable::open(self.doc, schema, table, offset))
        };
        entries.iter().filter_map(open_table).collect()
    }

    /// The table of `[name]`.
    pub fn table(&self, name: &'static str, schema: &'static Schema) -> Option<TomlTable<'s>> {
        let field = self.field(name)?;
        let Some(entries) = field.value.as_table() else {
            field.wrong_type("a table");
            return None;
        };
        Some(TomlTable::open(self.doc, schema, entries, field.offset))
    }

    /// A text that is not blank.
    pub fn text(&self, name: &'static str) -> Option<TomlText<'s>> {
        self.field(name)?.text()
    }

    /// Like [`TomlTable::text`], but reports an error if the field is missing.
    pub fn required_text(&self, name: &'static str) -> Option<TomlText<'s>> {
        self.require(name)?.text()
    }

    pub fn flag(&self, name: &'static str) -> Option<bool> {
        let field = self.field(name)?;
        let flag = field.value.as_bool();
        if flag.is_none() {
            field.wrong_type("true or false");
        }
        flag
    }

    pub fn count<T: TryFrom<i64>>(&self, name: &'static str, allowed: RangeInclusive<i64>) -> Option<T> {
        self.field(name)?.count(allowed)
    }

    /// A limit from 1 to `max`. For no limit, the setting is left out.
    pub fn limit<T: TryFrom<i64>>(&self, name: &'static str, max: i64) -> Option<T> {
        self.field(name)?.integer_in_range(1..=max, "; leave it out for no limit")
    }

    pub fn number(&self, name: &'static str, allowed: RangeInclusive<f64>) -> Option<f64> {
        self.field(name)?.number(allowed)
    }

    pub fn duration(&self, name: &'static str) -> Option<Duration> {
        self.field(name)?.duration()
    }

    /// A duration greater than zero.
    pub fn positive_duration(&self, name: &'static str) -> Option<Duration> {
        let field = self.field(name)?;
        field.duration().filter(|duration| {
            if duration.is_zero() {
                field.doc.add_error(field.offset, format!("{} must be longer than \"0s\"", field.name));
            }
            !duration.is_zero()
        })
    }

    /// A value by its name.
    pub fn choice<T: Named>(&self, name: &'static str) -> Option<T> {
        self.field(name)?.choice()
    }
}

impl<'s> TomlField<'s> {
    /// Reports a value of the wrong type. The value is not shown, since it may be a secret.
    pub fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.doc.add_error(self.offset, format!("{} must be {expected}, not {found}", self.name));
    }

    pub fn text(&self) -> Option<TomlText<'s>> {
        let Some(text) = self.value.as_str() else {
            self.wrong_type("a string in quotes");
            return None;
        };
        if text.trim().is_empty() {
            self.doc.add_error(self.offset, format!("{} is empty", self.name));
            return None;
        }
        Some(TomlText { text, offset: self.offset })
    }

    /// A value by its name.
    pub fn choice<T: Named>(&self) -> Option<T> {
        let names = || T::NAMED.iter().map(|&(name, _)| name);
        let Some(given) = self.value.as_str() else {
            self.wrong_type(&format!("a string, {}", join_alternatives(names())));
            return None;
        };
        let choice = T::NAMED.iter().find(|&&(name, _)| name == given).map(|&(_, choice)| choice);
        if choice.is_none() {
            let (name, did_you_mean) = (self.name, format_suggestion(given, names()));
            let message = format!(
                "{name} must be {}, not {}{did_you_mean}",
                join_alternatives(names()),
                quote_unless_secret(given)
            );
            self.doc.add_error(self.offset, message);
        }
        choice
    }

    pub fn count<T: TryFrom<i64>>(&self, allowed: RangeInclusive<i64>) -> Option<T> {
        self.integer_in_range(allowed, "")
    }

    fn integer_in_range<T: TryFrom<i64>>(&self, allowed: RangeInclusive<i64>, advice: &str) -> Option<T> {
        let DeValue::Integer(integer) = self.value else {
            self.wrong_type("a whole number");
            return None;
        };
        // A number that doesn't fit `i64` is out of every allowed range.
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if let Some(number) = number.filter(|number| allowed.contains(number)) {
            return T::try_from(number).ok();
        }
        let bound = match number {
            Some(number) if number < *allowed.start() => format!("at least {}", allowed.start()),
            _ => format!("at most {}", allowed.end()),
        };
        self.doc.add_error(self.offset, format!("{} must be {bound}, not {integer}{advice}", self.name));
        None
    }

    pub fn number(&self, allowed: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|whole| whole as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => {
                self.wrong_type("a number");
                return None;
            }
        };
        let number = number.filter(|number| allowed.contains(number));
        if number.is_none() {
            let (min, max) = (allowed.start(), allowed.end());
            let given = match self.value {
                DeValue::Integer(integer) => integer.as_str(),
                DeValue::Float(float) => float.as_str(),
                _ => "",
            };
            self.doc.add_error(self.offset, format!("{} must be from {min} to {max}, not {given}", self.name));
        }
        number
    }

    pub fn duration(&self) -> Option<Duration> {
        let Some(text) = self.value.as_str() else {
            self.wrong_type("a duration in quotes, like \"10s\"");
            return None;
        };
        parse_duration(text)
            .map_err(|reason| {
                self.doc.add_error(self.offset, format!("{}: {}: {reason}", self.name, quote_unless_secret(text)));
            })
            .ok()
    }

    /// The entries of a list that must not be empty.
    pub fn list(&self, entries_name: &str) -> Option<Vec<TomlField<'s>>> {
        let Some(entries) = self.value.as_array() else {
            self.wrong_type(&format!("a list of {entries_name}, like [...]"));
            return None;
        };
        if entries.is_empty() {
            self.doc.add_error(self.offset, format!("{} is an empty list; leave it out for the default", self.name));
            return None;
        }
        let to_field =
            |entry: &'s Spanned<DeValue<'s>>| TomlField { value: entry.get_ref(), offset: entry.span().start, ..*self };
        Some(entries.iter().map(to_field).collect())
    }
}
