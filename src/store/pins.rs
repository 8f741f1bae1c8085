//! What makes the answers of one run comparable: kept with the run, compared at every resume.

use std::{
    fmt,
    path::{Path, absolute},
};

use serde::{Deserialize, Serialize};

/// Stands between a folder for captions and what becomes of those that are there.
const EXISTING: &str = ", existing: ";

/// The settings a run was begun with and is held to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pins {
    /// The input as it was named on the command line.
    pub input: String,
    /// The absolute path of an input that lies somewhere. Not compared: a folder may be moved with its runs.
    pub place: Option<String>,
    /// What the input was recognised as (`jsonl`, `csv`, `pictures`).
    pub kind: String,
    /// Changes with the input's contents. A changed one is no refusal: rows may have been added.
    pub fingerprint: String,
    pub prompt: Option<String>,
    pub system: Option<String>,
    /// The sampling parameters that rows inherit, as JSON text, so that no number is rounded on the way.
    pub params: String,
    /// The caption settings, in words; `None` where answers are not written as captions.
    pub captions: Option<String>,
    /// What becomes of a caption that is there already, by name: for commands that name the run alone. Compared as
    /// a part of `captions`.
    pub existing: Option<String>,
    /// Rows are read with all their picture fields, and refused where a name stands twice. Not so in runs of earlier
    /// versions, which go on with their rows as they were. Not compared.
    pub strict_rows: bool,
}

/// One setting that is not what it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinChange {
    pub what: &'static str,
    pub was: String,
    pub now: String,
}

impl Pins {
    /// Everything that differs and may not. The fingerprint is left out: the caller reconciles the input.
    pub fn changes(&self, now: &Self) -> Vec<PinChange> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            ("the input", self.input.clone(), now.input.clone()),
            ("the input's format", self.kind.clone(), now.kind.clone()),
            ("--prompt", text(&self.prompt), text(&now.prompt)),
            ("--system", text(&self.system), text(&now.system)),
            ("the set of sampling parameters", self.params.clone(), now.params.clone()),
            ("the caption setting", plain_words(text(&self.captions)), plain_words(text(&now.captions))),
        ]
        .into_iter()
        .filter(|(what, was, now)| match *what {
            "the input" => !is_one_place(was, now),
            "the caption setting" => !is_one_setting(was, now),
            _ => was != now,
        })
        .map(|(what, was, now)| {
            let shared = was.chars().zip(now.chars()).take_while(|(was, now)| was == now).count();
            PinChange { what, was: shortened(&was, shared), now: shortened(&now, shared) }
        })
        .collect()
    }
}

/// Two spellings of one path, seen from here.
fn is_one_place(was: &str, now: &str) -> bool {
    let real = |path: &str| Path::new(path).canonicalize().or_else(|_| absolute(path)).ok();
    was == now || real(was).is_some_and(|was| Some(was) == real(now))
}

/// The same but for the spelling of the folder, which stands in front.
fn is_one_setting(was: &str, now: &str) -> bool {
    match (was.rsplit_once(EXISTING), now.rsplit_once(EXISTING)) {
        (Some((was_in, was)), Some((now_in, now))) => was == now && is_one_place(was_in, now_in),
        _ => was == now,
    }
}

/// Earlier records name what becomes of captions with a capital.
fn plain_words(captions: String) -> String {
    match captions.rsplit_once(EXISTING) {
        Some((dir, rest)) => format!("{dir}{EXISTING}{}", rest.to_lowercase()),
        None => captions,
    }
}

impl fmt::Display for PinChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, now is {}", self.what, self.was, self.now)
    }
}

/// At most 60 characters in quotes, from a little before the first difference: two long prompts that
/// begin alike must not look alike.
fn shortened(text: &str, shared: usize) -> String {
    const SHOWN: usize = 60;
    const LEAD: usize = 20;
    if text.is_empty() {
        return "not set".to_owned();
    }
    let length = text.chars().count();
    let from = if length <= SHOWN { 0 } else { shared.saturating_sub(LEAD) };
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
        let was = Pins { fingerprint: "a".into(), ..Pins::default() };
        assert_eq!(was.changes(&Pins { fingerprint: "b".into(), ..Pins::default() }), []);
    }

    #[test]
    fn spellings_of_one_place_are_one_input() {
        let of = |input: &str| Pins { input: input.into(), ..Pins::default() };
        let here = std::env::current_dir().unwrap().join("src").display().to_string();
        for spelling in ["src/", "./src", "src/../src", &here] {
            assert_eq!(of("src").changes(&of(spelling)), [], "{spelling}");
        }
        assert_eq!(of("src").changes(&of("tests")).len(), 1);
        assert_eq!(of("gone").changes(&of("./gone-too")).len(), 1);
    }

    #[test]
    fn what_becomes_of_captions_is_said_in_words() {
        let of = |captions: &str| Pins { captions: Some(captions.into()), ..Pins::default() };
        let was = of("Out, existing: Skip, full names: false");
        assert_eq!(was.changes(&of("Out, existing: skip, full names: false")), []);
        let changes = was.changes(&of("Out, existing: append, full names: false"));
        assert!(changes[0].to_string().contains("existing: skip") && !changes[0].to_string().contains("Skip"));
    }

    #[test]
    fn every_changed_setting_is_named_old_and_new() {
        let was = Pins { params: r#"{"temperature":0.7}"#.into(), ..Pins::default() };
        let now = Pins { system: Some("Be brief.".into()), params: r#"{"temperature":0.2}"#.into(), ..Pins::default() };
        let words: Vec<_> = was.changes(&now).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                r#"--system was not set, now is "Be brief.""#,
                r#"the set of sampling parameters was "{\"temperature\":0.7}", now is "{\"temperature\":0.2}""#,
            ]
        );
    }

    #[test]
    fn long_texts_that_begin_alike_are_shown_where_they_differ() {
        let same = "x".repeat(500);
        let was = Pins { prompt: Some(format!("{same} in German")), ..Pins::default() };
        let now = Pins { prompt: Some(format!("{same} in French")), ..Pins::default() };
        let change = &was.changes(&now)[0];
        assert!(change.was.contains("German") && change.now.contains("French"), "{change}");
        assert!(change.was.chars().count() < 70, "{change}");
    }
}
