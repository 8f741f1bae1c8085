//! A decoded request, independent of the API, and the errors it can have.

use base64::{Engine, prelude::BASE64_STANDARD};
use image::ImageFormat;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::profile::ModelProfile;
use crate::domain::PictureType;

/// Assumed number of bytes per token. English text has about four.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct SimRequest {
    /// The model id in the request.
    pub model: String,
    pub system: String,
    /// The texts of all messages, joined by line breaks.
    pub prompt: String,
    pub pictures: Vec<SimPicture>,
    pub max_output: Option<u64>,
    pub stop: Vec<String>,
    pub json: Option<JsonOutput>,
    /// Tokens per picture that the request asks for (Gemini's media resolution).
    pub tokens_per_picture: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SimPicture {
    pub format: &'static str,
    pub width: usize,
    pub height: usize,
    pub bytes: usize,
    hash: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum JsonOutput {
    Any,
    Schema(Value),
}

/// Reason why a request is invalid, independent of the key and the moment. Each API has its own message for it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum RequestError {
    /// The body is not JSON.
    InvalidJson(String),
    /// A field is missing or invalid; the message is in the API's own wording.
    InvalidField(String),
    MissingVersion,
    StreamingUnsupported,
    ExceedsContext {
        tokens: u64,
        context: u64,
    },
    InvalidOutputLimit {
        requested: u64,
        max: u64,
    },
    NoVision,
    Picture(SimPictureError),
    /// The prompt contains `[sim:400]`.
    RequestedByPrompt,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SimPictureError {
    NotBase64,
    Unreadable,
    /// The picture is readable, but the API does not accept its format.
    UnsupportedFormat,
    /// A URL; the simulator downloads nothing.
    RemoteUrl,
    TooManyBytes(usize),
    TooManyPixels,
}

/// The hash that identifies a prompt in the statistics: over the text of all messages, without the system instruction.
/// This function is for prompts without pictures.
pub fn prompt_hash(prompt: &str) -> u64 {
    SimRequest { prompt: prompt.to_owned(), ..SimRequest::default() }.prompt_hash()
}

pub(super) const fn text_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// The part of `text` that fits into `tokens`, cut between characters.
pub(super) fn cut_to_tokens(text: &str, tokens: u64) -> &str {
    let max_bytes = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN);
    &text[..text.floor_char_boundary(max_bytes)]
}

impl SimRequest {
    pub fn prompt_hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.prompt.as_bytes());
        for picture in &self.pictures {
            hash.update(&picture.hash.to_le_bytes());
        }
        hash.digest()
    }

    /// The item id from a marker in the prompt: `[item 42]`.
    pub fn item_id(&self) -> Option<&str> {
        let (_, rest) = self.prompt.split_once("[item ")?;
        rest.split_once(']').map(|(id, _)| id)
    }

    pub fn add_text(&mut self, text: &str) {
        if !self.prompt.is_empty() {
            self.prompt.push('\n');
        }
        self.prompt.push_str(text);
    }

    /// Number of tokens of texts and pictures, at least one.
    pub fn input_tokens(&self, model: &ModelProfile) -> u64 {
        text_tokens(self.system.len() + self.prompt.len()).max(1) + self.picture_tokens(model)
    }

    pub fn picture_tokens(&self, model: &ModelProfile) -> u64 {
        self.tokens_per_picture.unwrap_or(model.image_tokens) * self.pictures.len() as u64
    }

    /// Checks the request against the model's limits.
    ///
    /// # Errors
    /// The first limit that it exceeds.
    pub fn check(&self, model: &ModelProfile) -> Result<(), RequestError> {
        let tokens = self.input_tokens(model);
        if tokens > model.context {
            return Err(RequestError::ExceedsContext { tokens, context: model.context });
        }
        if !model.vision && !self.pictures.is_empty() {
            return Err(RequestError::NoVision);
        }
        match self.max_output {
            Some(requested) if requested == 0 || requested > u64::from(model.max_output) => {
                Err(RequestError::InvalidOutputLimit { requested, max: model.max_output.into() })
            }
            _ => Ok(()),
        }
    }
}

impl SimPicture {
    /// Decodes a picture as a whole, but for HEIC. `accepted` lists the formats that the API accepts, spelled as in [`SimPicture::format`].
    ///
    /// # Errors
    /// If it is not base64, can't be read, or is of another format.
    pub fn from_base64(data: &str, accepted: &[&str]) -> Result<Self, RequestError> {
        let error = |error| Err(RequestError::Picture(error));
        let Ok(bytes) = BASE64_STANDARD.decode(data) else { return error(SimPictureError::NotBase64) };
        let Ok(size) = imagesize::blob_size(&bytes) else { return error(SimPictureError::Unreadable) };
        let format = match PictureType::detect(&bytes) {
            Some(PictureType::Png) => "png",
            Some(PictureType::Jpeg) => "jpeg",
            Some(PictureType::Webp) => "webp",
            Some(PictureType::Gif) => "gif",
            Some(PictureType::Heic | PictureType::Heif | PictureType::Avif) => "heic",
            Some(PictureType::Bmp | PictureType::Tiff) | None => "other",
        };
        if !accepted.contains(&format) {
            return error(SimPictureError::UnsupportedFormat);
        }
        let decoder = match format {
            "png" => Some(ImageFormat::Png),
            "jpeg" => Some(ImageFormat::Jpeg),
            "webp" => Some(ImageFormat::WebP),
            "gif" => Some(ImageFormat::Gif),
            _ => None,
        };
        if decoder.is_some_and(|decoder| image::load_from_memory_with_format(&bytes, decoder).is_err()) {
            return error(SimPictureError::Unreadable);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        Ok(Self { format, width: size.width, height: size.height, bytes: bytes.len(), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_id_is_read_from_a_marker() {
        let item = |prompt: &str| {
            SimRequest { prompt: prompt.to_owned(), ..SimRequest::default() }.item_id().map(str::to_owned)
        };
        assert_eq!(item("[item 42] Name a river."), Some("42".to_owned()));
        assert_eq!(item("[item 42"), None);
        assert_eq!(item("Name a river."), None);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut_to_tokens("ääää", 1), "ää");
        assert_eq!(cut_to_tokens("aääa", 1), "aä");
        assert_eq!(cut_to_tokens("short", 100), "short");
    }

    #[test]
    fn a_picture_is_described_by_its_bytes() {
        let gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
        let cut_off = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";
        let picture = SimPicture::from_base64(gif, &["gif"]).unwrap();
        assert_eq!((picture.width, picture.height), (1, 1));
        let cases = [
            (gif, SimPictureError::UnsupportedFormat),
            ("bm90IGEgcGljdHVyZQ==", SimPictureError::Unreadable),
            (cut_off, SimPictureError::Unreadable),
            ("%%%", SimPictureError::NotBase64),
        ];
        for (data, error) in cases {
            assert_eq!(SimPicture::from_base64(data, &["png"]), Err(RequestError::Picture(error)));
        }
    }
}
