//! Why: one key, model, route or cooldown explained. What, since when, until when, on whose word, in which words.

use ratatui::text::Line;

use crate::{
    domain::{
        LimitSource, Outcome, WallTime,
        snapshot::{Cause, CauseSource, Condition, CooldownView, Gauge, RouteView},
    },
    tui::{
        action::Action,
        figures::{against, countdown, dollars, grouped, latency, moment},
        outlook,
        scene::Scene,
        state::{Subject, Timer},
        text::{one_line, wrap},
        theme::Role,
        words,
    },
};

pub fn lines(scene: Scene<'_>, subject: &Subject, columns: usize) -> Vec<Line<'static>> {
    let mut page = Page { scene, columns, lines: Vec::new() };
    let found = match subject {
        Subject::Key(name) => page.key(name),
        Subject::Model(name) => page.model(name),
        Subject::Route { key, model } => {
            page.route(key, model);
            Some(())
        }
        Subject::Cooldown(timer) => page.cooldown(timer),
        Subject::Run => {
            page.run();
            Some(())
        }
    };
    if found.is_none() {
        page.say("it is over: nothing of it is in the newest figures", Role::Muted);
    }
    page.lines
}

/// The column of what is said.
pub(super) const NAME: usize = 15;

pub(super) struct Page<'a> {
    pub scene: Scene<'a>,
    pub columns: usize,
    lines: Vec<Line<'static>>,
}

impl Page<'_> {
    pub fn say(&mut self, text: &str, role: Role) {
        for line in wrap(&self.scene.spelled(text), self.columns) {
            self.lines.push(Line::styled(line, self.scene.style(role)));
        }
    }

    pub fn heading(&mut self, text: &str) {
        self.lines.push(Line::default());
        self.say(text, Role::Title);
    }

    /// `name` in a column, what it is beside it.
    pub fn fact(&mut self, name: &str, text: &str) {
        for (at, line) in wrap(&self.scene.spelled(text), self.columns.saturating_sub(NAME)).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            self.lines.push(Line::from(vec![
                self.scene.span(format!("{name:<NAME$}"), Role::Muted),
                self.scene.span(line, Role::Text),
            ]));
        }
    }

    pub fn when(&self, at: WallTime) -> String {
        moment(at, self.scene.state.now, &self.scene.state.zone)
    }

    fn key_of(&self, action: Action) -> String {
        self.scene.state.keymap.key_for(action)
    }

    fn ago(&self, at: WallTime) -> String {
        format!("{} ({} ago)", self.when(at), countdown(self.scene.state.now.since(at)))
    }

    pub fn until(&self, at: WallTime) -> String {
        format!("{} (in {})", self.when(at), countdown(self.scene.left(at)))
    }

    fn condition(&mut self, condition: &Condition) {
        let word = self.scene.condition(condition);
        self.say(&word, Role::from(condition));
        match condition {
            Condition::Ready => {}
            Condition::Limited { limit, until } => {
                self.fact("what", &one_line(limit));
                match until {
                    Some(until) => self.fact("room again", &self.until(*until)),
                    None => self.fact("room again", "when something in flight answers"),
                }
                self.fact("on whose word", source(CauseSource::Measured));
            }
            Condition::CoolingDown { until, cause } | Condition::Exhausted { until, cause } => {
                self.cause(cause);
                self.fact("back", &self.until(*until));
            }
            Condition::CircuitOpen { until, cause } => {
                self.cause(cause);
                self.fact("tried again", &self.until(*until));
            }
            Condition::Disabled { since, cause } => {
                self.cause(cause);
                self.fact("off since", &self.ago(*since));
                let on = self.key_of(Action::SwitchOn);
                self.fact("to do", remedy(cause.outcome));
                self.fact("back", &format!("{}, or you switch it on ({on})", way_back(cause.outcome)));
            }
            Condition::SwitchedOff { since } => {
                self.fact("since", &self.ago(*since));
                self.fact("on whose word", "yours");
                let (toggle, on) = (self.key_of(Action::Toggle), self.key_of(Action::SwitchOn));
                self.fact("back", &format!("when you switch it on ({toggle} or {on})"));
            }
        }
    }

    fn cause(&mut self, cause: &Cause) {
        self.fact("what", &format!("{} ({})", words::outcome(cause.outcome), cause.outcome));
        self.fact("since", &self.ago(cause.since));
        self.fact("on whose word", source(cause.source));
        self.words(&cause.message);
    }

    /// The provider's own.
    fn words(&mut self, words: &str) {
        if !words.is_empty() {
            self.fact("its words", words);
        }
    }

    fn gauge(&mut self, name: &str, gauge: Gauge) {
        let left = gauge.limit.map_or_else(
            || ", no limit known".to_owned(),
            |limit| format!(", {} left", grouped(limit.saturating_sub(gauge.used))),
        );
        let source = match gauge.source {
            Some(LimitSource::Provider) => "; the limit is the provider's word",
            Some(LimitSource::Learned) => "; the limit was learned from refusals",
            Some(LimitSource::Configured) | None => "",
        };
        self.fact(name, &format!("{}{left}{source}", against(gauge.used, gauge.limit)));
    }

    fn key(&mut self, name: &str) -> Option<()> {
        let key = self.scene.snapshot.keys.iter().find(|key| key.name == name)?;
        let role = format!("{:?}", key.role).to_lowercase();
        self.say(&format!("key {}  ({}, project {}, {role})", key.name, key.provider, key.project), Role::Title);
        self.condition(&key.condition);
        let health = format!(
            "{} of 100: {} ok, {} not, {} in flight",
            key.health,
            grouped(key.ok),
            grouped(key.failed),
            key.in_flight
        );
        self.fact("health", &health);
        self.fact("cost", &format!("${}, {} tokens", dollars(key.cost), grouped(key.usage.total())));
        if let Some(error) = &key.last_error {
            self.fact("last error", error);
        }
        let routes: Vec<_> = self.scene.snapshot.routes.iter().filter(|route| route.key == name).collect();
        self.routes("Its routes", &routes, |route| &route.model);
        Some(())
    }

    fn model(&mut self, name: &str) -> Option<()> {
        let model = self.scene.snapshot.models.iter().find(|model| model.name == name)?;
        let off = if model.on { "" } else { ", switched off by you" };
        self.say(&format!("model {}  ({}{off})", model.name, model.provider), Role::Title);
        self.gauge("RPM", model.rpm);
        self.gauge("TPM", model.tpm);
        self.gauge("RPD", model.rpd);
        let tried = format!("{} ok, {} not, {} in flight", grouped(model.ok), grouped(model.failed), model.in_flight);
        self.fact("attempts", &tried);
        let times = [model.p50_ms, model.p95_ms, model.mean_ms].map(latency);
        self.fact(
            "answers take",
            &format!("{} in the middle (p50), {} at p95, {} on average", times[0], times[1], times[2]),
        );
        self.fact("cost", &format!("${}, {} tokens", dollars(model.cost), grouped(model.usage.total())));
        if let Some(at) = model.day_resets_at {
            self.fact("day resets", &self.until(at));
        }
        let routes: Vec<_> = self.scene.snapshot.routes.iter().filter(|route| route.model == name).collect();
        self.routes("Its routes", &routes, |route| &route.key);
        Some(())
    }

    fn route(&mut self, key: &str, model: &str) {
        let route = self.scene.snapshot.routes.iter().find(|route| route.key == key && route.model == model);
        let Some(route) = route else {
            self.say(&format!("{key} has no route to {model}: they are of different providers"), Role::Muted);
            return;
        };
        let off = if route.on { "" } else { "  (switched off by you)" };
        self.say(&format!("route {model}@{key}{off}"), Role::Title);
        self.condition(&route.condition);
        self.gauge("RPM", route.rpm);
        self.gauge("RPD", route.rpd);
        self.fact(
            "attempts",
            &format!("{} ok, {} not, {} in flight", grouped(route.ok), grouped(route.failed), route.in_flight),
        );
        if let Some(held) = outlook::holding(&route.bottlenecks, 4) {
            self.fact("last 5 minutes", &format!("held by {held}"));
        }
        let ends = |cooldown: &&CooldownView| cooldown.subject == format!("{model}@{key}");
        for cooldown in self.scene.snapshot.cooldowns.iter().filter(ends) {
            self.heading("Its cooldown");
            self.timer(cooldown);
        }
    }

    fn cooldown(&mut self, timer: &Timer) -> Option<()> {
        let cooldown = self.scene.snapshot.cooldowns.iter().find(|cooldown| timer.is(cooldown))?;
        let what = &timer.what;
        let whose = self.scene.project_of(what).map_or_else(String::new, |whose| format!("  ({whose})"));
        self.say(&format!("{what} is out{whose}"), Role::Title);
        self.timer(cooldown);
        Some(())
    }

    fn timer(&mut self, cooldown: &CooldownView) {
        self.cause(&cooldown.cause);
        self.fact("back", &self.until(cooldown.until));
    }

    fn routes(&mut self, title: &str, routes: &[&RouteView], name: impl Fn(&RouteView) -> &str) {
        if routes.is_empty() {
            return;
        }
        self.heading(title);
        for route in routes {
            let name = self.scene.outside(name(route), 32);
            let today = match route.rpd.limit {
                Some(_) => format!("  {} today", against(route.rpd.used, route.rpd.limit)),
                None => String::new(),
            };
            let line = self.scene.fit_spans(
                [
                    self.scene.span(format!("{name:<32} "), Role::Text),
                    self.scene.span(self.scene.condition(&route.condition), Role::from(&route.condition)),
                    self.scene.span(today, Role::Muted),
                ],
                self.columns,
            );
            self.lines.push(line);
        }
    }
}

/// What revives a key or a route that the provider refuses for good.
const fn remedy(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::InvalidKey => "put the right secret where keys.toml takes it from, and start the same command again",
        Outcome::KeyForbidden => "allow it at the provider (API enabled, models, addresses, terms), then switch it on",
        Outcome::QuotaExhaustedBilling => "add credit at the provider, then switch it on",
        Outcome::ModelNotFound => "correct the model's id in keys.toml, or get access to it at the provider",
        _ => "see what the provider says, then switch it on",
    }
}

/// What brings back what is off, but for the operator.
const fn way_back(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::ModelNotFound | Outcome::QuotaExhaustedBilling => "at the next start that finds it listed",
        Outcome::InvalidKey | Outcome::KeyForbidden => "when its secret changes",
        // Asked of the operator, or a quota of nothing.
        _ => "at the next start",
    }
}

const fn source(source: CauseSource) -> &'static str {
    match source {
        CauseSource::Provider => "the provider's (stated)",
        CauseSource::Measured => "our own counters (measured)",
        CauseSource::Backoff => "nobody's: a ladder or backoff (guessed)",
    }
}
