//! Charts: throughput, refusals, latency and spend, over the time this dashboard has been open.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use super::empty;
use crate::{
    domain::event::short_span,
    tui::{
        figures::{compact, dollars, grouped, latency, moment, pace},
        scene::Scene,
        state::{Step, Steps},
        theme::Role,
        widgets::chart::{Chart, SCALE},
    },
};

/// Columns between two charts.
const GAP: u16 = 2;
/// With fewer columns they stand below one another.
const LEAST_FOR_TWO: u16 = 52;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let places = places(area);
    let columns = places[0].width.saturating_sub(SCALE);
    let Some(steps) = scene.state.history.steps(usize::from(columns)) else {
        return empty(scene, "charts begin with the next few seconds", area, buf);
    };
    for (chart, place) in charts(scene, &steps, usize::from(places[0].width)).iter().zip(places) {
        chart.render(scene.style(Role::Muted), scene.glyphs(), place, buf);
    }
}

/// Two by two where there is room.
fn places(area: Rect) -> [Rect; 4] {
    if area.width < LEAST_FOR_TWO {
        return area.layout(&Layout::vertical([Constraint::Fill(1); 4]));
    }
    let halves: [Rect; 2] = area.layout(&Layout::horizontal([Constraint::Fill(1); 2]).spacing(GAP));
    let quarters = halves.map(|half| half.layout::<2>(&Layout::vertical([Constraint::Fill(1); 2])));
    [quarters[0][0], quarters[1][0], quarters[0][1], quarters[1][1]]
}

fn charts<'a>(scene: Scene<'a>, steps: &Steps, columns: usize) -> [Chart<'a>; 4] {
    let snapshot = scene.snapshot;
    let from = moment(steps.from, scene.state.now, &scene.state.zone);
    let each = short_span(steps.each);
    let values = |of: fn(&Step) -> Option<f64>| steps.steps.iter().map(of).collect::<Vec<_>>();
    let title = |name: &str, figures: Vec<Span<'static>>| {
        let name = scene.span(format!("{name}  "), Role::Title);
        scene.fit_spans(std::iter::once(name).chain(figures), columns)
    };
    let chart = |title: Line<'a>, values, role, figure| Chart {
        title,
        values,
        above: None,
        style: scene.style(role),
        figure,
        ends: [from.clone(), format!("{each} a column  now")],
    };
    let newest = |values: &[Option<f64>]| values.last().copied().flatten();
    let greatest = |values: &[Option<f64>]| values.iter().flatten().copied().fold(0.0, f64::max);

    let rates = values(|step| Some(step.items_per_second));
    let told = title(
        "items",
        vec![
            scene.span(pace(snapshot.pace.items_per_second), Role::Ok),
            scene.span(format!("  peak {}", pace(greatest(&rates))), Role::Muted),
        ],
    );
    let throughput = chart(told, rates, Role::Ok, pace);

    let refused = values(|step| Some(step.refusals_per_minute));
    let totals = &snapshot.totals;
    let of_all = format!("  {} of {} so far", grouped(totals.rate_limited), grouped(totals.attempts));
    let told = title(
        "refused by a limit",
        vec![scene.span(per_minute(newest(&refused).unwrap_or(0.0)), Role::Warn), scene.span(of_all, Role::Muted)],
    );
    let refusals = chart(told, refused, Role::Warn, per_minute);

    let millis = |of: fn(&Step) -> Option<u64>| steps.steps.iter().map(|step| of(step).map(|ms| ms as f64)).collect();
    let (p50, p95): (Vec<_>, Vec<_>) = (millis(|step| step.p50_ms), millis(|step| step.p95_ms));
    let busiest = snapshot.models.iter().max_by_key(|model| model.ok);
    let glyphs = scene.glyphs();
    let told = title(
        "latency",
        vec![
            scene.span(
                format!("{} p95 {}", glyphs.progress_empty, latency(newest(&p95).map(|ms| ms as u64))),
                Role::Muted,
            ),
            Span::raw("  "),
            scene.span(
                format!("{} p50 {}", glyphs.progress_full, latency(newest(&p50).map(|ms| ms as u64))),
                Role::Cooling,
            ),
            scene.span(
                busiest.map_or_else(String::new, |model| format!("  {}", scene.outside(&model.name, 32))),
                Role::Muted,
            ),
        ],
    );
    let mut latencies = chart(told, p50, Role::Cooling, |ms| latency(Some(ms as u64)));
    latencies.above = Some((p95, scene.style(Role::Muted)));

    let spent = values(|step| Some(step.usd));
    let told = title(
        "spend",
        vec![
            scene.span(format!("${}", dollars(snapshot.spend.cost)), Role::Exhausted),
            scene.span(format!("  {} tokens", compact(snapshot.spend.usage.total())), Role::Muted),
        ],
    );
    let spend = chart(told, spent, Role::Exhausted, money);
    [throughput, refusals, latencies, spend]
}

fn per_minute(refusals: f64) -> String {
    match refusals {
        0.0 => "0/min".to_owned(),
        _ if refusals < 9.95 => format!("{refusals:.1}/min"),
        _ => format!("{}/min", compact(refusals.round() as u64)),
    }
}

fn money(usd: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        _ if usd < 0.01 => format!("${usd:.4}"),
        _ if usd < 100.0 => format!("${usd:.2}"),
        _ => format!("${}", compact(usd as u64)),
    }
}
