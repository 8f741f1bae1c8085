//! A chart: one column of cells for each step of time, with a scale and a time axis.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::bar::height_glyph;
use crate::tui::{glyphs::Glyphs, text::width};

/// Width of the scale: a label, a space and a vertical line.
pub const SCALE_COLUMNS: u16 = 10;
/// Maximum width of a label of the scale.
pub const SCALE_LABEL_COLUMNS: usize = SCALE_COLUMNS as usize - 2;

/// With fewer rows only the title is drawn.
const MIN_ROWS: u16 = 2;
/// With fewer rows there is no time axis.
const MIN_ROWS_WITH_AXIS: u16 = 4;

pub struct Chart<'a> {
    pub title: Line<'a>,
    /// One value for each step, the newest last; `None` if there is none.
    pub values: Vec<Option<f64>>,
    /// A second series whose values are never below the first. It is drawn behind the first in a lighter shade, so that
    /// only its part above the first is visible.
    pub upper_series: Option<(Vec<Option<f64>>, Style)>,
    pub style: Style,
    /// Formats a value of the scale in at most [`SCALE_LABEL_COLUMNS`] columns. The second argument is the top of the
    /// scale, which decides the unit of all labels.
    pub format_label: fn(f64, f64) -> String,
    /// The labels under the left and the right end of the time axis.
    pub time_labels: [String; 2],
}

impl Chart<'_> {
    pub fn render(&self, axis_style: Style, glyphs: &Glyphs, area: Rect, buf: &mut Buffer) {
        if area.is_empty() {
            return;
        }
        (&self.title).render(Rect { height: 1, ..area }, buf);
        if area.height < MIN_ROWS || area.width <= SCALE_COLUMNS {
            return;
        }
        // Two rows for the line of the time axis and its labels. With one row, the labels are on the line.
        let axis_rows =
            if area.height < MIN_ROWS_WITH_AXIS { 0 } else { 2 - u16::from(area.height < MIN_ROWS_WITH_AXIS + 2) };
        let plot = Rect {
            x: area.x + SCALE_COLUMNS,
            y: area.y + 1,
            width: area.width - SCALE_COLUMNS,
            height: area.height - 1 - axis_rows,
        };
        let upper_values = self.upper_series.iter().flat_map(|(values, _)| values);
        let max_value = self.values.iter().chain(upper_values).flatten().copied().fold(0.0, f64::max);
        let top = scale_end(max_value);
        self.render_scale(top, plot, axis_style, glyphs, buf);
        if axis_rows > 0 {
            self.render_time_axis(axis_rows, plot, axis_style, glyphs, buf);
        }
        if let Some((values, style)) = &self.upper_series {
            render_columns(values, top, plot, |_| glyphs.progress_empty, *style, buf);
        }
        render_columns(&self.values, top, plot, |part| height_glyph(part, glyphs), self.style, buf);
    }

    /// Draws the line of the scale and its labels: zero at the bottom, the maximum at the top, and half of it if there
    /// is room.
    fn render_scale(&self, top: f64, plot: Rect, axis_style: Style, glyphs: &Glyphs, buf: &mut Buffer) {
        let last = plot.height - 1;
        let mut marks = vec![(last, 0.0)];
        if top > 0.0 {
            marks.push((0, top));
        }
        // The row where a column that is half as high as the chart ends.
        if top > 0.0 && last >= 4 {
            marks.push((plot.height / 2, top / 2.0));
        }
        for (row, value) in marks {
            let label = (self.format_label)(value, top);
            // A label that is cut would show a wrong value.
            let Some(blank) = SCALE_LABEL_COLUMNS.checked_sub(width(&label)) else { continue };
            let line = Line::styled(format!("{}{label}", " ".repeat(blank)), axis_style);
            line.render(Rect { x: plot.x - SCALE_COLUMNS, y: plot.y + row, width: SCALE_COLUMNS - 2, height: 1 }, buf);
        }
        for y in plot.top()..plot.bottom() {
            put_symbol(plot.x - 1, y, glyphs.border.vertical_left, axis_style, buf);
        }
    }

    fn render_time_axis(&self, axis_rows: u16, plot: Rect, axis_style: Style, glyphs: &Glyphs, buf: &mut Buffer) {
        let y = plot.bottom();
        put_symbol(plot.x - 1, y, glyphs.border.bottom_left, axis_style, buf);
        for x in plot.left()..plot.right() {
            put_symbol(x, y, glyphs.border.horizontal_bottom, axis_style, buf);
        }
        let [left, right] = &self.time_labels;
        let row = Rect { y: y + axis_rows - 1, height: 1, ..plot };
        let left_at = plot.right() - (self.values.len() as u16).min(plot.width);
        let Some(right_at) = plot.right().checked_sub(width(right) as u16).filter(|at| *at >= plot.x) else { return };
        Line::from(Span::styled(right.as_str(), axis_style))
            .render(Rect { x: right_at, width: plot.right() - right_at, ..row }, buf);
        // Starts under the first column, or further left to leave a space before the other label.
        let left_at = left_at.min(right_at.saturating_sub(width(left) as u16 + 1)).max(plot.x);
        if left_at + width(left) as u16 <= right_at {
            Line::from(Span::styled(left.as_str(), axis_style))
                .render(Rect { x: left_at, width: right_at - left_at, ..row }, buf);
        }
    }
}

fn put_symbol(x: u16, y: u16, symbol: &str, style: Style, buf: &mut Buffer) {
    if let Some(cell) = buf.cell_mut((x, y)) {
        cell.set_symbol(symbol).set_style(style);
    }
}

/// Draws the columns, the newest at the right. `glyph` returns the glyph for a cell of which this part is filled; 1 or
/// more for a full cell.
fn render_columns(
    values: &[Option<f64>],
    top: f64,
    plot: Rect,
    glyph: impl Fn(f64) -> &'static str,
    style: Style,
    buf: &mut Buffer,
) {
    if top <= 0.0 {
        return;
    }
    let newest_first = values.iter().rev().take(usize::from(plot.width));
    for (x, value) in (plot.left()..plot.right()).rev().zip(newest_first) {
        let Some(value) = value else { continue };
        let filled_rows = value / top * f64::from(plot.height);
        for row in 0..plot.height {
            let filled_part = filled_rows - f64::from(row);
            if filled_part <= 0.0 {
                break;
            }
            put_symbol(x, plot.bottom() - 1 - row, glyph(filled_part), style, buf);
        }
    }
}

/// The top of a scale for values up to `max_value`: a round number, so that it changes rarely. Zero if there is no
/// positive value.
fn scale_end(max_value: f64) -> f64 {
    if max_value <= 0.0 || !max_value.is_finite() {
        return 0.0;
    }
    let unit = 10_f64.powf(max_value.log10().floor());
    let ends = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    // A small tolerance: in floating point, 3 times 0.1 is not exactly 0.3.
    ends.into_iter().map(|end| end * unit).find(|end| *end * (1.0 + 1e-9) >= max_value).unwrap_or(10.0 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: &[f64], above: Option<&[f64]>, area: Rect) -> Vec<String> {
        let mut buf = Buffer::empty(area);
        let all = |values: &[f64]| values.iter().map(|value| Some(*value)).collect::<Vec<_>>();
        let chart = Chart {
            title: Line::raw("items"),
            values: all(values),
            upper_series: above.map(|values| (all(values), Style::new())),
            style: Style::new(),
            format_label: |value, _| format!("{value}"),
            time_labels: ["09:00".to_owned(), "now".to_owned()],
        };
        chart.render(Style::new(), Glyphs::new(false), area, &mut buf);
        let cells = buf.content().chunks(usize::from(area.width).max(1));
        cells.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>()).collect()
    }

    #[test]
    fn a_chart_has_a_scale_on_the_left_and_a_time_axis_below() {
        let rows = drawn(&[0.0, 2.0, 4.0], None, Rect::new(0, 0, 22, 8));
        let want = [
            "items                 ",
            "       4 │           █",
            "         │           █",
            "       2 │          ▄█",
            "         │          ██",
            "       0 │          ██",
            "         ╰────────────",
            "             09:00 now",
        ];
        assert_eq!(rows, want);
    }

    #[test]
    fn the_upper_series_is_drawn_lighter_above_the_first() {
        let rows = drawn(&[1.0, 2.0], Some(&[4.0, 2.0]), Rect::new(0, 0, 14, 6));
        assert_eq!(rows[1..4], ["       4 │  ░ ", "         │  ░▄", "       0 │  ▆█"]);
    }

    #[test]
    fn a_chart_can_be_drawn_at_every_size() {
        for (width, height) in (0..30).flat_map(|width| (0..9).map(move |height| (width, height))) {
            drawn(&[1.0; 40], Some(&[2.0; 40]), Rect::new(0, 0, width, height));
            drawn(&[], None, Rect::new(0, 0, width, height));
        }
    }

    #[test]
    fn scales_end_at_round_figures() {
        let cases = [(0.0, 0.0), (0.3, 0.3), (0.84, 1.0), (1.0, 1.0), (1.2, 1.5), (31.0, 40.0), (421.0, 500.0)];
        for (most, end) in cases {
            assert!((scale_end(most) - end).abs() < 1e-9, "{most}: {}", scale_end(most));
        }
        assert!(scale_end(f64::NAN).abs() < 1e-9);
    }
}
