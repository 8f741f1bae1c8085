//! Finds a secret in a text, also in encoded forms: percent-encoded, escaped as in JSON or HTML, or inside base64, as in
//! a basic authorization header.
//!
//! Every answer is searched, so this has to be fast. A text without escapes is only searched for the secret and its base64
//! forms, whose searchers are made once. The slower matching runs only at escapes.

use std::{fmt, ops::Range};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::{memchr3, memchr3_iter, memmem::Finder};
use secrecy::{ExposeSecret, SecretString};

/// Maximum number of times that a text was escaped, one on top of the other: `%252F`, `\\\\u002f`, `&amp;amp;lt;`.
const MAX_ESCAPE_DEPTH: usize = 4;

/// HTML entities of the characters that a secret may contain.
const HTML_ENTITIES: [(&str, u8); 26] = [
    ("amp;", b'&'),
    ("lt;", b'<'),
    ("gt;", b'>'),
    ("quot;", b'"'),
    ("apos;", b'\''),
    ("sol;", b'/'),
    ("bsol;", b'\\'),
    ("plus;", b'+'),
    ("equals;", b'='),
    ("percnt;", b'%'),
    ("lowbar;", b'_'),
    ("period;", b'.'),
    ("colon;", b':'),
    ("semi;", b';'),
    ("comma;", b','),
    ("dollar;", b'$'),
    ("commat;", b'@'),
    ("num;", b'#'),
    ("excl;", b'!'),
    ("quest;", b'?'),
    ("ast;", b'*'),
    ("verbar;", b'|'),
    ("lpar;", b'('),
    ("rpar;", b')'),
    ("grave;", b'`'),
    ("Hat;", b'^'),
];

/// Shortest secret that is searched for, in bytes. A shorter one is a placeholder for a local server; hiding it would hide
/// ordinary words.
const MIN_SECRET_BYTES: usize = 6;

/// A secret to be hidden in texts, with the searchers for it. `Debug` shows nothing of it.
pub struct HiddenSecret {
    /// For the secret itself; `None` if it is too short to be searched for.
    plain: Option<Finder<'static>>,
    /// For its base64 forms.
    base64_forms: Vec<Finder<'static>>,
}

impl HiddenSecret {
    /// Space around the secret does not belong to it.
    pub fn new(secret: &str) -> Self {
        let secret = Some(secret.trim().as_bytes()).filter(|secret| secret.len() >= MIN_SECRET_BYTES);
        let to_finder = |bytes: &[u8]| Finder::new(bytes).into_owned();
        Self {
            plain: secret.map(to_finder),
            base64_forms: secret.map(base64_forms).unwrap_or_default().iter().map(|form| to_finder(form)).collect(),
        }
    }

    /// Replaces the secret in `text`, and then its encoded forms.
    pub fn replace(&self, text: String, replacement: &str) -> String {
        // An encoded form is never shorter than the secret.
        let Some(plain) = self.plain.as_ref().filter(|plain| text.len() >= plain.needle().len()) else { return text };
        let text = replace_ranges(text, replacement, |text, from| find_plain(text, plain, from));
        let text = replace_ranges(text, replacement, |text, from| find_escaped(text, plain.needle(), from));
        self.base64_forms.iter().fold(text, |text, form| {
            replace_ranges(text, replacement, |text, from| {
                let found = find_plain(text, form, from).or_else(|| {
                    let form = form.needle();
                    if has_escapable_character(form) { find_escaped(text, form, from) } else { None }
                })?;
                Some(expand_base64(text, found, from))
            })
        })
    }
}

impl From<&SecretString> for HiddenSecret {
    fn from(secret: &SecretString) -> Self {
        Self::new(secret.expose_secret())
    }
}

impl fmt::Debug for HiddenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HiddenSecret").finish_non_exhaustive()
    }
}

/// First range from `from` on that is the finder's text, unescaped.
fn find_plain(text: &[u8], finder: &Finder<'_>, from: usize) -> Option<Range<usize>> {
    finder.find(&text[from..]).map(|at| from + at..from + at + finder.needle().len())
}

/// Replaces every range that `find` returns. `find` gets the text and the offset to search from.
fn replace_ranges(text: String, replacement: &str, find: impl Fn(&[u8], usize) -> Option<Range<usize>>) -> String {
    let Some(mut found) = find(text.as_bytes(), 0) else { return text };
    let mut out = String::with_capacity(text.len());
    let mut copied_until = 0;
    loop {
        out.push_str(&text[copied_until..found.start]);
        out.push_str(replacement);
        copied_until = found.end;
        match find(text.as_bytes(), copied_until) {
            Some(next) => found = next,
            None => break,
        }
    }
    out.push_str(&text[copied_until..]);
    out
}

/// First range from `from` on that matches `pattern` with at least one byte escaped.
fn find_escaped(text: &[u8], pattern: &[u8], from: usize) -> Option<Range<usize>> {
    memchr3(b'%', b'&', b'\\', &text[from..])?;
    memchr3_iter(b'%', b'&', b'\\', &text[from..]).find_map(|escape_at| {
        let escape_at = from + escape_at;
        // The bytes before the first escape must match as they are.
        let earliest = escape_at.saturating_sub(pattern.len() - 1).max(from);
        (earliest..=escape_at).find_map(|start| {
            let unescaped_length = escape_at - start;
            if text[start..escape_at] != pattern[..unescaped_length] {
                return None;
            }
            match_escaped(&text[escape_at..], &pattern[unescaped_length..]).map(|length| start..escape_at + length)
        })
    })
}

/// Number of bytes at the start of `text` that encode all of `pattern`; `None` if they don't.
fn match_escaped(text: &[u8], pattern: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut previous_byte = 0;
    for (index, &byte) in pattern.iter().enumerate() {
        let rest = &text[at..];
        if let Some((escape, repeat)) = escaped_form_of_escape_character(byte)
            && rest.starts_with(escape)
        {
            // Repeats that follow may belong to this escape or to the secret's next bytes. Which one is right depends
            // on the rest of the text, so all are tried.
            let repeats = rest[escape.len()..].chunks(repeat.len()).take(MAX_ESCAPE_DEPTH - 1);
            let max_depth = repeats.take_while(|chunk| *chunk == repeat).count();
            return (0..=max_depth).rev().find_map(|depth| {
                let length = escape.len() + depth * repeat.len();
                match_escaped(&rest[length..], &pattern[index + 1..]).map(|more| at + length + more)
            });
        }
        // The first of several backslashes in the secret has already matched the whole run.
        if byte == b'\\' && previous_byte == b'\\' && at > 0 && text[at - 1] == b'\\' && rest.first() != Some(&b'\\') {
            continue;
        }
        at += match_byte(rest, byte)?;
        previous_byte = byte;
    }
    Some(at)
}

/// The escaped form of a character that itself begins escapes, and the bytes that each further level of escaping adds.
const fn escaped_form_of_escape_character(byte: u8) -> Option<(&'static [u8], &'static [u8])> {
    match byte {
        b'%' => Some((b"%25", b"25")),
        b'&' => Some((b"&amp;", b"amp;")),
        _ => None,
    }
}

/// Number of bytes at the start of `text` that encode this byte.
fn match_byte(text: &[u8], byte: u8) -> Option<usize> {
    let first = *text.first()?;
    let escape = match first {
        b'%' => match_percent(text, byte),
        b'&' => match_entity(text, byte),
        b'\\' => match_backslash(text, byte),
        // Form encoding writes a space as `+`.
        b'+' if byte == b' ' => Some(1),
        _ => None,
    };
    escape.or_else(|| (first == byte).then_some(1))
}

/// Matches `%2F` and `%252f`.
fn match_percent(text: &[u8], byte: u8) -> Option<usize> {
    (0..MAX_ESCAPE_DEPTH).map(|depth| 1 + 2 * depth).find_map(|at| {
        let is_repeated = text.get(1..at)?.chunks(2).all(|pair| pair == b"25");
        (is_repeated && parse_hex(text.get(at..at + 2)?) == Some(u32::from(byte))).then_some(at + 2)
    })
}

/// Matches `\/`, `\"`, `\u002f`, `\u{2f}` and `\x2f`, also with an escaped backslash.
fn match_backslash(text: &[u8], byte: u8) -> Option<usize> {
    let max_run = 1 << (MAX_ESCAPE_DEPTH - 1);
    let run = text.iter().take(max_run).take_while(|&&byte| byte == b'\\').count();
    let is_code = |digits: Option<&[u8]>| digits.and_then(parse_hex) == Some(u32::from(byte));
    let code = |from: usize, count: usize| is_code(text.get(from..from + count)).then_some(from + count);
    let escape = match text.get(run) {
        Some(b'u') if text.get(run + 1) == Some(&b'{') => {
            let close = text.iter().skip(run + 2).take(7).position(|&byte| byte == b'}')?;
            is_code(text.get(run + 2..run + 2 + close)).then_some(run + close + 3)
        }
        Some(b'u') => code(run + 1, 4),
        Some(b'x') => code(run + 1, 2),
        Some(&next) if next == byte && !byte.is_ascii_alphanumeric() => Some(run + 1),
        _ => None,
    };
    escape.or_else(|| (byte == b'\\').then_some(run))
}

/// Matches `&amp;`, `&#47;` and `&#x2F;`, also with an escaped `&`.
fn match_entity(text: &[u8], byte: u8) -> Option<usize> {
    let mut at = 1;
    for _ in 0..MAX_ESCAPE_DEPTH {
        let rest = &text[at..];
        if let Some(length) = match_entity_name(rest, byte) {
            return Some(at + length);
        }
        if !rest.starts_with(b"amp;") {
            return None;
        }
        at += 4;
    }
    None
}

fn match_entity_name(text: &[u8], byte: u8) -> Option<usize> {
    if let Some(number) = text.strip_prefix(b"#") {
        let (prefix, digits) = match number.first() {
            Some(b'x' | b'X') => (2, &number[1..]),
            _ => (1, number),
        };
        let count = digits.iter().take(7).take_while(|digit| digit.is_ascii_hexdigit()).count();
        let value = if prefix == 2 {
            parse_hex(&digits[..count])
        } else {
            std::str::from_utf8(&digits[..count]).ok().and_then(|digits| digits.parse().ok())
        };
        let end = prefix + count;
        return (value == Some(u32::from(byte))).then(|| end + usize::from(text.get(end) == Some(&b';')));
    }
    let name =
        HTML_ENTITIES.iter().find(|(name, entity_byte)| *entity_byte == byte && text.starts_with(name.as_bytes()))?.0;
    Some(name.len())
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, 16).ok()
}

/// The base64 forms of the secret: only the characters that don't depend on the bytes before and after it, for each of
/// the three offsets in a group of three bytes, and for both alphabets.
fn base64_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::with_capacity(6);
    for offset in 0..3 {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(secret);
        let stable = (offset * 8).div_ceil(6)..bytes.len() * 8 / 6;
        let standard = &STANDARD_NO_PAD.encode(&bytes)[stable.clone()];
        let url_safe = &URL_SAFE_NO_PAD.encode(&bytes)[stable];
        forms.push(standard.as_bytes().to_vec());
        if url_safe != standard {
            forms.push(url_safe.as_bytes().to_vec());
        }
    }
    forms
}

/// Whether a base64 text contains `+` or `/`, the only ones of its characters that are ever escaped.
fn has_escapable_character(form: &[u8]) -> bool {
    form.iter().any(|byte| matches!(byte, b'+' | b'/'))
}

/// Extends a match to the whole base64 text around it, because the characters next to the match contain bits of the
/// secret's first and last byte.
fn expand_base64(text: &[u8], found: Range<usize>, from: usize) -> Range<usize> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let is_escape = |at: usize| {
        text.get(at..at + 3).is_some_and(|escape| {
            ["%2B", "%2F", "%3D"].iter().any(|known| escape.eq_ignore_ascii_case(known.as_bytes()))
        })
    };
    let mut start = found.start;
    while start > from {
        let is_escaped_slash = text[start] == b'/' && text[start - 1] == b'\\';
        if start >= from + 3 && is_escape(start - 3) {
            start -= 3;
        } else if is_digit(text[start - 1]) || is_escaped_slash {
            start -= 1;
        } else {
            break;
        }
    }
    let mut end = found.end;
    while end < text.len() {
        let is_escaped_slash = text[end..].starts_with(b"\\/");
        if is_escape(end) {
            end += 3;
        } else if is_digit(text[end]) || text[end] == b'=' || is_escaped_slash {
            end += 1;
        } else {
            break;
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "q7/Zt+Kw=9&m";

    fn replaced(text: &str) -> String {
        HiddenSecret::new(SECRET).replace(text.to_owned(), "[]")
    }

    #[test]
    fn a_secret_is_found_in_every_encoding_and_nothing_else_is_touched() {
        for (text, want) in [
            ("key=q7%2FZt%2BKw%3D9%26m&alt=sse", "key=[]&alt=sse"),
            ("key=q7%2fZt%2bKw%3d9%26m.", "key=[]."),
            ("(q7%252FZt%252BKw%253D9%2526m)", "([])"),
            ("%71%37/Zt+Kw=9&m", "[]"),
            (r#"{"key":"q7\/Zt+Kw=9\u0026m"}"#, r#"{"key":"[]"}"#),
            (r"q7\\\/Zt\\u002bKw=9\x26m", "[]"),
            (r"q7\u{2f}Zt+Kw=9&m", "[]"),
            ("q7/Zt+Kw=9&amp;m", "[]"),
            ("<b>q7&#47;Zt&#x2B;Kw&equals;9&amp;amp;m</b>", "<b>[]</b>"),
            ("q7%2FZt%2BKw%3D9%26m and q7%2FZt%2BKw%3D9%26m", "[] and []"),
            // Texts that nearly match.
            ("q7%2FZt%2BKw%3D9%26", "q7%2FZt%2BKw%3D9%26"),
            ("q7%2EZt+Kw=9&m", "q7%2EZt+Kw=9&m"),
            ("100 % of \\ & nothing", "100 % of \\ & nothing"),
            ("q7%", "q7%"),
        ] {
            assert_eq!(replaced(text), want, "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_at_any_offset_in_base64() {
        for before in ["", "a", "ab", "abc", "Bearer ", "user:"] {
            for after in ["", ":", "xy", "xyz"] {
                let whole = format!("{before}{SECRET}{after}");
                for encoded in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                    let escaped = encoded.replace('+', "%2B").replace('/', "\\/");
                    for encoded in [encoded, escaped] {
                        assert_eq!(replaced(&format!("Basic {encoded}==, you said")), "Basic [], you said", "{whole}");
                    }
                }
            }
        }
        assert_eq!(replaced("Basic dXNlcjpwYXNzd29yZA== is fine"), "Basic dXNlcjpwYXNzd29yZA== is fine");
    }

    #[test]
    fn a_secret_that_looks_like_an_escape_is_found_escaped() {
        for secret in ["a%2Fb%25c", "a\\u002fb\\\\c\\\"d", "a&amp;b&#47;c", "100%2525%"] {
            let json = serde_json::json!(secret).to_string();
            let percent: String =
                secret.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect();
            let sparse = secret.replace('%', "%25");
            let html = secret.replace('&', "&amp;");
            for text in [json.trim_matches('"'), &percent, &percent.replace('%', "%25"), &sparse, &html] {
                let text = format!("<{text}>");
                let replaced = HiddenSecret::new(secret).replace(text.clone(), "[]");
                assert_eq!(replaced, "<[]>", "{secret}: {text}");
            }
        }
    }

    #[test]
    fn the_secret_itself_is_replaced_unless_it_is_a_placeholder() {
        assert_eq!(replaced("q7/Zt+Kw=9&m, and q7/Zt+Kw=9&m"), "[], and []");
        assert_eq!(HiddenSecret::new(" padded \n").replace("a padded one".to_owned(), "[]"), "a [] one");
        for placeholder in ["", "none", " dummy "] {
            assert_eq!(HiddenSecret::new(placeholder).replace("dummy, none".to_owned(), "[]"), "dummy, none");
        }
        assert_eq!(format!("{:?}", HiddenSecret::new(SECRET)), "HiddenSecret { .. }");
    }

    #[test]
    fn long_runs_of_escapes_are_searched_quickly() {
        for piece in ["\\", "%25", "&amp;", "q7", "%", "&", "\\u", "q7%2F"] {
            let text = piece.repeat(300_000 / piece.len());
            assert_eq!(replaced(&text).len(), text.len());
        }
    }
}
