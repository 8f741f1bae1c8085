//! One unit of work, from the input to its final state.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    money::Money, named::names, native_body::ATTACHMENT_TOKENS, picture_tokens::PictureTokenizer, request::Request,
};

/// An item read from the input: validated, with its templates filled in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ItemSpec {
    /// The row's own id or a content hash; unique in a run.
    pub id: String,
    pub request: Request,
    /// Hash over everything that makes answers comparable (request, model, caption path): 32 hex digits.
    #[serde(rename = "hash")]
    pub request_hash: String,
    /// Line (or row, or picture) in the input, counted from 1; for messages.
    pub line: u64,
    /// The model that the item's row asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "model")]
    pub preferred_model: Option<String>,
    /// Whether the item may use no other model than `preferred_model`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub model_pinned: bool,
    /// A label from the row that routing rules can test. It is not a provider's service tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd: Option<Money>,
    /// Other fields of the row as text: those that routing rules look at, and the one that names checks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "fields")]
    pub kept_fields: BTreeMap<String, String>,
    /// The caption file to write; set for caption items only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "caption")]
    pub caption_path: Option<PathBuf>,
    /// State of the captioned picture when the item was recorded; `None` in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "picture")]
    pub picture_stamp: Option<PictureStamp>,
    /// Width and height in pixels of the request's pictures, in their order; zeros if they are not known. Empty if none
    /// is known, and in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub picture_sizes: Vec<(u32, u32)>,
}

impl ItemSpec {
    /// A high estimate of input tokens, as [`Request::estimated_input_tokens`], with pictures counted by their size.
    pub fn estimated_input_tokens(&self, pictures: &PictureTokenizer) -> u64 {
        let known = self.picture_sizes.iter().filter(|size| **size != (0, 0));
        known.fold(self.request.estimated_input_tokens(), |tokens, (width, height)| {
            tokens.saturating_sub(ATTACHMENT_TOKENS).saturating_add(pictures.tokens(*width, *height))
        })
    }
}

/// State of a picture file at one time, used to check later whether it still contains the same picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PictureStamp {
    #[serde(rename = "bytes")]
    pub size_bytes: u64,
    /// Modification time (mtime) in nanoseconds since the Unix epoch. Any program can set it.
    pub modified_ns: i64,
    /// Time of the last change of content or metadata (ctime) in nanoseconds since the Unix epoch. Programs can't set
    /// it.
    pub changed_ns: i64,
    pub inode: u64,
    /// Hash of the content: 32 hex digits; empty if it could not be read.
    pub digest: String,
    /// The file had not changed for some time, so any later change shows in the fields above.
    #[serde(rename = "settled")]
    pub is_stable: bool,
}

/// Length of a generated id, the beginning of the item's hash, in hex digits. Rows without an id get one.
pub const GENERATED_ID_LEN: usize = 16;

/// Digits of a generated id that are shown to people, like a short commit hash. Scripts get the whole id.
const SHORT_ID_LEN: usize = 8;

/// An id shortened for a list. A generated id is cut to its first 8 digits; a suffix such as `-2`, which distinguishes
/// equal rows, stays. An id of decimal digits only is not cut: it is almost certainly the row's own, since only one
/// hash in two thousand has no letter.
pub fn short_id(id: &str) -> Cow<'_, str> {
    let (prefix, suffix) = id.split_at_checked(GENERATED_ID_LEN).unwrap_or((id, ""));
    let is_generated = prefix.len() == GENERATED_ID_LEN
        && prefix.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && prefix.bytes().any(|digit| digit.is_ascii_alphabetic())
        && (suffix.is_empty() || suffix.strip_prefix('-').is_some_and(|count| count.parse::<u32>().is_ok()));
    if is_generated { Cow::Owned(format!("{}{suffix}", &prefix[..SHORT_ID_LEN])) } else { Cow::Borrowed(id) }
}

/// The state of an item. `Waiting` includes the backoff after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    Waiting,
    InFlight,
    Done,
    Failed,
}

names!(ItemState { Waiting = "waiting", InFlight = "in flight", Done = "done", Failed = "failed" });

#[cfg(test)]
mod tests {
    use super::short_id;

    #[test]
    fn only_generated_ids_are_shortened() {
        let cases = [
            ("f708173ef9f7535a", "f708173e"),
            ("f708173ef9f7535a-2", "f708173e-2"),
            ("f708173ef9f7535a-b", "f708173ef9f7535a-b"),
            ("f708173ef9f7535a0", "f708173ef9f7535a0"),
            ("F708173EF9F7535A", "F708173EF9F7535A"),
            ("2026112100000004", "2026112100000004"),
            ("photographs/img_0117.png", "photographs/img_0117.png"),
            ("ảnh-chụp-ở-Huế-x", "ảnh-chụp-ở-Huế-x"),
            ("42", "42"),
            ("", ""),
        ];
        for (id, want) in cases {
            assert_eq!(short_id(id), want);
        }
    }
}
