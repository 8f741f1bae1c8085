//! The operator's commands: done, logged as "you", recorded, answered.

use std::time::Instant;

use super::{
    core::{Engine, Phase, Then},
    handle::Order,
    start::Ending,
};
use crate::{
    domain::{Command, EventKind, EventLevel, MAX_IN_FLIGHT, ReplayFilter, pluralize},
    store::{
        Decision, Op,
        audit::{CAP, NO_CAP},
    },
};

fn requests(number: usize) -> String {
    pluralize(number as u64, "request")
}

impl Engine {
    pub(super) fn order(&mut self, order: Order) {
        self.dirty = true;
        let Order { command, reply } = order;
        if matches!(self.phase, Phase::Ending { .. }) {
            // A front end that has gone needs no answer.
            let _ = reply.send(Err("the run is over".to_owned()));
            return;
        }
        match self.obey(&command) {
            Ok(words) => {
                if brings_work(&command) {
                    self.wake_up();
                }
                self.event(EventKind::Operator { message: words.clone() });
                if let Some(target) = command.subject() {
                    // In the same group as the decision: a switch that was acknowledged is never forgotten.
                    self.forgetful = true;
                    let now = self.clock.now();
                    self.remember(now, true);
                    self.journal.record(Op::Decision(Box::new(Decision {
                        target,
                        command: command.clone(),
                        at: self.clock.now().wall,
                        reason: "operator".to_owned(),
                    })));
                }
                if let Command::Replay { filter, target: to } = command {
                    self.journal.record(match to {
                        None => Op::Requeue(filter),
                        Some(to) => Op::RequeueTo(filter, to),
                    });
                    self.journal.then(Then::ReplyRequeued(reply));
                } else {
                    self.journal.then(Then::Reply(reply, words));
                }
            }
            Err(why) => drop(reply.send(Err(why))),
        }
        let now = self.clock.now();
        self.publish(now);
    }

    /// Does it; in words what was done, or why not.
    pub(super) fn obey(&mut self, command: &Command) -> Result<String, String> {
        let now = self.clock.now();
        let on_off = |on: bool| if on { "on" } else { "off" };
        let unknown = |error: crate::scheduler::NotFound| error.to_string();
        match command {
            Command::Pause => {
                self.pause(true);
                Ok("paused; what is in flight finishes".to_owned())
            }
            Command::HardPause => {
                self.pause(true);
                let broken = self.flights.len();
                self.abandon_flights(now);
                Ok(format!("paused at once; {} broken off, which may have been billed", requests(broken)))
            }
            Command::Resume => {
                self.pause(false);
                Ok("resumed".to_owned())
            }
            Command::Drain if matches!(self.phase, Phase::Resting { .. }) => {
                self.end(Ending::Finished);
                Ok("left".to_owned())
            }
            Command::Drain => {
                self.wind_down(Ending::Stopped { why: "drained by the operator".to_owned() });
                Ok(format!("draining: {} in flight", requests(self.flights.len())))
            }
            Command::Stop => {
                let broken = self.flights.len();
                self.abandon_flights(now);
                self.end(Ending::Stopped { why: "stopped by the operator".to_owned() });
                Ok(format!("stopped; {} broken off, which may have been billed", requests(broken)))
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
                Err("at least 1 must be in flight; pause instead".to_owned())
            }
            Command::SetMaxInFlight { max_in_flight } if *max_in_flight > MAX_IN_FLIGHT => {
                Err(format!("at most {MAX_IN_FLIGHT} can be in flight"))
            }
            Command::SetMaxInFlight { max_in_flight } => {
                self.scheduler.set_in_flight(*max_in_flight);
                Ok(format!("at most {max_in_flight} in flight"))
            }
            Command::SetBudget { max_usd: Some(max_usd) } => {
                if let Some((model, why)) =
                    self.models.iter().find_map(|model| Some((model, model.unbounded_cost_reason()?)))
                {
                    return Err(format!("a budget is a hard cap, but model {} {why}", model.name));
                }
                self.scheduler.set_budget(Some(*max_usd));
                self.note_cap();
                Ok(format!("budget {max_usd}"))
            }
            Command::SetBudget { max_usd: None } => {
                self.scheduler.set_budget(None);
                self.note_cap();
                Ok("no budget".to_owned())
            }
            Command::Replay { filter, target } => {
                if let Some(to) = target.as_ref().filter(|to| !self.scheduler.has_route(to)) {
                    return Err(format!("there is no route {to}"));
                }
                if let Some((to, why)) =
                    target.as_ref().and_then(|to| Some((to, self.scheduler.permanent_failure(now, to)?)))
                {
                    return Err(format!("nothing goes to {to}: it is off, {}; switch it on first", why.name()));
                }
                let where_to = target.as_ref().map_or_else(String::new, |to| format!("to {to} alone: "));
                Ok(format!("replaying {where_to}{}", which(filter)))
            }
            Command::ProbeKey { key } => self.probe(key),
            Command::ClearCooldowns { key } => {
                if self.scheduler.clear_cooldowns(key).map_err(unknown)? {
                    self.tell_unspent(key);
                    Ok(format!("cooldowns of {key} ended"))
                } else {
                    Err(format!("nothing of {key} cools down"))
                }
            }
        }
    }

    /// Keeps the widest cap there was, which an audit holds the run to.
    pub(super) fn note_cap(&mut self) {
        let now = self.scheduler.policy().max_usd.unwrap_or(NO_CAP);
        let widest = self.widest_cap.map_or(now, |before| before.max(now));
        if self.widest_cap == Some(widest) {
            return;
        }
        self.widest_cap = Some(widest);
        let json = widest.0.to_string();
        self.journal.record(Op::State { name: CAP.to_owned(), json });
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.scheduler.set_paused(paused);
    }

    /// Nothing new goes out; the run ends when what is in flight has landed.
    pub(super) fn wind_down(&mut self, ending: Ending) {
        if matches!(self.phase, Phase::Going) {
            let deadline = Instant::now() + self.scheduler.policy().drain_timeout;
            self.phase = Phase::Draining { ending, deadline };
            self.say(EventLevel::Info, format!("draining: {} in flight", requests(self.flights.len())));
        }
    }
}

/// Which failed items, as the operator's record says it.
fn which(filter: &ReplayFilter) -> String {
    if filter.matches_all() {
        return "every failed item".to_owned();
    }
    let named = |names: &mut dyn Iterator<Item = String>| {
        let mut names: Vec<String> = names.collect();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    };
    let mut said = Vec::new();
    if !filter.ids.is_empty() {
        said.push(named(&mut filter.ids.iter().map(|id| format!("#{id}"))));
    }
    if !filter.outcomes.is_empty() {
        said.push(named(&mut filter.outcomes.iter().map(|outcome| outcome.name().to_owned())));
    }
    if !filter.models.is_empty() {
        said.push(format!("on {}", named(&mut filter.models.iter().cloned())));
    }
    if !filter.keys.is_empty() {
        said.push(format!("by {}", named(&mut filter.keys.iter().cloned())));
    }
    if !filter.messages.is_empty() {
        said.push(named(&mut filter.messages.iter().map(|words| format!("\u{201c}{words}\u{201d}"))));
    }
    said.extend(
        filter.pattern.as_ref().filter(|pattern| !pattern.is_empty()).map(|words| format!("\u{201c}{words}\u{201d}")),
    );
    if !filter.text.is_empty() {
        said.push(format!("with \u{201c}{}\u{201d}", filter.text));
    }
    format!("failed items: {}", said.join(", "))
}

/// Ids, outcomes or models named in one sentence.
const NAMED: usize = 4;

/// Whether a run that rests may have something to do after this.
const fn brings_work(command: &Command) -> bool {
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
