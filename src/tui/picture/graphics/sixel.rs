//! Sixels: six rows of pixels at a time, one colour after the other. <https://vt100.net/docs/vt3xx-gp/chapter14.html>

use std::{collections::BTreeMap, fmt::Write as _};

use color_quant::NeuQuant;
use image::RgbaImage;

/// Number of palette entries; every terminal with sixels has at least this number of colour registers.
const PALETTE_SIZE: usize = 256;
/// Every tenth pixel is used to build the palette; more is slower without a visible gain.
const SAMPLE_INTERVAL: i32 = 10;

pub(super) fn sequence(picture: &RgbaImage, light_background: bool) -> String {
    let (width, height) = picture.dimensions();
    let opaque = blend_with_background(picture, light_background);
    let palette = NeuQuant::new(SAMPLE_INTERVAL, PALETTE_SIZE, &opaque);
    let indices: Vec<u8> = opaque.chunks_exact(4).map(|pixel| palette.index_of(pixel) as u8).collect();
    // Square pixels; pixels that are not painted keep their colour.
    let mut sequence = format!("\x1bP0;1;0q\"1;1;{width};{height}");
    for (at, colour) in palette.color_map_rgb().chunks_exact(3).enumerate() {
        let [red, green, blue] = [colour[0], colour[1], colour[2]].map(|value| u32::from(value) * 100 / 255);
        let _ = write!(sequence, "#{at};2;{red};{green};{blue}");
    }
    for band in indices.chunks(6 * width as usize) {
        encode_band(band, width as usize, &mut sequence);
        sequence.push('-');
    }
    sequence.push_str("\x1b\\");
    sequence
}

/// Sixels have no transparency: mixes transparent pixels with the probable background.
fn blend_with_background(picture: &RgbaImage, light_background: bool) -> Vec<u8> {
    let behind = if light_background { 255 } else { 0 };
    let mix =
        |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + behind * (255 - u32::from(alpha))) / 255) as u8;
    picture
        .pixels()
        .flat_map(|pixel| {
            let [red, green, blue, alpha] = pixel.0;
            [mix(red, alpha), mix(green, alpha), mix(blue, alpha), u8::MAX]
        })
        .collect()
}

/// Encodes a band of up to six rows of pixels. For each colour, it writes one character per column: its bits say in
/// which of the six rows the column has that colour.
fn encode_band(band: &[u8], width: usize, sequence: &mut String) {
    let mut passes: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for (row, pixels) in band.chunks(width).enumerate() {
        for (x, colour) in pixels.iter().enumerate() {
            passes.entry(*colour).or_insert_with(|| vec![0; width])[x] |= 1 << row;
        }
    }
    for (colour, bits) in passes {
        let _ = write!(sequence, "#{colour}");
        let used = bits.iter().rposition(|bits| *bits != 0).map_or(0, |last| last + 1);
        for run in bits[..used].chunk_by(|a, b| a == b) {
            let sign = char::from(b'?' + run[0]);
            if run.len() > 3 {
                let _ = write!(sequence, "!{}{sign}", run.len());
            } else {
                sequence.extend(std::iter::repeat_n(sign, run.len()));
            }
        }
        // Back to the left for the next colour.
        sequence.push('$');
    }
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    /// Decodes sixels like a terminal: the colour of every pixel, in percent.
    fn decoded(sequence: &str, width: usize, height: usize) -> Vec<Option<[u32; 3]>> {
        let body = sequence.strip_prefix(&format!("\x1bP0;1;0q\"1;1;{width};{height}")).unwrap();
        let body = body.strip_suffix("\x1b\\").unwrap();
        let mut pixels = vec![None; width * height];
        let mut colours = std::collections::HashMap::new();
        let (mut x, mut y, mut current, mut times) = (0, 0, 0, 1);
        let mut rest = body;
        while let Some(first) = rest.chars().next() {
            rest = &rest[1..];
            let numbers = |rest: &mut &str| -> Vec<u32> {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len());
                let (head, tail) = rest.split_at(end);
                *rest = tail;
                head.split(';').map(|number| number.parse().unwrap()).collect()
            };
            match first {
                '#' => match numbers(&mut rest)[..] {
                    [at] => current = at,
                    [at, 2, red, green, blue] => drop(colours.insert(at, [red, green, blue])),
                    ref other => panic!("{other:?}"),
                },
                '!' => times = numbers(&mut rest)[0] as usize,
                '$' => x = 0,
                '-' => (x, y) = (0, y + 6),
                sign => {
                    let bits = sign as u32 - 63;
                    for _ in 0..std::mem::replace(&mut times, 1) {
                        for row in (0..6).filter(|row| bits >> row & 1 == 1) {
                            pixels[(y + row) * width + x] = Some(colours[&current]);
                        }
                        x += 1;
                    }
                }
            }
        }
        pixels
    }

    #[test]
    fn every_pixel_is_painted_in_its_colour() {
        let (width, height) = (20, 15);
        let picture = RgbaImage::from_fn(width, height, |x, y| {
            if x < 10 {
                Rgba([255, 0, 0, 255])
            } else if y < 7 {
                Rgba([0, 255, 0, 255])
            } else {
                Rgba([0, 0, 255, 255])
            }
        });
        let pixels = decoded(&sequence(&picture, false), width as usize, height as usize);
        for (at, shown) in pixels.into_iter().enumerate() {
            let pixel = picture.get_pixel(at as u32 % width, at as u32 / width);
            let shown = shown.unwrap_or_else(|| panic!("pixel {at} is not painted"));
            for (want, shown) in pixel.0.into_iter().zip(shown) {
                assert!((u32::from(want) * 100 / 255).abs_diff(shown) < 12, "{at}: {pixel:?} as {shown:?}");
            }
        }
    }

    #[test]
    fn transparent_pixels_get_the_background_colour() {
        let glass = RgbaImage::from_pixel(6, 6, Rgba([200, 100, 50, 0]));
        for (light, want) in [(false, 0), (true, 100)] {
            let shown = decoded(&sequence(&glass, light), 6, 6)[0].unwrap();
            assert!(shown.iter().all(|part| part.abs_diff(want) < 5), "{shown:?}");
        }
    }
}
