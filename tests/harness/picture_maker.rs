//! Makes picture files of all formats, each of which tells its number and which side is up, and reads both from what
//! arrives at a server.

use std::io::Cursor;

use image::{
    DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage,
    codecs::{gif::GifEncoder, jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
    metadata::Orientation,
};

/// A text in the metadata of many files, which must not leave the machine.
pub const SECRET_PLACE: &str = "48.2082N 16.3738E";

const RED: Rgb<u8> = Rgb([220, 30, 30]);
const GREEN: Rgb<u8> = Rgb([30, 200, 30]);
const BLUE: Rgb<u8> = Rgb([30, 30, 220]);
const YELLOW: Rgb<u8> = Rgb([220, 220, 30]);
/// Digits of a number in the binary system, as cells from left to right.
const BITS: u32 = 14;
/// Number of kinds of good files.
pub const KINDS: u32 = 20;

/// A file of a folder of pictures.
pub struct MadeFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Draws a picture: red, green, blue and yellow corners from the top left, and its number in black and white between
/// them.
pub fn draw(number: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        if (height * 3 / 8..height * 5 / 8).contains(&y) {
            let bit = (x * BITS / width).min(BITS - 1);
            return if number >> bit & 1 == 1 { Rgb([250; 3]) } else { Rgb([5; 3]) };
        }
        match (x < width / 2, y < height / 2) {
            (true, true) => RED,
            (false, true) => GREEN,
            (true, false) => BLUE,
            (false, false) => YELLOW,
        }
    })
}

/// The number of a picture that was drawn by [`draw`]. `None` if its corners are not where they should be.
pub fn read(picture: &RgbImage) -> Option<u32> {
    let (width, height) = picture.dimensions();
    let is_near = |x: u32, y: u32, colour: Rgb<u8>| {
        let pixel = picture.get_pixel(x.min(width - 1), y.min(height - 1));
        pixel.0.iter().zip(colour.0).all(|(a, b)| a.abs_diff(b) < 90)
    };
    let corners = [(1, 1, RED), (7, 1, GREEN), (1, 7, BLUE), (7, 7, YELLOW)];
    if !corners.iter().all(|(x, y, colour)| is_near(width * x / 8, height * y / 8, *colour)) {
        return None;
    }
    let bit = |bit: u32| u32::from(picture.get_pixel(width * (2 * bit + 1) / (2 * BITS), height / 2).0[1] > 127) << bit;
    Some((0..BITS).map(bit).sum())
}

/// EXIF with an orientation and a place.
fn exif(orientation: u32) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x02\0".to_vec();
    let place = format!("{SECRET_PLACE}\0");
    exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation as u8, 0, 0, 0]);
    exif.extend([0x0e, 0x01, 2, 0, place.len() as u8, 0, 0, 0, 38, 0, 0, 0]);
    exif.extend([0; 4]);
    exif.extend(place.bytes());
    exif
}

/// The pixels of a file whose metadata says this orientation.
fn turned_away(picture: RgbImage, orientation: u32) -> RgbImage {
    let inverse = match orientation {
        6 => Orientation::Rotate270,
        8 => Orientation::Rotate90,
        other => Orientation::from_exif(other as u8).unwrap(),
    };
    let mut picture = DynamicImage::from(picture);
    picture.apply_orientation(inverse);
    picture.into_rgb8()
}

fn encode(picture: &DynamicImage, mut encoder: impl ImageEncoder, metadata: Option<u32>, profile: bool) {
    if let Some(orientation) = metadata {
        encoder.set_exif_metadata(exif(orientation)).unwrap();
    }
    if profile {
        encoder.set_icc_profile(moxcms::ColorProfile::new_display_p3().encode().unwrap()).unwrap();
    }
    picture.write_with_encoder(encoder).unwrap();
}

fn write(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(picture: RgbImage, metadata: Option<u32>, profile: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&picture.into(), JpegEncoder::new_with_quality(&mut bytes, 90), metadata, profile);
    bytes
}

/// An uncompressed TIFF with several pages.
fn tiff_of(pages: &[RgbImage]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for page in pages {
        let pixels = file.len() as u32;
        file.extend(page.as_raw());
        let bits = file.len() as u32;
        file.extend([8, 0, 8, 0, 8, 0]);
        file.resize(file.len().next_multiple_of(2), 0);
        let directory = file.len() as u32;
        file[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        let (width, height) = page.dimensions();
        let fields = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 3, bits),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, pixels),
            (277, 3, 1, 3),
            (278, 4, 1, height),
            (279, 4, 1, page.as_raw().len() as u32),
        ];
        file.extend((fields.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in fields {
            file.extend([tag as u16, kind as u16].map(u16::to_le_bytes).concat());
            file.extend([count, value].map(u32::to_le_bytes).concat());
        }
        link = file.len();
        file.extend([0; 4]);
    }
    file
}

/// A good file. Its kind, size and orientation follow from the number.
pub fn good_file(number: u32) -> MadeFile {
    let orientation = number / KINDS % 8 + 1;
    let (width, height) = [(160, 120), (120, 200), (300, 220), (97, 131)][(number / 7 % 4) as usize];
    let picture = draw(number, width, height);
    let (extension, bytes) = match number % KINDS {
        0 => ("png", write(picture, ImageFormat::Png)),
        // As cameras write them.
        1..=4 => ("JPG", jpeg(turned_away(picture, orientation), Some(orientation), false)),
        5 => {
            let mut bytes = Vec::new();
            let turned = turned_away(picture, orientation).into();
            encode(&turned, WebPEncoder::new_lossless(&mut bytes), Some(orientation), false);
            ("webp", bytes)
        }
        6 => ("gif", write(picture, ImageFormat::Gif)),
        7 => ("bmp", write(picture, ImageFormat::Bmp)),
        8 => ("tiff", write(picture, ImageFormat::Tiff)),
        9 => ("tif", write(DynamicImage::from(picture).into_rgb16(), ImageFormat::Tiff)),
        10 => ("PNG", write(DynamicImage::from(picture).into_rgb16(), ImageFormat::Png)),
        11 => {
            let mut bytes = Vec::new();
            let turned = turned_away(picture, orientation).into();
            encode(&turned, PngEncoder::new(&mut bytes), Some(orientation), true);
            ("png", bytes)
        }
        12 => ("jpeg", jpeg(picture, Some(1), true)),
        13 => ("tiff", tiff_of(&[picture, draw(0, 64, 64)])),
        // With a wrong extension, and with none.
        14 => ("png", jpeg(picture, None, false)),
        15 => ("", write(picture, ImageFormat::Png)),
        16 => {
            let mut bytes = Vec::new();
            let mut encoder = GifEncoder::new(&mut bytes);
            for frame in [picture, draw(0, width, height)] {
                encoder.encode_frame(image::Frame::new(DynamicImage::from(frame).into_rgba8())).unwrap();
            }
            drop(encoder);
            ("gif", bytes)
        }
        17 => ("png", write(DynamicImage::from(picture).into_rgba8(), ImageFormat::Png)),
        // Larger than it is sent. Few of them, since they take long to make.
        18 if number % 200 == 18 => {
            ("jpg", jpeg(turned_away(draw(number, 4_300, 2_900), orientation), Some(orientation), true))
        }
        18 => ("jpg", jpeg(draw(number, 2_500, 300), None, false)),
        _ => ("png", write(draw(number, 300, 2_300), ImageFormat::Png)),
    };
    let dot = if extension.is_empty() { "" } else { "." };
    MadeFile { name: format!("img_{number}{dot}{extension}"), bytes }
}

/// A broken file.
pub fn broken_file(number: u32) -> MadeFile {
    let whole = jpeg(draw(number, 160, 120), Some(1), false);
    let png = write(draw(number, 160, 120), ImageFormat::Png);
    let (extension, bytes) = match number % 7 {
        0 => ("jpg", whole[..whole.len() / 2].to_vec()),
        1 => ("jpg", b"<!DOCTYPE html><title>404 Not Found</title>".to_vec()),
        2 => ("webp", Vec::new()),
        3 => ("png", png[..png.len() - 20].to_vec()),
        4 => {
            // A decompression bomb with a correct checksum: 60,000 x 60,000 pixels.
            let mut png = png;
            png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
            ("png", png)
        }
        5 => {
            let mut png = png;
            let middle = png.len() / 2;
            png[middle] ^= 0x55;
            ("png", png)
        }
        _ => ("tiff", b"II*\0\x08\0\0\0\xff\xff".to_vec()),
    };
    MadeFile { name: format!("broken_{number}.{extension}"), bytes }
}
