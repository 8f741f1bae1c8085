//! The ten questions an operator has, in six situations: each answered on the first screen, or at most two key
//! presses from it, on every size of terminal that has a dashboard.

use cascadeck::domain::Snapshot;

use crate::{fixture, stage::Stage};

/// The keys that lead to the answer, and what is then on the screen.
type Answer = (&'static str, &'static [&'static str]);

/// 1 running or waiting, 2 how far and until when, 3 which key, 4 quotas, 5 which route, 6 what happened, 7 what failed
/// and why, 8 what it cost, 9 what an item said, 10 what can be done.
type Answers = [Answer; 10];

const FOOTER: Answer = ("", &["Space key off", "? help", "q quit"]);
const QUOTAS: Answer = ("3z", &["17/20", "121k/500k", "431/500", "17h51m", "20/20"]);
const COSTS: Answer = ("3w", &["$0.84", "$0.35, 665,950 tokens"]);
const ITEM: Answer = ("5\n", &["Describe this picture.", "Attempts", "429 requests/min"]);
const ANY_ITEM: Answer = ("5\n", &["Describe this picture.", "Two herons stand at the left bank."]);

fn situations() -> Vec<(&'static str, Snapshot, Answers)> {
    let no_failures: Answer = ("", &["0 failed"]);
    let failures: Answer = ("5z", &["#0117", "blocked", "#0342", "server error", "SAFETY"]);
    vec![
        (
            "a smooth run",
            fixture::smooth(),
            [
                ("", &["● RUNNING"]),
                ("W", &["3,214 of 5,000", "1.21/s", "14:33", "14:30-14:39", "nothing: it goes as fast as it can"]),
                ("", &["● ready"]),
                QUOTAS,
                ("", &["→ gemini-3.8-flash@alice"]),
                ("", &["5,000 items, 7 keys"]),
                no_failures,
                COSTS,
                ANY_ITEM,
                FOOTER,
            ],
        ),
        (
            "a storm of 429s",
            fixture::storm(),
            [
                ("", &["● RUNNING"]),
                ("W", &["3,214 of 5,000", "1.21/s", "96 of 3,342", "14:30-14:39", "55%", "requests a minute", "15:10"]),
                ("", &["bob", "◌ cooling 0:37"]),
                QUOTAS,
                ("", &["→ gemini-3.8-flash@alice"]),
                ("4", &["#3213", "bob → @alice", "429 requests/min, 37s"]),
                failures,
                COSTS,
                ITEM,
                FOOTER,
            ],
        ),
        (
            "a spent day with its reset ahead",
            fixture::tomorrow(),
            [
                ("", &["◌ WAITING", "the day's quota of every route is spent", "until Sun 08:00 (17h51m)"]),
                ("W", &["ends", "Sun 08:40", "the daily quota", "100%"]),
                ("", &["○ exhausted 17h51m"]),
                QUOTAS,
                ("6", &["spent 17h51m"]),
                ("4", &["carol out 17h51m", "day quota"]),
                failures,
                COSTS,
                ITEM,
                FOOTER,
            ],
        ),
        (
            "a dead key",
            fixture::dead_key(),
            [
                ("", &["● RUNNING"]),
                ("W", &["14:33", "1.21/s"]),
                ("", &["dave", "✗ disabled: invalid key"]),
                QUOTAS,
                ("6", &["invalid key", "left"]),
                ("4", &["dave disabled: invalid key", "API key not valid"]),
                no_failures,
                COSTS,
                ANY_ITEM,
                FOOTER,
            ],
        ),
        (
            "an outage",
            fixture::outage(),
            [
                ("", &["◌ WAITING", "every route failed too often in a row", "(0:29)"]),
                ("W", &["90%", "open breakers", "14:33"]),
                ("", &["▲ broken 0:29"]),
                QUOTAS,
                ("6", &["broken 0:29"]),
                ("4", &["→ waits", "503 server error"]),
                no_failures,
                COSTS,
                ANY_ITEM,
                FOOTER,
            ],
        ),
        (
            "a finished run with failures",
            fixture::finished(),
            [
                ("", &["✓ FINISHED", "all 5,000 items have ended"]),
                ("", &["5,000 / 5,000", "100%", "7 failed"]),
                ("", &["dave", "✗ disabled: invalid key"]),
                QUOTAS,
                ("6z", &["270 ok", "300 left"]),
                ("4", &["#3213", "429 requests/min"]),
                ("9", &["blocked", "blockReason: SAFETY", "gemini-3.8-flash", "not sent", "internal error"]),
                COSTS,
                ITEM,
                ("", &["? help", "q quit"]),
            ],
        ),
    ]
}

/// On the smallest dashboard some answers are a key away that are on the first screen elsewhere.
fn small(situation: &str, question: usize, (keys, words): Answer) -> Answer {
    match (situation, question) {
        ("a spent day with its reset ahead" | "an outage", 1) => ("W", words),
        ("a dead key" | "a finished run with failures", 3) => ("z", words),
        // Which models they were of, an opened item tells.
        ("a finished run with failures", 7) => (keys, &["blocked", "blockReason: SAFETY", "internal error"]),
        _ => (keys, words),
    }
}

#[test]
fn each_of_the_ten_questions_is_answered_within_two_keys() {
    let mut missing = Vec::new();
    for (situation, snapshot, answers) in situations() {
        for (width, height) in [(200, 50), (120, 36), (80, 24), (60, 15)] {
            for (number, answer) in answers.iter().enumerate() {
                let is_small = (width, height) == (60, 15);
                let (keys, words) = if is_small { small(situation, number + 1, *answer) } else { *answer };
                assert!(keys.chars().count() <= 2, "{keys:?} are too many keys");
                let mut stage = Stage::new(width, height, snapshot.clone());
                stage.press(keys);
                let text = stage.text();
                for words in words.iter().filter(|words| !text.contains(**words)) {
                    missing
                        .push(format!("{situation}, question {}, {keys:?} at {width}x{height}: {words}", number + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn what_a_dead_key_died_of_is_one_key_away_in_the_providers_own_words() {
    let mut stage = Stage::new(80, 24, fixture::dead_key());
    stage.press("jjjw");
    let text = stage.text();
    for words in
        ["invalid key", "API key not valid. Please pass a valid API key.", "stated", "(0:12 ago)", "switch it on"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}
