//! Reads the header of a picture, and says why a picture can't be sent.

use super::{format::decoder, limits::MIB};
use crate::domain::{Api, PictureType};

/// The reason why a picture cannot be sent, as a sentence that names the picture.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PictureError {
    /// No API accepts it.
    #[error("{0}")]
    Unreadable(String),
    /// This API does not accept it; another one may.
    #[error("{0}")]
    Unsupported(String),
}

impl PictureError {
    /// Puts the picture's name before the message.
    pub(super) fn with_name(self, name: impl std::fmt::Display) -> Self {
        match self {
            Self::Unreadable(message) => Self::Unreadable(format!("{name}: {message}")),
            Self::Unsupported(message) => Self::Unsupported(format!("{name}: {message}")),
        }
    }
}

pub(super) fn unreadable_error(message: impl Into<String>) -> PictureError {
    PictureError::Unreadable(message.into())
}

pub(super) fn too_large_error(api: Api, max_bytes: u64, bytes: u64) -> PictureError {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let name = api.name();
    let limit = match api {
        Api::Anthropic => {
            let base64_mib = mib(max_bytes / 3 * 4);
            format!(
                "{name} accepts at most {} MiB ({base64_mib} MiB as base64, which is what it counts)",
                mib(max_bytes)
            )
        }
        Api::Gemini | Api::OpenAi => format!("at most {} MiB can be sent to {name}", mib(max_bytes)),
    };
    PictureError::Unsupported(format!("the picture is {:.2} MiB, but {limit}; make it smaller", mib(bytes)))
}

/// The contents of a picture's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PictureHeader {
    pub picture_type: PictureType,
    pub width: usize,
    pub height: usize,
}

impl PictureHeader {
    /// Detects the type and reads the size.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.is_empty() {
            return Err(unreadable_error("the picture is empty"));
        }
        let picture_type = PictureType::detect(bytes).ok_or_else(|| {
            unreadable_error("this is not a supported picture format; PNG, JPEG and WebP always work")
        })?;
        let name = picture_type.name();
        let damaged = |damage| unreadable_error(format!("the {name} picture is damaged: {damage}"));
        let size = match imagesize::blob_size(bytes) {
            Ok(size) => size,
            // No decoder here reads it, but it may be fine.
            Err(_) if decoder(picture_type).is_none() => imagesize::ImageSize { width: 1, height: 1 },
            Err(_) => return Err(damaged("its dimensions can't be read".to_owned())),
        };
        if size.width == 0 || size.height == 0 {
            return Err(damaged(format!("it is {} x {} pixels", size.width, size.height)));
        }
        Ok(Self { picture_type, width: size.width, height: size.height })
    }
}

/// The error for a picture of a type that the API doesn't accept.
pub(super) fn unaccepted_type_error(api: Api, picture_type: PictureType) -> PictureError {
    PictureError::Unsupported(format!(
        "{} does not accept {} pictures; convert it to PNG or JPEG",
        api.name(),
        picture_type.name()
    ))
}
