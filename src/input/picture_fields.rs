//! The fields of a row that name its pictures.
//!
//! Every picture that a row names is sent, or the row is refused. A question about a picture that is sent without it
//! would be paid for and answered wrongly.

use std::path::Path;

use crate::domain::{Image, PictureType, Request};

use super::{
    draft::RowOptions,
    error::FieldError,
    image_ref,
    json::{Fields, Json},
    picture_file::is_picture,
    picture_names::{UNSENDABLE_EXTENSIONS, extension_of, has_picture_extension, is_data_url, is_picture_base64},
};

/// Fields that name pictures and nothing else.
const PICTURE_FIELDS: [&str; 4] = ["images", "image", "image_path", "image_url"];
/// Fields that name files of any kind; they name a picture if the value looks like one.
const FILE_FIELDS: [&str; 3] = ["file_name", "file", "path"];
/// If a field's name contains one of these, it may be meant as a picture. Compared without case and punctuation.
const PICTURE_WORDS: [&str; 4] = ["image", "img", "picture", "photo"];
/// Last words of names that mean a picture itself: `mask_image`, `photos`.
const PICTURE_NOUNS: [&str; 8] = ["image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"];
/// Keys of objects under which a picture stands.
const PICTURE_SUBFIELDS: [&str; 9] = ["url", "path", "src", "data", "base64", "b64_json", "file", "image", "image_url"];
/// If a field's name contains one of these, a URL in it may lead to something other than a picture, like a licence.
const NON_PICTURE_URL_WORDS: [&str; 6] = ["license", "licence", "credit", "author", "attribution", "page"];
/// If a field's name has one of these words, it is a text about a picture.
const TEXT_WORDS: [&str; 6] = ["caption", "captions", "alt", "text", "title", "description"];

/// Fields of nearly every row. Their names mean neither a picture nor a parameter, so they need no closer look.
const PLAIN_FIELDS: [&str; 4] = ["id", "prompt", "messages", "system"];

/// True if a field called `name` is text of nearly every row.
pub(super) fn is_plain_field(name: &str) -> bool {
    PLAIN_FIELDS.contains(&name)
}

/// True if a field called `name` may name pictures.
pub(super) fn may_name_pictures(name: &str) -> bool {
    PICTURE_FIELDS.contains(&name) || FILE_FIELDS.contains(&name)
}

/// True if a field called `name` names pictures and nothing else.
pub(super) fn names_only_pictures(name: &str) -> bool {
    PICTURE_FIELDS.contains(&name)
}

/// Reads the pictures that a row's fields name. `has_picture` says whether its messages already contain one.
pub(super) fn read(fields: &Fields<'_>, has_picture: bool, options: &RowOptions) -> Result<Vec<Image>, FieldError> {
    let mut found: Option<(&str, Vec<Image>)> = None;
    for (name, value) in fields {
        let name = name.as_ref();
        if !is_picture_field(name, value, has_picture, options)? {
            continue;
        }
        let images = parse_references(name, value)?;
        found = match found {
            _ if images.is_empty() => found,
            None => Some((name, images)),
            Some((first, known)) if images.iter().all(|image| known.contains(image)) => Some((first, known)),
            Some((_, known)) if known.iter().all(|image| images.contains(image)) => Some((name, images)),
            Some((first, _)) => {
                let message = format!(
                    "names different pictures than `{first}`; keep one of them, or list all pictures in `images`"
                );
                return Err(FieldError::new(name, message));
            }
        };
    }
    Ok(found.map(|(_, images)| images).unwrap_or_default())
}

/// Refuses a field that looks like a picture but is not read, unless its value is one of the pictures that are sent.
/// A field that a template uses counts as read.
pub(super) fn refuse_unread(fields: &Fields<'_>, request: &Request, options: &RowOptions) -> Result<(), FieldError> {
    if request.needs_vision() && options.input.allows_extra_pictures {
        return Ok(());
    }
    for (name, value) in fields {
        let is_read = is_plain_field(name) || may_name_pictures(name) || options.templates.uses_field(name);
        if is_read || !may_be_unread(name, request) || !contains_unsent(name, value, request, options) {
            continue;
        }
        let message = if request.needs_vision() {
            "looks like a picture in addition to the one that is sent, but is not read: list all pictures in `images` (or \
             use it in --prompt, or remove it)"
        } else {
            "looks like a picture, but is not read: name it `image` to have it sent (or use it in --prompt)"
        };
        return Err(FieldError::new(name.as_ref(), message));
    }
    Ok(())
}

/// Whether a field that is not read may hold a picture, by its name.
fn may_be_unread(name: &str, sent: &Request) -> bool {
    if sent.needs_vision() { NameKind::of(name) != NameKind::Other } else { has_picture_word(name) }
}

/// The kind of value that the name of a field promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NameKind {
    /// One of the fields that name pictures, or one more of them: `image_2`, `image2`, `image_b`, `image_urls`.
    Numbered,
    /// Another name for a picture: `img`, `mask_image`, `photos`.
    Picture,
    Other,
}

impl NameKind {
    fn of(name: &str) -> Self {
        let mut words = split_words(name);
        words.retain(|word| word.len() > 1 && !word.bytes().all(|byte| byte.is_ascii_digit()));
        let joined = words.join("_");
        if [joined.as_str(), joined.trim_end_matches('s')].iter().any(|name| PICTURE_FIELDS.contains(name)) {
            Self::Numbered
        } else if words.last().is_some_and(|last| PICTURE_NOUNS.contains(&last.as_str())) {
            Self::Picture
        } else {
            Self::Other
        }
    }
}

/// The words of a name in lower case, apart from its numbers: `imageUrl2` is image, url, 2.
fn split_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last = ' ';
    for letter in name.chars() {
        let begins = letter.is_uppercase() && last.is_lowercase() || letter.is_ascii_digit() != last.is_ascii_digit();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        last = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// True if a value contains a picture that is not part of `request`. `name` is the name of its field.
pub(super) fn contains_unsent(name: &str, value: &Json<'_>, request: &Request, options: &RowOptions) -> bool {
    match value {
        Json::Text(text) if text.starts_with(['[', '{']) => match Json::parse(text) {
            Ok(value) => contains_unsent(name, &value, request, options),
            Err(_) => is_unsent(name, text, request, options),
        },
        Json::Text(text) => is_unsent(name, text, request, options),
        Json::List(items) => items.iter().any(|item| contains_unsent(name, item, request, options)),
        Json::Object(fields) => fields.iter().any(|(key, value)| match value {
            Json::Text(text) if key == "bytes" => !text.is_empty(),
            Json::List(bytes) if key == "bytes" => !bytes.is_empty(),
            Json::Text(text) => PICTURE_SUBFIELDS.contains(&key.as_ref()) && is_unsent(name, text, request, options),
            value => contains_unsent(name, value, request, options),
        }),
        _ => false,
    }
}

/// True if a text is the path, URL or base64 of a picture that is not part of `request`.
fn is_unsent(name: &str, text: &str, request: &Request, options: &RowOptions) -> bool {
    let kind = NameKind::of(name);
    let words = split_words(name);
    // If a picture is sent, a URL in a field like `license` describes it.
    let has_word = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let is_other_url = kind == NameKind::Other
        && (has_word(&TEXT_WORDS) || (text.contains("://") && has_word(&NON_PICTURE_URL_WORDS)));
    // A picture's URL needs no extension, and neither does that of a page.
    let accepts_any_url = kind == NameKind::Numbered || (kind == NameKind::Picture && !request.needs_vision());
    let is_one_word = !text.trim().contains(char::is_whitespace);
    let is_picture = is_data_url(text)
        || is_picture_base64(text)
        || (is_one_word
            && !is_other_url
            && (has_picture_extension(text) || (accepts_any_url && refers_to_a_picture(text))))
        || (kind != NameKind::Other && is_existing_picture(text, options));
    if !is_picture {
        return false;
    }
    let parsed = image_ref::parse_reference(text).ok();
    // Fields called `name` or the like may contain the file name without its folder. Inline data has no file name, so
    // any name may belong to it.
    let has_file_name = |path: &Path| kind != NameKind::Numbered && path.ends_with(text.trim());
    !request.images().any(|image| {
        parsed.as_ref() == Some(image)
            || match image {
                Image::File(path) => has_file_name(path),
                Image::Url(url) => has_file_name(Path::new(url.split(['?', '#']).next().unwrap_or_default())),
                Image::Inline { data, .. } => data == text || has_word(&["name", "names", "filename"]),
            }
    })
}

fn is_existing_picture(text: &str, options: &RowOptions) -> bool {
    const MAX_PATH_BYTES: usize = 1_024;
    let text = text.trim();
    let may_be_path = !text.is_empty() && text.len() <= MAX_PATH_BYTES && !text.contains(['\n', '\0']);
    may_be_path && {
        let path = options.base_dir.join(text);
        path.is_file() && is_picture(&path)
    }
}

/// Whether the value names no more pictures than are sent, and all of these are sent as data, which has no name: the
/// value says where they are from.
pub(super) fn is_origin_of_data(value: &Json<'_>, sent: &Request) -> bool {
    let named = match value {
        Json::List(items) => items.len(),
        _ => 1,
    };
    named <= sent.images().count() && sent.images().all(|image| matches!(image, Image::Inline { .. }))
}

/// Removes punctuation and converts to lower case.
fn normalize_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn has_picture_word(name: &str) -> bool {
    let letters = normalize_name(name);
    letters == "filename" || PICTURE_WORDS.iter().any(|word| letters.contains(word))
}

/// True if the field names pictures in this row. A field that a template uses counts only if its value can't be
/// anything but a picture.
fn is_picture_field(name: &str, value: &Json<'_>, has_picture: bool, options: &RowOptions) -> Result<bool, FieldError> {
    let in_template = options.templates.uses_field(name);
    if value.is_null() {
        return Ok(false);
    }
    match name {
        "images" => Ok(true),
        "file" | "path" => Ok(!has_picture && !in_template && all_name_pictures(value, has_sendable_extension)),
        _ if !may_name_pictures(name) => Ok(false),
        _ if all_name_pictures(value, refers_to_a_picture) => Ok(name != "file_name" || !has_picture),
        _ if in_template => Ok(false),
        "file_name" => {
            let file = match value {
                Json::Text(file) => file,
                // The list names other files. If any of them were a picture, ignoring the list would lose it.
                Json::List(items)
                    if items.iter().all(|item| item.as_text().is_some_and(|it| !refers_to_a_picture(it))) =>
                {
                    return Ok(false);
                }
                _ => return Ok(!has_picture),
            };
            let extension = extension_of(file);
            if UNSENDABLE_EXTENSIONS.contains(&extension.as_str()) && !has_picture {
                let message = format!("has a format that can't be sent ({extension}); convert it to PNG or JPEG");
                return Err(FieldError::new(name, message));
            }
            // A name without an extension is looked up, since some data sets have such pictures.
            Ok(!has_picture && extension.is_empty() && is_picture(&options.base_dir.join(file.trim())))
        }
        _ => Ok(true),
    }
}

/// True if `accepts` returns true for the text, for each text of a list, or for the `url` of an object.
fn all_name_pictures(value: &Json<'_>, accepts: impl Fn(&str) -> bool) -> bool {
    match value {
        Json::Text(text) => accepts(text),
        Json::List(items) => !items.is_empty() && items.iter().all(|item| item.as_text().is_some_and(&accepts)),
        Json::Object(_) => value.get("url").and_then(Json::as_text).is_some_and(accepts),
        _ => false,
    }
}

/// True for http(s) and data: URLs, and for names with the extension of a picture that can be sent.
fn refers_to_a_picture(text: &str) -> bool {
    let text = text.trim();
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    is_data_url(text)
        || (begins("http://") || begins("https://")) && !text.contains(char::is_whitespace)
        || has_sendable_extension(text)
}

fn has_sendable_extension(text: &str) -> bool {
    PictureType::from_extension(&extension_of(text)).is_some()
}

/// Parses one reference, a list of them, or `{"url": …}` as OpenAI writes it.
pub(super) fn parse_references(name: &str, value: &Json<'_>) -> Result<Vec<Image>, FieldError> {
    let parse_one = |value: &Json<'_>, field_path: &str| {
        let text = value.text(field_path)?;
        if is_picture_base64(text) {
            return Err(FieldError::new(
                field_path,
                "is base64 without a media type; write data:image/png;base64,… (with the actual type)",
            ));
        }
        image_ref::parse_reference(text).map_err(|error| FieldError::new(field_path, error.to_string()))
    };
    match value {
        Json::Text(_) => Ok(vec![parse_one(value, name)?]),
        Json::List(items) => {
            items.iter().enumerate().map(|(index, item)| parse_one(item, &format!("{name}[{index}]"))).collect()
        }
        Json::Object(_) if matches!(name, "image" | "image_url") && value.get("url").is_some() => {
            let url = value.get("url").unwrap_or(value);
            Ok(vec![parse_one(url, &format!("{name}.url"))?])
        }
        _ if name == "images" => Err(value.type_error(name, "a list of paths, URLs or data: URLs")),
        _ => Err(value.type_error(name, "a path, a URL or a data: URL, or a list of them")),
    }
}
