//! Searches the text of an item: its id, its error, its prompt and its answer, ignoring case.
//!
//! A search may scan a million rows. So the stored JSON is searched as text first, and parsed only if it may contain
//! the text. Parsing makes sure that names of JSON fields don't count as matches.

use std::borrow::Cow;

use super::{error::StoreError, row::parse_json};
use crate::domain::{ItemSpec, Part, ResultLine, short_id};

/// Size in bytes of the largest body that is searched. Most larger bodies contain inline pictures, whose data is not
/// text.
pub(super) const MAX_SEARCHED_BODY_BYTES: u32 = 256 * 1_024;

pub(super) struct Needle {
    /// In lower case.
    text: String,
    /// The same text as it is written inside a JSON string.
    json: String,
}

impl Needle {
    pub fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        let quoted = serde_json::Value::from(text.as_str()).to_string();
        let json = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned();
        Self { text, json }
    }

    pub fn is_in_text(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.text)
    }

    /// True if the id contains the text, in full or in its short form on the screen.
    pub fn is_in_id(&self, id: &str) -> bool {
        self.is_in_text(id) || matches!(short_id(id), Cow::Owned(short) if self.is_in_text(&short))
    }

    /// True if a message in an item's stored body contains the text, in any turn of a conversation.
    pub fn is_in_body(&self, body: &str) -> Result<bool, StoreError> {
        if !self.may_be_in(body) {
            return Ok(false);
        }
        let spec: ItemSpec = parse_json(body, "an item")?;
        Ok(spec.request.messages.iter().flat_map(|message| &message.parts).any(|part| match part {
            Part::Text(text) => self.is_in_text(text),
            Part::Image(_) => false,
        }))
    }

    /// True if the answer or the error of a stored result line contains the text.
    pub fn is_in_result(&self, line: &str) -> Result<bool, StoreError> {
        if !self.may_be_in(line) {
            return Ok(false);
        }
        let line: ResultLine = parse_json(line, "a result")?;
        let texts = [line.output, line.error.map(|error| error.message)];
        Ok(texts.iter().flatten().any(|text| self.is_in_text(text)))
    }

    /// True if an item contains the text anywhere. Meant for a few items; [`super::items`] scans all items with one
    /// query.
    pub fn is_in_item(&self, conn: &rusqlite::Connection, seq: u64, id: &str) -> Result<bool, StoreError> {
        if self.is_in_id(id) {
            return Ok(true);
        }
        let (body, line): (Option<String>, Option<String>) = conn
            .prepare_cached(
                "SELECT iif(octet_length(payload.body) <= ?2, payload.body, NULL), results.line
                 FROM progress JOIN payload USING (seq) LEFT JOIN results ON results.n = progress.result
                 WHERE progress.seq = ?1",
            )?
            .query_row([seq, MAX_SEARCHED_BODY_BYTES.into()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(body.map_or(Ok(false), |body| self.is_in_body(&body))?
            || line.map_or(Ok(false), |line| self.is_in_result(&line))?)
    }

    fn may_be_in(&self, json: &str) -> bool {
        json.to_lowercase().contains(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Message, MessageRole, Part, Request};

    fn body(prompt: &str) -> String {
        let message = |role, text: &str| Message { role, parts: vec![Part::Text(text.to_owned())] };
        let spec = ItemSpec {
            id: "1".to_owned(),
            request: Request {
                messages: vec![message(MessageRole::Assistant, "Hello."), message(MessageRole::User, prompt)],
                ..Request::default()
            },
            request_hash: "0".repeat(32),
            line: 1,
            ..ItemSpec::default()
        };
        serde_json::to_string(&spec).unwrap()
    }

    #[test]
    fn only_the_visible_text_of_a_prompt_is_searched() {
        for (text, prompt, want) in [
            ("ducks", "Janet’s DUCKS lay 16 eggs", true),
            ("JANET’S", "Janet’s ducks", true),
            ("huế", "Ảnh chụp ở HUẾ", true),
            ("say \"no", "They say \"no\".", true),
            ("\"", "They say \"no\".", true),
            ("\"", "They say no.", false),
            ("one\ntwo", "one\ntwo", true),
            ("c:\\new", "in C:\\new\\things", true),
            ("messages", "What is 2 + 2?", false),
            ("user", "What is 2 + 2?", false),
            ("assistant", "What is 2 + 2?", false),
            ("hello", "What is 2 + 2?", true),
            ("geese", "Janet’s ducks", false),
        ] {
            assert_eq!(Needle::new(text).is_in_body(&body(prompt)).unwrap(), want, "{text:?} in {prompt:?}");
        }
    }
}
