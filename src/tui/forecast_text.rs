//! Texts about the forecast and the bottlenecks: when the run ends, what runs out first, what limits the run.

use std::borrow::Cow;

use super::{
    action::Action,
    format::{compact, format_countdown, format_estimate},
    render_ctx::RenderCtx,
    text::{one_line, width},
    theme::StyleRole,
};
use crate::domain::{
    Forecast, WallTime,
    bottleneck::{Bottleneck, BottleneckShare},
    forecast::{QuotaExhaustion, StopReason},
    snapshot::ProviderOutage,
};

/// Bottlenecks with a smaller share of the time are not shown.
const MIN_SHARE: f64 = 0.02;

/// `ETA 14:32 (23m)`, or when the run stops before it is done; `None` if nothing is known, the forecast time has passed,
/// or the run is over.
pub fn finish_text(ctx: RenderCtx<'_>) -> Option<String> {
    let snapshot = ctx.snapshot;
    if snapshot.state.is_over() {
        return None;
    }
    let is_ahead = |at: &WallTime| *at > ctx.state.now;
    let stop = snapshot.forecast.as_ref().and_then(|forecast| forecast.stop).filter(|stop| is_ahead(&stop.at));
    match (snapshot.throughput.finish_at.filter(is_ahead), stop) {
        (Some(at), _) => Some(format!("ETA {} ({})", ctx.local_time(at), format_estimate(ctx.time_until(at)))),
        (None, _) if !snapshot.outages.is_empty() && snapshot.forecast.is_none() => {
            Some("ETA unknown: provider down".to_owned())
        }
        (None, Some(stop)) => Some(format!("stops {}, {} left", ctx.local_time(stop.at), compact(stop.items_left))),
        (None, None) => None,
    }
}

/// `PROVIDER DOWN gemini: HTTP 503 on 4 of 4 routes since 01:20:30, next trial in 0:08`; `None` if none is
/// down. Shorter if it has more than `columns`.
pub fn outages_text(ctx: RenderCtx<'_>, columns: usize) -> Option<String> {
    let texts: Vec<String> = ctx
        .snapshot
        .outages
        .iter()
        .map(|outage| {
            let provider = one_line(&outage.provider);
            let since = ctx.time_of_day(outage.since);
            format!("PROVIDER DOWN {provider}: {} since {since}, {}", outage.summary(), trial_text(ctx, outage))
        })
        .collect();
    let text = texts.join("; ");
    let text = if width(&text) > columns { text.replace("next trial in", "trial in") } else { text };
    (!text.is_empty()).then_some(text)
}

/// `next trial in 0:08`.
pub fn trial_text(ctx: RenderCtx<'_>, outage: &ProviderOutage) -> String {
    match outage.next_trial {
        Some(at) => format!("next trial in {}", format_countdown(ctx.time_until(at))),
        None => "trial request in flight".to_owned(),
    }
}

/// The range of the finish time, `14:28-14:41`; `None` if it is unknown or both ends look the same.
pub fn finish_range_text(ctx: RenderCtx<'_>) -> Option<String> {
    let forecast = ctx.snapshot.forecast.as_ref()?;
    let (earliest, latest) = (forecast.earliest_finish?.max(ctx.state.now), forecast.latest_finish?);
    if latest <= earliest {
        return None;
    }
    let (earliest, latest) = (ctx.local_time(earliest), ctx.local_time(latest));
    (earliest != latest).then(|| format!("{earliest}-{latest}"))
}

/// `RPM 62%, cooldowns 21%`: what limited the run or a route over the last minutes. Sending requests and
/// time in which it was sending, had nothing to send or was not selected are left out.
pub fn bottlenecks_text(shares: &[BottleneckShare], max_parts: usize) -> Option<String> {
    let relevant = shares.iter().filter(|share| {
        share.share >= MIN_SHARE
            && !matches!(share.bottleneck, Bottleneck::Sending | Bottleneck::NothingToSend | Bottleneck::NotSelected)
    });
    let parts: Vec<String> = relevant.take(max_parts).map(bottleneck_text).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The two largest bottlenecks of the run, or a text that says that there are none; with the role to show it in.
pub fn main_bottlenecks(ctx: RenderCtx<'_>) -> (String, StyleRole) {
    let shares = &ctx.snapshot.bottlenecks;
    match bottlenecks_text(shares, 2) {
        Some(text) => (text, StyleRole::Warn),
        None if shares.is_empty() => ("nothing yet".to_owned(), StyleRole::Muted),
        None => ("nothing".to_owned(), StyleRole::Muted),
    }
}

fn bottleneck_text(share: &BottleneckShare) -> String {
    format!("{} {:.0}%", share.bottleneck.label(), share.share * 100.0)
}

/// The daily quota that will run out first; `None` if none will, or the forecast time has passed.
pub fn first_exhausted<'f>(ctx: RenderCtx<'_>, forecast: &'f Forecast) -> Option<&'f QuotaExhaustion> {
    forecast.first_exhausted.as_ref().filter(|first| first.at > ctx.state.now)
}

/// `day quota of gemini-3.8-flash@vision-lab spent at 15:10`.
pub fn first_exhausted_text(ctx: RenderCtx<'_>, forecast: &Forecast) -> Option<String> {
    let first = first_exhausted(ctx, forecast)?;
    Some(format!("day quota of {} spent at {}", ctx.sanitized(&first.pool, 60), ctx.local_time(first.at)))
}

/// `430 more items before the reset 00:00`.
pub fn before_reset_text(ctx: RenderCtx<'_>, forecast: &Forecast) -> Option<String> {
    let fit = forecast.before_reset.filter(|fit| fit.at > ctx.state.now)?;
    Some(format!("{} more items before the reset {}", compact(fit.items), ctx.local_time(fit.at)))
}

pub const fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Quota => "day quota spent on every route",
        StopReason::Budget => "budget used up",
        StopReason::NoRoute => "no route for what is left",
    }
}

/// Suggests what the operator can do about a constraint.
pub fn suggestion(ctx: RenderCtx<'_>, constraint: Bottleneck) -> Cow<'static, str> {
    let text = match constraint {
        Bottleneck::RequestsPerMinute | Bottleneck::TokensPerMinute => {
            "another project's key, or a model below its limit"
        }
        Bottleneck::DailyQuota => "another project's key, or on-exhausted = wait",
        Bottleneck::Budget => "raise max_usd or max_usd_per_day, whichever is reached",
        Bottleneck::Cooldown => "wait; a lower in-flight cap causes fewer 429s",
        Bottleneck::Concurrency => "another key; the provider sets this",
        Bottleneck::MaxInFlight => {
            return format!("raise the cap ({})", ctx.state.keymap.key_label(Action::MoreInFlight)).into();
        }
        // No forecast names another one.
        _ => "",
    };
    text.into()
}
