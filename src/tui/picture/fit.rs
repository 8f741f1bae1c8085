//! Computes how many cells a picture takes.

use ratatui::layout::Size;

use super::request::CellPixels;

/// The largest size within `max_cells` that keeps the picture's proportions. A pixel is at most one column wide, so
/// that an icon stays small.
pub fn fit_to_cells((width, height): (u32, u32), max_cells: Size, cell_size: Option<CellPixels>) -> Size {
    let cell = cell_size.filter(|cell| cell.width > 0 && cell.height > 0);
    let cell_ratio = cell.map_or(0.5, |cell| f64::from(cell.width) / f64::from(cell.height));
    let (columns, rows) = (f64::from(width.max(1)), f64::from(height.max(1)) * cell_ratio);
    let scale = (f64::from(max_cells.width) / columns).min(f64::from(max_cells.height) / rows).min(1.0);
    let cells = |length: f64, most: u16| ((length * scale).round() as u16).clamp(1, most.max(1));
    Size { width: cells(columns, max_cells.width), height: cells(rows, max_cells.height) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape() {
        let square = Some(CellPixels { width: 10, height: 10 });
        let unknown = Some(CellPixels { width: 0, height: 0 });
        let cases = [
            ("landscape", (4_000, 2_000), (46, 30), None, (46, 12)),
            ("portrait", (2_000, 4_000), (46, 30), None, (30, 30)),
            ("square cells", (4_000, 2_000), (46, 30), square, (46, 23)),
            ("cells of an unknown size", (4_000, 2_000), (46, 30), unknown, (46, 12)),
            ("panorama", (10_000, 100), (46, 30), None, (46, 1)),
            ("tower", (10, 10_000), (46, 30), None, (1, 30)),
            ("icon", (16, 16), (46, 30), None, (16, 8)),
            ("one pixel", (1, 1), (46, 30), None, (1, 1)),
            ("no room", (100, 100), (0, 0), None, (1, 1)),
        ];
        for (what, picture, room, cell, want) in cases {
            assert_eq!(fit_to_cells(picture, Size::new(room.0, room.1), cell), Size::new(want.0, want.1), "{what}");
        }
    }
}
