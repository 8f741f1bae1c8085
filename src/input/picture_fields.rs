//! The fields of a row that name its pictures.
//!
//! A picture that a row names is sent or the row is refused: a question about a picture that goes out without it is
//! paid for and answered wrongly.

use crate::domain::Image;

use super::{
    album::{PICTURES, is_picture},
    draft::Recipe,
    fault::Wrong,
    image,
    json::{Fields, Json},
    picture_names::{OTHER_PICTURES, extension_of, is_base64, is_data_url},
};

/// Fields that name pictures and nothing else.
const PICTURE_FIELDS: [&str; 4] = ["images", "image", "image_path", "image_url"];
/// Fields that name files of any kind, and so a picture where the value says so.
const FILE_FIELDS: [&str; 3] = ["file_name", "file", "path"];
/// Parts of other names, without case and punctuation, that make a field look as if it named a picture.
const PICTURE_WORDS: [&str; 4] = ["image", "img", "picture", "photo"];

/// Whether `name` is a field that may name pictures.
pub(super) fn may_name_pictures(name: &str) -> bool {
    PICTURE_FIELDS.contains(&name) || FILE_FIELDS.contains(&name)
}

/// Whether `name` is a field that names pictures and nothing else.
pub(super) fn names_only_pictures(name: &str) -> bool {
    PICTURE_FIELDS.contains(&name)
}

/// The pictures that a row's fields name. `has_picture` says whether its messages hold some themselves.
pub(super) fn read(fields: &Fields<'_>, has_picture: bool, recipe: &Recipe) -> Result<Vec<Image>, Wrong> {
    let mut found: Option<(&str, Vec<Image>)> = None;
    for (name, value) in fields {
        let name = name.as_ref();
        if !is_taken(name, value, has_picture, recipe)? {
            continue;
        }
        let images = references(name, value)?;
        found = match found {
            _ if images.is_empty() => found,
            None => Some((name, images)),
            Some((first, known)) if images.iter().all(|image| known.contains(image)) => Some((first, known)),
            Some((_, known)) if known.iter().all(|image| images.contains(image)) => Some((name, images)),
            Some((first, _)) => {
                let words = format!(
                    "names other pictures than `{first}` does; keep one of them, or list all pictures in `images`"
                );
                return Err(Wrong::new(name, words));
            }
        };
    }
    Ok(found.map(|(_, images)| images).unwrap_or_default())
}

/// Refuses a field that looks as if it named a picture but is not read. For rows without any picture: beside one that
/// is sent, such a field describes it.
pub(super) fn refuse_unread(fields: &Fields<'_>, recipe: &Recipe) -> Result<(), Wrong> {
    for (name, value) in fields {
        let names_one =
            |value: &Json<'_>| value.as_text().is_some_and(|text| refers_to_a_picture(text) || is_base64(text));
        let holds_picture = match value {
            Json::List(items) => items.iter().any(names_one),
            value => names_one(value),
        };
        if holds_picture && sounds_like_a_picture(name) && !may_name_pictures(name) && !recipe.templates.needs(name) {
            let words =
                "looks like a picture, but is not read: name it `image` to have it sent (or use it in --prompt)";
            return Err(Wrong::new(name.as_ref(), words));
        }
    }
    Ok(())
}

fn sounds_like_a_picture(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    plain == "filename" || PICTURE_WORDS.iter().any(|word| plain.contains(word))
}

/// Whether the field names pictures in this row. A field that a template writes into the prompt does so only where its
/// value can be nothing else.
fn is_taken(name: &str, value: &Json<'_>, has_picture: bool, recipe: &Recipe) -> Result<bool, Wrong> {
    let in_template = recipe.templates.needs(name);
    if value.is_null() {
        return Ok(false);
    }
    match name {
        "images" => Ok(true),
        "file" | "path" => Ok(!has_picture && !in_template && names_pictures(value, has_sendable_extension)),
        _ if !may_name_pictures(name) => Ok(false),
        _ if names_pictures(value, refers_to_a_picture) => Ok(name != "file_name" || !has_picture),
        _ if in_template => Ok(false),
        "file_name" => {
            let file = match value {
                Json::Text(file) => file,
                // Names of other files, unless some are pictures: those would be lost.
                Json::List(items)
                    if items.iter().all(|item| item.as_text().is_some_and(|it| !refers_to_a_picture(it))) =>
                {
                    return Ok(false);
                }
                _ => return Ok(!has_picture),
            };
            let extension = extension_of(file);
            if OTHER_PICTURES.contains(&extension.as_str()) && !has_picture {
                let words = format!("is of a kind that can't be sent ({extension}); convert it to PNG or JPEG");
                return Err(Wrong::new(name, words));
            }
            // Names without an extension are looked up: data sets have such pictures.
            Ok(!has_picture && extension.is_empty() && is_picture(&recipe.base.join(file.trim())))
        }
        _ => Ok(true),
    }
}

/// Whether a value is text, or a list of texts, of which each `names` a picture.
fn names_pictures(value: &Json<'_>, names: impl Fn(&str) -> bool) -> bool {
    match value {
        Json::Text(text) => names(text),
        Json::List(items) => !items.is_empty() && items.iter().all(|item| item.as_text().is_some_and(&names)),
        Json::Object(_) => value.get("url").and_then(Json::as_text).is_some_and(names),
        _ => false,
    }
}

/// By its scheme, or else its extension.
fn refers_to_a_picture(text: &str) -> bool {
    let text = text.trim();
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    is_data_url(text)
        || (begins("http://") || begins("https://")) && !text.contains(char::is_whitespace)
        || has_sendable_extension(text)
}

fn has_sendable_extension(text: &str) -> bool {
    PICTURES.contains(&extension_of(text).as_str())
}

/// One reference, a list of them, or `{"url": …}` as OpenAI writes it.
pub(super) fn references(name: &str, value: &Json<'_>) -> Result<Vec<Image>, Wrong> {
    let one = |value: &Json<'_>, at: &str| {
        let text = value.text(at)?;
        if is_base64(text) {
            return Err(Wrong::new(at, "is base64 without its type; write data:image/png;base64,… (or what it is)"));
        }
        image::reference(text).map_err(|words| Wrong::new(at, words))
    };
    match value {
        Json::Text(_) => Ok(vec![one(value, name)?]),
        Json::List(items) => {
            items.iter().enumerate().map(|(index, item)| one(item, &format!("{name}[{index}]"))).collect()
        }
        Json::Object(_) if matches!(name, "image" | "image_url") && value.get("url").is_some() => {
            let url = value.get("url").unwrap_or(value);
            Ok(vec![one(url, &format!("{name}.url"))?])
        }
        _ if name == "images" => Err(value.must_be(name, "a list of paths, URLs or data: URLs")),
        _ => Err(value.must_be(name, "a path, a URL or a data: URL, or a list of them")),
    }
}
