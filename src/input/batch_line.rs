//! The common part of the providers' batch lines: an id and a complete request, each under a provider's own field name.

use crate::domain::{Request, unpriced_field};

use super::{
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, missing_field},
    picture_fields, row,
};

/// The field names of one provider.
pub(super) struct BatchLine {
    pub id_field: &'static str,
    pub request_field: &'static str,
}

impl BatchLine {
    /// Reads the id and passes the request to `read_request`. Ignores the other fields of the line.
    ///
    /// # Errors
    /// If the line is not as the format says, and those of `read_request`.
    pub fn read(
        &self,
        row: &Json<'_>,
        options: &RowOptions,
        read_request: impl FnOnce(&Fields<'_>, &mut Draft, &RowOptions) -> Result<(), FieldError>,
    ) -> Result<Draft, FieldError> {
        let fields = row.object("")?;
        let mut draft = Draft { kept_fields: options.pick_kept_fields(fields), ..Draft::default() };
        let mut request = None;
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            if name == self.id_field {
                draft.id = Some(row::parse_id(value, self.id_field)?);
            } else if name == self.request_field {
                if options.has_spend_cap {
                    refuse_unpriced(value).map_err(|error| error.within(self.request_field))?;
                }
                request = Some(value.object(self.request_field)?);
            }
        }
        let request = request.ok_or_else(|| missing_field(fields, self.request_field))?;
        read_request(request, &mut draft, options).map_err(|error| error.within(self.request_field))?;
        if !options.legacy_rows {
            self.refuse_stray_pictures(fields, &draft.request, options)?;
        }
        Ok(draft)
    }

    /// Refuses a picture in a field outside of the request. No batch format has pictures there, so it would not be
    /// sent.
    fn refuse_stray_pictures(
        &self,
        fields: &Fields<'_>,
        request: &Request,
        options: &RowOptions,
    ) -> Result<(), FieldError> {
        if request.needs_vision() && options.allows_extra_pictures {
            return Ok(());
        }
        for (name, value) in fields {
            let is_unsent = (!request.needs_vision() && !value.is_empty_or_default())
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

/// Refuses a request with a field whose cost has no upper bound, since a cap could not be guaranteed.
fn refuse_unpriced(request: &Json<'_>) -> Result<(), FieldError> {
    let Some(field) = request.to_value().as_object().and_then(unpriced_field) else { return Ok(()) };
    let message = format!(
        "{}, so its cost has no upper bound, but a spend cap is set; remove the field, or run without max_usd and \
         max_usd_per_day",
        field.effect
    );
    Err(FieldError::new(field.name, message))
}
