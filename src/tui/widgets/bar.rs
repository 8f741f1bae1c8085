//! Bars that show a fraction. The last filled cell is filled partly if there are glyphs for it.

use ratatui::{style::Style, text::Span};

use crate::tui::glyphs::Glyphs;

/// A bar of `columns` cells that shows `fraction` (0 to 1). It is empty only for 0 and full only for 1.
pub fn thin_bar(fraction: f64, columns: usize, glyphs: &Glyphs, fill: Style, track: Style) -> [Span<'static>; 2] {
    let (full, rest) = bar_cells(fraction, columns, [glyphs.bar_full, glyphs.bar_empty], glyphs.bar_partials);
    [Span::styled(full, fill), Span::styled(rest, track)]
}

/// Like [`thin_bar`], but bolder; for the progress of the run.
pub fn progress_bar(fraction: f64, columns: usize, glyphs: &Glyphs, fill: Style, track: Style) -> [Span<'static>; 2] {
    let whole_cell_glyphs = [glyphs.progress_full, glyphs.progress_empty];
    let (full, rest) = bar_cells(fraction, columns, whole_cell_glyphs, glyphs.progress_partials);
    [Span::styled(full, fill), Span::styled(rest, track)]
}

/// The filled and the empty part of a bar of `columns` cells.
fn bar_cells(
    fraction: f64,
    columns: usize,
    [full_glyph, empty_glyph]: [&str; 2],
    partial_glyphs: &[&str],
) -> (String, String) {
    let steps = partial_glyphs.len() + 1;
    let total_steps = columns * steps;
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    let mut filled_steps = (fraction * total_steps as f64).round() as usize;
    if fraction > 0.0 {
        filled_steps = filled_steps.max(1);
    }
    if fraction < 1.0 {
        filled_steps = filled_steps.min(total_steps.saturating_sub(1));
    }
    let mut filled_cells = full_glyph.repeat(filled_steps / steps);
    let mut used_cells = filled_steps / steps;
    if !filled_steps.is_multiple_of(steps) {
        filled_cells.push_str(partial_glyphs[filled_steps % steps - 1]);
        used_cells += 1;
    }
    (filled_cells, empty_glyph.repeat(columns - used_cells.min(columns)))
}

/// The glyph for a height of `fraction` (0 to 1) in one cell; a blank for zero.
pub fn height_glyph(fraction: f64, glyphs: &Glyphs) -> &'static str {
    let steps = glyphs.column_heights.len();
    if !fraction.is_finite() || fraction <= 0.0 {
        return " ";
    }
    let step = (fraction.min(1.0) * steps as f64).ceil() as usize;
    glyphs.column_heights[step.clamp(1, steps) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn([full, rest]: [Span<'static>; 2]) -> String {
        format!("{}{}", full.content, rest.content)
    }

    #[test]
    fn only_zero_draws_an_empty_bar_and_only_one_a_full_bar() {
        let cases = [
            (0.0, "────", "░░░░"),
            (0.001, "╸───", "▏░░░"),
            (0.5, "━━──", "██░░"),
            (0.53, "━━──", "██▏░"),
            (0.999, "━━━╸", "███▉"),
            (1.0, "━━━━", "████"),
            (7.0, "━━━━", "████"),
            (f64::NAN, "────", "░░░░"),
        ];
        let (glyphs, plain) = (Glyphs::new(false), Style::new());
        for (fraction, light, heavy) in cases {
            assert_eq!(drawn(thin_bar(fraction, 4, glyphs, plain, plain)), light, "{fraction}");
            assert_eq!(drawn(progress_bar(fraction, 4, glyphs, plain, plain)), heavy, "{fraction}");
        }
    }

    #[test]
    fn ascii_bars_have_whole_cells() {
        let ascii = |fraction| drawn(thin_bar(fraction, 4, Glyphs::new(true), Style::new(), Style::new()));
        assert_eq!(
            [ascii(0.0), ascii(0.01), ascii(0.5), ascii(0.99), ascii(1.0)],
            ["....", "#...", "##..", "###.", "####"]
        );
    }

    #[test]
    fn a_bar_of_no_columns_is_empty() {
        assert_eq!(drawn(thin_bar(0.5, 0, Glyphs::new(false), Style::new(), Style::new())), "");
    }
}
