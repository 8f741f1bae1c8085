//! What the lines of the providers' batch files have in common: an id and a whole request, each under a name of its own.

use crate::domain::Request;

use super::{
    draft::{Draft, Recipe},
    fault::Wrong,
    json::{Fields, Json, missing},
    picture_fields, row,
};

/// The names that one provider gives them.
pub(super) struct Envelope {
    pub id: &'static str,
    pub request: &'static str,
}

impl Envelope {
    /// Takes the id, and hands the request on. What else stands in the line is the uploader's business.
    pub fn read(
        &self,
        row: &Json<'_>,
        recipe: &Recipe,
        read_request: impl FnOnce(&Fields<'_>, &mut Draft, &Recipe) -> Result<(), Wrong>,
    ) -> Result<Draft, Wrong> {
        let fields = row.object("")?;
        let mut draft = Draft { fields: recipe.keep(fields), ..Draft::default() };
        let mut request = None;
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            if name == self.id {
                draft.id = Some(row::id(value, self.id)?);
            } else if name == self.request {
                request = Some(value.object(self.request)?);
            }
        }
        let request = request.ok_or_else(|| missing(fields, self.request))?;
        read_request(request, &mut draft, recipe).map_err(|wrong| wrong.within(self.request))?;
        if !recipe.legacy_rows {
            self.refuse_pictures(fields, &draft.request, recipe)?;
        }
        Ok(draft)
    }

    /// Refuses a picture that stands beside the request, where no provider's batch has one: it would not be sent. Those
    /// that the request itself sends may stand there too.
    fn refuse_pictures(&self, fields: &Fields<'_>, sent: &Request, recipe: &Recipe) -> Result<(), Wrong> {
        for (name, value) in fields {
            let is_unsent =
                (!sent.needs_vision() && !value.is_neutral()) || picture_fields::holds_unsent(name, value, sent);
            if picture_fields::names_only_pictures(name) && is_unsent {
                let words =
                    format!("stands beside `{}`, where it is not sent; put it into the messages there", self.request);
                return Err(Wrong::new(name.as_ref(), words));
            }
        }
        picture_fields::refuse_unread(fields, sent, recipe)
    }
}
