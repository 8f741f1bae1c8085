//! Decodes pictures, with limits that are set before the decoder allocates anything.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, RgbaImage, imageops::FilterType,
    metadata::Orientation,
};

/// Maximum pixels of a picture, in millions: as many as the best cameras produce.
const MAX_MEGAPIXELS: u64 = 64;
/// Maximum pixels of each side: more than any terminal could show.
const MAX_SIDE_PIXELS: u32 = 65_535;
/// Maximum memory of the decoder, in bytes.
const MAX_DECODER_BYTES: u64 = 384 * 1024 * 1024;

/// A decoded picture as it is stored. It is rotated only after it is scaled down, because that is cheaper.
pub(super) struct DecodedImage {
    pixels: DynamicImage,
    orientation: Orientation,
    pub format_name: &'static str,
}

/// Decodes a picture; for an animation, the first frame.
///
/// # Errors
/// If the picture is empty, damaged, too large or of an unsupported format; the message is for the operator.
pub(super) fn decode(bytes: &[u8]) -> Result<DecodedImage, String> {
    if bytes.is_empty() {
        return Err("the picture is empty".to_owned());
    }
    let (format, name) = detect_format(bytes)?;
    let decode_error = |error: &ImageError| match error {
        ImageError::Limits(_) => {
            format!("the {name} picture is too large to show ({MAX_MEGAPIXELS} megapixels at most)")
        }
        _ => format!("the {name} picture is damaged: {error}"),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PIXELS);
    limits.max_image_height = Some(MAX_SIDE_PIXELS);
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| decode_error(&error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("the {name} picture is damaged: it is {width} x {height} pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_MEGAPIXELS * 1_000_000 {
        return Err(format!(
            "the {name} picture is {width} x {height} pixels, too many to show ({MAX_MEGAPIXELS} million at most)"
        ));
    }
    // Takes the memory for the result off the limit, so that it counts together with the decoder's own.
    limits.reserve(decoder.total_bytes()).map_err(|error| decode_error(&error))?;
    decoder.set_limits(limits).map_err(|error| decode_error(&error))?;
    // If the metadata can't be read, the picture is shown unrotated.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(|error| decode_error(&error))?;
    Ok(DecodedImage { pixels, orientation, format_name: name })
}

/// Detects the format from the first bytes, because file names can be wrong.
fn detect_format(bytes: &[u8]) -> Result<(ImageFormat, &'static str), String> {
    let unsupported = |name: &str| Err(format!("this is a {name} picture, which this screen can't show"));
    match (bytes.get(4..8), bytes.get(8..12)) {
        (Some(b"ftyp"), Some(b"avif" | b"avis")) => return unsupported("AVIF"),
        (Some(b"ftyp"), Some(b"heic" | b"heix" | b"hevc" | b"hevx" | b"mif1" | b"msf1" | b"heim" | b"heis")) => {
            return unsupported("HEIC");
        }
        _ => {}
    }
    match image::guess_format(bytes) {
        Ok(format @ ImageFormat::Png) => Ok((format, "PNG")),
        Ok(format @ ImageFormat::Jpeg) => Ok((format, "JPEG")),
        Ok(format @ ImageFormat::Gif) => Ok((format, "GIF")),
        Ok(format @ ImageFormat::WebP) => Ok((format, "WebP")),
        Ok(format @ ImageFormat::Bmp) => Ok((format, "BMP")),
        Ok(format @ ImageFormat::Tiff) => Ok((format, "TIFF")),
        _ => Err("this is not a supported picture format".to_owned()),
    }
}

impl DecodedImage {
    #[cfg(test)]
    pub fn from_pixels(pixels: RgbaImage) -> Self {
        Self { pixels: pixels.into(), orientation: Orientation::NoTransforms, format_name: "PNG" }
    }

    /// Width and height of the upright picture.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = (self.pixels.width(), self.pixels.height());
        if self.has_swapped_sides() { (height, width) } else { (width, height) }
    }

    fn has_swapped_sides(&self) -> bool {
        matches!(
            self.orientation,
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        )
    }

    /// The whole picture, upright, scaled to this size.
    pub fn scaled(&self, width: u32, height: u32) -> RgbaImage {
        let (stored_width, stored_height) = if self.has_swapped_sides() { (height, width) } else { (width, height) };
        let (stored_width, stored_height) = (stored_width.max(1), stored_height.max(1));
        let mut scaled = if stored_width < self.pixels.width() && stored_height < self.pixels.height() {
            // Each pixel is the mean of those it replaces.
            self.pixels.thumbnail_exact(stored_width, stored_height)
        } else {
            self.pixels.resize_exact(stored_width, stored_height, FilterType::Triangle)
        };
        scaled.apply_orientation(self.orientation);
        scaled.into_rgba8()
    }
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture =
            RgbaImage::from_fn(6, 4, |x, _| if x < 3 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 255]) });
        let picture = DynamicImage::from(picture).into_rgb8();
        DynamicImage::from(picture).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        decode(bytes).err().expect("it is refused")
    }

    /// A PNG whose header declares this size.
    fn png_declaring_size(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = encoded(ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (!(crc & 1)).wrapping_add(1)))
        })
    }

    #[test]
    fn all_supported_formats_are_decoded() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        for format in [Png, Jpeg, Gif, WebP, Bmp, Tiff] {
            let picture = decode(&encoded(format)).unwrap_or_else(|words| panic!("{format:?}: {words}"));
            assert_eq!(picture.size(), (6, 4), "{format:?}");
            let Rgba([red, _, blue, _]) = *picture.scaled(6, 4).get_pixel(0, 0);
            assert!(red > 200 && blue < 60, "{format:?}");
        }
    }

    #[test]
    fn a_picture_is_refused_by_the_size_its_header_declares() {
        assert!(refusal(&png_declaring_size(60_000, 60_000)).contains("60000 x 60000 pixels, too many"));
        assert!(refusal(&png_declaring_size(2_000_000_000, 2_000_000_000)).contains("too large"));
        // The file is damaged; it is not rejected for its size.
        assert!(refusal(&png_declaring_size(600, 400)).contains("damaged"));
    }

    #[test]
    fn files_that_are_not_readable_pictures_are_refused_with_a_reason() {
        let mut truncated = encoded(ImageFormat::Png);
        truncated.truncate(50);
        let cases: [(&[u8], &str); 7] = [
            (b"", "is empty"),
            (b"hello, I am a text that is called cat.png", "not a supported picture format"),
            (&truncated, "the PNG picture is damaged"),
            (b"\xff\xd8\xff", "the JPEG picture is damaged"),
            (b"\0\0\0\x1cftypavif", "AVIF picture, which this screen can't show"),
            (b"\0\0\0\x1cftypheic", "HEIC picture, which this screen can't show"),
            (b"\0\0\0\x1cftypmif1", "HEIC picture, which this screen can't show"),
        ];
        for (bytes, words) in cases {
            let refusal = refusal(bytes);
            assert!(refusal.contains(words), "{refusal}");
        }
    }

    #[test]
    fn the_exif_orientation_is_applied() {
        let jpeg = encoded(ImageFormat::Jpeg);
        // EXIF with one entry: orientation 6, a quarter turn to the right.
        let mut exif =
            b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut bytes = jpeg[..2].to_vec();
        bytes.append(&mut exif);
        bytes.extend_from_slice(&jpeg[2..]);
        let picture = decode(&bytes).unwrap_or_else(|words| panic!("{words}"));
        assert_eq!(picture.size(), (4, 6));
        let upright = picture.scaled(4, 6);
        assert_eq!(upright.dimensions(), (4, 6));
        // The left side of the file is the top of the upright picture.
        let (top, bottom) = (upright.get_pixel(1, 0), upright.get_pixel(1, 5));
        assert!(top[0] > top[2] && bottom[2] > bottom[0], "{top:?} {bottom:?}");
    }

    #[test]
    fn the_first_frame_of_an_animation_is_decoded() {
        let frame = |colour| image::Frame::new(RgbaImage::from_pixel(2, 2, Rgba(colour)));
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        encoder.encode_frames([frame([255, 0, 0, 255]), frame([0, 0, 255, 255])]).unwrap();
        drop(encoder);
        let picture = decode(&bytes).unwrap_or_else(|words| panic!("{words}"));
        assert_eq!(picture.scaled(1, 1).get_pixel(0, 0)[0], 255);
    }
}
