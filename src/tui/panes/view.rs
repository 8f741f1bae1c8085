//! How a pane is drawn: each pane's file says it in its `VIEW`.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::render_ctx::RenderCtx;

pub struct PaneView {
    /// Draws the pane inside its border.
    pub draw: fn(RenderCtx<'_>, Rect, &mut Buffer),
    /// The text after the title, such as a count.
    pub title_suffix: fn(RenderCtx<'_>) -> Option<String>,
    pub columns: PaneColumns,
}

/// The treatment of columns that don't fit into a pane. The functions take the width of the list.
#[derive(Clone, Copy)]
pub enum PaneColumns {
    /// Nothing that the pane would note on its border.
    Fixed,
    /// They are dropped: returns their titles.
    Dropped(fn(RenderCtx<'_>, u16) -> Vec<&'static str>),
    /// The operator scrolls to them: returns how.
    Scrolled(fn(RenderCtx<'_>, u16) -> Option<String>),
}

impl PaneView {
    /// A pane without a text after its title and without notes about its columns.
    pub const fn drawn_by(draw: fn(RenderCtx<'_>, Rect, &mut Buffer)) -> Self {
        Self { draw, title_suffix: |_| None, columns: PaneColumns::Fixed }
    }
}
