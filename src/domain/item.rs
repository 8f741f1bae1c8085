//! One unit of work, as it comes from the input and as it ends.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{money::Money, request::Request};

/// An item as read from the input: validated, its templates already filled in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemSpec {
    /// The row's own id or a content hash; unique in a run.
    pub id: String,
    pub request: Request,
    /// Hash over everything that makes answers comparable (request, model, caption target): 32 hex digits.
    #[serde(rename = "hash")]
    pub request_hash: String,
    /// 1-based line (or row, or picture) in the input, for messages.
    pub line: u64,
    /// The item's own preferred model, if its row names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "model")]
    pub preferred_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd: Option<Money>,
    /// What else its row says, as text: only the fields that routing rules look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "fields")]
    pub rule_fields: BTreeMap<String, String>,
    /// Where the answer goes as a sidecar text; set for caption jobs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "caption")]
    pub caption_path: Option<PathBuf>,
    /// The picture files of the request as they were when the item was recorded; runs of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "picture")]
    pub picture_stamp: Option<PictureStamp>,
}

/// A picture file at one time: enough to tell whether it holds the same picture later. Several files have one stamp: their
/// sizes added up, the newest of their times, hashes over their contents and, as the inode, over all that is not content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PictureStamp {
    /// Size in bytes.
    #[serde(rename = "bytes")]
    pub size_bytes: u64,
    /// When the content was last changed, as anybody may have set it, in nanoseconds since the Unix epoch.
    pub modified_ns: i64,
    /// When the content, or what is said about it, was last changed (ctime). Nobody can set it.
    pub changed_ns: i64,
    pub inode: u64,
    /// Hash of its content: 32 hex digits; empty where it could not be read.
    pub digest: String,
    /// The file had not changed for some time, so that its next change shows in what stands above.
    #[serde(rename = "settled")]
    pub is_stable: bool,
}

/// Hex digits of an id that was made up for a row without one: the beginning of its hash.
pub const GENERATED_ID_LEN: usize = 16;

/// Of these a person reads so many, as of a commit's; what a script reads has them all.
const SHORT_ID_LEN: usize = 8;

/// An id as it stands in a list: of a made-up one the beginning, with the count that tells it from its like. Digits
/// alone are somebody's own numbers (of hashes, one in two thousand).
pub fn short_id(id: &str) -> Cow<'_, str> {
    let (prefix, suffix) = id.split_at_checked(GENERATED_ID_LEN).unwrap_or((id, ""));
    let is_generated = prefix.len() == GENERATED_ID_LEN
        && prefix.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && prefix.bytes().any(|digit| digit.is_ascii_alphabetic())
        && (suffix.is_empty() || suffix.strip_prefix('-').is_some_and(|count| count.parse::<u32>().is_ok()));
    if is_generated { Cow::Owned(format!("{}{suffix}", &prefix[..SHORT_ID_LEN])) } else { Cow::Borrowed(id) }
}

/// Where an item stands. `Waiting` includes backing off after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    Waiting,
    InFlight,
    Done,
    Failed,
}

impl ItemState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::InFlight => "in flight",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::short_id;

    #[test]
    fn only_made_up_ids_are_shortened() {
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
