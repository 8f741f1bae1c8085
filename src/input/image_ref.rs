//! Picture references in rows: a path, an `http(s)` URL, a `data:` URL, or base64 with a separate media type.

use std::path::{Path, PathBuf};

use crate::domain::{Image, Part, Request};

/// Why a picture reference can't be used, as a phrase that follows the field's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ImageRefError {
    #[error("is empty; pictures must be paths, http(s) URLs or data: URLs")]
    Empty,
    #[error("is not a valid URL: it needs // after the colon and must not contain blanks")]
    InvalidUrl,
    #[error("is a {0} URL; pictures must be paths, http(s) URLs or data: URLs")]
    UnsupportedScheme(String),
    #[error("is not a valid path: it contains a zero byte")]
    ZeroByte,
    #[error("is a data: URL without a comma")]
    DataWithoutComma,
    #[error("is a data: URL that is not base64")]
    DataNotBase64,
    #[error("is of type `{0}`; only pictures (image/…) can be sent")]
    NotAPicture(String),
    #[error("is not base64 (padded, without line ends)")]
    InvalidBase64,
}

/// Parses a picture reference. Paths stay as written until [`resolve_paths`]. A missing file is reported only when it
/// is sent, so that one missing picture doesn't stop a run.
pub(super) fn parse_reference(text: &str) -> Result<Image, ImageRefError> {
    let text = text.trim();
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    match scheme.as_ref().map(|(scheme, rest)| (scheme.as_str(), *rest)) {
        Some(("http" | "https", rest)) if rest.starts_with("//") && !text.contains(char::is_whitespace) => {
            Ok(Image::Url(text.to_owned()))
        }
        Some(("http" | "https", _)) => Err(ImageRefError::InvalidUrl),
        Some(("data", rest)) => parse_data_url(rest),
        Some(("file", rest)) if rest.starts_with("///") => Ok(Image::File(PathBuf::from(&rest[2..]))),
        Some((scheme, rest)) if rest.starts_with("//") => Err(ImageRefError::UnsupportedScheme(scheme.to_owned())),
        _ if text.is_empty() => Err(ImageRefError::Empty),
        _ if text.contains('\0') => Err(ImageRefError::ZeroByte),
        _ => Ok(Image::File(PathBuf::from(text.strip_prefix("./").unwrap_or(text)))),
    }
}

/// Parses `image/png;base64,iVBOR…`.
fn parse_data_url(rest: &str) -> Result<Image, ImageRefError> {
    let (head, data) = rest.split_once(',').ok_or(ImageRefError::DataWithoutComma)?;
    let mut params = head.split(';');
    let mime = params.next().unwrap_or_default();
    if !params.any(|word| word.eq_ignore_ascii_case("base64")) {
        return Err(ImageRefError::DataNotBase64);
    }
    parse_inline(mime, data)
}

/// Parses base64 with its media type. The base64 is checked here, so that a bad row is found before anything is sent.
pub(super) fn parse_inline(mime: &str, data: &str) -> Result<Image, ImageRefError> {
    let mime = mime.trim().to_ascii_lowercase();
    if !mime.starts_with("image/") {
        return Err(ImageRefError::NotAPicture(mime));
    }
    let unpadded = data.trim_end_matches('=');
    let is_base64_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if data.is_empty()
        || !data.len().is_multiple_of(4)
        || data.len() - unpadded.len() > 2
        || !unpadded.bytes().all(is_base64_byte)
    {
        return Err(ImageRefError::InvalidBase64);
    }
    Ok(Image::Inline { mime, data: data.to_owned() })
}

/// Makes the paths of a request absolute, starting from the input file's folder.
///
/// Called after hashing, so that a folder that is moved as a whole keeps its hashes.
pub(super) fn resolve_paths(request: &mut Request, base_dir: &Path) {
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let Part::Image(Image::File(path)) = part {
            *path = base_dir.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart_by_their_scheme() {
        let file = |path: &str| Ok(Image::File(path.into()));
        let png = || Ok(Image::Inline { mime: "image/png".into(), data: "AAAA".into() });
        for (text, want) in [
            ("a/b.png", file("a/b.png")),
            ("./b.png", file("b.png")),
            ("/abs/b.png", file("/abs/b.png")),
            ("odd:name.png", file("odd:name.png")),
            ("file:///abs/b.png", file("/abs/b.png")),
            ("https://x.example/b.png", Ok(Image::Url("https://x.example/b.png".into()))),
            ("HTTP://x.example/b.png", Ok(Image::Url("HTTP://x.example/b.png".into()))),
            ("data:image/png;base64,AAAA", png()),
            ("data:IMAGE/PNG;charset=x;base64,AAAA", png()),
            ("data:text/plain;base64,AAAA", Err("only pictures")),
            ("data:image/png,AAAA", Err("not base64")),
            ("data:image/png;base64", Err("without a comma")),
            ("data:image/png;base64,AAA", Err("is not base64")),
            ("data:image/png;base64,A A=", Err("is not base64")),
            ("data:image/png;base64,====", Err("is not base64")),
            ("gs://bucket/b.png", Err("is a gs URL")),
            ("https://x.example/a b.png", Err("blanks")),
            ("", Err("is empty")),
        ] {
            match (parse_reference(text), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{text}: {got}"),
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }
}
