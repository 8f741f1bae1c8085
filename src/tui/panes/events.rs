//! Fallback events: what just happened, newest first, short enough that the reason isn't cut off.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{empty, table};
use crate::{
    domain::{Event, EventKind, Outcome, event::EventLevel, event::format_duration, short_id},
    tui::{
        figures::time_of_day,
        pane::Pane,
        scene::Scene,
        text::{one_line, width},
        theme::Role,
        widgets::table::Column,
        words,
    },
};

#[derive(Clone, Copy)]
enum Cell {
    Time,
    Level,
    Sentence,
}

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let events = &scene.snapshot.events;
    if events.is_empty() {
        return empty(scene, "nothing has happened yet", area, buf);
    }
    let columns = [
        Column::left(Cell::Time, "", [8; 3], 1),
        Column::left(Cell::Level, "", [1; 3], 0),
        Column::left(Cell::Sentence, "", [20, 40, u16::MAX], 0),
    ];
    table(&scene, Pane::Events, &columns, false).render(area, buf, |row, id, width| {
        let event = &events[events.len() - 1 - row];
        match id {
            Cell::Time => Line::styled(time_of_day(event.at, &scene.state.zone), scene.style(Role::Muted)),
            Cell::Level => Line::styled(scene.glyphs().level(event.level()), scene.style(Role::from(event.level()))),
            Cell::Sentence => scene.fit_spans(sentence(scene, event, width), width),
        }
    });
}

/// What happened, in at most `columns` up to the reason where that can be: routes give way to it.
fn sentence(scene: Scene<'_>, event: &Event, columns: usize) -> Vec<Span<'static>> {
    let text = |text: String| scene.span(text, Role::Text);
    let outside = |text: &str| scene.spelled(&one_line(text)).into_owned();
    let muted = |text: &str| scene.span(if text.is_empty() { String::new() } else { format!("  {text}") }, Role::Muted);
    let reason = |status: Option<u16>, outcome: Outcome, wait: Option<std::time::Duration>| {
        let status = status.map_or_else(String::new, |status| format!("{status} "));
        let wait = wait.map_or_else(String::new, |wait| format!(", {}", format_duration(wait)));
        scene.span(format!("  {status}{}{wait}", words::outcome(outcome)), Role::Warn)
    };
    match &event.kind {
        EventKind::Fallback { item_id, from, to, outcome, status, wait, message, .. } => {
            let arrow = if scene.glyphs().ascii { "->" } else { "→" };
            let to = to.as_deref().map_or("waits", |to| relative(from, to));
            let reason = reason(*status, *outcome, *wait);
            let (before, after) = (format!("#{} ", outside(&short_id(item_id))), format!(" {arrow} {}", outside(to)));
            let from = scene.route(from, columns.saturating_sub(width(&before) + width(&after) + reason.width()));
            vec![text(format!("{before}{from}{after}")), reason, muted(&outside(message))]
        }
        EventKind::Cooldown { subject, outcome, wait, message } => {
            let out = format!(" out{}", wait.map_or_else(String::new, |wait| format!(" {}", format_duration(wait))));
            let whose = scene.project_of(subject).map_or_else(String::new, |whose| format!(" ({whose})"));
            let reason = reason(None, *outcome, None);
            let what = scene.route(subject, columns.saturating_sub(width(&out) + reason.width()));
            vec![text(format!("{what}{out}")), reason, scene.span(whose, Role::Text), muted(&outside(message))]
        }
        EventKind::Recovered { subject, message } => {
            let whose = scene.project_of(subject).map_or_else(String::new, |whose| format!(" ({whose})"));
            vec![scene.span(format!("{} is back{whose}", outside(subject)), Role::Ok), muted(&outside(message))]
        }
        EventKind::Disabled { subject, outcome, message } => vec![
            scene.span(format!("{} disabled: {}", outside(subject), words::outcome(*outcome)), Role::Bad),
            muted(&outside(message)),
        ],
        EventKind::ItemFailed { item_id, route, outcome, message, .. } => {
            let reason = reason(None, *outcome, None);
            let mut failed = format!("#{} failed", outside(&short_id(item_id)));
            if let Some(route) = route {
                failed.push_str(" on ");
                failed.push_str(&scene.route(route, columns.saturating_sub(width(&failed) + reason.width())));
            }
            vec![text(failed), reason, muted(&outside(message))]
        }
        EventKind::Operator { message } => {
            vec![scene.span("you  ", Role::You), scene.span(outside(message), Role::You)]
        }
        EventKind::Run { level, message } => {
            let role = if *level == EventLevel::Info { Role::Text } else { Role::from(*level) };
            vec![scene.span(outside(message), role)]
        }
    }
}

/// Where it went, without repeating the model it stays with.
fn relative<'t>(from: &str, to: &'t str) -> &'t str {
    match (from.rsplit_once('@'), to.rsplit_once('@')) {
        (Some((model, _)), Some((same, _))) if model == same => &to[same.len()..],
        _ => to,
    }
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn the_model_is_said_once_where_only_the_key_changes() {
        assert_eq!(relative("flash@alice", "flash@bob"), "@bob");
        assert_eq!(relative("flash@alice", "lite@alice"), "lite@alice");
        assert_eq!(relative("flash@alice", "somewhere"), "somewhere");
    }
}
