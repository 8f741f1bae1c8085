//! The screen layout, a pure function of the terminal's size and of the panes that are open.
//!
//! ```text
//! header (4 rows)   header (3)        header (3)
//! Keys │ Cooldowns  Keys              Keys
//! Models            Models            [Models│Events│Items│Cooldowns]
//! Events │ Items    [Events│Items│    footer
//! footer              Cooldowns]
//!                   footer
//! from 100x30       from 60x20        from 60x15
//! ```
//!
//! From 160x45 the routes have their own row. Below 60x15 there are only status lines.

use ratatui::layout::{Rect, Size};

use super::pane::Pane;

const FOOTER_ROWS: u16 = 1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SizeClass {
    TooSmall,
    /// The keys; the other panes of the dashboard in tabs.
    Tiny,
    /// The keys and the models; the other panes of the dashboard in tabs.
    Small,
    /// Two columns.
    Medium,
    /// Like [`Self::Medium`], with the routes.
    Large,
}

impl SizeClass {
    pub const fn of(size: Size) -> Self {
        let (width, height) = (size.width, size.height);
        if width < 60 || height < 15 {
            Self::TooSmall
        } else if width >= 160 && height >= 45 {
            Self::Large
        } else if width >= 100 && height >= 30 {
            Self::Medium
        } else if height >= 20 {
            Self::Small
        } else {
            Self::Tiny
        }
    }

    /// The panes of the dashboard, tabs included, in the order in which Tab visits them.
    pub const fn dashboard_panes(self) -> &'static [Pane] {
        match self {
            Self::Large => &[Pane::Keys, Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items, Pane::Routes],
            _ => &[Pane::Keys, Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items],
        }
    }

    /// Rows of the header; the fourth shows what limits the run.
    pub const fn header_rows(self) -> u16 {
        match self {
            Self::Medium | Self::Large => 4,
            Self::TooSmall | Self::Tiny | Self::Small => 3,
        }
    }

    /// The panes that share the last area as tabs, most important first.
    pub const fn tabs(self) -> &'static [Pane] {
        match self {
            Self::Small => &[Pane::Events, Pane::Items, Pane::Cooldowns],
            Self::Tiny => &[Pane::Models, Pane::Events, Pane::Items, Pane::Cooldowns],
            Self::TooSmall | Self::Medium | Self::Large => &[],
        }
    }
}

/// The state that the layout depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayoutInput {
    /// The pane that covers the whole body.
    pub zoomed: Option<Pane>,
    /// The open tab, at sizes that have tabs.
    pub tab: Pane,
    pub key_count: usize,
    pub model_count: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScreenLayout {
    pub size_class: SizeClass,
    pub header: Rect,
    /// Everything between header and footer.
    pub body: Rect,
    pub footer: Rect,
    pub panes: Vec<(Pane, Rect)>,
}

impl ScreenLayout {
    pub fn area_of(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(placed, _)| *placed == pane).map(|(_, area)| *area)
    }

    /// Adds horizontal padding to the area inside a border, if the terminal is large enough.
    pub const fn with_padding(&self, inner: Rect) -> Rect {
        if !matches!(self.size_class, SizeClass::Medium | SizeClass::Large) || inner.width < 4 {
            return inner;
        }
        Rect { x: inner.x + 1, width: inner.width - 2, ..inner }
    }

    /// Width of a list in a pane with this area.
    pub fn list_columns(&self, area: Rect) -> u16 {
        self.with_padding(Rect { width: area.width.saturating_sub(2), ..area }).width
    }

    /// Rows of the list in `pane`: without the border and the heading.
    pub fn list_rows(&self, pane: Pane) -> usize {
        self.area_of(pane).map_or(0, |area| usize::from(area.height.saturating_sub(2 + pane.info().heading_rows)))
    }
}

pub fn compute_layout(area: Rect, input: LayoutInput) -> ScreenLayout {
    let size_class = SizeClass::of(area.as_size());
    if size_class == SizeClass::TooSmall {
        let no_rows = Rect { height: 0, ..area };
        return ScreenLayout { size_class, header: no_rows, body: area, footer: no_rows, panes: Vec::new() };
    }
    let header = Rect { height: size_class.header_rows(), ..area };
    let footer = Rect { y: area.bottom() - FOOTER_ROWS, height: FOOTER_ROWS, ..area };
    let body = Rect { y: header.bottom(), height: area.height - header.height - FOOTER_ROWS, ..area };
    let panes = match input.zoomed {
        Some(pane) => vec![(pane, body)],
        None => pane_areas(size_class, body, input),
    };
    ScreenLayout { size_class, header, body, footer, panes }
}

fn pane_areas(size_class: SizeClass, body: Rect, input: LayoutInput) -> Vec<(Pane, Rect)> {
    // Adds border and heading to the rows of a list.
    let framed_rows = |rows: usize| rows.clamp(1, 1_000) as u16 + 3;
    let (keys, models) = (framed_rows(input.key_count), framed_rows(input.model_count));
    let tab = if size_class.tabs().contains(&input.tab) {
        input.tab
    } else {
        *size_class.tabs().first().unwrap_or(&Pane::Events)
    };
    match size_class {
        SizeClass::TooSmall => Vec::new(),
        SizeClass::Tiny => {
            let [top, rest] =
                distribute_rows(body, [RowDemand { min_rows: 4, preferred_rows: keys }, RowDemand::remainder(6)]);
            vec![(Pane::Keys, top), (tab, rest)]
        }
        SizeClass::Small => {
            let demands = [
                RowDemand { min_rows: 4, preferred_rows: keys },
                RowDemand { min_rows: 4, preferred_rows: models },
                RowDemand::remainder(6),
            ];
            let [top, middle, rest] = distribute_rows(body, demands);
            vec![(Pane::Keys, top), (Pane::Models, middle), (tab, rest)]
        }
        SizeClass::Medium => {
            let demands = [
                RowDemand { min_rows: 5, preferred_rows: keys.max(6) },
                RowDemand { min_rows: 4, preferred_rows: models },
                RowDemand::remainder(8),
            ];
            let [top, middle, rest] = distribute_rows(body, demands);
            let ([keys, cooldowns], [events, items]) = (split_columns(top, 60), split_columns(rest, 65));
            vec![
                (Pane::Keys, keys),
                (Pane::Cooldowns, cooldowns),
                (Pane::Models, middle),
                (Pane::Events, events),
                (Pane::Items, items),
            ]
        }
        SizeClass::Large => {
            let demands = [
                RowDemand { min_rows: 5, preferred_rows: keys.max(8) },
                RowDemand { min_rows: 4, preferred_rows: models },
                RowDemand { min_rows: 4, preferred_rows: keys },
                RowDemand::remainder(12),
            ];
            let [top, middle, routes, rest] = distribute_rows(body, demands);
            let ([keys, cooldowns], [events, items]) = (split_columns(top, 55), split_columns(rest, 60));
            vec![
                (Pane::Keys, keys),
                (Pane::Cooldowns, cooldowns),
                (Pane::Models, middle),
                (Pane::Routes, routes),
                (Pane::Events, events),
                (Pane::Items, items),
            ]
        }
    }
}

/// The height that a row of panes needs and the height it would use, in terminal rows.
#[derive(Clone, Copy)]
struct RowDemand {
    min_rows: u16,
    preferred_rows: u16,
}

impl RowDemand {
    /// Takes all rows that are left, and at least `min_rows` if there are as many.
    const fn remainder(min_rows: u16) -> Self {
        Self { min_rows, preferred_rows: u16::MAX }
    }
}

/// Distributes the rows of `area`. First the last demand gets its minimum, then the others get theirs, as far as there
/// are rows. Then all but the last get one row more in turn until each has its preferred number. The last gets the rows
/// that are left.
fn distribute_rows<const N: usize>(area: Rect, demands: [RowDemand; N]) -> [Rect; N] {
    let mut remaining = area.height;
    let mut heights = [0_u16; N];
    for at in std::iter::once(N - 1).chain(0..N - 1) {
        heights[at] = demands[at].min_rows.min(remaining);
        remaining -= heights[at];
    }
    while remaining > 0 {
        let before = remaining;
        for at in 0..N - 1 {
            if remaining > 0 && heights[at] < demands[at].preferred_rows {
                heights[at] += 1;
                remaining -= 1;
            }
        }
        if remaining == before {
            heights[N - 1] += remaining;
            remaining = 0;
        }
    }
    let mut y = area.y;
    heights.map(|height| {
        let row = Rect { y, height, ..area };
        y += height;
        row
    })
}

fn split_columns(area: Rect, percent: u32) -> [Rect; 2] {
    let width = (u32::from(area.width) * percent / 100) as u16;
    [Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout_input(zoomed: Option<Pane>, tab: Pane, key_count: usize, model_count: usize) -> LayoutInput {
        LayoutInput { zoomed, tab, key_count, model_count }
    }

    #[test]
    fn every_terminal_size_has_its_size_class() {
        let cases = [
            (59, 40, SizeClass::TooSmall),
            (200, 14, SizeClass::TooSmall),
            (60, 15, SizeClass::Tiny),
            (80, 24, SizeClass::Small),
            (99, 60, SizeClass::Small),
            (120, 29, SizeClass::Small),
            (120, 36, SizeClass::Medium),
            (159, 60, SizeClass::Medium),
            (200, 50, SizeClass::Large),
        ];
        for (width, height, want) in cases {
            assert_eq!(SizeClass::of(Size { width, height }), want, "{width}x{height}");
        }
    }

    #[test]
    fn panes_tile_the_body_at_every_size() {
        for (width, height) in [(60, 15), (60, 20), (80, 24), (100, 30), (120, 36), (160, 45), (200, 50), (400, 120)] {
            for (keys, models) in [(0, 0), (1, 1), (5, 6), (300, 90)] {
                let area = Rect::new(0, 0, width, height);
                let layout = compute_layout(area, layout_input(None, Pane::Items, keys, models));
                let covered: u32 = layout.panes.iter().map(|(_, area)| area.area()).sum();
                assert_eq!(covered, layout.body.area(), "{width}x{height}, {keys} keys, {models} models");
                for (pane, pane_area) in &layout.panes {
                    assert!(pane_area.height >= 4, "{pane:?} has {} rows at {width}x{height}", pane_area.height);
                    assert_eq!(layout.body.intersection(*pane_area), *pane_area);
                }
            }
        }
    }

    #[test]
    fn a_zoomed_pane_has_the_body_to_itself() {
        let layout = compute_layout(Rect::new(0, 0, 120, 36), layout_input(Some(Pane::Log), Pane::Events, 5, 6));
        assert_eq!(layout.panes, [(Pane::Log, layout.body)]);
    }

    #[test]
    fn at_80x24_keys_and_models_are_always_shown_and_the_rest_is_in_tabs() {
        for tab in [Pane::Events, Pane::Items, Pane::Cooldowns] {
            let layout = compute_layout(Rect::new(0, 0, 80, 24), layout_input(None, tab, 5, 4));
            let panes: Vec<_> = layout.panes.iter().map(|(pane, _)| *pane).collect();
            assert_eq!(panes, [Pane::Keys, Pane::Models, tab]);
            assert!(layout.list_rows(Pane::Keys) >= 4);
        }
    }
}
