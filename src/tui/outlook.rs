//! The forecast and what holds the run, in words: when it ends, what runs out first, why it isn't faster.

use std::borrow::Cow;

use super::{
    action::Action,
    figures::{compact, moment, rough},
    scene::Scene,
    theme::Role,
};
use crate::domain::{
    Forecast, WallTime,
    bottleneck::{Bottleneck, BottleneckShare},
    forecast::{Constraint, QuotaExhaustion, StopReason},
};

/// Shares smaller than this are noise.
const LEAST: f64 = 0.02;

pub fn when(scene: Scene<'_>, at: WallTime) -> String {
    moment(at, scene.state.now, &scene.state.zone)
}

/// `ETA 14:32 (23m)`, or where it stops before that; `None` where nothing is known.
pub fn finish(scene: Scene<'_>) -> Option<String> {
    let snapshot = scene.snapshot;
    if snapshot.state.is_over() {
        return None;
    }
    let stops = snapshot.forecast.as_ref().and_then(|forecast| forecast.stop);
    match (snapshot.throughput.finish_at, stops) {
        (Some(at), _) => Some(format!("ETA {} ({})", when(scene, at), rough(scene.left(at)))),
        (None, Some(stop)) => Some(format!("stops {}, {} left", when(scene, stop.at), compact(stop.items_left))),
        (None, None) => None,
    }
}

/// `14:28-14:41`, where the range says something that the instant does not.
pub fn range(scene: Scene<'_>) -> Option<String> {
    let forecast = scene.snapshot.forecast.as_ref()?;
    let (earliest, latest) = (when(scene, forecast.earliest_finish?), when(scene, forecast.latest_finish?));
    (earliest != latest).then(|| format!("{earliest}-{latest}"))
}

/// `requests a minute 62%, cooldowns 21%`: what held the run, or a route, over the last minutes, apart from work itself.
pub fn holding(shares: &[BottleneckShare], most: usize) -> Option<String> {
    let held = shares.iter().filter(|held| {
        held.share >= LEAST
            && !matches!(held.bottleneck, Bottleneck::Sending | Bottleneck::NothingToSend | Bottleneck::NotSelected)
    });
    let said: Vec<String> = held.take(most).map(share).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// What held the run most, or that nothing did.
pub fn held_by(scene: Scene<'_>) -> (String, Role) {
    let shares = &scene.snapshot.bottlenecks;
    match holding(shares, 2) {
        Some(said) => (said, Role::Warn),
        None if shares.is_empty() => ("nothing yet".to_owned(), Role::Muted),
        None => ("nothing: it goes as fast as it can".to_owned(), Role::Muted),
    }
}

fn share(held: &BottleneckShare) -> String {
    format!("{} {:.0}%", held.bottleneck.label(), held.share * 100.0)
}

/// The first daily quota to be used up, as long as that is ahead.
pub fn first_out<'f>(scene: Scene<'_>, forecast: &'f Forecast) -> Option<&'f QuotaExhaustion> {
    forecast.first_exhausted.as_ref().filter(|first| first.at > scene.snapshot.at)
}

/// `gemini-3.8-flash@vision-lab runs out 15:10`.
pub fn runs_out(scene: Scene<'_>, forecast: &Forecast) -> Option<String> {
    let first = first_out(scene, forecast)?;
    Some(format!("{} runs out {}", scene.outside(&first.pool, 60), when(scene, first.at)))
}

/// `430 more fit before 00:00`.
pub fn before_reset(scene: Scene<'_>, forecast: &Forecast) -> Option<String> {
    let fit = forecast.before_reset?;
    Some(format!("{} more fit before the reset {}", compact(fit.items), when(scene, fit.at)))
}

pub const fn stop_words(why: StopReason) -> &'static str {
    match why {
        StopReason::Quota => "every route is out for the day",
        StopReason::Budget => "the money caps leave no more",
        StopReason::NoRoute => "what is left has no route",
    }
}

/// What the operator can do about it.
pub fn remedy(scene: Scene<'_>, what: Constraint) -> Cow<'static, str> {
    let words = match what {
        Constraint::RequestsPerMinute | Constraint::TokensPerMinute => "another project's key, or a model with room",
        Constraint::DailyQuota => "another project's key, or on-exhausted = wait",
        Constraint::Money => "raise max_usd or max_usd_per_day, whichever binds",
        Constraint::Cooldown => "it passes; a lower in-flight cap draws fewer refusals",
        Constraint::Concurrency => "another key; the provider sets this",
        Constraint::MaxInFlight => {
            return format!("raise the cap ({})", scene.state.keymap.key_for(Action::MoreInFlight)).into();
        }
    };
    words.into()
}
