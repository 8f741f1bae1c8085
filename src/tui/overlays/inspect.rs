//! The inspect overlay: explains one key, model, route or cooldown. Shows its state, since when, until when, the
//! source, and the provider's message.

use ratatui::text::Line;

use crate::{
    domain::{
        CostByKind, LimitSource, Money, Outcome, Usage, WallTime,
        snapshot::{Cause, CauseSource, Condition, CooldownView, Gauge, RouteView},
    },
    tui::{
        action::Action,
        forecast_text,
        format::{dollars, format_countdown, group_digits, latency, percent, used_of_limit},
        labels,
        render_ctx::RenderCtx,
        state::{CooldownId, InspectSubject},
        text::{one_line, wrap},
        theme::StyleRole,
    },
};

pub fn build_lines(ctx: RenderCtx<'_>, subject: &InspectSubject, columns: usize) -> Vec<Line<'static>> {
    let mut page = InspectPage { ctx, columns, lines: Vec::new() };
    let is_found = match subject {
        InspectSubject::Key(name) => page.push_key(name),
        InspectSubject::Model(name) => page.push_model(name),
        InspectSubject::Route { key, model } => {
            page.push_route(key, model);
            true
        }
        InspectSubject::Cooldown(cooldown_id) => page.push_cooldown(cooldown_id),
        InspectSubject::Run => {
            page.push_run();
            true
        }
    };
    if !is_found {
        page.push_text("this no longer exists", StyleRole::Muted);
    }
    page.lines
}

/// Maximum number of bottlenecks of a route that are shown, largest share first.
const MAX_BOTTLENECKS: usize = 4;
/// The period over which bottlenecks are measured ([`RouteView::bottlenecks`]).
const BOTTLENECK_PERIOD_LABEL: &str = "last 5 minutes";
/// Width of the labels column.
pub(super) const LABEL_COLUMNS: usize = 15;

pub(super) struct InspectPage<'a> {
    pub ctx: RenderCtx<'a>,
    pub columns: usize,
    lines: Vec<Line<'static>>,
}

impl InspectPage<'_> {
    pub fn push_text(&mut self, text: &str, style_role: StyleRole) {
        for line in wrap(&self.ctx.with_ascii_fallback(text), self.columns) {
            self.lines.push(Line::styled(line, self.ctx.style(style_role)));
        }
    }

    pub fn push_heading(&mut self, text: &str) {
        self.lines.push(Line::default());
        self.push_text(text, StyleRole::Title);
    }

    /// Appends a field: its label in one column, its text beside it.
    pub fn push_field(&mut self, label: &str, text: &str) {
        for (at, line) in wrap(&self.ctx.with_ascii_fallback(text), self.columns.saturating_sub(LABEL_COLUMNS))
            .into_iter()
            .enumerate()
        {
            let label = if at == 0 { label } else { "" };
            self.lines.push(Line::from(vec![
                self.ctx.span(format!("{label:<LABEL_COLUMNS$}"), StyleRole::Muted),
                self.ctx.span(line, StyleRole::Text),
            ]));
        }
    }

    fn since_text(&self, at: WallTime) -> String {
        format!("{} ({} ago)", self.ctx.local_time(at), format_countdown(self.ctx.state.now.since(at)))
    }

    pub fn until_text(&self, at: WallTime) -> String {
        format!("{} (in {})", self.ctx.local_time(at), format_countdown(self.ctx.time_until(at)))
    }

    fn push_condition(&mut self, condition: &Condition) {
        let text = self.ctx.condition_text(condition);
        self.push_text(&text, StyleRole::from(condition));
        match condition {
            Condition::Ready => {}
            Condition::Limited { limit, until } => {
                self.push_field("limit", &one_line(limit));
                match until {
                    Some(until) => self.push_field("frees", &self.until_text(*until)),
                    None if condition.is_budget_reached() => {
                        self.push_field("frees", "when the key's max_usd is raised");
                    }
                    None => self.push_field("frees", "when a request in flight ends"),
                }
                self.push_field("source", CauseSource::Measured.name());
            }
            Condition::CoolingDown { until, cause } | Condition::Exhausted { until, cause } => {
                self.push_cause(cause);
                self.push_field("until", &self.until_text(*until));
            }
            Condition::CircuitOpen { until, cause } => {
                self.push_cause(cause);
                self.push_field("retry", &self.until_text(*until));
            }
            Condition::Disabled { since, cause } => {
                self.push_cause(cause);
                self.push_field("disabled since", &self.since_text(*since));
                let switch_on_key = self.ctx.state.keymap.key_label(Action::SwitchOn);
                self.push_field("to do", operator_remedy(cause.outcome));
                self.push_field(
                    "enabled again",
                    &format!("{}, or you switch it on ({switch_on_key})", recovery_text(cause.outcome)),
                );
            }
            Condition::SwitchedOff { since } => {
                self.push_field("since", &self.since_text(*since));
                self.push_field("source", "you");
                let keymap = &self.ctx.state.keymap;
                let (toggle_key, switch_on_key) =
                    (keymap.key_label(Action::Toggle), keymap.key_label(Action::SwitchOn));
                self.push_field("enabled again", &format!("when you switch it on ({toggle_key} or {switch_on_key})"));
            }
        }
    }

    fn push_cause(&mut self, cause: &Cause) {
        self.push_field("cause", &format!("{} ({})", labels::outcome(cause.outcome), cause.outcome));
        self.push_field("since", &self.since_text(cause.since));
        self.push_field("source", cause.source.name());
        self.push_provider_message(&cause.message);
    }

    /// Appends the provider's message, if there is one.
    fn push_provider_message(&mut self, message: &str) {
        if !message.is_empty() {
            self.push_field("message", message);
        }
    }

    fn push_gauge(&mut self, label: &str, gauge: Gauge) {
        let left = gauge.limit.map_or_else(
            || ", no limit known".to_owned(),
            |limit| format!(", {} left", group_digits(limit.saturating_sub(gauge.used))),
        );
        let source = match gauge.source {
            Some(LimitSource::Provider) => "; limit stated by the provider",
            Some(LimitSource::Learned) => "; limit learned from 429s",
            Some(LimitSource::Configured) | None => "",
        };
        self.push_field(label, &format!("{}{left}{source}", used_of_limit(gauge.used, gauge.limit)));
    }

    /// Appends the page about a key. False if there is no such key.
    fn push_key(&mut self, name: &str) -> bool {
        let Some(key) = self.ctx.snapshot.keys.iter().find(|key| key.name == name) else { return false };
        let key_role = format!("{:?}", key.role).to_lowercase();
        self.push_text(
            &format!("key {}  ({}, project {}, {key_role})", key.name, key.provider, key.project),
            StyleRole::Title,
        );
        self.push_condition(&key.condition);
        let attempts = attempts_text(key.ok, key.failed, key.in_flight);
        self.push_field("health", &format!("{} of 100: {attempts}", key.health));
        self.push_cost(key.cost, key.usage, key.cost_by_kind);
        if let Some(error) = &key.last_error {
            self.push_field("last error", error);
        }
        let routes: Vec<_> = self.ctx.snapshot.routes.iter().filter(|route| route.key == name).collect();
        self.push_routes("Its routes", &routes, |route| &route.model);
        true
    }

    /// Appends the cost and the tokens. If there is more to say, also how much of the input was cached, and what each
    /// kind cost.
    fn push_cost(&mut self, cost: Money, usage: Usage, by_kind: CostByKind) {
        self.push_field("cost", &format!("${}, {} tokens", dollars(cost), group_digits(usage.total())));
        if usage.uncached_input() < usage.input_tokens {
            let input = format!("{} tokens{}", group_digits(usage.input_tokens), usage.describe_cached());
            self.push_field("input", &input);
        }
        if let Some(kinds) = by_kind.describe() {
            self.push_field("by kind", &kinds);
        }
    }

    /// Appends the page about a model. False if there is no such model.
    fn push_model(&mut self, name: &str) -> bool {
        let Some(model) = self.ctx.snapshot.models.iter().find(|model| model.name == name) else { return false };
        let switched_off_note = if model.on { "" } else { ", switched off by you" };
        self.push_text(&format!("model {}  ({}{switched_off_note})", model.name, model.provider), StyleRole::Title);
        self.push_gauge("RPM", model.rpm);
        self.push_gauge("TPM", model.tpm);
        self.push_gauge("RPD", model.rpd);
        self.push_field("attempts", &attempts_text(model.ok, model.failed, model.in_flight));
        if model.invalid_outputs > 0 {
            let answers = model.ok + model.invalid_outputs;
            let share = percent(model.invalid_outputs, answers);
            let invalid = group_digits(model.invalid_outputs);
            self.push_field("checks", &format!("{invalid} of {} answers failed ({share}%)", group_digits(answers)));
        }
        let times = [model.p50_ms, model.p95_ms, model.mean_ms].map(latency);
        self.push_field("latency", &format!("p50 {}, p95 {}, mean {}", times[0], times[1], times[2]));
        self.push_cost(model.cost, model.usage, model.cost_by_kind);
        if let Some(at) = model.day_resets_at {
            self.push_field("day resets", &self.until_text(at));
        }
        let routes: Vec<_> = self.ctx.snapshot.routes.iter().filter(|route| route.model == name).collect();
        self.push_routes("Its routes", &routes, |route| &route.key);
        true
    }

    fn push_route(&mut self, key: &str, model: &str) {
        let route = self.ctx.snapshot.routes.iter().find(|route| route.key == key && route.model == model);
        let Some(route) = route else {
            self.push_text(
                &format!("{key} has no route to {model}: they belong to different providers"),
                StyleRole::Muted,
            );
            return;
        };
        let switched_off_note = if route.on { "" } else { "  (switched off by you)" };
        self.push_text(&format!("route {model}@{key}{switched_off_note}"), StyleRole::Title);
        self.push_condition(&route.condition);
        self.push_gauge("RPM", route.rpm);
        self.push_gauge("RPD", route.rpd);
        self.push_field("attempts", &attempts_text(route.ok, route.failed, route.in_flight));
        if let Some(limits) = forecast_text::bottlenecks_text(&route.bottlenecks, MAX_BOTTLENECKS) {
            self.push_field(BOTTLENECK_PERIOD_LABEL, &format!("limited by {limits}"));
        }
        // Only the route's own cooldown. Those of its key and its pool have pages of their own.
        let is_of_route = |cooldown: &&CooldownView| cooldown.subject == format!("{model}@{key}");
        for cooldown in self.ctx.snapshot.cooldowns.iter().filter(is_of_route) {
            self.push_heading("Its cooldown");
            self.push_cooldown_fields(cooldown);
        }
    }

    /// Appends the page about a cooldown. False if it has ended.
    fn push_cooldown(&mut self, cooldown_id: &CooldownId) -> bool {
        let cooldowns = &self.ctx.snapshot.cooldowns;
        let Some(cooldown) = cooldowns.iter().find(|cooldown| cooldown_id.matches(cooldown)) else { return false };
        let subject = &cooldown_id.subject;
        let project = self.ctx.project_text(subject).map_or_else(String::new, |project| format!("  ({project})"));
        self.push_text(&format!("{subject} is unavailable{project}"), StyleRole::Title);
        self.push_cooldown_fields(cooldown);
        true
    }

    fn push_cooldown_fields(&mut self, cooldown: &CooldownView) {
        self.push_cause(&cooldown.cause);
        self.push_field("until", &self.until_text(cooldown.until));
    }

    fn push_routes(&mut self, title: &str, routes: &[&RouteView], other_name: impl Fn(&RouteView) -> &str) {
        if routes.is_empty() {
            return;
        }
        self.push_heading(title);
        for route in routes {
            let other_name = self.ctx.sanitized(other_name(route), 32);
            let today = match route.rpd.limit {
                Some(_) => format!("  {} today", used_of_limit(route.rpd.used, route.rpd.limit)),
                None => String::new(),
            };
            let line = self.ctx.truncated_spans(
                [
                    self.ctx.span(format!("{other_name:<32} "), StyleRole::Text),
                    self.ctx.span(self.ctx.condition_text(&route.condition), StyleRole::from(&route.condition)),
                    self.ctx.span(today, StyleRole::Muted),
                ],
                self.columns,
            );
            self.lines.push(line);
        }
    }
}

fn attempts_text(ok: u64, failed: u64, in_flight: u32) -> String {
    format!("{} ok, {} errors, {in_flight} in flight", group_digits(ok), group_digits(failed))
}

/// How to restore a key or a route that the provider refuses permanently.
const fn operator_remedy(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::InvalidKey => "correct the secret at the place that keys.toml names, then run the same command again",
        Outcome::KeyForbidden => "allow it at the provider (API enabled, models, addresses, terms), then switch it on",
        Outcome::QuotaExhaustedBilling => "use a tier that offers the model, then switch it on",
        Outcome::ModelNotFound => "correct the model's id in keys.toml, or get access to it at the provider",
        _ => "see what the provider says, then switch it on",
    }
}

/// The event that enables a disabled key or route again, other than the operator's command.
const fn recovery_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::ModelNotFound | Outcome::QuotaExhaustedBilling => "at the next start, if the provider lists it",
        Outcome::InvalidKey | Outcome::KeyForbidden => "when its secret changes",
        // Disabled pending the operator's decision, or the quota is zero.
        _ => "at the next start",
    }
}
