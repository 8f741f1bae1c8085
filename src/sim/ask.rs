//! What a request asks for, in no API's dialect, and what can be wrong with it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::profile::ModelProfile;

/// Bytes of text that make a token: English runs at about four.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Ask {
    /// The model's id, as asked for.
    pub model: String,
    pub system: String,
    /// Every turn's text, one after the other.
    pub prompt: String,
    pub pictures: Vec<Picture>,
    pub max_output: Option<u64>,
    pub stop: Vec<String>,
    pub json: Option<JsonShape>,
    /// What the request says a picture should cost (Gemini's media resolution).
    pub picture_tokens: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Picture {
    pub kind: &'static str,
    pub width: usize,
    pub height: usize,
    pub bytes: usize,
    hash: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum JsonShape {
    Any,
    Schema(Value),
}

/// Why a request can't be answered, whoever sends it. Each API has its own words for it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Complaint {
    /// Not JSON at all.
    Syntax(String),
    /// In the API's own words.
    Shape(String),
    MissingVersion,
    Streaming,
    TooLong {
        tokens: u64,
        context: u64,
    },
    OutputTooLong {
        asked: u64,
        most: u64,
    },
    NoVision,
    Picture(PictureTrouble),
    /// The prompt said `[sim:400]`.
    OnRequest,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PictureTrouble {
    NotBase64,
    Unreadable,
    /// A readable picture of a kind that the API does not take.
    Format,
    /// A link: the simulator fetches nothing.
    Link,
    TooManyBytes(usize),
    TooManyPixels,
}

/// How the books tell prompts apart: a hash of the text of all turns, without the system instruction. For a prompt
/// without pictures.
pub fn prompt_hash(prompt: &str) -> u64 {
    Ask { prompt: prompt.to_owned(), ..Ask::default() }.hash()
}

pub(super) const fn text_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// As many bytes of `text` as `tokens` allow, cut between characters.
pub(super) fn cut_to_tokens(text: &str, tokens: u64) -> &str {
    let most = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN);
    &text[..text.floor_char_boundary(most)]
}

impl Ask {
    pub fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.prompt.as_bytes());
        for picture in &self.pictures {
            hash.update(&picture.hash.to_le_bytes());
        }
        hash.digest()
    }

    /// From a marker in the prompt: `[item 42]`.
    pub fn item(&self) -> Option<&str> {
        let (_, rest) = self.prompt.split_once("[item ")?;
        rest.split_once(']').map(|(id, _)| id)
    }

    pub fn say(&mut self, text: &str) {
        if !self.prompt.is_empty() {
            self.prompt.push('\n');
        }
        self.prompt.push_str(text);
    }

    /// Text and pictures; at least one token.
    pub fn input_tokens(&self, model: &ModelProfile) -> u64 {
        text_tokens(self.system.len() + self.prompt.len()).max(1) + self.tokens_of_pictures(model)
    }

    pub fn tokens_of_pictures(&self, model: &ModelProfile) -> u64 {
        self.picture_tokens.unwrap_or(model.image_tokens) * self.pictures.len() as u64
    }

    /// What this model has against it.
    pub fn check(&self, model: &ModelProfile) -> Result<(), Complaint> {
        let tokens = self.input_tokens(model);
        if tokens > model.context {
            return Err(Complaint::TooLong { tokens, context: model.context });
        }
        if !model.vision && !self.pictures.is_empty() {
            return Err(Complaint::NoVision);
        }
        match self.max_output {
            Some(asked) if asked == 0 || asked > u64::from(model.max_output) => {
                Err(Complaint::OutputTooLong { asked, most: model.max_output.into() })
            }
            _ => Ok(()),
        }
    }
}

impl Picture {
    /// `accepted` names the kinds that the API takes, as [`Picture::kind`] spells them.
    pub fn from_base64(data: &str, accepted: &[&str]) -> Result<Self, Complaint> {
        let trouble = |trouble| Err(Complaint::Picture(trouble));
        let Ok(bytes) = BASE64_STANDARD.decode(data) else { return trouble(PictureTrouble::NotBase64) };
        let (Ok(kind), Ok(size)) = (imagesize::image_type(&bytes), imagesize::blob_size(&bytes)) else {
            return trouble(PictureTrouble::Unreadable);
        };
        let kind = match kind {
            imagesize::ImageType::Png => "png",
            imagesize::ImageType::Jpeg => "jpeg",
            imagesize::ImageType::Webp => "webp",
            imagesize::ImageType::Gif => "gif",
            imagesize::ImageType::Heif(_) => "heic",
            _ => "other",
        };
        if !accepted.contains(&kind) {
            return trouble(PictureTrouble::Format);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        Ok(Self { kind, width: size.width, height: size.height, bytes: bytes.len(), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_name_the_item() {
        let item = |prompt: &str| Ask { prompt: prompt.to_owned(), ..Ask::default() }.item().map(str::to_owned);
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
        let picture = Picture::from_base64(gif, &["gif"]).unwrap();
        assert_eq!((picture.width, picture.height), (1, 1));
        let cases = [
            (gif, PictureTrouble::Format),
            ("bm90IGEgcGljdHVyZQ==", PictureTrouble::Unreadable),
            ("%%%", PictureTrouble::NotBase64),
        ];
        for (data, trouble) in cases {
            assert_eq!(Picture::from_base64(data, &["png"]), Err(Complaint::Picture(trouble)));
        }
    }
}
