//! Where everything goes, as a pure function of the terminal's size and of what the operator looks at.
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
//! From 160x45 up the routes get a row of their own. Below 60x15 there is one status line.

use ratatui::layout::{Rect, Size};

use super::pane::Pane;

const FOOTER_ROWS: u16 = 1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shape {
    TooSmall,
    /// Keys, and everything else as tabs.
    Tiny,
    /// Keys, models, and the rest as tabs.
    Small,
    /// Two columns.
    Medium,
    /// With the routes on the first screen.
    Large,
}

impl Shape {
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

    /// The panes of the first screen, tabs included, in the order Tab walks them.
    pub const fn dashboard(self) -> &'static [Pane] {
        match self {
            Self::Large => &[Pane::Keys, Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items, Pane::Routes],
            _ => &[Pane::Keys, Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items],
        }
    }

    /// Rows above the panes; the fourth says why it isn't faster.
    pub const fn header_rows(self) -> u16 {
        match self {
            Self::Medium | Self::Large => 4,
            Self::TooSmall | Self::Tiny | Self::Small => 3,
        }
    }

    /// The panes that share the last place, most important first.
    pub const fn tabs(self) -> &'static [Pane] {
        match self {
            Self::Small => &[Pane::Events, Pane::Items, Pane::Cooldowns],
            Self::Tiny => &[Pane::Models, Pane::Events, Pane::Items, Pane::Cooldowns],
            Self::TooSmall | Self::Medium | Self::Large => &[],
        }
    }
}

/// What the operator looks at, and how much there is of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// One pane over the whole body.
    pub zoomed: Option<Pane>,
    /// Which of the tabs is open, where there are tabs.
    pub tab: Pane,
    pub keys: usize,
    pub models: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrangement {
    pub shape: Shape,
    pub header: Rect,
    /// All between header and footer.
    pub body: Rect,
    pub footer: Rect,
    pub panes: Vec<(Pane, Rect)>,
}

impl Arrangement {
    pub fn place(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(placed, _)| *placed == pane).map(|(_, area)| *area)
    }

    /// Where there is room, text doesn't touch the border.
    pub const fn padded(&self, inner: Rect) -> Rect {
        if !matches!(self.shape, Shape::Medium | Shape::Large) || inner.width < 4 {
            return inner;
        }
        Rect { x: inner.x + 1, width: inner.width - 2, ..inner }
    }

    /// Columns that a list has in a pane at `place`.
    pub fn list_columns(&self, place: Rect) -> u16 {
        self.padded(Rect { width: place.width.saturating_sub(2), ..place }).width
    }

    /// Rows of `pane` that its list has, inside the border and under its heading.
    pub fn list_rows(&self, pane: Pane) -> usize {
        self.place(pane).map_or(0, |area| usize::from(area.height.saturating_sub(2 + pane.heading_rows())))
    }
}

pub fn arrange(area: Rect, view: View) -> Arrangement {
    let shape = Shape::of(area.as_size());
    if shape == Shape::TooSmall {
        let none = Rect { height: 0, ..area };
        return Arrangement { shape, header: none, body: area, footer: none, panes: Vec::new() };
    }
    let header = Rect { height: shape.header_rows(), ..area };
    let footer = Rect { y: area.bottom() - FOOTER_ROWS, height: FOOTER_ROWS, ..area };
    let body = Rect { y: header.bottom(), height: area.height - header.height - FOOTER_ROWS, ..area };
    let panes = match view.zoomed {
        Some(pane) => vec![(pane, body)],
        None => dashboard(shape, body, view),
    };
    Arrangement { shape, header, body, footer, panes }
}

fn dashboard(shape: Shape, body: Rect, view: View) -> Vec<(Pane, Rect)> {
    // Border and heading around a list of this many rows.
    let framed = |rows: usize| rows.clamp(1, 1_000) as u16 + 3;
    let (keys, models) = (framed(view.keys), framed(view.models));
    let tab = if shape.tabs().contains(&view.tab) { view.tab } else { *shape.tabs().first().unwrap_or(&Pane::Events) };
    match shape {
        Shape::TooSmall => Vec::new(),
        Shape::Tiny => {
            let [top, rest] = rows(body, [Want { least: 4, want: keys }, Want::rest(6)]);
            vec![(Pane::Keys, top), (tab, rest)]
        }
        Shape::Small => {
            let wants = [Want { least: 4, want: keys }, Want { least: 4, want: models }, Want::rest(6)];
            let [top, middle, rest] = rows(body, wants);
            vec![(Pane::Keys, top), (Pane::Models, middle), (tab, rest)]
        }
        Shape::Medium => {
            let wants = [Want { least: 5, want: keys.max(6) }, Want { least: 4, want: models }, Want::rest(8)];
            let [top, middle, rest] = rows(body, wants);
            let ([keys, cooldowns], [events, items]) = (columns(top, 60), columns(rest, 65));
            vec![
                (Pane::Keys, keys),
                (Pane::Cooldowns, cooldowns),
                (Pane::Models, middle),
                (Pane::Events, events),
                (Pane::Items, items),
            ]
        }
        Shape::Large => {
            let wants = [
                Want { least: 5, want: keys.max(8) },
                Want { least: 4, want: models },
                Want { least: 4, want: keys },
                Want::rest(12),
            ];
            let [top, middle, routes, rest] = rows(body, wants);
            let ([keys, cooldowns], [events, items]) = (columns(top, 55), columns(rest, 60));
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

/// How many rows a row of panes would like.
#[derive(Clone, Copy)]
struct Want {
    least: u16,
    want: u16,
}

impl Want {
    const fn rest(least: u16) -> Self {
        Self { least, want: u16::MAX }
    }
}

/// Rows dealt out: everybody's least first, the last one's least before that; then one each in turn up to
/// what is wanted. The last one takes what is left.
fn rows<const N: usize>(area: Rect, wants: [Want; N]) -> [Rect; N] {
    let mut left = area.height;
    let mut heights = [0_u16; N];
    for at in std::iter::once(N - 1).chain(0..N - 1) {
        heights[at] = wants[at].least.min(left);
        left -= heights[at];
    }
    while left > 0 {
        let before = left;
        for at in 0..N - 1 {
            if left > 0 && heights[at] < wants[at].want {
                heights[at] += 1;
                left -= 1;
            }
        }
        if left == before {
            heights[N - 1] += left;
            left = 0;
        }
    }
    let mut y = area.y;
    heights.map(|height| {
        let row = Rect { y, height, ..area };
        y += height;
        row
    })
}

fn columns(area: Rect, percent: u32) -> [Rect; 2] {
    let width = (u32::from(area.width) * percent / 100) as u16;
    [Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(zoomed: Option<Pane>, tab: Pane, keys: usize, models: usize) -> View {
        View { zoomed, tab, keys, models }
    }

    #[test]
    fn sizes_have_their_shape() {
        let cases = [
            (59, 40, Shape::TooSmall),
            (200, 14, Shape::TooSmall),
            (60, 15, Shape::Tiny),
            (80, 24, Shape::Small),
            (99, 60, Shape::Small),
            (120, 29, Shape::Small),
            (120, 36, Shape::Medium),
            (159, 60, Shape::Medium),
            (200, 50, Shape::Large),
        ];
        for (width, height, want) in cases {
            assert_eq!(Shape::of(Size { width, height }), want, "{width}x{height}");
        }
    }

    #[test]
    fn panes_tile_the_body_at_every_size() {
        for (width, height) in [(60, 15), (60, 20), (80, 24), (100, 30), (120, 36), (160, 45), (200, 50), (400, 120)] {
            for (keys, models) in [(0, 0), (1, 1), (5, 6), (300, 90)] {
                let area = Rect::new(0, 0, width, height);
                let arrangement = arrange(area, view(None, Pane::Items, keys, models));
                let covered: u32 = arrangement.panes.iter().map(|(_, area)| area.area()).sum();
                assert_eq!(covered, arrangement.body.area(), "{width}x{height}, {keys} keys, {models} models");
                for (pane, place) in &arrangement.panes {
                    assert!(place.height >= 4, "{pane:?} has {} rows at {width}x{height}", place.height);
                    assert_eq!(arrangement.body.intersection(*place), *place);
                }
            }
        }
    }

    #[test]
    fn a_zoomed_pane_has_the_body_to_itself() {
        let arrangement = arrange(Rect::new(0, 0, 120, 36), view(Some(Pane::Log), Pane::Events, 5, 6));
        assert_eq!(arrangement.panes, [(Pane::Log, arrangement.body)]);
    }

    #[test]
    fn at_80x24_keys_and_models_stay_and_the_rest_takes_turns() {
        for tab in [Pane::Events, Pane::Items, Pane::Cooldowns] {
            let arrangement = arrange(Rect::new(0, 0, 80, 24), view(None, tab, 5, 4));
            let panes: Vec<_> = arrangement.panes.iter().map(|(pane, _)| *pane).collect();
            assert_eq!(panes, [Pane::Keys, Pane::Models, tab]);
            assert!(arrangement.list_rows(Pane::Keys) >= 4);
        }
    }
}
