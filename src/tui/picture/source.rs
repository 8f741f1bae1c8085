//! Reads a picture's bytes from a file or from the row. Never downloads anything.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::domain::Image;

/// Larger pictures are not read. No provider accepts more, and it is enough for the best cameras.
const MAX_MIB: u64 = 64;
const MAX_BYTES: u64 = MAX_MIB * 1024 * 1024;

pub(super) fn read_bytes(image: &Image) -> Result<Vec<u8>, String> {
    match image {
        Image::File(path) => read_file(path).map_err(|words| format!("{}: {words}", path.display())),
        Image::Inline { data, .. } => decode_base64(data),
        Image::Url(url) => match url.strip_prefix("data:") {
            Some(data) => match data.split_once(";base64,") {
                Some((_, base64)) => decode_base64(base64),
                None => Err("the picture's data: URL is not base64".to_owned()),
            },
            None => Err(format!("{url} (not fetched)")),
        },
    }
}

/// Reads a regular file. Its type is checked before it is opened, because opening a pipe would block.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let describe_error = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "the picture does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "this user has no permission to read the picture".to_owned(),
        _ => format!("the picture can't be read: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(describe_error)?;
    if !metadata.is_file() {
        return Err("this is not a regular file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large_message(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // One byte more than allowed, to detect a file that grows meanwhile.
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(describe_error)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large_message(bytes.len() as u64));
    }
    Ok(bytes)
}

fn decode_base64(base64: &str) -> Result<Vec<u8>, String> {
    let estimated_bytes = base64.len() as u64 / 4 * 3;
    if estimated_bytes > MAX_BYTES {
        return Err(format!("the picture in the row: {}", too_large_message(estimated_bytes)));
    }
    STANDARD.decode(base64).map_err(|_| "the picture in the row is not valid base64".to_owned())
}

fn too_large_message(bytes: u64) -> String {
    format!("{} MiB is too large to show ({MAX_MIB} MiB at most)", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_data_is_decoded_and_urls_are_not_fetched() {
        let inline = |data: &str| read_bytes(&Image::Inline { mime: "image/png".to_owned(), data: data.to_owned() });
        let url = |url: &str| read_bytes(&Image::Url(url.to_owned()));
        assert_eq!(inline("cGljdHVyZQ=="), Ok(b"picture".to_vec()));
        assert!(inline("!").unwrap_err().contains("not valid base64"));
        assert_eq!(url("data:image/png;base64,cGljdHVyZQ=="), Ok(b"picture".to_vec()));
        assert!(url("data:image/svg+xml,<svg/>").unwrap_err().contains("not base64"));
        assert_eq!(url("https://example.org/a.png").unwrap_err(), "https://example.org/a.png (not fetched)");
    }

    #[test]
    fn errors_name_the_file_that_can_not_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let words = |name: &str| read_bytes(&Image::File(at(name))).unwrap_err();
        assert!(words("gone.png").ends_with("gone.png: the picture does not exist"));
        assert!(words("").ends_with("this is not a regular file"));
        nix::unistd::mkfifo(&at("pipe.png"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(words("pipe.png").ends_with("this is not a regular file"));
        File::create(at("vast.png")).unwrap().set_len(3 << 30).unwrap();
        assert!(words("vast.png").ends_with("vast.png: 3072 MiB is too large to show (64 MiB at most)"));
    }
}
