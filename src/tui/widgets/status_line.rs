//! One line of segments, some at the left and some at the right. If they don't all fit, whole segments are dropped in
//! their drop order.

use ratatui::{buffer::Buffer, layout::Rect, text::Line, text::Span, widgets::Widget as _};

/// A piece of a line. It is shown completely or dropped, except that a segment that is never dropped is cut at the end
/// of the line.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    line: Line<'a>,
    /// 0 is never dropped. Of the others, the one with the highest number is dropped first.
    drop_order: u8,
    /// True if the segment stands at the right end of the line, false if at the left.
    is_right_aligned: bool,
}

impl<'a> Segment<'a> {
    pub fn left(drop_order: u8, spans: impl IntoIterator<Item = Span<'a>>) -> Self {
        Self { line: spans.into_iter().collect(), drop_order, is_right_aligned: false }
    }

    pub fn right(drop_order: u8, spans: impl IntoIterator<Item = Span<'a>>) -> Self {
        Self { line: spans.into_iter().collect(), drop_order, is_right_aligned: true }
    }

    fn width(&self) -> usize {
        self.line.width()
    }
}

/// Drops segments until the rest fits into `columns` with `gap` columns between them. With equal drop order, the last
/// one is dropped first. Segments with drop order 0 stay even if they don't fit.
pub fn fit_segments(mut segments: Vec<Segment<'_>>, columns: usize, gap: usize) -> Vec<Segment<'_>> {
    segments.retain(|segment| segment.width() > 0);
    while total_width(&segments, gap) > columns {
        let least_important = segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.drop_order > 0)
            .max_by_key(|(index, segment)| (segment.drop_order, *index));
        let Some((index, _)) = least_important else { break };
        segments.remove(index);
    }
    segments
}

/// The width of all segments with `gap` columns between them.
pub fn total_width(segments: &[Segment<'_>], gap: usize) -> usize {
    segments.iter().map(Segment::width).sum::<usize>() + gap * segments.len().saturating_sub(1)
}

/// Draws the segments that fit into the first row of `area`.
pub fn render(segments: Vec<Segment<'_>>, gap: u16, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let segments = fit_segments(segments, usize::from(area.width), usize::from(gap));
    let mut x = area.x;
    for segment in segments.iter().filter(|segment| !segment.is_right_aligned) {
        x = render_segment(segment, x, area, buf).saturating_add(gap);
    }
    let right_segments: Vec<_> = segments.iter().filter(|segment| segment.is_right_aligned).collect();
    let right_width = right_segments.iter().map(|segment| segment.width() as u16).sum::<u16>()
        + gap * right_segments.len().saturating_sub(1) as u16;
    let mut x = area.right().saturating_sub(right_width).max(x);
    for segment in right_segments {
        x = render_segment(segment, x, area, buf).saturating_add(gap);
    }
}

/// Draws a segment at column `x`, cut at the right end of `area`. Returns the column after it.
fn render_segment(segment: &Segment<'_>, x: u16, area: Rect, buf: &mut Buffer) -> u16 {
    if x >= area.right() {
        return x;
    }
    let width = (segment.width() as u16).min(area.right() - x);
    (&segment.line).render(Rect { x, y: area.y, width, height: 1 }, buf);
    x + width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(columns: u16) -> String {
        let area = Rect::new(0, 0, columns, 1);
        let mut buf = Buffer::empty(area);
        let segments = vec![
            Segment::left(0, ["run".into()]),
            Segment::left(2, ["strategy".into()]),
            Segment::left(1, ["state".into()]),
            Segment::right(0, ["clock".into()]),
        ];
        render(segments, 2, area, &mut buf);
        buf.content().iter().map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn segments_are_dropped_by_drop_order_and_the_last_one_is_cut() {
        assert_eq!(drawn(30), "run  strategy  state     clock");
        assert_eq!(drawn(20), "run  state     clock");
        assert_eq!(drawn(12), "run    clock");
        assert_eq!(drawn(6), "run  c");
    }
}
