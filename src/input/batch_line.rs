//! The common part of the providers' batch lines: an id and a complete request, each under a provider's own field name.

use crate::domain::{Api, NativeBody, Params, Request};

use super::{
    body_notes::{BodyForm, BodyNotes},
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, missing_field},
    params, picture_fields, row,
};

/// The batch line of one API.
pub(super) struct BatchLine {
    pub api: Api,
    pub id_field: &'static str,
    pub request_field: &'static str,
}

/// Fields of a line that are read, apart from the id and the request.
const OTHER_FIELDS: [&str; 3] = ["method", "url", "extra_body"];

impl BatchLine {
    /// Reads the id and passes the request to `read_request`, with the default parameters in the draft. The request is
    /// kept as it is for its own API. The other fields of the line are not sent.
    ///
    /// # Errors
    /// If the line is not as the format says, and those of `read_request`.
    pub fn read(
        &self,
        row: &Json<'_>,
        options: &RowOptions,
        read_request: impl Fn(&Fields<'_>, &mut Draft, &mut BodyNotes) -> Result<(), FieldError>,
    ) -> Result<Draft, FieldError> {
        let fields = row.object("")?;
        let mut draft = Draft { kept_fields: options.pick_kept_fields(fields)?, ..Draft::default() };
        let mut body = None;
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            match name.as_ref() {
                name if name == self.id_field => draft.id = Some(row::parse_id(value, self.id_field)?),
                name if name == self.request_field => {
                    body = Some(value.object(self.request_field)?);
                }
                "extra_body" if !options.input.legacy_bodies => {
                    draft.request.extra_body = params::parse_extra_body(value)?;
                }
                name if OTHER_FIELDS.contains(&name) => {}
                name => draft.note_unused_param(name, options),
            }
        }
        let body = body.ok_or_else(|| missing_field(fields, self.request_field))?;
        self.read_body(body, &mut draft, options, read_request).map_err(|error| error.within(self.request_field))?;
        // Its fields are those of the body's API.
        if let Some(native) = &mut draft.request.native {
            native.native_only_fields.extend(draft.request.extra_body.keys().map(|name| format!("extra_body.{name}")));
        }
        draft.refuse_unbounded_cost(self.request_field, options)?;
        if !options.input.legacy_rows {
            self.refuse_stray_pictures(fields, &draft.request, options)?;
        }
        Ok(draft)
    }

    fn read_body(
        &self,
        body: &Fields<'_>,
        draft: &mut Draft,
        options: &RowOptions,
        read_request: impl Fn(&Fields<'_>, &mut Draft, &mut BodyNotes) -> Result<(), FieldError>,
    ) -> Result<(), FieldError> {
        let mut notes = BodyNotes::new(BodyForm::Native(self.api), options.input.legacy_bodies);
        draft.request.params = options.input.default_params.clone();
        read_request(body, draft, &mut notes)?;
        let adds_system = draft.request.system.is_none() && options.templates.has_system();
        if adds_system {
            draft.request.system = options.templates.render_system(&Fields::new())?;
        }
        if options.input.legacy_bodies {
            draft.request.params.remove_newer_parts();
            return notes.refuse_native_only();
        }
        let inherited = if options.input.default_params.is_empty() {
            Params::default()
        } else {
            let mut own = Draft::default();
            read_request(body, &mut own, &mut BodyNotes::new(BodyForm::Native(self.api), false))?;
            params::inherited(&options.input.default_params, &draft.request.params, &own.request.params)
        };
        let native = notes.into_native(self.request_field, body, &draft.request, inherited);
        draft.request.native = native.map(|native| Box::new(NativeBody { adds_system, ..native }));
        Ok(())
    }

    /// Refuses a picture in a field outside of the request. No batch format has pictures there, so it would not be
    /// sent.
    fn refuse_stray_pictures(
        &self,
        fields: &Fields<'_>,
        request: &Request,
        options: &RowOptions,
    ) -> Result<(), FieldError> {
        if request.needs_vision() && options.input.allows_extra_pictures {
            return Ok(());
        }
        for (name, value) in fields {
            let is_unsent = (!request.needs_vision() && !value.has_no_effect())
                || (picture_fields::contains_unsent(name, value, request, options)
                    && !picture_fields::is_origin_of_data(value, request));
            if picture_fields::names_only_pictures(name) && is_unsent {
                let message = format!(
                    "is outside `{}`, so it would not be sent; put it into the messages there",
                    self.request_field
                );
                return Err(FieldError::new(name.as_ref(), message));
            }
        }
        picture_fields::refuse_unread(fields, request, options)
    }
}
