//! The settings that make the answers of one run comparable. They are saved with the run and compared at every resume.

use std::{
    fmt,
    path::{Path, absolute},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::CaptionRules;

/// Stands between the captions' folder and the policy for existing captions in [`PinnedSettings::captions`].
const EXISTING_SEPARATOR: &str = ", existing: ";

/// The settings that a run was created with and must keep.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PinnedSettings {
    /// The input as given on the command line.
    pub input: String,
    /// The absolute path of the input, if it is a file or folder. Not compared, since a folder may be moved with its
    /// runs.
    #[serde(rename = "place")]
    pub input_path: Option<String>,
    /// The detected kind of the input (`jsonl`, `csv`, `pictures`).
    pub kind: String,
    /// Fingerprint of the input's contents. A change is allowed, since rows may have been added.
    pub fingerprint: String,
    pub prompt: Option<String>,
    pub system: Option<String>,
    /// The sampling parameters that rows inherit, as JSON text so that no number is rounded.
    pub params: String,
    /// The caption settings as text; `None` if answers are not written as captions.
    pub captions: Option<String>,
    /// Name of the policy for existing captions, for commands that name only the run. Compared as a part of `captions`.
    #[serde(rename = "existing")]
    pub existing_captions: Option<String>,
    /// How answers are made captions, for commands that name only the run. Not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_rules: Option<CaptionRules>,
    /// True if all picture fields of a row are read, and a row with a duplicate field name is refused. False in runs of
    /// earlier versions, which go on reading rows as before. Not compared.
    pub strict_rows: bool,
    /// True if rows are refused that hold further pictures beside those that are sent. False in runs of earlier
    /// versions. Not compared.
    pub refuses_extra_pictures: bool,
    /// The last check of the whole input. `None` if its result can't be used again. Not compared.
    #[serde(rename = "checked", skip_serializing_if = "Option::is_none")]
    pub checked_input: Option<CheckedInput>,
    /// True in runs of earlier versions, which only kept what can be translated of the bodies in rows. Saved as its
    /// opposite, which they don't have. Not compared.
    #[serde(
        rename = "keeps_bodies",
        default = "true_if_missing",
        serialize_with = "serialize_opposite",
        deserialize_with = "deserialize_opposite"
    )]
    pub legacy_bodies: bool,
}

/// The result of a check of the whole input, with which a start does without reading an unchanged input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckedInput {
    /// The state of the file and the settings on which the result depends, as one digest.
    pub key: String,
    /// The fingerprint of the input's contents, without a limit.
    pub fingerprint: String,
    /// Number of rows, or of the first ones if the start had a limit.
    pub rows: u64,
}

const fn true_if_missing() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn serialize_opposite<S: Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!flag)
}

fn deserialize_opposite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    bool::deserialize(deserializer).map(|opposite| !opposite)
}

/// One changed setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingChange {
    pub setting: &'static str,
    pub before: String,
    pub after: String,
}

impl PinnedSettings {
    /// Returns the settings that differ although they must not. The fingerprint is not compared: the caller reconciles
    /// the input.
    pub fn changes_to(&self, current: &Self) -> Vec<SettingChange> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            ("the input", self.input.clone(), current.input.clone()),
            ("the input's format", self.kind.clone(), current.kind.clone()),
            ("--prompt", text(&self.prompt), text(&current.prompt)),
            ("--system", text(&self.system), text(&current.system)),
            ("the set of sampling parameters", self.params.clone(), current.params.clone()),
            (
                "the caption setting",
                normalize_captions(text(&self.captions)),
                normalize_captions(text(&current.captions)),
            ),
        ]
        .into_iter()
        .filter(|(what, was, now)| match *what {
            "the input" => !is_same_path(was, now),
            "the caption setting" => !is_same_caption_setting(was, now),
            _ => was != now,
        })
        .map(|(what, was, now)| {
            let shared = was.chars().zip(now.chars()).take_while(|(was, now)| was == now).count();
            SettingChange { setting: what, before: excerpt(&was, shared), after: excerpt(&now, shared) }
        })
        .collect()
    }
}

/// True if both name the same path. Relative paths start at the current directory.
fn is_same_path(was: &str, now: &str) -> bool {
    let resolve = |path: &str| Path::new(path).canonicalize().or_else(|_| absolute(path)).ok();
    was == now || resolve(was).is_some_and(|was| Some(was) == resolve(now))
}

/// True if both are the same apart from the spelling of the folder, which comes first.
fn is_same_caption_setting(was: &str, now: &str) -> bool {
    match (was.rsplit_once(EXISTING_SEPARATOR), now.rsplit_once(EXISTING_SEPARATOR)) {
        (Some((was_in, was)), Some((now_in, now))) => was == now && is_same_path(was_in, now_in),
        _ => was == now,
    }
}

/// Earlier versions saved the policy for existing captions with a capital letter.
fn normalize_captions(captions: String) -> String {
    match captions.rsplit_once(EXISTING_SEPARATOR) {
        Some((dir, rest)) => format!("{dir}{EXISTING_SEPARATOR}{}", rest.to_lowercase()),
        None => captions,
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, is now {}", self.setting, self.before, self.after)
    }
}

/// At most 60 characters in quotes, starting a little before the first difference, so that two long prompts that start
/// alike don't look alike.
fn excerpt(text: &str, common_prefix: usize) -> String {
    const SHOWN: usize = 60;
    const LEAD: usize = 20;
    if text.is_empty() {
        return "not set".to_owned();
    }
    let length = text.chars().count();
    let from = if length <= SHOWN { 0 } else { common_prefix.saturating_sub(LEAD) };
    let part: String = text.chars().skip(from).take(SHOWN).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if from + SHOWN < length { "…" } else { "" };
    format!("{:?}", format!("{before}{part}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_fingerprint_is_not_a_changed_setting() {
        let was = PinnedSettings { fingerprint: "a".into(), ..PinnedSettings::default() };
        assert_eq!(was.changes_to(&PinnedSettings { fingerprint: "b".into(), ..PinnedSettings::default() }), []);
    }

    #[test]
    fn different_spellings_of_a_path_are_the_same_input() {
        let with_input = |input: &str| PinnedSettings { input: input.into(), ..PinnedSettings::default() };
        let here = std::env::current_dir().unwrap().join("src").display().to_string();
        for spelling in ["src/", "./src", "src/../src", &here] {
            assert_eq!(with_input("src").changes_to(&with_input(spelling)), [], "{spelling}");
        }
        assert_eq!(with_input("src").changes_to(&with_input("tests")).len(), 1);
        assert_eq!(with_input("gone").changes_to(&with_input("./gone-too")).len(), 1);
    }

    #[test]
    fn the_policy_for_existing_captions_is_compared_and_shown_in_lower_case() {
        let with_captions =
            |captions: &str| PinnedSettings { captions: Some(captions.into()), ..PinnedSettings::default() };
        let former = with_captions("Out, existing: Skip, full names: false");
        assert_eq!(former.changes_to(&with_captions("Out, existing: skip, full names: false")), []);
        let changes = former.changes_to(&with_captions("Out, existing: append, full names: false"));
        assert!(changes[0].to_string().contains("existing: skip") && !changes[0].to_string().contains("Skip"));
    }

    #[test]
    fn every_changed_setting_is_shown_with_both_values() {
        let former = PinnedSettings { params: r#"{"temperature":0.7}"#.into(), ..PinnedSettings::default() };
        let now = PinnedSettings {
            system: Some("Be brief.".into()),
            params: r#"{"temperature":0.2}"#.into(),
            ..PinnedSettings::default()
        };
        let words: Vec<_> = former.changes_to(&now).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                r#"--system was not set, is now "Be brief.""#,
                r#"the set of sampling parameters was "{\"temperature\":0.7}", is now "{\"temperature\":0.2}""#,
            ]
        );
    }

    #[test]
    fn long_texts_are_shown_around_their_first_difference() {
        let same = "x".repeat(500);
        let former = PinnedSettings { prompt: Some(format!("{same} in German")), ..PinnedSettings::default() };
        let now = PinnedSettings { prompt: Some(format!("{same} in French")), ..PinnedSettings::default() };
        let change = &former.changes_to(&now)[0];
        assert!(change.before.contains("German") && change.after.contains("French"), "{change}");
        assert!(change.before.chars().count() < 70, "{change}");
    }
}
