//! Converts a picture's colours to those of the terminal.

use image::RgbaImage;
use ratatui::style::Color;

use crate::tui::colour::{ANSI_16, ColourDepth, nearest_ansi256, rgb_of};

/// Minimum alpha of an opaque pixel. Below it, the terminal's own background is shown.
const MIN_OPAQUE_ALPHA: u8 = 128;

/// The colour of each pixel, row by row; `None` if it is transparent. If the terminal has fewer colours than the
/// picture, Floyd-Steinberg dithering passes each pixel's error to its neighbours, so that areas keep their colour.
pub(super) fn dithered_colours(picture: &RgbaImage, depth: ColourDepth) -> Vec<Option<Color>> {
    let width = picture.width() as usize;
    // The errors for this row and the next, with one extra column on either side.
    let mut errors = vec![[0.0_f32; 3]; 2 * (width + 2)];
    let mut colours = Vec::with_capacity(picture.len() / 4);
    for row in picture.rows() {
        errors.copy_within(width + 2.., 0);
        errors[width + 2..].fill([0.0; 3]);
        for (x, pixel) in row.enumerate() {
            let [red, green, blue, alpha] = pixel.0;
            if alpha < MIN_OPAQUE_ALPHA {
                colours.push(None);
                continue;
            }
            let at = x + 1;
            let target = [red, green, blue];
            let wanted: [f32; 3] = std::array::from_fn(|i| (f32::from(target[i]) + errors[at][i]).clamp(0.0, 255.0));
            let rounded = wanted.map(|value| value.round() as u8);
            let (colour, shown) = nearest(rounded, depth);
            colours.push(Some(colour));
            for (neighbour, share) in
                [(at + 1, 7.0), (at + width + 1, 3.0), (at + width + 2, 5.0), (at + width + 3, 1.0)]
            {
                for i in 0..3 {
                    errors[neighbour][i] += (wanted[i] - f32::from(shown[i])) * share / 16.0;
                }
            }
        }
    }
    colours
}

/// The nearest colour of the terminal, and its RGB value.
fn nearest(rgb: [u8; 3], depth: ColourDepth) -> (Color, [u8; 3]) {
    let [red, green, blue] = rgb;
    match depth {
        ColourDepth::Mono => (Color::Reset, rgb),
        ColourDepth::Ansi16 => {
            ANSI_16.into_iter().min_by_key(|(_, shown)| perceptual_distance(*shown, rgb)).unwrap_or(ANSI_16[0])
        }
        ColourDepth::Ansi256 => {
            let colour = nearest_ansi256(Color::Rgb(red, green, blue));
            (colour, rgb_of(colour).unwrap_or(rgb))
        }
        ColourDepth::True => (Color::Rgb(red, green, blue), rgb),
    }
}

fn perceptual_distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    // Human eyes distinguish greens best and blues worst.
    [3, 4, 2].into_iter().enumerate().map(|(i, weight)| weight * u32::from(a[i].abs_diff(b[i])).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    fn of(rgb: [u8; 3], depth: ColourDepth) -> Color {
        let picture = RgbaImage::from_pixel(1, 1, Rgba([rgb[0], rgb[1], rgb[2], 255]));
        dithered_colours(&picture, depth)[0].unwrap()
    }

    #[test]
    fn colours_are_reduced_to_the_depth_of_the_terminal() {
        assert_eq!(of([250, 2, 3], ColourDepth::True), Color::Rgb(250, 2, 3));
        assert_eq!(of([255, 0, 0], ColourDepth::Ansi256), Color::Indexed(196));
        assert_eq!(of([128, 128, 128], ColourDepth::Ansi256), Color::Indexed(244));
        assert_eq!(of([250, 2, 3], ColourDepth::Ansi16), Color::LightRed);
        assert_eq!(of([10, 10, 10], ColourDepth::Ansi16), Color::Black);
    }

    #[test]
    fn an_area_between_two_colours_is_dithered_with_both() {
        let grey = RgbaImage::from_pixel(16, 16, Rgba([64, 64, 64, 255]));
        let shown = dithered_colours(&grey, ColourDepth::Ansi16);
        let black = shown.iter().filter(|colour| **colour == Some(Color::Black)).count();
        let dark = shown.iter().filter(|colour| **colour == Some(Color::DarkGray)).count();
        assert_eq!(black + dark, 256);
        assert!((108..=148).contains(&black), "{black} of 256 are black");
    }

    #[test]
    fn transparent_pixels_have_no_colour() {
        let glass = RgbaImage::from_pixel(1, 1, Rgba([255, 255, 255, 30]));
        assert_eq!(dithered_colours(&glass, ColourDepth::True), [None]);
    }
}
