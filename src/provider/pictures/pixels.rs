//! Decoded pictures: scaled, turned, in the usual colours, and encoded again.

use std::io::Cursor;

use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image as ResizeImage};
use image::{
    ColorType, ExtendedColorType, ImageDecoder, ImageEncoder as _, ImageError, ImageFormat,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType as PngFilter, PngEncoder},
    },
    metadata::Orientation,
};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::{
    decode_check::{DecodeError, is_bomb, open_decoder},
    decode_memory::DecodeMemory,
};
use crate::domain::scaled_to;

/// Quality of JPEGs.
const JPEG_QUALITY: u8 = 90;
/// The lower quality for pictures that are too large otherwise.
const SMALLER_JPEG_QUALITY: u8 = 75;

/// Pixels of 8 bits a channel: grey, grey with alpha, RGB or RGB with alpha.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pixels {
    width: u32,
    height: u32,
    /// 1 to 4.
    channels: usize,
    bytes: Vec<u8>,
}

/// A decoded picture, before it is turned upright and its colours are converted.
struct Decoded {
    pixels: Pixels,
    /// Its ICC profile.
    colour_profile: Option<Vec<u8>>,
    /// The orientation that the file itself states.
    orientation: Orientation,
}

/// A picture file that was made here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct EncodedFile {
    pub mime: &'static str,
    pub bytes: Vec<u8>,
}

/// Decodes the picture (of an animation or of several pages the first one), scales it to at most `longest_side`, turns it
/// upright, converts its colours to sRGB, and encodes it in at most `max_bytes`. `orientation` is that of the file's
/// metadata, if it is known; otherwise the decoder's.
///
/// # Errors
/// If the picture can't be decoded or encoded.
pub(super) fn encode_anew(
    format: ImageFormat,
    bytes: &[u8],
    orientation: Option<Orientation>,
    longest_side: Option<u32>,
    max_bytes: u64,
) -> Result<EncodedFile, DecodeError> {
    let scaled = longest_side.filter(|_| format == ImageFormat::Jpeg).and_then(|side| decode_scaled_jpeg(bytes, side));
    let (decoded, _memory) = match scaled {
        Some(scaled) => scaled,
        None => decode_whole(format, bytes)?,
    };
    let Decoded { pixels, colour_profile, orientation: own_orientation } = decoded;
    let mut pixels = pixels.scaled(longest_side);
    if let Some(profile) = colour_profile {
        pixels.convert_to_srgb(&profile);
    }
    pixels.without_full_alpha().turned(orientation.unwrap_or(own_orientation)).encode(max_bytes)
}

fn decode_whole(format: ImageFormat, bytes: &[u8]) -> Result<(Decoded, DecodeMemory), DecodeError> {
    let mut decoder = open_decoder(format, bytes)?;
    let (width, height) = decoder.dimensions();
    let (colour_type, total_bytes) = (decoder.color_type(), decoder.total_bytes());
    // Without a profile the colours are taken as sRGB; without an orientation the picture as upright.
    let colour_profile = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let memory = DecodeMemory::take(total_bytes + bytes.len() as u64);
    // The size is within the decoder's limit, which fits any address space.
    let mut decoded = vec![0; total_bytes as usize];
    decoder.read_image(&mut decoded)?;
    let pixels = Pixels::from_decoded(width, height, colour_type, decoded)?;
    Ok((Decoded { pixels, colour_profile, orientation }, memory))
}

/// Decodes a JPEG at half its size or less, where that is still larger than `longest_side`: much less work. `None` if
/// it isn't, or if this decoder can't decode it; the other one then says why.
fn decode_scaled_jpeg(bytes: &[u8], longest_side: u32) -> Option<(Decoded, DecodeMemory)> {
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(bytes));
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if width.max(height) / 2 < longest_side || is_bomb(width, height) {
        return None;
    }
    let channels = match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => 1,
        jpeg_decoder::PixelFormat::RGB24 => 3,
        jpeg_decoder::PixelFormat::L16 | jpeg_decoder::PixelFormat::CMYK32 => return None,
    };
    let (wanted_width, wanted_height) = scaled_to(width, height, longest_side);
    let (scaled_width, scaled_height) =
        decoder.scale(u16::try_from(wanted_width).ok()?, u16::try_from(wanted_height).ok()?).ok()?;
    let pixel_count = u64::from(scaled_width) * u64::from(scaled_height);
    // The decoder keeps the planes beside the pixels.
    let memory = DecodeMemory::take(pixel_count * channels as u64 * 2 + bytes.len() as u64);
    let pixels = decoder.decode().ok()?;
    if pixels.len() as u64 != pixel_count * channels as u64 {
        return None;
    }
    let pixels = Pixels { width: scaled_width.into(), height: scaled_height.into(), channels, bytes: pixels };
    Some((Decoded { pixels, colour_profile: decoder.icc_profile(), orientation: Orientation::NoTransforms }, memory))
}

impl Pixels {
    /// Takes what a decoder of `image` returned, in 8, 16 or 32 bits a channel.
    fn from_decoded(width: u32, height: u32, colour_type: ColorType, decoded: Vec<u8>) -> Result<Self, DecodeError> {
        let bytes_per_channel = colour_type.bytes_per_pixel() / colour_type.channel_count();
        let bytes = match bytes_per_channel {
            1 => decoded,
            2 => {
                decoded.chunks_exact(2).map(|sample| (u16::from_ne_bytes([sample[0], sample[1]]) >> 8) as u8).collect()
            }
            4 => {
                let samples = decoded.as_chunks::<4>().0.iter().map(|sample| f32::from_ne_bytes(*sample));
                samples.map(|sample| (sample.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
            }
            _ => return Err(DecodeError::from_text("its pixels are of an unknown kind")),
        };
        Ok(Self { width, height, channels: colour_type.channel_count().into(), bytes })
    }

    const fn has_alpha(&self) -> bool {
        matches!(self.channels, 2 | 4)
    }

    /// Scales to at most this longest side.
    fn scaled(self, longest_side: Option<u32>) -> Self {
        let (width, height) =
            longest_side.map_or((self.width, self.height), |side| scaled_to(self.width, self.height, side));
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let pixel_type = match self.channels {
            1 => PixelType::U8,
            2 => PixelType::U8x2,
            3 => PixelType::U8x3,
            _ => PixelType::U8x4,
        };
        let channels = self.channels;
        let mut scaled = ResizeImage::new(width, height, pixel_type);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        // The buffers fit the sizes, and both have the same kind of pixels, so nothing fails.
        let source = ResizeImage::from_vec_u8(self.width, self.height, self.bytes, pixel_type);
        let result = source.map(|source| Resizer::new().resize(&source, &mut scaled, &options));
        debug_assert!(matches!(result, Ok(Ok(()))), "{result:?}");
        Self { width, height, channels, bytes: scaled.into_vec() }
    }

    /// Converts the colours of this profile. A profile that can't be read, or is for other channels, is left out of
    /// account.
    fn convert_to_srgb(&mut self, profile: &[u8]) {
        let Ok(profile) = ColorProfile::new_from_slice(profile) else { return };
        let (layout, expected) = match self.channels {
            1 => (Layout::Gray, DataColorSpace::Gray),
            2 => (Layout::GrayAlpha, DataColorSpace::Gray),
            3 => (Layout::Rgb, DataColorSpace::Rgb),
            _ => (Layout::Rgba, DataColorSpace::Rgb),
        };
        if profile.color_space != expected {
            return;
        }
        let srgb = if expected == DataColorSpace::Gray {
            ColorProfile::new_gray_with_gamma(2.2)
        } else {
            ColorProfile::new_srgb()
        };
        let Ok(transform) = profile.create_transform_8bit(layout, &srgb, layout, TransformOptions::default()) else {
            return;
        };
        let mut converted = vec![0; self.bytes.len()];
        if transform.transform(&self.bytes, &mut converted).is_ok() {
            self.bytes = converted;
        }
    }

    /// Removes an alpha channel that says of every pixel that it is opaque.
    fn without_full_alpha(self) -> Self {
        let channels = self.channels;
        if !self.has_alpha() || self.bytes.chunks_exact(channels).any(|pixel| pixel[channels - 1] != u8::MAX) {
            return self;
        }
        let bytes = self.bytes.chunks_exact(channels).flat_map(|pixel| &pixel[..channels - 1]).copied().collect();
        Self { channels: channels - 1, bytes, ..self }
    }

    /// Lays the picture on white, for formats without transparency.
    fn on_white(self) -> Self {
        let channels = self.channels;
        if !self.has_alpha() {
            return self;
        }
        let blend = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha)) / 255) as u8
        };
        let pixels = self.bytes.chunks_exact(channels);
        let bytes = pixels
            .flat_map(|pixel| pixel[..channels - 1].iter().map(|value| blend(*value, pixel[channels - 1])))
            .collect();
        Self { channels: channels - 1, bytes, ..self }
    }

    /// Turns and mirrors the picture as its orientation says.
    fn turned(self, orientation: Orientation) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let swaps_sides = matches!(
            orientation,
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        let (new_width, new_height) = if swaps_sides { (height, width) } else { (width, height) };
        // The place in the old picture of a pixel in the new one.
        let source = |x: usize, y: usize| match orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (width - 1 - x, y),
            Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
            Orientation::FlipVertical => (x, height - 1 - y),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate90 => (y, height - 1 - x),
            Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
            Orientation::Rotate270 => (width - 1 - y, x),
        };
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (from_x, from_y) = source(x, y);
                let at = (from_y * width + from_x) * self.channels;
                bytes.extend_from_slice(&self.bytes[at..at + self.channels]);
            }
        }
        Self { width: new_width as u32, height: new_height as u32, bytes, ..self }
    }

    /// Encodes as JPEG, or as PNG if there is transparency, in at most this many bytes.
    fn encode(self, max_bytes: u64) -> Result<EncodedFile, DecodeError> {
        let fits = |file: &EncodedFile| file.bytes.len() as u64 <= max_bytes;
        if self.has_alpha() {
            let file = EncodedFile { mime: "image/png", bytes: self.to_png()? };
            if fits(&file) {
                return Ok(file);
            }
        }
        let mut pixels = self.on_white();
        loop {
            for quality in [JPEG_QUALITY, SMALLER_JPEG_QUALITY] {
                let file = EncodedFile { mime: "image/jpeg", bytes: pixels.to_jpeg(quality)? };
                if fits(&file) {
                    return Ok(file);
                }
            }
            let longest = pixels.width.max(pixels.height);
            if longest < 2 {
                return Err(DecodeError::from_text("it can't be made small enough"));
            }
            pixels = pixels.scaled(Some(longest / 2));
        }
    }

    fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, ImageError> {
        let mut file = Vec::new();
        let colour_type = if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        JpegEncoder::new_with_quality(&mut file, quality).encode(&self.bytes, self.width, self.height, colour_type)?;
        Ok(file)
    }

    fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut file = Vec::new();
        let colour_type = if self.channels == 2 { ExtendedColorType::La8 } else { ExtendedColorType::Rgba8 };
        PngEncoder::new_with_quality(&mut file, CompressionType::Fast, PngFilter::Adaptive).write_image(
            &self.bytes,
            self.width,
            self.height,
            colour_type,
        )?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_orientation_is_turned_as_image_turns_it() {
        let bytes: Vec<u8> = (0..3 * 5 * 2).collect();
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value).unwrap();
            let turned = Pixels { width: 5, height: 3, channels: 2, bytes: bytes.clone() }.turned(orientation);
            let buffer = image::GrayAlphaImage::from_raw(5, 3, bytes.clone()).unwrap();
            let mut reference = image::DynamicImage::from(buffer);
            reference.apply_orientation(orientation);
            assert_eq!((turned.width, turned.height), (reference.width(), reference.height()), "{value}");
            assert_eq!(turned.bytes, reference.into_bytes(), "{value}");
        }
    }

    #[test]
    fn a_picture_is_made_as_small_as_it_must_be() {
        let noise: Vec<u8> =
            (0..200_u32 * 100 * 3).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let pixels = Pixels { width: 200, height: 100, channels: 3, bytes: noise };
        for max_bytes in [100_000, 12_000, 3_000, 700] {
            let file = pixels.clone().encode(max_bytes).unwrap();
            assert!(file.bytes.len() as u64 <= max_bytes);
            image::load_from_memory(&file.bytes).unwrap();
        }
    }

    #[test]
    fn colours_are_converted_from_a_wide_profile() {
        let profile = ColorProfile::new_display_p3().encode().unwrap();
        let mut pixels = Pixels { width: 1, height: 1, channels: 3, bytes: vec![0, 200, 0] };
        pixels.convert_to_srgb(&profile);
        // A green of Display P3 is out of reach for sRGB, which shows it as green as it can.
        assert!(pixels.bytes[0] < 10 && pixels.bytes[1] > 200 && pixels.bytes[2] < 60, "{:?}", pixels.bytes);
        let before = pixels.clone();
        pixels.convert_to_srgb(b"no profile");
        pixels.convert_to_srgb(&ColorProfile::new_srgb().encode().unwrap());
        assert!(pixels.bytes.iter().zip(&before.bytes).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}
