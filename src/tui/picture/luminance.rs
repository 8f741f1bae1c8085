//! Renders pictures by luminance, for screens without colours or with only ASCII: the brighter a cell, the denser its
//! glyph; on a light background, the darker.

use image::RgbaImage;
use ratatui::style::Color;

use super::{cell::ImageCell, palette, request::ImageCaps};
use crate::tui::colour::ColourDepth;

/// ASCII glyphs from empty to the densest.
const ASCII_RAMP: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
const SHADE_RAMP: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Renders a picture that has one pixel for each cell.
pub(super) fn image_cells(picture: &RgbaImage, caps: ImageCaps) -> Vec<ImageCell> {
    let glyphs: &[char] = if caps.ascii_only { &ASCII_RAMP } else { &SHADE_RAMP };
    let ink = ink_levels(picture, caps.light_background);
    let colours = match caps.colour_depth {
        ColourDepth::Mono => vec![None; ink.len()],
        depth => palette::dithered_colours(&at_full_brightness(picture), depth),
    };
    let levels = dither(&ink, picture.width() as usize, glyphs.len());
    let cell_of = |(level, colour): (usize, Option<Color>)| {
        let sign = glyphs[level];
        ImageCell { glyph: sign, fg: colour.filter(|_| sign != ' '), bg: None }
    };
    levels.into_iter().zip(colours).map(cell_of).collect()
}

/// How much of each cell its glyph should fill, 0 to 1; `None` if the cell is transparent. The values are stretched so
/// that the darkest 2 % of the picture are 0 and the brightest 2 % are 1; the other way round on a light background.
fn ink_levels(picture: &RgbaImage, light_background: bool) -> Vec<Option<f32>> {
    let luminance = |[red, green, blue, alpha]: [u8; 4]| {
        (alpha >= 128).then(|| 0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue))
    };
    let measured: Vec<Option<f32>> = picture.pixels().map(|pixel| luminance(pixel.0)).collect();
    let mut sorted: Vec<f32> = measured.iter().copied().flatten().collect();
    sorted.sort_by(f32::total_cmp);
    let (Some(&darkest), Some(&brightest)) = (sorted.get(sorted.len() / 50), sorted.get(sorted.len() * 49 / 50)) else {
        return measured;
    };
    // A picture of nearly uniform brightness is not stretched.
    let (from, range) = if brightest - darkest < 16.0 { (0.0, 255.0) } else { (darkest, brightest - darkest) };
    let stretch = |value: f32| {
        let bright = ((value - from) / range).clamp(0.0, 1.0);
        if light_background { 1.0 - bright } else { bright }
    };
    measured.into_iter().map(|value| value.map(stretch)).collect()
}

/// Rounds each value to one of `level_count` levels, and passes the rounding error on to the neighbours
/// (Floyd-Steinberg dithering).
fn dither(ink: &[Option<f32>], width: usize, level_count: usize) -> Vec<usize> {
    let max_level = (level_count - 1) as f32;
    let mut errors = vec![0.0_f32; ink.len() + width + 2];
    let mut levels = Vec::with_capacity(ink.len());
    for (at, ink) in ink.iter().enumerate() {
        let Some(ink) = ink else {
            levels.push(0);
            continue;
        };
        let wanted = (ink + errors[at]).clamp(0.0, 1.0);
        let level = (wanted * max_level).round();
        levels.push(level as usize);
        let error = wanted - level / max_level;
        let (first, last) = (at % width == 0, (at + 1) % width == 0);
        errors[at + width] += error * 5.0 / 16.0;
        if !last {
            errors[at + 1] += error * 7.0 / 16.0;
            errors[at + width + 1] += error / 16.0;
        }
        if !first {
            errors[at + width - 1] += error * 3.0 / 16.0;
        }
    }
    levels
}

/// The picture's colours at full brightness: the density of the glyphs already shows the brightness.
fn at_full_brightness(picture: &RgbaImage) -> RgbaImage {
    let mut brightened = picture.clone();
    for pixel in brightened.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        let most = u16::from(red.max(green).max(blue)).max(1);
        let [red, green, blue] = [red, green, blue].map(|value| (u16::from(value) * 255 / most) as u8);
        pixel.0 = [red, green, blue, alpha];
    }
    brightened
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    fn signs(canvas: ImageCaps) -> String {
        let ramp = RgbaImage::from_fn(10, 1, |x, _| Rgba([(x * 28) as u8, (x * 28) as u8, (x * 28) as u8, 255]));
        image_cells(&ramp, canvas).iter().map(|tile| tile.glyph).collect()
    }

    const MONO: ImageCaps = ImageCaps {
        colour_depth: ColourDepth::Mono,
        ascii_only: true,
        light_background: false,
        protocol: None,
        inside_tmux: false,
        cell_size: None,
    };

    #[test]
    fn brighter_pixels_get_denser_glyphs() {
        assert_eq!(signs(MONO), " .:-=+*#%@");
        let shades = signs(ImageCaps { ascii_only: false, ..MONO });
        assert!(shades.starts_with(' ') && shades.ends_with('█'), "{shades}");
    }

    #[test]
    fn on_a_light_background_darker_pixels_get_denser_glyphs() {
        assert_eq!(signs(ImageCaps { light_background: true, ..MONO }), "@%#*+=-:. ");
    }

    #[test]
    fn glyphs_are_coloured_unless_the_depth_is_mono() {
        let red = RgbaImage::from_pixel(2, 1, Rgba([200, 0, 0, 255]));
        assert!(image_cells(&red, MONO).iter().all(|tile| tile.fg.is_none() && tile.bg.is_none()));
        let coloured = image_cells(&red, ImageCaps { colour_depth: ColourDepth::True, ..MONO });
        assert_eq!(coloured[0].fg, Some(Color::Rgb(255, 0, 0)));
    }

    #[test]
    fn transparent_pixels_are_blank_on_any_background() {
        let glass = RgbaImage::from_pixel(2, 2, Rgba([255, 255, 255, 0]));
        for light_background in [false, true] {
            assert!(image_cells(&glass, ImageCaps { light_background, ..MONO }).iter().all(|tile| tile.glyph == ' '));
        }
    }
}
