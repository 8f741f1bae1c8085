//! The ten questions of an operator, in six situations: each is answered on the first screen or at most two key presses
//! away, at every terminal size with a dashboard.

use cascadeck::domain::{
    Snapshot,
    bottleneck::Bottleneck,
    forecast::{ConstraintShare, ForecastStop, StopReason},
};

use crate::{fixture, tui_harness::TuiHarness};

/// The number of the question, the keys that lead to the answer, and the text that the screen then shows. `*` stands
/// for any text between two parts of one line.
type Expectation = (u8, &'static str, &'static [&'static str]);

// 1 running or waiting, 2 how far and until when, 3 which key, 4 quotas, 5 which route, 6 what happened, 7 what failed
// and why, 8 what it cost, 9 what an item said, 10 what can be done.

const PROGRESS: Expectation = (2, "", &["3,214 / 5,000*64%*ETA 14:33 (24m)"]);
const QUOTAS: Expectation =
    (4, "3z", &["gemini-3.8-flash*17/20*121k/500k*431/500*17h51m", "gemini-2.5-flash*20/20*250/250"]);
const QUOTA_LEFT: Expectation =
    (4, "3w", &["RPM*3 left", "TPM*379,000 left", "RPD*69 left", "day resets*Sun 08:00 (in 17h51m)"]);
const CURRENT_ROUTE: Expectation = (5, "", &["→ gemini-3.8-flash@alice"]);
const ROUTE_MATRIX: Expectation = (5, "6", &["alice*→ 300 left"]);
const FALLBACK_EVENT: Expectation = (6, "4", &["14:08:51*#3213*bob → @alice*429 RPM limit, 37s"]);
const NO_FAILURES: Expectation = (7, "", &["0 failed"]);
const FAILURES: Expectation =
    (7, "5z", &["7 failed", "#0117*×1*blocked*blockReason: SAFETY", "#0342*×5*server error*internal"]);
const ATTEMPTS: Expectation = (7, "5\n", &["Attempts", "1*@bob*429 RPM limit", "You exceeded your current quota"]);
const MODEL_COST: Expectation = (8, "3w", &["$0.84", "cost*$0.35, 665,950 tokens"]);
const KEY_COST: Expectation = (8, "w", &["key alice", "cost*$0.20, 377,580 tokens"]);
const ITEM: Expectation = (9, "5\n", &["Describe this picture.", "Attempts", "429 RPM limit"]);
const ANY_ITEM: Expectation = (9, "5\n", &["Describe this picture.", "Two herons stand at the left bank."]);
const FOOTER_HINTS: Expectation = (10, "", &["Space key off*? help*q quit"]);

fn situations() -> Vec<(&'static str, Snapshot, Vec<Expectation>)> {
    let always = [QUOTAS, QUOTA_LEFT, MODEL_COST, KEY_COST, FOOTER_HINTS];
    let clean = [NO_FAILURES, ANY_ITEM];
    let failed = [FAILURES, ATTEMPTS, ITEM];
    let all = |parts: &[&[Expectation]]| [&always[..], &parts.concat()].concat();
    vec![
        (
            "a smooth run",
            fixture::healthy(),
            all(&[
                &clean,
                &[
                    (1, "", &["● RUNNING"]),
                    PROGRESS,
                    (2, "W", &["ends*14:33*14:30-14:39", "limited by*nothing", "1.21/s", "3,214 of 5,000"]),
                    (3, "", &["alice*100*812*● ready"]),
                    CURRENT_ROUTE,
                    ROUTE_MATRIX,
                    (6, "", &["5,000 items, 7 keys"]),
                ],
            ]),
        ),
        (
            "a storm of 429s",
            fixture::busy(),
            all(&[
                &failed,
                &[
                    (1, "", &["● RUNNING"]),
                    PROGRESS,
                    (2, "W", &["ends*14:33*14:30-14:39", "day quota*vision-lab spent 15:10"]),
                    (2, "W", &["limited by*RPM 55%", "1.21/s; 429s: 96 of 3,342", "3,214 of 5,000"]),
                    (3, "", &["bob*65*640*21*◌ cooling*0:37"]),
                    (3, "jw", &["since*(0:01 ago)", "message*You exceeded your current quota", "until*(in 0:37)"]),
                    (3, "2", &["gemini-3.8-flash@spring*0:37*RPM limit", "carol*17h51m*day quota"]),
                    CURRENT_ROUTE,
                    ROUTE_MATRIX,
                    FALLBACK_EVENT,
                    (7, "9", &["1*blocked*blockReason: SAFETY", "1*server error*internal error"]),
                ],
            ]),
        ),
        (
            "a spent day with its reset ahead",
            fixture::waiting_for_reset(),
            all(&[
                &failed,
                &[
                    (1, "", &["◌ WAITING", "until Sun 08:00 (17h51m)*the day's quota of every route is spent"]),
                    (2, "", &["3,214 / 5,000*64%*ETA Sun 08:40 (18h31m)"]),
                    (2, "W", &["ends*Sun 08:40", "limited by*day quota 100%"]),
                    (3, "", &["alice*100*812*3*○ day quota*17h51m"]),
                    (5, "6", &["alice*day quota 17h51m"]),
                    (6, "4", &["carol*day quota spent, frees in 17h51m"]),
                ],
            ]),
        ),
        (
            "a dead key",
            fixture::disabled_key(),
            all(&[
                &clean,
                &[
                    (1, "", &["● RUNNING"]),
                    PROGRESS,
                    (2, "W", &["ends*14:33", "1.21/s"]),
                    (3, "", &["dave* 0 *✗ disabled: invalid key"]),
                    CURRENT_ROUTE,
                    (5, "6", &["alice*→ 300 left", "dave*✗ invalid key"]),
                    (6, "4", &["dave disabled: invalid key*API key not valid"]),
                ],
            ]),
        ),
        (
            "an outage",
            fixture::outage(),
            all(&[
                &clean,
                &[
                    (1, "", &["◌ WAITING", "until 14:09 (0:29)*every route failed too often in a row"]),
                    PROGRESS,
                    (2, "W", &["ends*14:33", "limited by*circuit open 90%"]),
                    (3, "", &["alice*20*812*▲ circuit open*0:29"]),
                    (5, "6", &["alice*▲ circuit open 0:29"]),
                    (6, "4", &["503 server error, retry in 2s"]),
                ],
            ]),
        ),
        (
            "a finished run with failures",
            fixture::finished(),
            all(&[
                &failed,
                &[
                    (1, "", &["✓ FINISHED", "all 5,000 items have ended"]),
                    (2, "", &["5,000 / 5,000*100%*7 failed"]),
                    (3, "", &["dave* 0 *✗ disabled: invalid key"]),
                    (5, "6z", &["alice*300 left*270 ok"]),
                    FALLBACK_EVENT,
                    (7, "9", &["1*blocked*blockReason: SAFETY", "1*server error*internal error"]),
                ],
            ]),
        ),
    ]
}

/// On the smallest dashboard some answers need one key press more.
fn small_screen_expectation(situation: &str, answer: Expectation) -> Expectation {
    match (situation, answer) {
        ("a spent day with its reset ahead", (1, ..)) => {
            (1, "W", &["◌ WAITING", "for*the day's quota of every route is spent", "until*Sun 08:00 (in 17h51m)"])
        }
        ("an outage", (1, ..)) => {
            (1, "W", &["◌ WAITING", "for*every route failed too often in a row", "until*14:09 (in 0:29)"])
        }
        ("a dead key" | "a finished run with failures", (3, _, words)) => (3, "z", words),
        _ => answer,
    }
}

/// Whether a line of `text` has all parts of `words`, in their order.
fn has_line(text: &str, words: &str) -> bool {
    text.lines().any(|line| {
        let mut rest = Some(line);
        for part in words.split('*') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
        }
        rest.is_some()
    })
}

#[test]
fn each_of_the_ten_questions_is_answered_within_two_keys() {
    let mut missing = Vec::new();
    for (situation, snapshot, answers) in situations() {
        for question in 1..=10 {
            assert!(answers.iter().any(|(answered, ..)| *answered == question), "{situation}: {question}");
        }
        for (width, height) in [(200, 50), (120, 36), (80, 24), (60, 15)] {
            for answer in &answers {
                let is_small = (width, height) == (60, 15);
                let (question, keys, words) =
                    if is_small { small_screen_expectation(situation, *answer) } else { *answer };
                assert!(keys.chars().count() <= 2, "{keys:?} are too many keys");
                let mut stage = TuiHarness::new(width, height, snapshot.clone());
                stage.press(keys);
                let text = stage.screen_text();
                for words in words.iter().filter(|words| !has_line(&text, words)) {
                    missing.push(format!("{situation}, question {question}, {keys:?} at {width}x{height}: {words}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_reason_of_a_disabled_key_is_one_key_away_in_the_providers_words() {
    let mut stage = TuiHarness::new(80, 24, fixture::disabled_key());
    stage.press("jjjw");
    let text = stage.screen_text();
    for words in [
        "invalid key",
        "API key not valid. Please pass a valid API key.",
        "source         provider",
        "(0:12 ago)",
        "switch it on",
        "correct the secret",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn another_key_is_not_advised_where_money_is_what_limits() {
    let mut snapshot = fixture::busy();
    let screen = |snapshot: &Snapshot| {
        let mut stage = TuiHarness::new(200, 50, snapshot.clone());
        stage.press("W");
        stage.screen_text()
    };
    assert!(screen(&snapshot).contains("one more key"));
    let forecast = snapshot.forecast.as_mut().unwrap();
    (forecast.stop, forecast.constraints) = (
        Some(ForecastStop { at: snapshot.at, reason: StopReason::Budget, items_left: 100, resumes_at: None }),
        vec![ConstraintShare { constraint: Bottleneck::Budget, pool: None, share: 1.0 }],
    );
    let text = screen(&snapshot);
    assert!(text.contains("what helps: raise max_usd") && !text.contains("one more key"), "{text}");
}
