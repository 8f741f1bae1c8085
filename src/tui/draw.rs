//! One frame: `draw(frame, &state, &snapshot)`. Reads, never changes; the same input gives the same picture.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Clear, Widget as _},
};

use super::{
    action::Action,
    figures::percent,
    layout::{Arrangement, Shape, arrange},
    overlays,
    pane::Pane,
    panes::{self, footer, header},
    scene::Scene,
    state::{Overlay, State},
    theme::Role,
    widgets::{
        frame::framed,
        ribbon::{self, Segment},
    },
};
use crate::domain::Snapshot;

pub fn draw(frame: &mut Frame<'_>, state: &State, snapshot: &Snapshot) {
    let area = frame.area();
    let scene = Scene { state, snapshot };
    let buf = frame.buffer_mut();
    buf.set_style(area, scene.style(Role::Text));
    let arrangement = arrange(area, state.view(snapshot));
    if arrangement.shape == Shape::TooSmall {
        return status_lines(scene, area, buf);
    }
    header::render(scene, arrangement.header, buf);
    if state.detail.is_some() {
        panes::detail::render(scene, arrangement.body, buf);
    } else {
        for (pane, place) in &arrangement.panes {
            framed_pane(scene, *pane, &arrangement, *place, buf);
        }
    }
    footer::render(scene, arrangement.footer, buf);
    overlays::render(scene, &arrangement, buf);
}

fn framed_pane(scene: Scene<'_>, pane: Pane, arrangement: &Arrangement, place: Rect, buf: &mut Buffer) {
    let state = scene.state;
    if pane == Pane::Log {
        // tui-logger's widget has borders of its own.
        return panes::render(scene, pane, place, buf);
    }
    let border = if state.focus == pane { Role::Focus } else { Role::Border };
    let tabs = arrangement.shape.tabs();
    let title = if state.whole_body().is_none() && tabs.contains(&pane) {
        let titles = tabs.iter().map(|tab| title(scene, *tab, true, *tab == pane));
        let mut line = Line::default();
        for (at, tab) in titles.enumerate() {
            if at > 0 {
                line.push_span(scene.span(scene.glyphs().border.vertical_left, Role::Border));
            }
            line.extend(tab);
        }
        line
    } else {
        Line::from(title(scene, pane, false, true))
    };
    let corner = panes::corner(scene, pane, arrangement).map(|text| Line::styled(text, scene.style(Role::Muted)));
    let inner = framed(title, corner, scene.style(border), scene.glyphs().border, place, buf);
    panes::render(scene, pane, arrangement.padded(inner), buf);
}

/// ` 1 Keys `, with a count where one tells something.
fn title(scene: Scene<'_>, pane: Pane, tab: bool, open: bool) -> Vec<Span<'static>> {
    let focused = open && scene.state.focus == pane;
    let role = match (open, focused) {
        (_, true) => Role::Focus,
        (true, false) => Role::Title,
        (false, false) => Role::Muted,
    };
    let tail = panes::title_tail(scene, pane).filter(|_| open).map_or_else(String::new, |tail| format!(": {tail}"));
    let name = if tab { pane.short_title() } else { pane.title() };
    let key = scene.state.keymap.key_for(Action::Focus(pane));
    vec![scene.span(format!(" {key} "), Role::Key), scene.span(format!("{name}{tail} "), role)]
}

/// What is left of the dashboard where there is no room for one: how the run stands, and below that what is asked, what
/// was just done, or what is missing. Where there is a single row, what is asked comes first.
fn status_lines(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let (snapshot, totals) = (scene.snapshot, scene.snapshot.totals);
    let ended = totals.done + totals.failed;
    let segments = vec![
        Segment::left(0, [header::state(scene)]),
        Segment::left(0, [Span::raw(format!("{}%", percent(ended, totals.total)))]),
        Segment::left(2, [Span::raw(format!("{ended}/{}", totals.total))]),
        Segment::left(1, [scene.span(format!("{} failed", totals.failed), header::failed_role(totals.failed))]),
        Segment::left(3, [Span::raw(snapshot.spend.cost.to_string())]),
    ];
    ribbon::render(segments, 2, area, buf);
    let asked = matches!(scene.state.overlay, Some(Overlay::Quit));
    let below = Rect { y: area.y + u16::from(area.height > 1), height: area.height.min(1), ..area };
    if asked {
        Clear.render(below, buf);
        overlays::dialogs::quit_line(scene, below, buf);
    } else if area.height > 1 {
        let line = overlays::toasts::newest(scene, usize::from(below.width)).unwrap_or_else(|| {
            let quit = scene.state.keymap.key_for(Action::Quit);
            let small = format!("{}x{} is too small, 60x15 is needed; {quit} quits", area.width, area.height);
            Line::styled(scene.fit(&small, usize::from(below.width)), scene.style(Role::Muted))
        });
        line.render(below, buf);
    }
}
