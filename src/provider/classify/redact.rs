//! Makes a provider's message safe to store and show: no credentials, no control characters, limited length.
//!
//! Some providers echo the whole key in an error (Gemini's CONSUMER_SUSPENDED does, in two places), or the ids of
//! organizations and keys (Moonshot, OpenAI). Texts that look like a key or such an id are replaced. The key of the
//! request is replaced wherever it stands, also in encoded form, unless it is too short to be a real one.

use serde_json::Value;

use super::super::hidden_secret::HiddenSecret;

const REDACTED: &str = "[redacted]";

/// Maximum number of characters that are kept of a provider's message.
const MAX_MESSAGE_CHARS: usize = 500;

/// Maximum number of bytes of the raw text that are searched; the rest is dropped. Longer errors are of no use to a
/// reader.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// Prefix of a key or of an account's, organization's or project's id, and the minimum number of bytes after it. A prefix with `matches_inside_words` is so
/// distinctive that it is also matched in the middle of a word.
struct SensitivePrefix {
    prefix: &'static str,
    min_tail_bytes: usize,
    matches_inside_words: bool,
}

const fn word_start_prefix(prefix: &'static str, min_tail_bytes: usize) -> SensitivePrefix {
    SensitivePrefix { prefix, min_tail_bytes, matches_inside_words: false }
}

const SENSITIVE_PREFIXES: [SensitivePrefix; 22] = [
    SensitivePrefix { prefix: "AIza", min_tail_bytes: 6, matches_inside_words: true },
    word_start_prefix("AQ.", 6),
    word_start_prefix("ya29.", 6),
    word_start_prefix("sk-", 6),
    word_start_prefix("sk_", 6),
    word_start_prefix("rk-", 6),
    word_start_prefix("pk-", 6),
    word_start_prefix("gsk_", 4),
    word_start_prefix("xai-", 4),
    word_start_prefix("ak-", 4),
    word_start_prefix("org-", 4),
    word_start_prefix("org_", 4),
    word_start_prefix("proj-", 4),
    word_start_prefix("proj_", 4),
    word_start_prefix("user_", 4),
    word_start_prefix("hf_", 6),
    word_start_prefix("pplx-", 6),
    word_start_prefix("csk-", 6),
    word_start_prefix("nvapi-", 6),
    word_start_prefix("tgp_", 6),
    word_start_prefix("r8_", 6),
    word_start_prefix("eyJ", 16),
];

/// Names that are followed by a credential, compared without regard to case.
const CREDENTIAL_NAMES: [&str; 13] = [
    "api_key",
    "api-key",
    "apikey",
    "api key provided",
    "access_token",
    "auth_token",
    "client_secret",
    "authorization",
    "password",
    "secret",
    "token",
    "key",
    "bearer",
];

/// Replaces `secrets` in all strings of a value. Names of fields are kept.
pub fn redact_secrets_in(value: &mut Value, secrets: &[HiddenSecret]) {
    match value {
        Value::String(text) => *text = redact_secrets(std::mem::take(text), secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_secrets_in(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact_secrets_in(field, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Redacts a provider's message. `secrets` and texts that look like credentials become `[redacted]`, control and
/// bidirectional-override characters are dropped, white space is folded, and at most 500 characters remain.
pub fn redact(text: &str, secrets: &[HiddenSecret]) -> String {
    let text = fold_spaces_and_drop_invisible(&text[..text.floor_char_boundary(MAX_INPUT_BYTES)]);
    clip(redact_credential_like(&redact_secrets(text, secrets)), MAX_MESSAGE_CHARS)
}

/// Replaces only `secrets`, in any encoding, and keeps the rest of the text. Used for answers.
pub(super) fn redact_secrets(text: String, secrets: &[HiddenSecret]) -> String {
    secrets.iter().fold(text, |text, secret| secret.replace(text, REDACTED))
}

/// Folds white space to single spaces and drops characters that control a terminal or are invisible.
fn fold_spaces_and_drop_invisible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space_pending = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space_pending = !out.is_empty();
        } else if !is_unprintable(c) {
            if space_pending {
                out.push(' ');
                space_pending = false;
            }
            out.push(c);
        }
    }
    out
}

/// Control characters, bidirectional controls, and zero-width characters, which could hide a key from the search.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn clip(text: String, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text;
    }
    let mut clipped: String = text.chars().take(max_chars - 1).collect();
    clipped.push('…');
    clipped
}

/// Whether a credential may contain this byte.
const fn is_credential_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*')
}

fn redact_credential_like(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let is_at_boundary = at == 0 || !is_credential_byte(text.as_bytes()[at - 1]) || text.as_bytes()[at - 1] == b'.';
        if let Some((keep, hide)) = match_credential(rest, is_at_boundary) {
            out.push_str(&rest[..keep]);
            out.push_str(REDACTED);
            at += keep + hide;
        } else {
            let step = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..step]);
            at += step;
        }
    }
    out
}

/// Matches a credential at the start of the text, possibly after its name. Returns how many bytes to keep and how many
/// to hide.
fn match_credential(text: &str, is_at_boundary: bool) -> Option<(usize, usize)> {
    if let Some(length) = match_prefix(text, is_at_boundary) {
        return Some((0, length));
    }
    if is_at_boundary {
        return match_named(text).or_else(|| match_long_random_string(text).map(|length| (0, length)));
    }
    None
}

fn credential_length(text: &str) -> usize {
    let length = text.bytes().take_while(|&byte| is_credential_byte(byte)).count();
    // A full stop at the end belongs to the sentence.
    text[..length].trim_end_matches('.').len()
}

fn match_prefix(text: &str, is_at_boundary: bool) -> Option<usize> {
    SENSITIVE_PREFIXES.iter().filter(|prefix| prefix.matches_inside_words || is_at_boundary).find_map(|prefix| {
        let tail = text.strip_prefix(prefix.prefix)?;
        let tail_bytes = credential_length(tail);
        (tail_bytes >= prefix.min_tail_bytes).then_some(prefix.prefix.len() + tail_bytes)
    })
}

/// Matches `key=…`, `api_key:…`, `"token": "…"`, `Authorization: Bearer …`. The name is kept and the value is hidden.
fn match_named(text: &str) -> Option<(usize, usize)> {
    CREDENTIAL_NAMES.iter().find_map(|&name| {
        let head = text.get(..name.len())?;
        if !head.eq_ignore_ascii_case(name) {
            return None;
        }
        let tail = &text[name.len()..];
        let separator_length: usize =
            tail.bytes().take_while(|byte| matches!(byte, b' ' | b':' | b'=' | b'"' | b'\'' | b'\\')).count();
        let separator = &tail[..separator_length];
        let mut value = &tail[separator_length..];
        let mut keep = name.len() + separator_length;
        if value.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("bearer ")) {
            keep += 7;
            value = &value[7..];
        }
        // The closing bracket of a value that is already redacted does not end it.
        let hidden_length = if value.starts_with(REDACTED) { REDACTED.len() } else { 0 };
        let length = value[hidden_length..]
            .bytes()
            .take_while(|byte| {
                !matches!(byte, b' ' | b'"' | b'\'' | b'&' | b',' | b';' | b')' | b'<' | b'>' | b'}' | b']')
            })
            .count()
            + hidden_length;
        let length = value[..length].trim_end_matches('.').len();
        // `key: x` and `key=x` assign a value; in `key : x` the colon is punctuation.
        let is_assignment = separator.contains('=') || (separator.contains(':') && !separator.starts_with(' '));
        let is_credential = match name {
            // Words such as "token" are also plain English; what follows is a value only if it is assigned.
            "key" | "secret" | "token" | "password" | "authorization" => {
                separator.contains('=') || (is_assignment && is_unlike_a_word(&value[..length]))
            }
            "bearer" => separator_length > 0 && is_unlike_a_word(&value[..length]),
            _ => is_assignment && (!separator.contains(' ') || is_unlike_a_word(&value[..length])),
        };
        (is_credential && length >= 4).then_some((keep, length))
    })
}

/// Whether the value does not look like a word: it has a digit, a mask character, or mixed case inside.
fn is_unlike_a_word(value: &str) -> bool {
    value.len() >= 6
        && (value.bytes().any(|byte| byte.is_ascii_digit() || byte == b'*')
            || (value.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
                && value.bytes().any(|byte| byte.is_ascii_lowercase())))
}

/// Matches a key of an unknown vendor: at least 30 letters, digits, `_` or `-`, with digits, lower and upper case.
fn match_long_random_string(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    let token = &text.as_bytes()[..length];
    let has = |test: fn(&u8) -> bool| token.iter().any(test);
    (length >= 30 && has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
        .then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_like_credentials_are_hidden() {
        let cases = [
            (
                "Consumer 'api_key:AIzaREDACTED' has been suspended.",
                "Consumer 'api_key:[redacted]' has been suspended.",
            ),
            (
                "Consumer 'api_key:AQ.Ab8RN6x-y_z0123' has been suspended.",
                "Consumer 'api_key:[redacted]' has been suspended.",
            ),
            ("Incorrect API key provided: sk-proj-abc***xyz9.", "Incorrect API key provided: [redacted]."),
            ("Incorrect API key provided: 0a1b2c3d.", "Incorrect API key provided: [redacted]."),
            ("bad gsk_abcdEFGH1234", "bad [redacted]"),
            ("bad (xai-abcdEFGH1234)", "bad ([redacted])"),
            ("xAIzaSyA0123456789", "x[redacted]"),
            ("organization org-78asdf87asdf9aaa8976 on tokens per min", "organization [redacted] on tokens per min"),
            ("Your account org-REDACTED<ak-REDACTED> request", "Your account [redacted]<[redacted]> request"),
            ("https://host/v1?key=abcd1234&alt=sse", "https://host/v1?key=[redacted]&alt=sse"),
            ("Authorization: Bearer abcd1234efgh", "Authorization: Bearer [redacted]"),
            (r#"{"api_key": "abcd1234efgh"}"#, r#"{"api_key": "[redacted]"}"#),
            ("got Zx81kLmPq02nRtVw93yAbCdEfGh47JkM here", "got [redacted] here"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln", "jwt [redacted]"),
        ];
        for (text, want) in cases {
            assert_eq!(redact(text, &[]), want);
        }
    }

    #[test]
    fn ordinary_words_are_kept() {
        let texts = [
            "API key not valid. Please pass a valid API key.",
            "Your API key was reported as leaked. Please use another API key.",
            "This model models/gemini-2.5-flash is no longer available to new users, use models/gemini-3.5-flash-lite",
            "Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20",
            "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            "Token count: the input token count exceeds the maximum. Token limit reached",
            "invalid x-api-key",
            "request_id req_011CXKmJsXLyKCAJCQBNzbJZ",
            "task sk-learn is a key: read it",
        ];
        for text in texts {
            assert_eq!(redact(text, &[]), text);
        }
    }

    #[test]
    fn the_key_of_the_request_is_hidden_in_any_form_and_across_the_length_limit() {
        let secret = [HiddenSecret::new("plain words as a password")];
        assert_eq!(redact("you sent plain words as a password!", &secret), "you sent [redacted]!");
        for (text, want) in [
            ("https://host?key=plain words as a password&alt=sse", "https://host?key=[redacted]&alt=sse"),
            ("[key=plain words as a password]", "[key=[redacted]]"),
            ("password: plain words as a password1.", "password: [redacted]."),
        ] {
            assert_eq!(redact(text, &secret), want);
        }
        let padded = format!("{}plain words as a password", "x ".repeat(245));
        assert!(!redact(&padded, &secret).contains("plain"));
        assert_eq!(redact("you sent plain\u{200b} words\u{7} as a password!", &secret), "you sent [redacted]!");
    }

    #[test]
    fn control_and_bidi_characters_are_dropped_and_white_space_is_folded() {
        assert_eq!(redact("a\u{1b}[31mred\u{202e}\n\n\tb\u{0}  c\u{feff} ", &[]), "a[31mred b c");
    }

    #[test]
    fn at_most_500_characters_are_kept() {
        let long = redact(&"é ".repeat(2_000), &[]);
        assert_eq!(long.chars().count(), 500);
        assert!(long.ends_with('…'));
        assert_eq!(redact(&"x".repeat(500), &[]).chars().count(), 500);
    }
}
