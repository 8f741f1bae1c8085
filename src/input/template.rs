//! `--prompt` and `--system`: minijinja templates over the fields of a row or a picture.
//!
//! The user writes the templates, but field values may come from anyone. So a template can't include files, and its
//! running time and output are limited. A field that it names must exist. `null` is refused, since it would be rendered
//! as the word "none".

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, escape_formatter,
    value::{Object, Serde, ValueKind},
};

use super::{
    error::{FieldError, InputError},
    json::{Fields, Json, get_field},
};

/// Maximum number of instructions per rendering. Enough for a loop over a hundred thousand values.
const MAX_INSTRUCTIONS: u64 = 10_000_000;
/// Maximum number of bytes that one rendering may write; about the size of the largest context windows.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// The name of [`FloatTexts`] in the context. No template can have it as a name.
const FLOAT_TEXTS: &str = "float texts";
const NULL_FIELD_ERROR: &str = "a field is null";

/// The templates of an input: compiled once, rendered for every row.
pub(super) struct Templates {
    env: Environment<'static>,
    prompt: Option<CompiledTemplate>,
    system: Option<CompiledTemplate>,
}

enum CompiledTemplate {
    /// Text without template syntax.
    Literal(String),
    Template {
        name: &'static str,
        /// The top-level fields that it uses. Only these are passed to it.
        fields: Vec<String>,
    },
}

impl Templates {
    pub(super) fn compile(prompt: Option<&str>, system: Option<&str>) -> Result<Self, InputError> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(MAX_INSTRUCTIONS));
        env.set_debug(false);
        env.set_formatter(|out, state, value| {
            if value.is_none() {
                return Err(Error::new(ErrorKind::InvalidOperation, NULL_FIELD_ERROR));
            }
            match written_text(state, value) {
                Some(text) => out.write_str(&text).map_err(Error::from),
                None => escape_formatter(out, state, value),
            }
        });
        let prompt = prompt.map(|source| CompiledTemplate::compile(&mut env, "prompt", source)).transpose()?;
        let system = system.map(|source| CompiledTemplate::compile(&mut env, "system", source)).transpose()?;
        Ok(Self { env, prompt, system })
    }

    /// Renders the prompt for these fields; `None` if there is no prompt template.
    pub(super) fn render_prompt(&self, fields: &Fields<'_>) -> Result<Option<String>, FieldError> {
        self.prompt.as_ref().map(|template| template.render(&self.env, fields)).transpose()
    }

    pub(super) fn render_system(&self, fields: &Fields<'_>) -> Result<Option<String>, FieldError> {
        self.system.as_ref().map(|template| template.render(&self.env, fields)).transpose()
    }

    /// True if there is a template for the system prompt.
    pub(super) const fn has_system(&self) -> bool {
        self.system.is_some()
    }

    /// True if either template uses this field.
    pub(super) fn uses_field(&self, name: &str) -> bool {
        [&self.prompt, &self.system].into_iter().flatten().any(|template| match template {
            CompiledTemplate::Literal(_) => false,
            CompiledTemplate::Template { fields, .. } => fields.iter().any(|field| field == name),
        })
    }
}

impl CompiledTemplate {
    fn compile(env: &mut Environment<'static>, name: &'static str, source: &str) -> Result<Self, InputError> {
        if !["{{", "{%", "{#"].iter().any(|opening| source.contains(opening)) {
            return Ok(Self::Literal(source.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let to_input_error = |error: &Error| InputError::Template { template: name, message: describe_error(error) };
        env.add_template_owned(name, source.to_owned()).map_err(|error| to_input_error(&error))?;
        let template = env.get_template(name).map_err(|error| to_input_error(&error))?;
        let mut fields: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        fields.sort_unstable();
        Ok(Self::Template { name, fields })
    }

    fn render(&self, env: &Environment<'static>, fields: &Fields<'_>) -> Result<String, FieldError> {
        let (name, used_fields) = match self {
            Self::Literal(text) => return Ok(text.clone()),
            Self::Template { name, fields } => (*name, fields),
        };
        let mut context: BTreeMap<&str, Value> = used_fields
            .iter()
            .filter_map(|field| Some((field.as_str(), Value::from(Serde(get_field(fields, field)?)))))
            .collect();
        if let Some(texts) = FloatTexts::collect(used_fields.iter().filter_map(|field| get_field(fields, field))) {
            context.insert(FLOAT_TEXTS, Value::from_object(texts));
        }
        let template = env.get_template(name).map_err(|error| template_error(name, describe_error(&error)))?;
        let mut output = BoundedBuffer(Vec::with_capacity(256));
        match template.render_captured_to(context, &mut output) {
            Ok(_) => String::from_utf8(output.0).map_err(|error| template_error(name, error.to_string())),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                let undefined_names = template.undeclared_variables(true);
                Err(template_error(
                    name,
                    describe_undefined(env, undefined_names.into_iter().collect(), fields, &error),
                ))
            }
            Err(error) => Err(template_error(name, describe_error(&error))),
        }
    }
}

/// The numbers of a row that templates have as `f64`, which would print them in another way than the row has them.
#[derive(Debug)]
struct FloatTexts {
    /// By the bits of the number. `None` if the row has it in several ways.
    by_bits: HashMap<u64, Option<Arc<str>>>,
}

impl Object for FloatTexts {}

impl FloatTexts {
    /// Collects the numbers of these fields. `None` if all of them print as they are written.
    fn collect<'f>(fields: impl Iterator<Item = &'f Json<'f>>) -> Option<Self> {
        let mut floats = Vec::new();
        fields.for_each(|field| field.collect_floats(&mut floats));
        if floats.iter().all(|(number, text)| Value::from(*number).to_string() == *text) {
            return None;
        }
        let mut by_bits: HashMap<u64, Option<Arc<str>>> = HashMap::new();
        for (number, text) in floats {
            let known = by_bits.entry(number.to_bits()).or_insert_with(|| Some(text.into()));
            if known.as_deref() != Some(text) {
                *known = None;
            }
        }
        Some(Self { by_bits })
    }
}

/// How the row writes a number that a template prints; `None` if that is how it prints anyway.
fn written_text(state: &State<'_, '_>, value: &Value) -> Option<Arc<str>> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    let texts = state.lookup(FLOAT_TEXTS)?;
    let number = f64::try_from(value.clone()).ok()?;
    texts.downcast_object_ref::<FloatTexts>()?.by_bits.get(&number.to_bits())?.clone()
}

fn template_error(name: &str, message: impl std::fmt::Display) -> FieldError {
    FieldError::new("", format!("the {name} template {message}"))
}

fn describe_error(error: &Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line} of the template)"));
    match error.kind() {
        ErrorKind::OutOfFuel => format!("runs for too long{line}: does it loop over something endless?"),
        ErrorKind::WriteFailure => format!("produces more than {} MiB of text{line}", MAX_OUTPUT_BYTES >> 20),
        ErrorKind::InvalidOperation if error.detail() == Some(NULL_FIELD_ERROR) => {
            format!("prints a field that is null in this row{line}: write {{{{ field or \"\" }}}} to allow it")
        }
        ErrorKind::UndefinedError => format!("uses something undefined{line}"),
        kind => format!("fails: {}{line}", error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// Describes an undefined value by the names of the missing fields, which minijinja's own error doesn't contain.
fn describe_undefined(env: &Environment<'_>, mut names: Vec<String>, fields: &Fields<'_>, error: &Error) -> String {
    let globals: Vec<_> = env.globals().map(|(name, _)| name.to_owned()).collect();
    names.retain(|name| !globals.iter().any(|global| global == name) && !field_exists(name, fields));
    names.sort_unstable();
    if names.is_empty() {
        return describe_error(error);
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("uses {}, which this row does not have; {}", names.join(" and "), list_fields(fields))
}

/// True if there is such a field, or such a nested field (`meta.title`).
fn field_exists(path: &str, fields: &Fields<'_>) -> bool {
    let mut names = path.split('.');
    let top = names.next().and_then(|name| get_field(fields, name));
    names.try_fold(top, |value, name| value.map(|value| value.get(name))).flatten().is_some()
}

/// Lists a row's fields for a message: "it has answer, question".
pub(super) fn list_fields(fields: &Fields<'_>) -> String {
    const MAX_SHOWN: usize = 20;
    if fields.is_empty() {
        return "it has no fields".to_owned();
    }
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_ref()).take(MAX_SHOWN).collect();
    let more = fields.len().saturating_sub(MAX_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has {}{tail}", names.join(", "))
}

/// A buffer that refuses to grow past [`MAX_OUTPUT_BYTES`].
struct BoundedBuffer(Vec<u8>);

impl io::Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, row: &str) -> Result<String, String> {
        let templates = Templates::compile(Some(template), None).map_err(|error| error.to_string())?;
        let Json::Object(fields) = Json::parse(row).unwrap() else { panic!("{row} is no object") };
        templates.render_prompt(&fields).map(Option::unwrap).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn templates_see_the_fields_of_a_row() {
        let row = r#"{"question":"Why?","n":3,"x":0.5,"tags":["a","b"],"meta":{"title":"T"},"<":"&","none":null}"#;
        for (template, want) in [
            ("no syntax at all\n", "no syntax at all"),
            ("Q: {{ question }}", "Q: Why?"),
            ("{{ n }} {{ x }}", "3 0.5"),
            ("{% for tag in tags %}[{{ tag }}]{% endfor %}", "[a][b]"),
            ("{{ meta.title }}", "T"),
            ("{{ tags | tojson }}", r#"["a", "b"]"#),
            ("{{ '<b>' }}{{ question }}", "<b>Why?"),
            ("{% if other is defined %}{{ other }}{% else %}-{% endif %}", "-"),
            ("{{ other | default('none given') }}", "none given"),
            ("{{ absent.deep or '' }}", "!"),
            ("{{ none or 'nothing' }}", "nothing"),
        ] {
            match render(template, row) {
                Ok(got) => assert_eq!(got, want, "{template}"),
                Err(message) => assert_eq!(want, "!", "{template}: {message}"),
            }
        }
    }

    #[test]
    fn a_number_is_printed_as_the_row_has_it() {
        let row = r#"{"a":1e3,"b":0.10,"c":0.1234567890123456789,"d":1.0,"e":123456789012345678901234567890,"f":-0,"g":2.5,
            "h":1234567890123456789012345678901234567890123456789,"list":[1E2,{"x":7.00}],"twice":[0.20,0.2]}"#;
        for (template, want) in [
            ("{{ a }} {{ b }} {{ c }} {{ d }}", "1e3 0.10 0.1234567890123456789 1.0"),
            (
                "{{ e }} {{ f }} {{ g }} {{ h }}",
                "123456789012345678901234567890 -0 2.5 1234567890123456789012345678901234567890123456789",
            ),
            (
                "{{ list[0] }} {{ list[1].x }}{% for x in list %} {{ x.x if x is mapping else x }}{% endfor %}",
                "1E2 7.00 1E2 7.00",
            ),
            ("{% macro show(x) %}<{{ x }}>{% endmacro %}{{ show(b) }}", "<0.10>"),
            ("{% if a > 999 and b < 0.2 %}{{ a + 1 }} {{ b * 2 }}{% endif %}", "1001.0 0.2"),
            // One number in two ways is printed in the usual one.
            ("{{ twice[0] }}", "0.2"),
        ] {
            assert_eq!(render(template, row).unwrap(), want, "{template}");
        }
    }

    #[test]
    fn an_error_names_the_missing_field_and_the_existing_ones() {
        let row = r#"{"question":"Why?","meta":{"title":"T"},"gone":null}"#;
        for (template, want) in [
            (
                "{{ qestion }}",
                "the prompt template uses `qestion`, which this row does not have; it has question, meta, gone",
            ),
            (
                "{{ question }}{{ meta.author }}",
                "the prompt template uses `meta.author`, which this row does not have; it has question, meta, gone",
            ),
            (
                "a\n{{ gone }}",
                "the prompt template prints a field that is null in this row (line 2 of the template): \
                 write {{ field or \"\" }} to allow it",
            ),
        ] {
            assert_eq!(render(template, row).unwrap_err(), want, "{template}");
        }
    }

    #[test]
    fn a_template_that_does_not_parse_is_refused_before_any_row() {
        let error = render("{% for x in %}", "{}").unwrap_err();
        assert!(error.starts_with("the prompt template can't be used: it fails: "), "{error}");
        assert!(error.ends_with("(line 1 of the template)"), "{error}");
    }

    #[test]
    fn templates_cannot_read_files() {
        for template in ["{% include '/etc/passwd' %}", "{% import '/etc/passwd' as x %}", "{% extends 'x' %}"] {
            render(template, "{}").unwrap_err();
        }
    }

    #[test]
    fn running_time_and_output_are_limited() {
        let hundred_million = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
        assert!(render(hundred_million, "{}").unwrap_err().contains("runs for too long"));
        let gigabyte = "{% for a in range(100000) %}{{ text }}{% endfor %}";
        let row = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
        assert!(render(gigabyte, &row).unwrap_err().contains("produces more than 16 MiB"));
    }
}
