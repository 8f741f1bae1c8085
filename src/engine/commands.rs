//! The operator's commands: applies them, logs and records them, and replies.

use std::{collections::HashSet, time::Instant};

use super::{
    event_loop::{Engine, Phase},
    key_probe::{describe_probe, start_probe},
    messages::{AfterCommit, CommandRequest, ProbeResult, RunOutcome},
};
use crate::{
    domain::{Command, EventKind, EventLevel, MAX_IN_FLIGHT, Now, ReplayFilter, Seq, pluralize, snapshot::Condition},
    store::{Op, OperatorDecision},
};

fn request_count(number: usize) -> String {
    pluralize(number as u64, "request")
}

impl Engine {
    pub(super) fn on_command(&mut self, request: CommandRequest) {
        self.publisher.mark_dirty();
        let CommandRequest { command, stop_reason, reply } = request;
        if matches!(self.phase, Phase::Closing { .. }) {
            // The send fails only if the front end has gone.
            let _ = reply.send(Err("the run is over".to_owned()));
            return;
        }
        match self.apply_with_reason(&command, stop_reason) {
            Ok(message) => {
                if may_bring_work(&command) {
                    self.leave_idle();
                }
                self.emit_event(EventKind::Operator { message: message.clone() });
                if let Some(target) = command.subject() {
                    // Saved in the same group as the decision, so that an acknowledged switch is never lost.
                    self.state_saver.mark_dirty();
                    let now = self.clock.now();
                    self.save_state(now, true);
                    self.journal.record(Op::RecordDecision(Box::new(OperatorDecision {
                        target,
                        command: command.clone(),
                        at: self.clock.now().wall,
                        reason: "operator".to_owned(),
                    })));
                }
                if let Command::Replay { filter, target } = command {
                    let op = match target {
                        None => Op::Requeue(filter),
                        Some(target) => Op::RequeueTo(filter, target),
                    };
                    self.journal.submit(op, AfterCommit::ReplyRequeued(reply));
                } else {
                    self.journal.after_recorded(AfterCommit::Reply(reply, message));
                }
            }
            Err(reason) => drop(reply.send(Err(reason))),
        }
        let now = self.clock.now();
        self.publish(now);
    }

    /// Applies a command. Returns a message that says what was done, or an error message that says why it was not.
    pub(super) fn apply(&mut self, command: &Command) -> Result<String, String> {
        self.apply_with_reason(command, None)
    }

    /// `stop_reason` is why the run ends, if it is another reason than a command of the operator.
    fn apply_with_reason(&mut self, command: &Command, stop_reason: Option<String>) -> Result<String, String> {
        let now = self.clock.now();
        let on_off = |on: bool| if on { "on" } else { "off" };
        let unknown = |error: crate::scheduler::NotFound| error.to_string();
        match command {
            Command::Pause => {
                self.set_paused(true);
                Ok("paused; what is in flight finishes".to_owned())
            }
            Command::HardPause => {
                self.set_paused(true);
                let aborted_count = self.items.in_flight_count();
                self.abort_in_flight(now);
                Ok(format!("paused at once; {} aborted, which may have been billed", request_count(aborted_count)))
            }
            Command::Resume => {
                self.set_paused(false);
                Ok("resumed".to_owned())
            }
            Command::Drain if matches!(self.phase, Phase::Idle { .. }) => {
                self.begin_closing(RunOutcome::Finished);
                Ok("left".to_owned())
            }
            Command::Drain => {
                let reason = stop_reason.unwrap_or_else(|| "drained by the operator".to_owned());
                self.begin_drain(RunOutcome::Stopped { reason });
                Ok(format!("draining: {} in flight", request_count(self.items.in_flight_count())))
            }
            Command::Stop => {
                let aborted_count = self.items.in_flight_count();
                self.abort_in_flight(now);
                let reason = stop_reason.unwrap_or_else(|| "stopped by the operator".to_owned());
                self.begin_closing(RunOutcome::Stopped { reason });
                Ok(format!("stopped; {} aborted, which may have been billed", request_count(aborted_count)))
            }
            Command::SetKey { key, on } => {
                self.scheduler.switch_key(now.wall, key, *on).map_err(unknown)?;
                Ok(format!("key {key} switched {}", on_off(*on)))
            }
            Command::SetModel { model, on } => {
                self.scheduler.switch_model(now.wall, model, *on).map_err(unknown)?;
                Ok(format!("model {model} switched {}", on_off(*on)))
            }
            Command::SetRoute { key, model, on } => {
                self.scheduler.switch_route(now.wall, key, model, *on).map_err(unknown)?;
                Ok(format!("route {model}@{key} switched {}", on_off(*on)))
            }
            Command::SetStrategy { strategy } => {
                self.scheduler.set_strategy(*strategy)?;
                Ok(format!("strategy {}: {}", strategy.name(), strategy.description()))
            }
            Command::SetCascadeOrder { order } => {
                self.scheduler.set_order(*order);
                Ok(format!("cascade order {}", order.name()))
            }
            Command::SetWhenLimited { when_limited } => {
                self.scheduler.set_when_limited(*when_limited)?;
                Ok(format!("when limited: {}", when_limited.name()))
            }
            Command::SetOnExhausted { on_exhausted } => {
                self.scheduler.set_on_exhausted(*on_exhausted);
                Ok(format!("when exhausted: {}", on_exhausted.name()))
            }
            Command::SetMaxInFlight { max_in_flight: 0 } => {
                Err("the in-flight cap must be at least 1; pause to stop sending".to_owned())
            }
            Command::SetMaxInFlight { max_in_flight } if *max_in_flight > MAX_IN_FLIGHT => {
                Err(format!("at most {MAX_IN_FLIGHT} can be in flight"))
            }
            Command::SetMaxInFlight { max_in_flight } => {
                self.scheduler.set_max_in_flight(*max_in_flight);
                Ok(format!("at most {max_in_flight} in flight"))
            }
            Command::SetBudget { max_usd: Some(max_usd) } => {
                if let Some((model, why)) =
                    self.models.iter().find_map(|model| Some((model, model.unbounded_cost_reason()?)))
                {
                    return Err(format!("can't set a budget, which is a hard cap: model {} {why}", model.name));
                }
                self.scheduler.set_max_usd(Some(*max_usd));
                self.record_highest_budget();
                Ok(format!("budget {max_usd}"))
            }
            Command::SetBudget { max_usd: None } => {
                self.scheduler.set_max_usd(None);
                self.record_highest_budget();
                Ok("no budget".to_owned())
            }
            Command::Replay { filter, target } => {
                if let Some(target) = target.as_ref().filter(|target| !self.scheduler.has_route(target)) {
                    return Err(format!("there is no route {target}"));
                }
                if let Some((target, why)) =
                    target.as_ref().and_then(|target| Some((target, self.scheduler.permanent_failure(now, target)?)))
                {
                    return Err(format!("{target} is disabled: {}; switch it on first", why.name()));
                }
                if self.gives_up_rest && self.intake.has_backlog() {
                    return Err("the rest is still being given up; replay it once all items have ended".to_owned());
                }
                self.gives_up_rest = false;
                let where_to = target.as_ref().map_or_else(String::new, |target| format!("only to {target}: "));
                Ok(format!("replaying {where_to}{}", describe_filter(filter)))
            }
            Command::ProbeKey { key } => self.probe_key(key),
            Command::BreakOff { item_id } => self.break_off(now, item_id),
            Command::GiveUp { item_ids: Some(item_ids) } => self.give_up_items(now, item_ids),
            Command::GiveUp { item_ids: None } => {
                self.gives_up_rest = true;
                let broken_off = self.give_up(now, |_| true);
                let later = if self.intake.has_backlog() {
                    "; those that are not loaded yet follow, unless the program ends before"
                } else {
                    ""
                };
                Ok(format!("gave up on all items that remain; {broken_off}{later}"))
            }
            Command::ClearCooldowns { key } => {
                if self.scheduler.clear_cooldowns(key).map_err(unknown)? {
                    // All runs may try its days again.
                    for route in self.scheduler.routes_of_key(key) {
                        self.leases.set_exhausted(self.scheduler.pool_of(route), None);
                    }
                    Ok(format!("cooldowns of {key} ended"))
                } else {
                    Err(format!("{key} has no cooldowns"))
                }
            }
        }
    }

    /// Aborts the request in flight of an item, which is sent again.
    fn break_off(&mut self, now: Now, id: &str) -> Result<String, String> {
        let Some((seq, Some(attempt))) = self.items.find(id) else {
            return Err(format!("no request is in flight for item {id}"));
        };
        self.abort_attempt(now, attempt, seq, "broken off by the operator");
        Ok(format!("the request of #{id} is broken off, which may have been billed; the item is sent again"))
    }

    /// Gives up on items: they fail. If one of them has ended or is not loaded yet, on none.
    fn give_up_items(&mut self, now: Now, ids: &[String]) -> Result<String, String> {
        let mut found = HashSet::new();
        for id in ids {
            let Some((seq, _)) = self.items.find(id) else {
                return Err(format!("item {id} has ended, or many others wait before it and it is not loaded yet"));
            };
            found.insert(seq);
        }
        let broken_off = self.give_up(now, |seq| found.contains(&seq));
        let what = match ids {
            [id] => format!("#{id}"),
            _ => pluralize(ids.len() as u64, "item"),
        };
        Ok(format!("gave up on {what}; {broken_off}"))
    }

    /// Ends the loaded items for which `is_meant` holds, whether they wait or are in flight, as given up. All of it is
    /// recorded in one group. Says how many requests were broken off.
    pub(super) fn give_up(&mut self, now: Now, is_meant: impl Fn(Seq) -> bool) -> String {
        self.items.give_up(&is_meant);
        let mut aborted = 0;
        for (attempt, seq) in self.items.in_flight() {
            if is_meant(seq) && self.abort_attempt(now, attempt, seq, "given up by the operator") {
                aborted += 1;
            }
        }
        // What is still reserved waits for its intent to be recorded.
        for attempt in self.scheduler.attempts_of(&is_meant) {
            self.journal.record(Op::CancelIntent { attempt });
            self.scheduler.cancel(now, attempt);
        }
        self.scheduler.give_up(is_meant);
        // Not left to the next poll, since an idle or draining run does not poll.
        let mut has_ended_any = false;
        while let Some(rejection) = self.scheduler.pop_rejection() {
            self.on_rejected(now, &rejection);
            has_ended_any = true;
        }
        if has_ended_any && self.scheduler.unfinished_items() == 0 {
            // So that the run ends as finished.
            self.leave_idle();
        }
        let billed = if aborted > 0 { ", which may have been billed" } else { "" };
        format!("{} broken off{billed}", request_count(aborted))
    }

    /// Records the highest budget so far; the audit checks the run against it.
    pub(super) fn record_highest_budget(&mut self) {
        if let Some(op) = self.state_saver.take_budget_op(self.scheduler.policy().max_usd) {
            self.journal.record(op);
        }
    }

    /// Starts the check of a key; the result is reported as an event.
    pub(super) fn probe_key(&self, name: &str) -> Result<String, String> {
        let key = self.keys.iter().position(|key| key.name == name);
        let key = key.ok_or_else(|| format!("there is no key called {name}"))?;
        let endpoint = std::sync::Arc::clone(self.attempts.endpoint(key));
        start_probe(key, self.attempts.client().clone(), endpoint, self.probe_tx.clone());
        let provider = &self.providers[self.keys[key].provider.index()].name;
        Ok(format!("asking {provider} about key {name}"))
    }

    pub(super) fn on_probe_result(&mut self, probe: &ProbeResult) {
        let name = self.keys[probe.key].name.clone();
        let now = self.clock.now();
        let is_disabled =
            || matches!(self.scheduler.key_statuses(now)[probe.key].condition, Condition::Disabled { .. });
        let was_enabled =
            probe.proves_key() && is_disabled() && self.scheduler.switch_key(now.wall, &name, true).is_ok();
        if was_enabled {
            self.leave_idle();
            self.state_saver.mark_dirty();
        }
        let (level, message) = describe_probe(&name, &probe.response, was_enabled);
        self.log(level, message);
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.is_paused = paused;
        self.scheduler.set_paused(paused);
    }

    /// Starts draining: no new request is sent, and the run ends when the attempts in flight are done.
    pub(super) fn begin_drain(&mut self, run_outcome: RunOutcome) {
        if matches!(self.phase, Phase::Running) {
            let deadline = Instant::now() + self.scheduler.policy().drain_timeout;
            self.phase = Phase::Draining { run_outcome, deadline };
            self.log(EventLevel::Info, format!("draining: {} in flight", request_count(self.items.in_flight_count())));
        }
    }
}

/// Describes the selected failed items for the operator's log.
fn describe_filter(filter: &ReplayFilter) -> String {
    if filter.matches_all() {
        return "every failed item".to_owned();
    }
    let named = |names: &mut dyn Iterator<Item = String>| {
        let mut names: Vec<String> = names.collect();
        let more = names.len().saturating_sub(MAX_NAMED_VALUES);
        names.truncate(MAX_NAMED_VALUES);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    };
    let mut parts = Vec::new();
    if !filter.ids.is_empty() {
        parts.push(named(&mut filter.ids.iter().map(|id| format!("#{id}"))));
    }
    if !filter.outcomes.is_empty() {
        parts.push(named(&mut filter.outcomes.iter().map(|outcome| outcome.name().to_owned())));
    }
    if !filter.models.is_empty() {
        parts.push(format!(
            "on {}",
            named(&mut filter.models.iter().map(|model| if model.is_empty() { "no model" } else { model }.to_owned()))
        ));
    }
    if !filter.keys.is_empty() {
        parts.push(format!("by {}", named(&mut filter.keys.iter().cloned())));
    }
    if !filter.messages.is_empty() {
        parts.push(named(&mut filter.messages.iter().map(|message| format!("\u{201c}{message}\u{201d}"))));
    }
    parts.extend(
        filter
            .pattern
            .as_ref()
            .filter(|pattern| !pattern.is_empty())
            .map(|message| format!("\u{201c}{message}\u{201d}")),
    );
    if !filter.text.is_empty() {
        parts.push(format!("with \u{201c}{}\u{201d}", filter.text));
    }
    format!("failed items: {}", parts.join(", "))
}

/// Maximum number of ids, outcomes or other values that one sentence lists.
const MAX_NAMED_VALUES: usize = 4;

/// Whether an idle run may have work after this command.
const fn may_bring_work(command: &Command) -> bool {
    matches!(
        command,
        Command::Replay { .. }
            | Command::Resume
            | Command::SetKey { on: true, .. }
            | Command::SetModel { on: true, .. }
            | Command::SetRoute { on: true, .. }
            | Command::SetOnExhausted { .. }
            | Command::SetBudget { .. }
            | Command::ClearCooldowns { .. }
    )
}
