//! The run explained: what it does, when it ends and what holds it; then how far it is, and what would help. In this
//! order, so that the answer is on the first page of a small screen.

use super::why::{NAME, Page};
use crate::{
    domain::{
        Forecast,
        forecast::StopReason,
        plural,
        snapshot::{CauseSource, RunState},
    },
    tui::{
        action::Action,
        figures::{compact, countdown, grouped, pace, percent, rough},
        outlook,
        text::one_line,
        theme::Role,
        words,
    },
};

impl Page<'_> {
    pub(super) fn run(&mut self) {
        let snapshot = self.scene.snapshot;
        let forecast = snapshot.forecast.as_ref().filter(|_| !snapshot.state.is_over());
        self.now();
        if let Some(forecast) = forecast {
            self.ends(forecast);
            self.fact("held by", &outlook::held_by(self.scene).0);
        }
        self.progress();
        self.held();
        if let Some(forecast) = forecast {
            self.forecast(forecast);
        }
        self.out();
    }

    fn now(&mut self) {
        let snapshot = self.scene.snapshot;
        let state = &snapshot.state;
        self.say(&format!("{} is {}", one_line(&snapshot.run), state.name()), Role::Title);
        match state {
            RunState::Waiting { reason, until } => {
                self.fact("for", &one_line(reason));
                if let Some(until) = until {
                    self.fact("until", &self.until(*until));
                }
            }
            RunState::NeedsOperator { reason } | RunState::Stopped { reason } => {
                self.fact("because", &one_line(reason))
            }
            RunState::Pausing | RunState::Paused => {
                let pause = self.scene.state.keymap.key_for(Action::Pause);
                let words = if self.scene.state.read_only { String::new() } else { format!("; {pause} goes on") };
                self.fact("because", &format!("you paused it{words}"));
            }
            RunState::Running | RunState::Draining | RunState::Finished => {}
        }
    }

    fn progress(&mut self) {
        let (snapshot, totals) = (self.scene.snapshot, self.scene.snapshot.totals);
        let refused = format!(
            "{}; {} of {} {} were refused for quota",
            pace(snapshot.throughput.items_per_second),
            grouped(totals.rate_limited),
            grouped(totals.attempts),
            plural(totals.attempts, "request")
        );
        self.fact("pace", &refused);
        let ended = totals.done + totals.failed;
        self.fact(
            "so far",
            &format!(
                "{} of {} ({}%): {} done, {} failed, {} in flight, {} waiting",
                grouped(ended),
                grouped(totals.total),
                percent(ended, totals.total),
                grouped(totals.done),
                grouped(totals.failed),
                totals.in_flight,
                grouped(totals.waiting)
            ),
        );
        let how = format!(
            "{}, {}, {} when limited, {} when exhausted; at most {} in flight",
            words::strategy(snapshot.strategy),
            words::order(snapshot.cascade_order),
            words::when_limited(snapshot.when_limited),
            words::on_exhausted(snapshot.on_exhausted),
            snapshot.max_in_flight
        );
        self.fact("conducted", &how);
    }

    fn held(&mut self) {
        let shares = &self.scene.snapshot.bottlenecks;
        if shares.is_empty() {
            return;
        }
        self.heading("What held it, over the last five minutes");
        for held in shares.iter().filter(|held| held.share >= 0.005) {
            self.fact(&format!("{:>5.0}%", held.share * 100.0), held.bottleneck.label());
        }
        self.fact("on whose word", "our own counters (measured)");
    }

    fn ends(&mut self, forecast: &Forecast) {
        match forecast.finish {
            Some(at) => {
                let range = outlook::range(self.scene).map_or_else(String::new, |range| format!(", between {range}"));
                let left = rough(self.scene.left(at));
                self.fact("ends", &format!("{} (in {left}){range}", self.when(at)));
            }
            None => self.fact("ends", "it can't: the budget is too small, or no route is left"),
        }
        if let Some(stop) = forecast.stop {
            let left = grouped(stop.items_left);
            let what = if stop.reason == StopReason::Budget { "money" } else { "quota" };
            let returns = stop.resumes_at.map_or_else(String::new, |at| format!("; {what} returns {}", self.when(at)));
            let words = format!(
                "{}, {}: {left} {} left{returns}",
                self.when(stop.at),
                outlook::stop_words(stop.reason),
                plural(stop.items_left, "item")
            );
            self.fact("stops before", &words);
        }
        if let Some(first) = outlook::first_out(self.scene, forecast) {
            let back = first.resets_at.map_or_else(String::new, |at| format!(", back {}", self.when(at)));
            self.fact("runs out first", &format!("{} at {}{back}", one_line(&first.pool), self.when(first.at)));
        }
    }

    fn forecast(&mut self, forecast: &Forecast) {
        self.heading("What is expected");
        if let Some(words) = outlook::before_reset(self.scene, forecast) {
            self.fact("today", &words);
        }
        let priced = if forecast.has_unpriced_items { ", and what models without a price cost" } else { "" };
        let tokens = compact(forecast.input_tokens + forecast.output_tokens);
        self.fact("still to spend", &format!("{}{priced}, {tokens} tokens", forecast.cost));
        for bind in forecast.constraints.iter().take(4) {
            let pool = bind.pool.as_ref().map_or_else(String::new, |pool| format!(", most of all {}", one_line(pool)));
            let words = format!(
                "{}{pool}; what helps: {}",
                bind.constraint.label(),
                outlook::remedy(self.scene, bind.constraint)
            );
            self.fact(&format!("bound {:.0}%", bind.share * 100.0), &words);
        }
        for saving in forecast.savings.iter().take(2) {
            let saved = match saving.time_saved {
                Some(span) => format!("would save {}", rough(span)),
                None => "would let it end at all".to_owned(),
            };
            self.fact(
                "one more key",
                &format!("like {}, in a project of its own, {saved}", one_line(&saving.similar_to)),
            );
        }
    }

    /// Everything that is out, as it comes back.
    fn out(&mut self) {
        let cooldowns = crate::tui::state::cooldowns(self.scene.snapshot);
        if cooldowns.is_empty() {
            return;
        }
        self.heading("What is out");
        for cooldown in cooldowns.into_iter().take(12) {
            let words = if cooldown.cause.message.is_empty() {
                String::new()
            } else {
                format!(": {}", one_line(&cooldown.cause.message))
            };
            let left = countdown(self.scene.left(cooldown.until));
            let source = match cooldown.cause.source {
                CauseSource::Provider => "stated",
                CauseSource::Measured => "measured",
                CauseSource::Backoff => "guessed",
            };
            let outcome = words::outcome(cooldown.cause.outcome);
            let line = format!("{}  {outcome} ({source}){words}", one_line(&cooldown.subject));
            let room = self.columns.saturating_sub(NAME);
            self.fact(&left, &self.scene.fit(&line, room));
        }
    }
}
