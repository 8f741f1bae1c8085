//! Recognises answers that refuse to describe a picture.

/// How refusals begin, in lower case.
const BEGINNINGS: &[&str] = &[
    "i'm sorry",
    "i am sorry",
    "sorry, but i can",
    "sorry, i can",
    "sorry, but i'm",
    "sorry, i'm not able",
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i can't provide",
    "i cannot provide",
    "i can't describe",
    "i cannot describe",
    "i can't identify",
    "i cannot identify",
    "i can't view",
    "i cannot view",
    "i can't see the image",
    "i can't see the picture",
    "i can't see any image",
    "i cannot see the image",
    "i cannot see the picture",
    "i cannot see any image",
    "i can't caption",
    "i cannot caption",
    "i can't generate",
    "i cannot generate",
    "i can't create",
    "i cannot create",
    "i can't comply",
    "i cannot comply",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i won't be able",
    "i apologize, but",
    "i must decline",
    "as an ai ",
    "as an ai,",
    "as an ai-",
    "as a language model",
    "unfortunately, i can",
    "unfortunately, i am unable",
    "unfortunately, i'm unable",
    // German, French, Spanish, Portuguese, Italian, Dutch, Polish, Russian
    "es tut mir leid",
    "tut mir leid",
    "leider kann ich",
    "ich kann dieses bild nicht",
    "je suis désolé",
    "désolé, mais je",
    "lo siento",
    "no puedo ayudar",
    "desculpe, mas",
    "sinto muito",
    "mi dispiace",
    "non posso aiut",
    "het spijt me",
    "przykro mi",
    "przepraszam, ale",
    "извините, но",
    "к сожалению, я не",
    // Chinese, Japanese, Korean
    "抱歉",
    "很抱歉",
    "对不起",
    "我无法",
    "申し訳",
    "죄송",
];

/// Longest quotation of a refusal in bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// The beginning of a text if it is a refusal. `more` has further beginnings of refusals.
pub fn find_refusal<'t>(text: &'t str, more: &[String]) -> Option<&'t str> {
    let text = text.trim();
    let normalize = |text: &str| text.to_lowercase().replace(['’', '‘'], "'");
    let start = normalize(&text[..text.floor_char_boundary(MAX_QUOTED_BYTES)]);
    let is_refusal = BEGINNINGS.iter().any(|beginning| start.starts_with(beginning))
        || more.iter().any(|beginning| start.starts_with(&normalize(beginning)));
    if !is_refusal {
        return None;
    }
    let end = text.find(['\n', '!', '?', '。']).or_else(|| text.find(". ")).unwrap_or(text.len());
    let end = end.min(text.find(". ").unwrap_or(end));
    Some(&text[..text.floor_char_boundary(end.min(MAX_QUOTED_BYTES))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised_in_several_languages_and_captions_are_not() {
        for (text, want) in [
            ("I’m sorry, but I can't help with that. Try another.", Some("I’m sorry, but I can't help with that")),
            ("I'm unable to identify people in images.", Some("I'm unable to identify people in images.")),
            ("Es tut mir leid, dabei kann ich nicht helfen.", Some("Es tut mir leid, dabei kann ich nicht helfen.")),
            ("很抱歉，我无法描述这张图片。", Some("很抱歉，我无法描述这张图片")),
            ("死んだ魚の写真。", None),
            ("Sorry we're closed, says a sign.", None),
            ("I can see a red cup.", None),
            ("A man who is sorry.", None),
            ("As an airplane takes off, a child waves.", None),
            ("I can't see any people, but a red cup.", None),
            ("As an AI, I can't do that.", Some("As an AI, I can't do that.")),
            ("No way, José", Some("No way, José")),
            ("", None),
        ] {
            assert_eq!(find_refusal(text, &["no way,".to_owned()]), want, "{text}");
        }
    }
}
