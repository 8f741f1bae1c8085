//! Charts pane: throughput, rate-limited attempts, latency and spend over the whole run; what was before the dashboard was
//! opened comes from the record.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use super::{list::render_empty, view::PaneView};
use crate::{
    domain::event::format_duration,
    tui::{
        format::{compact, compact_within, dollars, group_digits, latency, rate},
        render_ctx::RenderCtx,
        state::{ChartPoint, ChartSeries},
        text::width,
        theme::StyleRole,
        widgets::chart::{Chart, SCALE_COLUMNS, SCALE_LABEL_COLUMNS},
    },
};

/// Columns between two charts.
const COLUMN_GAP: u16 = 2;
/// With fewer columns, the charts are drawn one below the other.
const MIN_COLUMNS_FOR_TWO_CHARTS: u16 = 52;

pub const VIEW: PaneView = PaneView::drawn_by(render);

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let areas = chart_areas(area);
    let columns = areas[0].width.saturating_sub(SCALE_COLUMNS);
    let Some(series) = ctx.state.history.series(usize::from(columns)) else {
        return render_empty(ctx, "charts start in a few seconds", area, buf);
    };
    for (chart, place) in charts(ctx, &series, usize::from(areas[0].width)).iter().zip(areas) {
        chart.render(ctx.style(StyleRole::Muted), ctx.glyphs(), place, buf);
    }
}

/// The areas of the four charts: two by two if there is room.
fn chart_areas(area: Rect) -> [Rect; 4] {
    if area.width < MIN_COLUMNS_FOR_TWO_CHARTS {
        return area.layout(&Layout::vertical([Constraint::Fill(1); 4]));
    }
    let halves: [Rect; 2] = area.layout(&Layout::horizontal([Constraint::Fill(1); 2]).spacing(COLUMN_GAP));
    let quarters = halves.map(|half| half.layout::<2>(&Layout::vertical([Constraint::Fill(1); 2])));
    [quarters[0][0], quarters[1][0], quarters[0][1], quarters[1][1]]
}

fn charts<'a>(ctx: RenderCtx<'a>, series: &ChartSeries, columns: usize) -> [Chart<'a>; 4] {
    let snapshot = ctx.snapshot;
    let from = ctx.local_time(series.from);
    let step_length = format_duration(series.step);
    let values = |of: fn(&ChartPoint) -> Option<f64>| series.points.iter().map(of).collect::<Vec<_>>();
    let title = |name: &str, figures: Vec<Span<'static>>| {
        let name = ctx.span(format!("{name}  "), StyleRole::Title);
        ctx.truncated_spans(std::iter::once(name).chain(figures), columns)
    };
    let newest_end = format!("{step_length} a column  now");
    let has_room = width(&newest_end) + usize::from(SCALE_COLUMNS) <= columns;
    let newest_end = if has_room { newest_end } else { "now".to_owned() };
    let chart = |title: Line<'a>, values, role, format_label| Chart {
        title,
        values,
        upper_series: None,
        style: ctx.style(role),
        format_label,
        time_labels: [from.clone(), newest_end.clone()],
    };
    let newest = |values: &[Option<f64>]| values.last().copied().flatten();
    let maximum = |values: &[Option<f64>]| values.iter().flatten().copied().fold(0.0, f64::max);

    let rates = values(|step| Some(step.items_per_second));
    let title_line = title(
        "items",
        vec![
            ctx.span(rate(snapshot.throughput.items_per_second), StyleRole::Ok),
            ctx.span(format!("  peak {}", rate(maximum(&rates))), StyleRole::Muted),
        ],
    );
    let throughput = chart(title_line, rates, StyleRole::Ok, rate_label);

    let refusal_rates = values(|step| Some(step.refusals_per_minute));
    let totals = &snapshot.totals;
    let name = "429s";
    let now = per_minute(newest(&refusal_rates).unwrap_or(0.0));
    let room = columns.saturating_sub(name.len() + 2 + now.len());
    let totals_text = [
        format!("  {} of {} so far", group_digits(totals.rate_limited), group_digits(totals.attempts)),
        format!("  {} of {}", compact(totals.rate_limited), compact(totals.attempts)),
    ];
    let of_all = totals_text.into_iter().find(|text| text.len() <= room).unwrap_or_default();
    let title_line = title(name, vec![ctx.span(now, StyleRole::Warn), ctx.span(of_all, StyleRole::Muted)]);
    let refusals = chart(title_line, refusal_rates, StyleRole::Warn, refusal_label);

    let millis =
        |of: fn(&ChartPoint) -> Option<u64>| series.points.iter().map(|step| of(step).map(|ms| ms as f64)).collect();
    let (p50, p95): (Vec<_>, Vec<_>) = (millis(|step| step.p50_ms), millis(|step| step.p95_ms));
    let busiest = snapshot.models.iter().max_by_key(|model| model.ok);
    let glyphs = ctx.glyphs();
    let title_line = title(
        "latency",
        vec![
            ctx.span(
                format!("{} p95 {}", glyphs.progress_empty, latency(newest(&p95).map(|ms| ms as u64))),
                StyleRole::Muted,
            ),
            Span::raw("  "),
            ctx.span(
                format!("{} p50 {}", glyphs.progress_full, latency(newest(&p50).map(|ms| ms as u64))),
                StyleRole::Cooling,
            ),
            ctx.span(
                busiest.map_or_else(String::new, |model| format!("  {}", ctx.sanitized(&model.name, 32))),
                StyleRole::Muted,
            ),
        ],
    );
    let mut latencies = chart(title_line, p50, StyleRole::Cooling, latency_label);
    latencies.upper_series = Some((p95, ctx.style(StyleRole::Muted)));

    let spent = values(|step| Some(step.usd));
    let title_line = title(
        "spend",
        vec![
            ctx.span(format!("${}", dollars(snapshot.spend.cost)), StyleRole::Exhausted),
            ctx.span(format!("  {} tokens", compact(snapshot.spend.usage.total())), StyleRole::Muted),
        ],
    );
    let spend = chart(title_line, spent, StyleRole::Exhausted, money_label);
    [throughput, refusals, latencies, spend]
}

fn per_minute(refusals: f64) -> String {
    match refusals {
        0.0 => "0/min".to_owned(),
        _ if refusals < 9.95 => format!("{refusals:.1}/min"),
        _ => format!("{}/min", compact(refusals.round() as u64)),
    }
}

/// Label of the throughput scale; `top` decides the unit: `7.5/s`, `45/min`, `54/h`.
fn rate_label(per_second: f64, top: f64) -> String {
    let (factor, unit) = match top {
        1.0.. => (1.0, "/s"),
        _ if top >= 1.0 / 60.0 => (60.0, "/min"),
        _ => (3_600.0, "/h"),
    };
    format!("{}{unit}", short_number(per_second * factor, SCALE_LABEL_COLUMNS - unit.len()))
}

/// Label of the scale of rate-limited attempts: `7.5/min`.
fn refusal_label(per_minute: f64, _top: f64) -> String {
    const UNIT: &str = "/min";
    format!("{}{UNIT}", short_number(per_minute, SCALE_LABEL_COLUMNS - UNIT.len()))
}

/// Label of the latency scale; `top` decides the unit: `750ms`, `1.5s`, `2:05`.
fn latency_label(millis: f64, top: f64) -> String {
    const UNIT: &str = "ms";
    if top < 1_000.0 {
        format!("{}{UNIT}", short_number(millis, SCALE_LABEL_COLUMNS - UNIT.len()))
    } else {
        latency(Some(millis.round() as u64))
    }
}

/// Label of the spend scale: `$7.50`, `$0.0075`, `$1.5k`.
fn money_label(usd: f64, _top: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        _ if usd < 0.000_1 => format!("${usd:.1e}"),
        _ if usd < 0.01 => format!("${usd:.4}"),
        _ if usd < 100.0 => format!("${usd:.2}"),
        _ => format!("${}", compact(usd.round() as u64)),
    }
}

/// Rounds a number to what fits into `columns`, without trailing zeros: `7.5`, `0.75`, `1.5k`.
fn short_number(number: f64, columns: usize) -> String {
    if number >= 1_000.0 {
        return compact_within(number.round() as u64, columns);
    }
    let decimals = |decimals: usize| {
        let text = format!("{number:.decimals$}");
        if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    };
    [2, 1, 0].map(decimals).into_iter().find(|text| text.len() <= columns).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_label_fits_its_columns() {
        for exponent in -6..=10 {
            for end in [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0] {
                let top = end * 10_f64.powi(exponent);
                for value in [0.0, top / 2.0, top] {
                    for mark in [rate_label, refusal_label, latency_label, money_label] {
                        let text = mark(value, top);
                        let starts_well = text.trim_start_matches('$').starts_with(|c: char| c.is_ascii_digit());
                        assert!(width(&text) <= SCALE_LABEL_COLUMNS && starts_well, "{value} of {top}: {text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_top_of_the_scale_decides_the_unit() {
        let paces = [(30.0, 30.0), (7.5, 15.0), (0.75, 1.5), (0.5, 0.5), (0.015, 0.015), (7_500.0, 15_000.0)];
        let told = paces.map(|(value, top)| rate_label(value, top));
        assert_eq!(told, ["30/s", "7.5/s", "0.75/s", "30/min", "54/h", "7.5k/s"]);
        assert_eq!([7.5, 0.75, 7_500.0].map(|value| refusal_label(value, value)), ["7.5/min", "0.75/min", "7.5k/min"]);
        assert_eq!([(75.0, 150.0), (750.0, 1_500.0)].map(|(ms, top)| latency_label(ms, top)), ["75ms", "0.8s"]);
        let sums = [0.0, 0.000_007_5, 0.007_5, 7.5, 150.0, 1_500.0].map(|usd| money_label(usd, usd));
        assert_eq!(sums, ["$0", "$7.5e-6", "$0.0075", "$7.50", "$150", "$1.5k"]);
    }
}
