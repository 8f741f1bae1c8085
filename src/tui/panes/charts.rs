//! Charts: throughput, refusals, latency and spend, over the time this dashboard has been open.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    widgets::Widget as _,
};

use super::empty;
use crate::{
    domain::event::short_span,
    tui::{
        figures::{latency, pace},
        scene::Scene,
        state::Sample,
        theme::Role,
        widgets::bar::height,
    },
};

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let samples = scene.state.history.samples();
    if samples.len() < 2 {
        return empty(scene, "charts begin with the next few seconds", area, buf);
    }
    let [one, two, three, four, foot] = area.layout(&Layout::vertical([
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]));
    chart(scene, "items a second", &[(&rates(samples), Role::Ok)], pace, one, buf);
    let refused = differences(samples, |sample| sample.rate_limited as f64);
    chart(scene, "refusals a sample", &[(&refused, Role::Warn)], |most| format!("{most:.0}"), two, buf);
    let millis = |of: fn(&Sample) -> Option<u64>| -> Vec<f64> {
        samples.iter().map(|sample| of(sample).unwrap_or(0) as f64).collect()
    };
    let (p50, p95) = (millis(|sample| sample.p50_ms), millis(|sample| sample.p95_ms));
    let latencies = [(p95.as_slice(), Role::Track), (p50.as_slice(), Role::Cooling)];
    chart(scene, "p95 and p50 of the busiest model", &latencies, |most| latency(Some(most as u64)), three, buf);
    let spent: Vec<f64> = samples.iter().map(|sample| sample.cost.usd()).collect();
    chart(scene, "spend", &[(&spent, Role::Exhausted)], |most| format!("${most:.2}"), four, buf);
    let span = samples[samples.len() - 1].at.since(samples[0].at);
    let words = format!(
        "the last {} on this screen, one sample every {}; the newest at the right",
        short_span(span),
        short_span(scene.state.history.interval())
    );
    empty(scene, &words, foot, buf);
}

fn rates(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.items_per_second).collect()
}

/// What was added between one sample and the next.
fn differences(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.windows(2).map(|pair| (of(&pair[1]) - of(&pair[0])).max(0.0)).collect()
}

/// A title with the newest and the greatest value, and a column of cells per sample below it. Of several series, all
/// on one scale, the first is the tallest; the others are drawn over it.
fn chart(
    scene: Scene<'_>,
    title: &str,
    series: &[(&[f64], Role)],
    figure: impl Fn(f64) -> String,
    area: Rect,
    buf: &mut Buffer,
) {
    if area.height < 2 {
        return;
    }
    let most = series.iter().flat_map(|(values, _)| *values).copied().fold(0.0, f64::max);
    let mut heading = vec![scene.span(format!("{title}: "), Role::Title)];
    for (at, (values, role)) in series.iter().enumerate() {
        let role = if *role == Role::Track { Role::Muted } else { *role };
        let comma = if at > 0 { ", " } else { "" };
        heading.push(scene.span(format!("{comma}{}", figure(values.last().copied().unwrap_or(0.0))), role));
    }
    heading.push(scene.span(format!("  most {}", figure(most)), Role::Muted));
    scene.fit_spans(heading, usize::from(area.width)).render(Rect { height: 1, ..area }, buf);
    if most > 0.0 {
        for (values, role) in series {
            columns(scene, values, most, *role, area, buf);
        }
    }
}

fn columns(scene: Scene<'_>, values: &[f64], most: f64, role: Role, area: Rect, buf: &mut Buffer) {
    let values = spread(values, usize::from(area.width));
    let rows = area.height - 1;
    let left = area.right() - values.len() as u16;
    for (at, value) in values.iter().enumerate() {
        let tall = value / most * f64::from(rows);
        for row in 0..rows {
            let glyph = height(tall - f64::from(row), scene.glyphs());
            // A lower series leaves what stands above it.
            if glyph == " " {
                break;
            }
            if let Some(cell) = buf.cell_mut((left + at as u16, area.bottom() - 1 - row)) {
                cell.set_symbol(glyph).set_style(scene.style(role));
            }
        }
    }
}

/// As many values as fit: few are made wider, many are squeezed.
fn spread(values: &[f64], columns: usize) -> Vec<f64> {
    let wide = (columns / values.len().max(1)).max(1);
    squeeze(values, columns).into_iter().flat_map(|value| std::iter::repeat_n(value, wide)).take(columns).collect()
}

/// At most `columns` values, each the greatest of those it stands for: peaks must not vanish.
fn squeeze(values: &[f64], columns: usize) -> Vec<f64> {
    if values.len() <= columns || columns == 0 {
        return values.iter().copied().take(columns).collect();
    }
    (0..columns)
        .map(|column| {
            let (from, to) = (column * values.len() / columns, (column + 1) * values.len() / columns);
            values[from..to.max(from + 1)].iter().copied().fold(0.0, f64::max)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_survive_squeezing() {
        let mut values = vec![1.0; 1_000];
        values[777] = 9.0;
        let squeezed = squeeze(&values, 80);
        assert_eq!(squeezed.len(), 80);
        assert!(squeezed.contains(&9.0));
        assert_eq!(squeeze(&[1.0, 2.0], 80), [1.0, 2.0]);
        assert_eq!(spread(&[1.0, 2.0], 5), [1.0, 1.0, 2.0, 2.0], "few are made wider");
    }
}
