//! A TOML file under examination: its text, a cursor over its tables, and everything found wrong so far.
//!
//! Readers never stop at a fault. They note it with its place and answer `None`, so that one pass over the file
//! finds everything there is to say.

use std::{cell::RefCell, ops::RangeInclusive, path::Path, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Faults, Position, alternatives, shown, suggestion},
    schema::Schema,
    span::parse_span,
};
use crate::domain::sanitize;

pub(super) struct Sheet<'t> {
    path: &'t Path,
    text: &'t str,
    faults: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<String>>,
}

/// A table of the file, its unknown fields already reported.
#[derive(Clone, Copy)]
pub(super) struct Table<'s> {
    pub sheet: &'s Sheet<'s>,
    pub schema: &'static Schema,
    /// Byte offset of the table's header.
    pub at: usize,
    entries: &'s DeTable<'s>,
}

/// A text with its place.
#[derive(Clone, Copy)]
pub(super) struct Text<'s> {
    pub text: &'s str,
    pub at: usize,
}

/// A value of the file and the field it stands in.
#[derive(Clone, Copy)]
pub(super) struct Field<'s> {
    pub sheet: &'s Sheet<'s>,
    pub name: &'static str,
    pub value: &'s DeValue<'s>,
    pub at: usize,
}

impl<'t> Sheet<'t> {
    pub fn new(path: &'t Path, text: &'t str) -> Self {
        Self { path, text, faults: RefCell::default(), warnings: RefCell::default() }
    }

    pub fn fault(&self, at: usize, message: impl Into<String>) {
        self.faults.borrow_mut().push((at, message.into()));
    }

    /// Something to know that stops nothing, with its line.
    pub fn warn(&self, at: usize, message: &str) {
        let file = self.path.display().to_string();
        let line = Position::of(self.text, at).line;
        self.warnings.borrow_mut().push(format!("{}:{line}: {message}", sanitize(&file)));
    }

    pub fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// `keys.toml:12`, for complaints of others.
    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", sanitize(&self.path.display().to_string()), self.line(at))
    }

    pub fn line(&self, at: usize) -> usize {
        Position::of(self.text, at).line
    }

    /// The warnings, or else every fault in the order of the file.
    pub fn close(self) -> Result<Vec<String>, Faults> {
        let mut found = self.faults.into_inner();
        if found.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        found.sort_by_key(|&(at, _)| at);
        found.dedup();
        let fault = |(at, message)| Fault {
            file: Some(self.path.to_owned()),
            position: Some(Position::of(self.text, at)),
            message,
        };
        Err(Faults(found.into_iter().map(fault).collect()))
    }
}

impl<'s> Table<'s> {
    pub fn open(sheet: &'s Sheet<'s>, schema: &'static Schema, entries: &'s DeTable<'s>, at: usize) -> Self {
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if !schema.fields.contains(&name) {
                let near = suggestion(name, schema.fields.iter().copied());
                let message = format!("{} is not a setting of {}{near}", shown(name), schema.table);
                sheet.fault(key.span().start, message);
            }
        }
        Self { sheet, schema, at, entries }
    }

    pub fn field(&self, name: &'static str) -> Option<Field<'s>> {
        debug_assert!(self.schema.fields.contains(&name), "{name} is missing from the schema");
        let (_, value) = self.entries.get_key_value(name)?;
        Some(Field { sheet: self.sheet, name, value: value.get_ref(), at: value.span().start })
    }

    pub fn require(&self, name: &'static str) -> Option<Field<'s>> {
        let field = self.field(name);
        if field.is_none() {
            self.sheet.fault(self.at, format!("{} is missing from this {}", name, self.schema.table));
        }
        field
    }

    /// The tables of `[[name]]`, whichever way they are written.
    pub fn tables(&self, name: &'static str, schema: &'static Schema) -> Vec<Table<'s>> {
        let Some(field) = self.field(name) else { return Vec::new() };
        let DeValue::Array(entries) = field.value else {
            self.sheet.fault(field.at, format!("write [[{name}]], in double brackets: there may be several"));
            return Vec::new();
        };
        let open = |entry: &'s Spanned<DeValue<'s>>| {
            let at = entry.span().start;
            let Some(table) = entry.get_ref().as_table() else {
                self.sheet.fault(at, format!("{} must be a table", schema.table));
                return None;
            };
            Some(Table::open(self.sheet, schema, table, at))
        };
        entries.iter().filter_map(open).collect()
    }

    /// The one table of `[name]`.
    pub fn table(&self, name: &'static str, schema: &'static Schema) -> Option<Table<'s>> {
        let field = self.field(name)?;
        let Some(entries) = field.value.as_table() else {
            field.wrong("a table");
            return None;
        };
        Some(Table::open(self.sheet, schema, entries, field.at))
    }

    /// A text that is not blank.
    pub fn text(&self, name: &'static str) -> Option<Text<'s>> {
        self.field(name)?.text()
    }

    /// As [`Table::text`]; its absence is a fault.
    pub fn required_text(&self, name: &'static str) -> Option<Text<'s>> {
        self.require(name)?.text()
    }

    pub fn flag(&self, name: &'static str) -> Option<bool> {
        let field = self.field(name)?;
        let flag = field.value.as_bool();
        if flag.is_none() {
            field.wrong("true or false");
        }
        flag
    }

    pub fn count<T: TryFrom<i64>>(&self, name: &'static str, allowed: RangeInclusive<i64>) -> Option<T> {
        self.field(name)?.count(allowed)
    }

    /// A limit: at least 1, since no limit is written by leaving it out.
    pub fn limit<T: TryFrom<i64>>(&self, name: &'static str, most: i64) -> Option<T> {
        self.field(name)?.bounded(1..=most, "; leave it out where there is no limit")
    }

    pub fn number(&self, name: &'static str, allowed: RangeInclusive<f64>) -> Option<f64> {
        self.field(name)?.number(allowed)
    }

    pub fn span(&self, name: &'static str) -> Option<Duration> {
        self.field(name)?.span()
    }

    /// A duration longer than nothing.
    pub fn positive_span(&self, name: &'static str) -> Option<Duration> {
        let field = self.field(name)?;
        field.span().filter(|span| {
            if span.is_zero() {
                field.sheet.fault(field.at, format!("{name} must be longer than \"0s\""));
            }
            !span.is_zero()
        })
    }

    /// One of the words of `choices`.
    pub fn word<T: Copy>(&self, name: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.field(name)?.word(choices)
    }
}

impl<'s> Field<'s> {
    /// Notes that the value has the wrong type. The value itself is not shown: it may be a secret.
    pub fn wrong(&self, wanted: &str) {
        let found = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.sheet.fault(self.at, format!("{} must be {wanted}, not {found}", self.name));
    }

    pub fn text(&self) -> Option<Text<'s>> {
        let Some(text) = self.value.as_str() else {
            self.wrong("a text in quotes");
            return None;
        };
        if text.trim().is_empty() {
            self.sheet.fault(self.at, format!("{} is empty", self.name));
            return None;
        }
        Some(Text { text, at: self.at })
    }

    /// One of the words of `choices`.
    pub fn word<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words = || choices.iter().map(|&(word, _)| word);
        let Some(given) = self.value.as_str() else {
            self.wrong(&format!("a text, {}", alternatives(words())));
            return None;
        };
        let choice = choices.iter().find(|&&(word, _)| word == given).map(|&(_, choice)| choice);
        if choice.is_none() {
            let (name, near) = (self.name, suggestion(given, words()));
            let message = format!("{name} must be {}, not {}{near}", alternatives(words()), shown(given));
            self.sheet.fault(self.at, message);
        }
        choice
    }

    pub fn count<T: TryFrom<i64>>(&self, allowed: RangeInclusive<i64>) -> Option<T> {
        self.bounded(allowed, "")
    }

    fn bounded<T: TryFrom<i64>>(&self, allowed: RangeInclusive<i64>, advice: &str) -> Option<T> {
        let DeValue::Integer(integer) = self.value else {
            self.wrong("a whole number");
            return None;
        };
        // What doesn't fit i64 is out of every range here.
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if let Some(number) = number.filter(|number| allowed.contains(number)) {
            return T::try_from(number).ok();
        }
        let bound = match number {
            Some(number) if number < *allowed.start() => format!("at least {}", allowed.start()),
            _ => format!("at most {}", allowed.end()),
        };
        self.sheet.fault(self.at, format!("{} must be {bound}, not {integer}{advice}", self.name));
        None
    }

    pub fn number(&self, allowed: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|whole| whole as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => {
                self.wrong("a number");
                return None;
            }
        };
        let number = number.filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            let given = match self.value {
                DeValue::Integer(integer) => integer.as_str(),
                DeValue::Float(float) => float.as_str(),
                _ => "",
            };
            self.sheet.fault(self.at, format!("{} must be from {least} to {most}, not {given}", self.name));
        }
        number
    }

    pub fn span(&self) -> Option<Duration> {
        let Some(text) = self.value.as_str() else {
            self.wrong("a duration in quotes, like \"10s\"");
            return None;
        };
        parse_span(text).map_err(|why| self.sheet.fault(self.at, format!("{}: {}: {why}", self.name, shown(text)))).ok()
    }

    /// The entries of a list that may not be empty.
    pub fn list(&self, of: &str) -> Option<Vec<Field<'s>>> {
        let Some(entries) = self.value.as_array() else {
            self.wrong(&format!("a list of {of}, like [...]"));
            return None;
        };
        if entries.is_empty() {
            self.sheet.fault(self.at, format!("{} is an empty list; leave it out for the default", self.name));
            return None;
        }
        let entry = |entry: &'s Spanned<DeValue<'s>>| Field { value: entry.get_ref(), at: entry.span().start, ..*self };
        Some(entries.iter().map(entry).collect())
    }
}
