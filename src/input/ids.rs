//! Assigns ids to items: the row's own id, or one made from a hash of its request. Ensures that all ids differ.
//!
//! An input may have a million rows, so 20 bytes are kept per row: a hash of its id and its line number, but no string.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex},
};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::{GENERATED_ID_LEN, Request};

/// Everything that identifies a question, serialized in this order and hashed.
///
/// Changing this type changes every hash in every run directory: a resumed run would then treat all rows as changed.
#[derive(Serialize)]
pub(super) struct HashInput<'a> {
    pub request: &'a Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// Path of the caption file, relative to the input's folder if possible. So the folder can be moved as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<&'a str>,
    /// Size in bytes of a picture to caption, if the item has no stamp. A stamp detects a changed picture more
    /// reliably.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether the row says that no other model may answer it. What keys.toml says about all rows is no part of a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_pinned: Option<bool>,
}

impl HashInput<'_> {
    /// The hash as 32 hex digits. `scratch` is reused between rows.
    pub(super) fn hash(&self, scratch: &mut Vec<u8>) -> Result<String, serde_json::Error> {
        scratch.clear();
        serde_json::to_writer(&mut *scratch, self)?;
        Ok(hex(xxh3_128(scratch)))
    }
}

/// 32 hex digits.
pub(super) fn hex(digest: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(32);
    for byte in digest.to_be_bytes() {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Decides by an item's id, for example whether the run already has the item.
pub(super) type IdPredicate = Box<dyn Fn(&str) -> bool + Send>;

/// A predicate that all passes over an input share.
pub(super) type SharedIdPredicate = Arc<Mutex<IdPredicate>>;

/// The ids assigned so far in one pass over an input.
#[derive(Default)]
pub(super) struct IdAssigner {
    line_by_id: HashMap<Digest, u32, BuildHasherDefault<IdentityHasher>>,
    /// The highest suffix given so far for a generated id; only for ids that occurred more than once.
    duplicate_counts: HashMap<Digest, u32, BuildHasherDefault<IdentityHasher>>,
}

impl IdAssigner {
    /// Makes room for the ids of this many rows. A table that grows is copied again and again.
    pub(super) fn reserve(&mut self, rows: u64) {
        /// More rows than this are believed when they come.
        const MAX_RESERVED: usize = 4_000_000;
        let rows = usize::try_from(rows).unwrap_or(MAX_RESERVED).min(MAX_RESERVED);
        self.line_by_id.reserve(rows.saturating_sub(self.line_by_id.len()));
    }

    /// Reserves an id. `Err` contains the line that already has it.
    pub(super) fn claim(&mut self, id: &str, line: u64) -> Result<(), u64> {
        match self.line_by_id.entry(Digest::of(id)) {
            Entry::Occupied(first) => Err(u64::from(*first.get())),
            Entry::Vacant(free) => {
                free.insert(u32::try_from(line).unwrap_or(u32::MAX));
                Ok(())
            }
        }
    }

    /// Makes an id from a request's hash. The second equal request gets the suffix `-2`, the third `-3`.
    pub(super) fn generate(&mut self, hash: &str, line: u64) -> String {
        let base = &hash[..GENERATED_ID_LEN.min(hash.len())];
        if self.claim(base, line).is_ok() {
            return base.to_owned();
        }
        let mut count = self.duplicate_counts.get(&Digest::of(base)).copied().unwrap_or(1);
        loop {
            count = count.saturating_add(1);
            let id = format!("{base}-{count}");
            if self.claim(&id, line).is_ok() {
                self.duplicate_counts.insert(Digest::of(base), count);
                return id;
            }
        }
    }
}

/// A 128-bit hash as four 32-bit words. With its alignment of 4 bytes, an entry with a line takes 20 bytes instead of
/// 32.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u32; 4]);

impl Digest {
    pub(super) fn of(text: &str) -> Self {
        let digest = xxh3_128(text.as_bytes());
        Self([0, 32, 64, 96].map(|shift| (digest >> shift) as u32))
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0[0]) << 32 | u64::from(self.0[1]));
    }
}

/// A hasher that returns a `u64` unchanged, since it is part of a hash already.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_get_numbered_ids() {
        let mut ids = IdAssigner::default();
        let hash = "0123456789abcdef0123456789abcdef";
        let made: Vec<_> = (1..=3).map(|line| ids.generate(hash, line)).collect();
        assert_eq!(made, ["0123456789abcdef", "0123456789abcdef-2", "0123456789abcdef-3"]);
    }

    #[test]
    fn a_generated_id_avoids_taken_ids() {
        let mut ids = IdAssigner::default();
        ids.claim("0123456789abcdef", 1).unwrap();
        ids.claim("0123456789abcdef-2", 2).unwrap();
        assert_eq!(ids.generate("0123456789abcdef", 3), "0123456789abcdef-3");
    }

    #[test]
    fn a_duplicate_id_reports_the_first_line() {
        let mut ids = IdAssigner::default();
        ids.claim("a", 7).unwrap();
        assert_eq!(ids.claim("a", 9), Err(7));
    }

    #[test]
    fn an_entry_takes_20_bytes() {
        assert_eq!(size_of::<(Digest, u32)>(), 20);
    }

    /// If hashes changed, a resumed run would treat all its rows as changed.
    #[test]
    fn hashes_never_change() {
        let request = Request::from_prompt("Why is the sky blue?");
        let hash_input =
            HashInput { request: &request, model: Some("m"), caption: None, bytes: None, model_pinned: None };
        assert_eq!(hash_input.hash(&mut Vec::new()).unwrap(), "5dcc04456c16c97de10b8e6e09cd19d1");
    }
}
