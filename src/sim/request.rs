//! What a request asks for, in no API's dialect, and what can be wrong with it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::profile::ModelProfile;

/// Bytes of text that make a token: English runs at about four.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct SimRequest {
    /// The model's id, as asked for.
    pub model: String,
    pub system: String,
    /// Every turn's text, one after the other.
    pub prompt: String,
    pub pictures: Vec<SimPicture>,
    pub max_output: Option<u64>,
    pub stop: Vec<String>,
    pub json: Option<JsonOutput>,
    /// What the request says a picture should cost (Gemini's media resolution).
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

/// Why a request can't be answered, whoever sends it. Each API has its own words for it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum RequestError {
    /// Not JSON at all.
    InvalidJson(String),
    /// In the API's own words.
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
    /// The prompt said `[sim:400]`.
    RequestedByPrompt,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SimPictureError {
    NotBase64,
    Unreadable,
    /// A readable picture of a kind that the API does not take.
    UnsupportedFormat,
    /// A link: the simulator fetches nothing.
    RemoteUrl,
    TooManyBytes(usize),
    TooManyPixels,
}

/// How the books tell prompts apart: a hash of the text of all turns, without the system instruction. For a prompt
/// without pictures.
pub fn prompt_hash(prompt: &str) -> u64 {
    SimRequest { prompt: prompt.to_owned(), ..SimRequest::default() }.prompt_hash()
}

pub(super) const fn text_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// As many bytes of `text` as `tokens` allow, cut between characters.
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

    /// From a marker in the prompt: `[item 42]`.
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

    /// Text and pictures; at least one token.
    pub fn input_tokens(&self, model: &ModelProfile) -> u64 {
        text_tokens(self.system.len() + self.prompt.len()).max(1) + self.picture_tokens(model)
    }

    pub fn picture_tokens(&self, model: &ModelProfile) -> u64 {
        self.tokens_per_picture.unwrap_or(model.image_tokens) * self.pictures.len() as u64
    }

    /// What this model has against it.
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
    /// `accepted` names the kinds that the API takes, as [`Picture::kind`] spells them.
    pub fn from_base64(data: &str, accepted: &[&str]) -> Result<Self, RequestError> {
        let error = |error| Err(RequestError::Picture(error));
        let Ok(bytes) = BASE64_STANDARD.decode(data) else { return error(SimPictureError::NotBase64) };
        let (Ok(format), Ok(size)) = (imagesize::image_type(&bytes), imagesize::blob_size(&bytes)) else {
            return error(SimPictureError::Unreadable);
        };
        let format = match format {
            imagesize::ImageType::Png => "png",
            imagesize::ImageType::Jpeg => "jpeg",
            imagesize::ImageType::Webp => "webp",
            imagesize::ImageType::Gif => "gif",
            imagesize::ImageType::Heif(_) => "heic",
            _ => "other",
        };
        if !accepted.contains(&format) {
            return error(SimPictureError::UnsupportedFormat);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        Ok(Self { format, width: size.width, height: size.height, bytes: bytes.len(), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_name_the_item() {
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
    fn a_picture_is_what_its_bytes_say() {
        // The smallest GIF there is.
        let gif = "R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
        let picture = SimPicture::from_base64(gif, &["gif"]).unwrap();
        assert_eq!((picture.width, picture.height), (1, 1));
        let cases = [
            (gif, SimPictureError::UnsupportedFormat),
            ("bm90IGEgcGljdHVyZQ==", SimPictureError::Unreadable),
            ("%%%", SimPictureError::NotBase64),
        ];
        for (data, trouble) in cases {
            assert_eq!(SimPicture::from_base64(data, &["png"]), Err(RequestError::Picture(trouble)));
        }
    }
}
