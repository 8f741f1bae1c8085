//! Makes a provider's words safe to keep and to show: no credentials, no control characters, no flood.
//!
//! Some providers echo the whole key in an error (Gemini's CONSUMER_SUSPENDED does, in two places), or the ids of
//! organizations and keys (Moonshot, OpenAI). What looks like one of these is replaced wherever it stands, and the key
//! itself in other encodings too.

use secrecy::{ExposeSecret, SecretString};

use super::encodings::replace_encoded;

const REDACTED: &str = "[redacted]";

/// Most characters of a provider's words that are kept.
const MAX_CHARS: usize = 500;

/// Longest stretch of raw text that is looked at; an error that needs more than this is not read by anyone.
const MAX_RAW: usize = 16 * 1024;

/// What keys and account ids begin with, and how many more characters make it one.
/// `anywhere` ones are so distinctive that they count in the middle of a word as well.
struct Prefix {
    text: &'static str,
    more: usize,
    anywhere: bool,
}

const fn prefix(text: &'static str, more: usize) -> Prefix {
    Prefix { text, more, anywhere: false }
}

const PREFIXES: [Prefix; 22] = [
    Prefix { text: "AIza", more: 6, anywhere: true },
    prefix("AQ.", 6),
    prefix("ya29.", 6),
    prefix("sk-", 6),
    prefix("sk_", 6),
    prefix("rk-", 6),
    prefix("pk-", 6),
    prefix("gsk_", 4),
    prefix("xai-", 4),
    prefix("ak-", 4),
    prefix("org-", 4),
    prefix("org_", 4),
    prefix("proj-", 4),
    prefix("proj_", 4),
    prefix("user_", 4),
    prefix("hf_", 6),
    prefix("pplx-", 6),
    prefix("csk-", 6),
    prefix("nvapi-", 6),
    prefix("tgp_", 6),
    prefix("r8_", 6),
    prefix("eyJ", 16),
];

/// Names that announce a credential. Compared without case.
const NAMES: [&str; 13] = [
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

/// A provider's words, redacted: `secrets` and whatever is shaped like a credential become `[redacted]`, control and
/// bidirectional-override characters are dropped, white space is folded, at most 500 characters remain.
pub fn redact(text: &str, secrets: &[SecretString]) -> String {
    let text = clean(&text[..floor_char_boundary(text, MAX_RAW)]);
    clip(hide_shapes(&without_secrets(text, secrets)), MAX_CHARS)
}

/// A text that is kept as it is, an answer, but for `secrets` themselves, in whatever encoding.
pub(super) fn without_secrets(text: String, secrets: &[SecretString]) -> String {
    secrets.iter().fold(text, |text, secret| {
        let secret = secret.expose_secret().trim();
        // A "secret" of a few letters is a placeholder for a local server; hiding it would hide ordinary words.
        if secret.len() < 6 {
            return text;
        }
        let text = if text.contains(secret) { text.replace(secret, REDACTED) } else { text };
        replace_encoded(text, secret, REDACTED)
    })
}

/// White space folded to single spaces; what a terminal would act on, or a reader could not see, left out.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            gap = !out.is_empty();
        } else if !is_unprintable(c) {
            if gap {
                out.push(' ');
                gap = false;
            }
            out.push(c);
        }
    }
    out
}

/// Controls, bidirectional controls, and characters of no width that could hide a key from the search below.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn clip(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut clipped: String = text.chars().take(most - 1).collect();
    clipped.push('…');
    clipped
}

/// What a credential is made of.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*')
}

fn hide_shapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let boundary = at == 0 || !is_token(text.as_bytes()[at - 1]) || text.as_bytes()[at - 1] == b'.';
        if let Some((keep, hide)) = credential_at(rest, boundary) {
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

/// Whether a credential starts here, perhaps after its name: how many bytes stay, and how many go.
fn credential_at(text: &str, boundary: bool) -> Option<(usize, usize)> {
    if let Some(length) = prefixed(text, boundary) {
        return Some((0, length));
    }
    if boundary {
        return named(text).or_else(|| opaque(text).map(|length| (0, length)));
    }
    None
}

fn token_length(text: &str) -> usize {
    let length = text.bytes().take_while(|&byte| is_token(byte)).count();
    // A full stop at the end belongs to the sentence.
    text[..length].trim_end_matches('.').len()
}

fn prefixed(text: &str, boundary: bool) -> Option<usize> {
    PREFIXES.iter().filter(|prefix| prefix.anywhere || boundary).find_map(|prefix| {
        let tail = text.strip_prefix(prefix.text)?;
        let more = token_length(tail);
        (more >= prefix.more).then_some(prefix.text.len() + more)
    })
}

/// `key=…`, `api_key:…`, `"token": "…"`, `Authorization: Bearer …`: the value goes, the name stays.
fn named(text: &str) -> Option<(usize, usize)> {
    NAMES.iter().find_map(|&name| {
        let head = text.get(..name.len())?;
        if !head.eq_ignore_ascii_case(name) {
            return None;
        }
        let tail = &text[name.len()..];
        let gap: usize =
            tail.bytes().take_while(|byte| matches!(byte, b' ' | b':' | b'=' | b'"' | b'\'' | b'\\')).count();
        let separator = &tail[..gap];
        let mut value = &tail[gap..];
        let mut keep = name.len() + gap;
        if value.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("bearer ")) {
            keep += 7;
            value = &value[7..];
        }
        // What is hidden already ends in a bracket of its own.
        let hidden = if value.starts_with(REDACTED) { REDACTED.len() } else { 0 };
        let length = value[hidden..]
            .bytes()
            .take_while(|byte| {
                !matches!(byte, b' ' | b'"' | b'\'' | b'&' | b',' | b';' | b')' | b'<' | b'>' | b'}' | b']')
            })
            .count()
            + hidden;
        let length = value[..length].trim_end_matches('.').len();
        let joined = separator.contains('=') || (separator.contains(':') && !separator.starts_with(' '));
        let believable = match name {
            // "token" and the like are also plain English; a value is only one where it is joined on.
            "key" | "secret" | "token" | "password" | "authorization" => {
                separator.contains('=') || (joined && looks_opaque(&value[..length]))
            }
            "bearer" => gap > 0 && looks_opaque(&value[..length]),
            _ => joined && (!separator.contains(' ') || looks_opaque(&value[..length])),
        };
        (believable && length >= 4).then_some((keep, length))
    })
}

/// Not a word of any language: has a digit, a mask or a mix of cases inside.
fn looks_opaque(value: &str) -> bool {
    value.len() >= 6
        && (value.bytes().any(|byte| byte.is_ascii_digit() || byte == b'*')
            || (value.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
                && value.bytes().any(|byte| byte.is_ascii_lowercase())))
}

/// A key of a vendor nobody has met yet: long, of one piece, and of all three kinds of characters.
fn opaque(text: &str) -> Option<usize> {
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
    fn whatever_is_shaped_like_a_credential_is_hidden() {
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
    fn ordinary_words_stay() {
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
    fn the_endpoints_own_secret_is_hidden_whatever_its_shape_and_wherever_it_is_cut() {
        let secret = [SecretString::from("plain words as a password")];
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
    fn control_and_bidi_characters_go_and_space_is_folded() {
        assert_eq!(redact("a\u{1b}[31mred\u{202e}\n\n\tb\u{0}  c\u{feff} ", &[]), "a[31mred b c");
    }

    #[test]
    fn at_most_five_hundred_characters_remain() {
        let long = redact(&"é ".repeat(2_000), &[]);
        assert_eq!(long.chars().count(), 500);
        assert!(long.ends_with('…'));
        assert_eq!(redact(&"x".repeat(500), &[]).chars().count(), 500);
    }
}
