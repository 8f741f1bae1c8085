//! Notes about a request body that is being translated: the fields without a translation, and the places of the
//! pictures.

use std::fmt::Write as _;

use crate::domain::{Api, Image, NativeBody, Params, Request, field_at_mut};

use super::{
    error::FieldError,
    json::{Fields, Json},
};

/// The API whose form of messages is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyForm {
    /// A row of the program's own format. What can't be translated can't be sent.
    Row,
    Native(Api),
}

impl BodyForm {
    pub const fn is_row(self) -> bool {
        matches!(self, Self::Row)
    }
}

/// One step of a path in the body.
#[derive(Clone, Debug)]
enum PathStep {
    Name(String),
    Index(usize),
}

/// Notes about one body.
#[derive(Debug)]
pub(super) struct BodyNotes {
    pub form: BodyForm,
    /// See [`super::InputOptions::legacy_bodies`].
    pub is_legacy: bool,
    path: Vec<PathStep>,
    native_only_fields: Vec<String>,
    picture_pointers: Vec<String>,
    /// The body has something that the API itself doesn't accept but that can be translated, so it isn't sent as it is.
    is_nonstandard: bool,
}

/// Values that mean the same as leaving the field out.
const AUTOMATIC_FIELDS: [&str; 4] = ["service_tier", "tool_choice", "detail", "truncation"];

/// Last names of fields that have an effect when they are false.
const ON_BY_DEFAULT: [&str; 3] = ["enable_thinking", "think", "parallel_tool_calls"];

/// Last names of fields that earlier versions left out without a word. Runs that they began still do.
const FORMERLY_IGNORED: [&str; 19] = [
    "name",
    "refusal",
    "annotations",
    "detail",
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "parallel_tool_calls",
    "tool_choice",
    "inference_geo",
    "labels",
    "toolConfig",
    "cache_control",
    "citations",
    "description",
];

impl BodyNotes {
    pub const fn new(form: BodyForm, is_legacy: bool) -> Self {
        Self {
            form,
            is_legacy,
            path: Vec::new(),
            native_only_fields: Vec::new(),
            picture_pointers: Vec::new(),
            is_nonstandard: false,
        }
    }

    /// Reads a field of the body: what is noted meanwhile is in it.
    pub fn within<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.at_step(PathStep::Name(name.to_owned()), read)
    }

    /// Reads an entry of a list.
    pub fn at<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.at_step(PathStep::Index(index), read)
    }

    fn at_step<T>(&mut self, step: PathStep, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let value = read(self);
        self.path.pop();
        value
    }

    /// Notes that a field has no translation, unless its value has no effect (null, false, 0, or an empty text or
    /// list).
    pub fn add_native_only(&mut self, name: &str, value: &Json<'_>) {
        let is_automatic = AUTOMATIC_FIELDS.contains(&name) && value.as_text() == Some("auto");
        let is_switched_off = ON_BY_DEFAULT.contains(&name) && matches!(value, Json::Bool(false));
        if is_switched_off || (!value.has_no_effect() && !is_automatic) {
            self.add_native_only_path(name);
        }
    }

    /// Notes that something at the current place has no translation.
    pub fn add_native_only_path(&mut self, name: &str) {
        let mut path = String::new();
        for step in &self.path {
            match step {
                PathStep::Name(name) if path.is_empty() => path.push_str(name),
                PathStep::Name(name) => path.extend([".", name]),
                // Writing to a string can't fail.
                PathStep::Index(index) => drop(write!(path, "[{index}]")),
            }
        }
        if !path.is_empty() && !name.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        self.native_only_fields.push(path);
    }

    /// Notes that the current place has a picture.
    pub fn add_picture(&mut self) {
        let mut pointer = String::new();
        for step in &self.path {
            match step {
                PathStep::Name(name) => pointer.extend(["/", &name.replace('~', "~0").replace('/', "~1")]),
                PathStep::Index(index) => drop(write!(pointer, "/{index}")),
            }
        }
        self.picture_pointers.push(pointer);
    }

    /// Number of places without a translation so far.
    pub const fn native_only_count(&self) -> usize {
        self.native_only_fields.len()
    }

    pub const fn set_nonstandard(&mut self) {
        self.is_nonstandard = true;
    }

    /// Refuses a body that can only be translated, if a part of it has no translation. What earlier versions left out
    /// is left out in their runs.
    pub fn refuse_native_only(&self) -> Result<(), FieldError> {
        let is_ignored = |path: &str| {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.is_legacy && FORMERLY_IGNORED.contains(&name)
        };
        match self.native_only_fields.iter().find(|path| !is_ignored(path)) {
            None => Ok(()),
            Some(path) => Err(FieldError::new(
                path,
                "is not supported here: it would not reach the model; remove it, put it into `extra_body`, or write the row \
                 as a batch line of its API, which is sent as it is",
            )),
        }
    }

    /// The body as it is to be sent to its own API. `None` if it is to be translated even for that.
    ///
    /// `prefix` is the name of the line's field with the body; it stands before the paths in messages. `defaults` are the
    /// default parameters that the body doesn't set.
    pub fn into_native(
        self,
        prefix: &str,
        body: &Fields<'_>,
        request: &Request,
        defaults: Params,
    ) -> Option<NativeBody> {
        let BodyForm::Native(api) = self.form else { return None };
        if self.is_nonstandard && self.native_only_fields.is_empty() {
            return None;
        }
        let fields = body.iter().filter(|(name, _)| !is_set_by_program(api, name));
        let mut fields: serde_json::Map<String, serde_json::Value> =
            fields.map(|(name, value)| (name.to_string(), value.to_value())).collect();
        for (pointer, image) in self.picture_pointers.iter().zip(request.images()) {
            if matches!(image, Image::Inline { .. }) {
                match field_at_mut(&mut fields, pointer) {
                    // The request has the data already.
                    Some(serde_json::Value::String(url)) => url.clear(),
                    Some(serde_json::Value::Object(source)) => {
                        source.insert("data".to_owned(), "".into());
                    }
                    _ => {}
                }
            }
        }
        Some(NativeBody {
            api,
            body: fields,
            picture_pointers: self.picture_pointers,
            native_only_fields: self.native_only_fields.iter().map(|path| format!("{prefix}.{path}")).collect(),
            defaults,
            adds_system: false,
            is_embedding: false,
        })
    }
}

/// Fields that the program sets: the model is the route's, and no answer is streamed.
fn is_set_by_program(api: Api, name: &str) -> bool {
    match name {
        "model" => true,
        "stream" | "stream_options" => api != Api::Gemini,
        _ => false,
    }
}
