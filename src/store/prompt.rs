//! The text of a prompt as screens show it.

use crate::domain::{Image, MessageRole, Part, Request};

/// The text of a single message, or a conversation with the role before each message.
pub(super) fn prompt_text(request: &Request) -> String {
    let is_single_message = request.messages.len() == 1;
    let turns = request.messages.iter().map(|message| {
        let parts: Vec<_> = message
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Image(image) => format!("[picture {}]", image_label(image)),
            })
            .collect();
        let text = parts.join("\n");
        match message.role {
            _ if is_single_message => text,
            MessageRole::User => format!("user: {text}"),
            MessageRole::Assistant => format!("assistant: {text}"),
        }
    });
    turns.collect::<Vec<_>>().join("\n\n")
}

/// A short label for a picture. Inline pictures and `data:` URLs are megabytes of text and are not shown.
pub(super) fn image_label(image: &Image) -> String {
    match image {
        Image::File(path) => path.display().to_string(),
        Image::Inline { mime, .. } => format!("{mime}, inline"),
        Image::Url(url) => match url.strip_prefix("data:") {
            Some(data) => format!("{}, inline", data.split([';', ',']).next().unwrap_or_default()),
            None => url.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Message;

    #[test]
    fn only_conversations_show_the_roles() {
        let message = |role, text: &str| Message { role, parts: vec![Part::Text(text.into())] };
        assert_eq!(prompt_text(&Request::from_prompt("Why?")), "Why?");
        let talk = Request {
            messages: vec![message(MessageRole::User, "Why?"), message(MessageRole::Assistant, "Because.")],
            ..Request::default()
        };
        assert_eq!(prompt_text(&talk), "user: Why?\n\nassistant: Because.");
    }

    #[test]
    fn pictures_appear_in_order_in_the_prompt_text() {
        let parts = vec![Part::Text("Describe:".into()), Part::Image(Image::File("cat.png".into()))];
        let request = Request { messages: vec![Message { role: MessageRole::User, parts }], ..Request::default() };
        assert_eq!(prompt_text(&request), "Describe:\n[picture cat.png]");
    }

    #[test]
    fn the_data_of_inline_pictures_is_not_shown() {
        let inline = Image::Inline { mime: "image/png".into(), data: "AAAA".repeat(1_000) };
        let url = Image::Url(format!("data:image/webp;base64,{}", "AAAA".repeat(1_000)));
        assert_eq!([image_label(&inline), image_label(&url)], ["image/png, inline", "image/webp, inline"]);
        assert_eq!(image_label(&Image::Url("https://example.org/a.png".into())), "https://example.org/a.png");
    }
}
