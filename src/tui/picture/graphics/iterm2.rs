//! iTerm2's inline images: a whole file in one escape sequence. <https://iterm2.com/documentation-images.html>

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, RgbaImage, codecs};
use ratatui::layout::Size;

/// JPEG quality, 0 to 100; losses are not visible at this size.
const JPEG_QUALITY: u8 = 85;

pub(super) fn sequence(picture: &RgbaImage, size: Size) -> Option<String> {
    let (width, height) = picture.dimensions();
    let mut file = Vec::new();
    if picture.pixels().all(|pixel| pixel.0[3] == u8::MAX) {
        // A JPEG is about a tenth of the PNG's size.
        let opaque = DynamicImage::from(picture.clone()).into_rgb8();
        codecs::jpeg::JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
            .write_image(&opaque, width, height, ExtendedColorType::Rgb8)
            .ok()?;
    } else {
        codecs::png::PngEncoder::new(&mut file).write_image(picture, width, height, ExtendedColorType::Rgba8).ok()?;
    }
    Some(format!(
        "\x1b]1337;File=inline=1;size={};width={};height={};preserveAspectRatio=0;doNotMoveCursor=1:{}\x07",
        file.len(),
        size.width,
        size.height,
        STANDARD.encode(&file)
    ))
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba};

    use super::*;

    #[test]
    fn opaque_pictures_are_sent_as_jpeg_and_others_as_png() {
        for (alpha, format) in [(255, ImageFormat::Jpeg), (40, ImageFormat::Png)] {
            let picture = RgbaImage::from_pixel(16, 8, Rgba([9, 99, 199, alpha]));
            let sequence = sequence(&picture, Size::new(4, 1)).unwrap();
            let (head, payload) = sequence.split_once(':').unwrap();
            let file = STANDARD.decode(payload.trim_end_matches('\x07')).unwrap();
            assert_eq!(image::guess_format(&file).unwrap(), format);
            assert!(head.contains(&format!("size={};width=4;height=1;", file.len())), "{head}");
        }
    }
}
