//! `[pictures]`: how pictures are changed before they are sent.

use toml::de::DeValue;

use super::{
    schema,
    toml_reader::{TomlField, TomlTable},
};
use crate::domain::{LongestSide, PictureSettings};

pub(super) fn read(root: &TomlTable<'_>) -> PictureSettings {
    let Some(table) = root.table("pictures", &schema::PICTURES) else { return PictureSettings::default() };
    PictureSettings {
        longest_side: table.field("max_side").and_then(|field| read_longest_side(&field)).unwrap_or_default(),
        keeps_metadata: table.flag("keep_metadata").unwrap_or_default(),
    }
}

fn read_longest_side(field: &TomlField<'_>) -> Option<LongestSide> {
    match field.value {
        DeValue::String(word) if word.as_ref() == "off" => Some(LongestSide::Unlimited),
        DeValue::Integer(_) => field.count(16..=65_535).map(LongestSide::Pixels),
        _ => {
            field.doc.add_error(field.offset, "max_side must be a number of pixels from 16 to 65535, or \"off\"");
            None
        }
    }
}
