//! The inspect overlay for the run. It starts with the state of the run, when it ends and what limits it, so that this
//! is visible without scrolling on a small screen. Its progress and what would make it faster follow.

use super::inspect::{InspectPage, LABEL_COLUMNS};
use crate::{
    domain::{
        Forecast, Money,
        forecast::StopReason,
        plural,
        snapshot::{CauseSource, RunState},
    },
    tui::{
        action::Action,
        forecast_text,
        format::{compact, format_countdown, format_estimate, group_digits, percent, rate},
        labels,
        text::one_line,
        theme::StyleRole,
    },
};

impl InspectPage<'_> {
    pub(super) fn push_run(&mut self) {
        let snapshot = self.ctx.snapshot;
        let forecast = snapshot.forecast.as_ref().filter(|_| !snapshot.state.is_over());
        self.push_state();
        self.push_outages();
        if let Some(forecast) = forecast {
            self.push_finish(forecast);
            self.push_field("limited by", &forecast_text::main_bottlenecks(self.ctx).0);
        }
        self.push_progress();
        self.push_bottlenecks();
        if let Some(forecast) = forecast {
            self.push_forecast(forecast);
        }
        self.push_cooldowns();
    }

    fn push_state(&mut self) {
        let snapshot = self.ctx.snapshot;
        let state = &snapshot.state;
        self.push_text(&format!("{} is {}", one_line(&snapshot.run), state.label()), StyleRole::Title);
        match state {
            RunState::Waiting { reason, until } => {
                self.push_field("for", &one_line(reason));
                if let Some(until) = until {
                    self.push_field("until", &self.until_text(*until));
                }
            }
            RunState::NeedsOperator { reason } | RunState::Stopped { reason } => {
                self.push_field("because", &one_line(reason));
            }
            RunState::Pausing | RunState::Paused => {
                let pause = self.ctx.state.keymap.key_label(Action::TogglePause);
                let resume_hint = if self.ctx.state.read_only { String::new() } else { format!("; {pause} resumes") };
                self.push_field("because", &format!("you paused it{resume_hint}"));
            }
            RunState::Running | RunState::Draining | RunState::Finished => {}
        }
    }

    fn push_outages(&mut self) {
        for outage in &self.ctx.snapshot.outages {
            let text = format!(
                "{}: {} since {}, {}",
                one_line(&outage.provider),
                outage.summary(),
                self.ctx.time_of_day(outage.since),
                forecast_text::trial_text(self.ctx, outage)
            );
            self.push_field("PROVIDER DOWN", &text);
            let failed = outage.failed_requests;
            let text = format!(
                "{} {} since then; each trial is one request",
                group_digits(failed),
                plural(failed, "failed request")
            );
            self.push_field("meanwhile", &text);
        }
        if !self.ctx.snapshot.outages.is_empty() && self.ctx.snapshot.forecast.is_none() {
            self.push_field("ends", "unknown: provider down");
        }
    }

    fn push_progress(&mut self) {
        let (snapshot, totals) = (self.ctx.snapshot, self.ctx.snapshot.totals);
        let throughput = format!(
            "{}; 429s: {} of {} {}",
            rate(snapshot.throughput.items_per_second),
            group_digits(totals.rate_limited),
            group_digits(totals.attempts),
            plural(totals.attempts, "request")
        );
        self.push_field("pace", &throughput);
        let ended = totals.done + totals.failed;
        self.push_field(
            "so far",
            &format!(
                "{} of {} ({}%): {} done, {} failed, {} in flight, {} waiting",
                group_digits(ended),
                group_digits(totals.total),
                percent(ended, totals.total),
                group_digits(totals.done),
                group_digits(totals.failed),
                totals.in_flight,
                group_digits(totals.waiting)
            ),
        );
        let policy = format!(
            "{}, {}, {} when limited, {} when exhausted; at most {} in flight",
            labels::spaced(snapshot.strategy.name()),
            labels::spaced(snapshot.cascade_order.name()),
            snapshot.when_limited.name(),
            snapshot.on_exhausted.name(),
            snapshot.max_in_flight
        );
        self.push_field("settings", &policy);
    }

    fn push_bottlenecks(&mut self) {
        let shares = &self.ctx.snapshot.bottlenecks;
        if shares.is_empty() {
            return;
        }
        self.push_heading("Limited by, over the last five minutes");
        for share in shares.iter().filter(|share| share.share >= 0.005) {
            self.push_field(&format!("{:>5.0}%", share.share * 100.0), share.bottleneck.label());
        }
        self.push_field("source", CauseSource::Measured.name());
    }

    fn push_finish(&mut self, forecast: &Forecast) {
        match forecast.finish {
            Some(at) if at > self.ctx.state.now => {
                let range = forecast_text::finish_range_text(self.ctx)
                    .map_or_else(String::new, |range| format!(", between {range}"));
                let left = format_estimate(self.ctx.time_until(at));
                self.push_field("ends", &format!("{} (in {left}){range}", self.ctx.local_time(at)));
            }
            // A new forecast follows within seconds.
            Some(_) => {}
            None => self.push_field("ends", "never: the budget is too small, or no route is available"),
        }
        if let Some(stop) = forecast.stop.filter(|stop| stop.at > self.ctx.state.now) {
            let left = group_digits(stop.items_left);
            let what = if stop.reason == StopReason::Budget { "budget" } else { "quota" };
            let returns = stop
                .resumes_at
                .map_or_else(String::new, |at| format!("; {what} available again {}", self.ctx.local_time(at)));
            let text = format!(
                "{}, {}: {left} {} left{returns}",
                self.ctx.local_time(stop.at),
                forecast_text::stop_reason(stop.reason),
                plural(stop.items_left, "item")
            );
            self.push_field("stops before", &text);
        }
        if let Some(first) = forecast_text::first_exhausted(self.ctx, forecast) {
            let reset = first.resets_at.map_or_else(String::new, |at| format!(", resets {}", self.ctx.local_time(at)));
            self.push_field(
                "day quota",
                &format!("{} spent {}{reset}", one_line(&first.pool), self.ctx.local_time(first.at)),
            );
        }
    }

    fn push_forecast(&mut self, forecast: &Forecast) {
        self.push_heading("Forecast");
        if let Some(text) = forecast_text::before_reset_text(self.ctx, forecast) {
            self.push_field("today", &text);
        }
        let cost = match (forecast.has_unpriced_items, forecast.cost) {
            (true, Money::ZERO) => "price unknown".to_owned(),
            (true, cost) => format!("{cost}, excluding models without a price"),
            (false, cost) => cost.to_string(),
        };
        let tokens = compact(forecast.input_tokens + forecast.output_tokens);
        self.push_field("remaining cost", &format!("{cost}, {tokens} tokens"));
        for constraint_share in forecast.constraints.iter().take(4) {
            let pool = constraint_share
                .pool
                .as_ref()
                .map_or_else(String::new, |pool| format!(", most of all {}", one_line(pool)));
            let text = format!(
                "{}{pool}; what helps: {}",
                constraint_share.label(),
                forecast_text::suggestion(self.ctx, constraint_share.constraint)
            );
            self.push_field(&format!("limited {:.0}%", constraint_share.share * 100.0), &text);
        }
        // Where money is what limits, another key only moves the limit.
        let is_over_budget = forecast.stop.is_some_and(|stop| stop.reason == StopReason::Budget);
        for saving in forecast.savings.iter().filter(|_| !is_over_budget).take(2) {
            let saved = match saving.time_saved {
                Some(span) => format!("would save {}", format_estimate(span)),
                None => "would let the run finish".to_owned(),
            };
            self.push_field(
                "one more key",
                &format!("like {}, in its own project, {saved}", one_line(&saving.similar_to)),
            );
        }
    }

    /// Appends the cooldowns in the order in which they end, twelve at most.
    fn push_cooldowns(&mut self) {
        let cooldowns = crate::tui::state::sorted_cooldowns(self.ctx.snapshot);
        if cooldowns.is_empty() {
            return;
        }
        self.push_heading("Cooldowns");
        for cooldown in cooldowns.into_iter().take(12) {
            let message = if cooldown.cause.message.is_empty() {
                String::new()
            } else {
                format!(": {}", one_line(&cooldown.cause.message))
            };
            let left = format_countdown(self.ctx.time_until(cooldown.until));
            let source = cooldown.cause.source.name();
            let outcome = labels::outcome(cooldown.cause.outcome);
            let line = format!("{}  {outcome} ({source}){message}", one_line(&cooldown.subject));
            let room = self.columns.saturating_sub(LABEL_COLUMNS);
            self.push_field(&left, &self.ctx.truncated(&line, room));
        }
    }
}
