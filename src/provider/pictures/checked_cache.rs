//! Remembers which pictures were decoded without an error.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    decode_check::check_decodable,
    format::decoder,
    header::{PictureError, unreadable_error},
};
use crate::domain::PictureType;

/// Hashes of pictures that were decoded without an error, so that a retry does not decode them again. The pictures
/// themselves are not kept.
#[derive(Default, Debug)]
pub struct CheckedPictureCache(Mutex<VecDeque<u128>>);

impl CheckedPictureCache {
    /// Meant to be more than the pictures that wait for a retry at the same time. The oldest hashes are dropped.
    const MAX_HASHES: usize = 4_096;

    pub(super) fn check(&self, picture_type: PictureType, bytes: &[u8]) -> Result<(), PictureError> {
        let Some(decoder) = decoder(picture_type) else { return Ok(()) };
        let hash = xxh3_128(bytes);
        if self.hashes().contains(&hash) {
            return Ok(());
        }
        let damaged_error =
            |damage| unreadable_error(format!("the {} picture is damaged: {damage}", picture_type.name()));
        check_decodable(decoder, bytes).map_err(damaged_error)?;
        let mut hashes = self.hashes();
        if hashes.len() == Self::MAX_HASHES {
            hashes.pop_front();
        }
        hashes.push_back(hash);
        Ok(())
    }

    fn hashes(&self) -> MutexGuard<'_, VecDeque<u128>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use image::ImageFormat;

    use super::*;

    /// The header of a PNG.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    /// A PNG that can be decoded.
    fn whole_png() -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::new(3, 2).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_valid_picture_is_decoded_once_and_a_damaged_one_never_passes() {
        let checked_pictures = CheckedPictureCache::default();
        let whole = whole_png();
        for _ in 0..3 {
            assert_eq!(checked_pictures.check(PictureType::Png, &whole), Ok(()));
            assert!(checked_pictures.check(PictureType::Png, &png(3, 2)).is_err());
        }
        assert_eq!(*checked_pictures.hashes(), [xxh3_128(&whole)]);
        for number in 0..CheckedPictureCache::MAX_HASHES {
            // Bytes after the end of a picture change its hash.
            assert_eq!(
                checked_pictures.check(PictureType::Png, &[whole.as_slice(), &number.to_le_bytes()].concat()),
                Ok(())
            );
        }
        assert_eq!(checked_pictures.hashes().len(), CheckedPictureCache::MAX_HASHES);
        assert!(!checked_pictures.hashes().contains(&xxh3_128(&whole)));
    }
}
