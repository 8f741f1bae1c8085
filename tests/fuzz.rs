//! Fuzz tests of input from outside: mutated real responses, texts that contain a key, texts for the terminal, and
//! templates. The program must not panic, leak a key or classify an error as an answer.
//!
//! Generated responses and headers are in `tests/wire`, generated inputs in `tests/input`, damaged results files in
//! `tests/store/recovery.rs`.

use std::{fs, path::Path, sync::LazyLock};

use cascadeck::{
    domain::{Api, Outcome, WallTime, sanitize},
    input::{Input, InputOptions},
    provider::{HiddenSecret, ProviderResponse, TransportResult, classify, redact},
};
use proptest::prelude::*;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Real response bodies.
static REAL_BODIES: LazyLock<Vec<(u16, String)>> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/examples");
    let example = |path: &Path| -> (u16, String) {
        let example: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let body = match &example["body"] {
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        (example["status"].as_u64().unwrap_or(200) as u16, body)
    };
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| example(path)).collect()
});

const SECRET: &str = "AIzaSyFuzz-0123456789_abcdefghijklm";

#[derive(Clone, Debug)]
enum Mutation {
    Truncate(usize),
    Remove(usize, usize),
    Duplicate(usize, usize),
    Insert(usize, String),
    /// Puts the key at the beginning of every string in the response.
    EchoKey,
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        Just(SECRET.to_owned()),
        Just("\u{1b}[2J\u{202e}".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("null".to_owned()),
        Just("\"\\ud800".to_owned()),
        Just("[[[[[[[[".to_owned()),
        "\\PC{0,12}",
    ];
    prop_oneof![
        any::<usize>().prop_map(Mutation::Truncate),
        (any::<usize>(), 1..40usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (any::<usize>(), 1..40usize).prop_map(|(at, length)| Mutation::Duplicate(at, length)),
        (any::<usize>(), piece).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        Just(Mutation::EchoKey),
    ]
}

fn mutate(text: &str, mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for mutation in mutations {
        let within = |at: usize| at % (bytes.len() + 1);
        match mutation {
            Mutation::Truncate(at) => bytes.truncate(within(*at)),
            Mutation::Remove(at, length) => {
                let (from, to) = (within(*at), (within(*at) + length).min(bytes.len()));
                bytes.drain(from..to);
            }
            Mutation::Duplicate(at, length) => {
                let (from, to) = (within(*at), (within(*at) + length).min(bytes.len()));
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            Mutation::EchoKey => {
                let text = String::from_utf8_lossy(&bytes);
                bytes = text.replace("\":\"", &format!("\":\"{SECRET} ")).into_bytes();
            }
            Mutation::Insert(at, piece) => drop(bytes.splice(within(*at)..within(*at), piece.bytes())),
        }
    }
    bytes
}

fn any_api() -> impl Strategy<Value = Api> {
    prop::sample::select(vec![Api::Gemini, Api::OpenAi, Api::Anthropic])
}

/// Whether a terminal would act on the character, or a reader would not see it.
fn is_unsafe_on_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{feff}' | '\u{2028}')
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => "\\PC{0,8}",
        1 => any::<char>().prop_map(String::from),
        1 => prop::sample::select(vec![
            "\u{1b}]0;x\u{7}", "\u{9b}31m", "\r\n", "\u{202e}", "\u{2066}", "\u{200d}", "\u{fe0f}", "👩‍👩‍👧", "नमस्ते", SECRET,
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_real_response_is_classified_sanely(
        which in any::<prop::sample::Index>(),
        api in any_api(),
        mutations in prop::collection::vec(any_mutation(), 0..5),
    ) {
        let (status, body) = which.get(&REAL_BODIES);
        let body = mutate(body, &mutations);
        let secrets = [HiddenSecret::new(SECRET)];
        let headers = HeaderMap::new();
        let response =
            ProviderResponse { status: *status, headers: &headers, body: &body, received_at: WallTime(0), secrets: &secrets };
        let result = classify(api, &TransportResult::Response(response));
        // The whole result as it is recorded and shown doesn't contain the key.
        let kept = serde_json::to_string(&result).unwrap();
        prop_assert!(!kept.contains(SECRET), "{}", kept);
        prop_assert!(result.message.chars().count() <= 500 && !result.message.chars().any(is_unsafe_on_terminal));
        // A stored answer is not empty, and no error status yields one.
        prop_assert!(result.outcome != Outcome::Ok || (200..300).contains(status));
        prop_assert!(result.answer.is_none_or(|answer| !answer.text.trim().is_empty()));
        // Sums over millions of answers don't overflow.
        prop_assert!(result.usage.total() < 1 << 33, "{:?}", result.usage);
    }

    #[test]
    fn sanitized_text_is_safe_for_terminals_and_sanitizing_again_changes_nothing(text in any_text()) {
        let clean = sanitize(&text).into_owned();
        prop_assert!(!clean.chars().any(is_unsafe_on_terminal), "{:?}", clean);
        let again = sanitize(&clean).into_owned();
        prop_assert_eq!(&again, &clean);
        if text.chars().all(|character| (' '..='~').contains(&character)) {
            prop_assert_eq!(clean, text);
        }
    }

    #[test]
    fn redacted_text_does_not_contain_the_secret(text in any_text()) {
        let redacted = redact(&text, &[HiddenSecret::new(SECRET)]);
        prop_assert!(!redacted.contains(SECRET) && !redacted.chars().any(is_unsafe_on_terminal), "{:?}", redacted);
        prop_assert!(redacted.chars().count() <= 500);
    }
}

fn any_template() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " prompt ",
        " id ",
        " name ",
        "for x in ",
        "range(100000)",
        "endfor",
        "if ",
        "endif",
        "set x = ",
        "macro m()",
        "endmacro",
        "m()",
        "|upper",
        "|join(',')",
        "|tojson",
        "include 'x'",
        "import '/etc/passwd'",
        "extends 'x'",
        ".__class__",
        "[0]",
        "self",
        "loop",
        "'a' ~ ",
        "* 9",
        "-1",
        "\"",
        "'",
        "\n",
        "ü",
        "(",
        ")",
    ]);
    prop_oneof![
        3 => prop::collection::vec(word, 0..14).prop_map(|words| words.concat()),
        1 => "\\PC{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_template_is_rejected_or_renders_every_row(template in any_template()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, "{\"id\":\"a\",\"prompt\":\"{{ id }}\"}\n{\"id\":\"b\",\"prompt\":\"x\"}\n").unwrap();
        let options = InputOptions { prompt: Some(template), ..InputOptions::default() };
        if let Ok(input) = Input::open(path.to_str().unwrap(), options, Path::new("/nowhere/spool")) {
            match input.validate() {
                Ok(checked) => prop_assert_eq!(checked.items, 2),
                Err(errors) => prop_assert!(!errors.to_string().is_empty()),
            }
        }
    }
}
