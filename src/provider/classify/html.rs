//! HTML error pages, which proxies and content delivery networks send where JSON was expected.

/// Whether a body is an HTML page rather than plain text.
pub(super) fn is_html(body: &str) -> bool {
    let head: String = body.trim_start().chars().take(256).collect::<String>().to_ascii_lowercase();
    head.starts_with("<!doctype") || head.contains("<html") || head.contains("<head") || head.contains("<title")
}

/// The text of a page without tags, scripts and styles. White space is not folded. Reads at most `max_bytes` of the
/// page.
pub(super) fn extract_visible_text(body: &str, max_bytes: usize) -> String {
    let mut rest = &body[..body.floor_char_boundary(max_bytes)];
    let mut visible = String::new();
    while let Some(open) = rest.find('<') {
        visible.push_str(&rest[..open]);
        visible.push(' ');
        let tag = &rest[open..];
        let skip = ["script", "style"].into_iter().find_map(|name| {
            let starts = tag.get(1..=name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
            starts.then(|| tag.to_ascii_lowercase().find(&format!("</{name}")).unwrap_or(tag.len()))
        });
        let from = skip.unwrap_or(0);
        rest = tag[from..].find('>').map_or("", |close| &tag[from + close + 1..]);
    }
    visible.push_str(rest);
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_reduced_to_its_visible_text() {
        let page = "<!DOCTYPE html><html><head><title>502: Bad gateway</title><style>p { color: red }</style>\
                    <script>if (1 < 2) {}</script></head><body><h1>Bad gateway</h1></body></html>";
        assert!(is_html(page));
        let folded = extract_visible_text(page, 10_000).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(folded, "502: Bad gateway Bad gateway");
    }

    #[test]
    fn an_unfinished_tag_or_character_does_not_panic() {
        for (page, limit) in [("<html", 100), ("<script>", 100), ("a<b", 2), ("é<é", 1), ("<style>é", 8), ("", 0)] {
            let _ = extract_visible_text(page, limit);
        }
        assert!(!is_html("upstream connect error"));
    }
}
