//! Cross-examination: whether an item or a key is at fault, by what else failed and what did not.
//!
//! A key is only charged while another key at the same model succeeds, and once per item. The same item failing the same
//! way on a second project convicts the item: the keys get back what they were charged for it. Many items failing on
//! one key, with no success between them, convict the key: all its routes rest, and come back by a probe each.

use smallvec::SmallVec;

use crate::domain::{EventKind, EventLevel, MonoTime, Now, Outcome, Seq, snapshot::Cause};

use super::{Flight, Scheduler, TESTIMONY, breaker::Breaker};

/// Different items that must fail on a key before it is convicted.
const ACCUSERS: usize = 5;

/// One failure that was charged to a key's score on an item's account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charge {
    key: usize,
    project: usize,
    outcome: Outcome,
}

/// What an item's failures were charged to.
#[derive(Clone, Debug, Default)]
pub struct Charges {
    made: SmallVec<[Charge; 2]>,
    /// It failed alike on two projects: nobody else is charged any more.
    convicted: bool,
}

/// The items that lately failed on a key.
#[derive(Clone, Debug, Default)]
pub struct Accusers(SmallVec<[(Seq, MonoTime); ACCUSERS]>);

impl Accusers {
    /// One more; true where they are enough.
    fn accuse(&mut self, now: MonoTime, seq: Seq) -> bool {
        self.0.retain(|(other, at)| *other != seq && now.since(*at) < TESTIMONY);
        self.0.push((seq, now));
        self.0.len() >= ACCUSERS
    }

    /// The key has worked: whatever failed had another reason.
    pub fn dismiss(&mut self) {
        self.0.clear();
    }
}

impl Scheduler {
    /// A provider's fault on `flight` while another key at the same model succeeds.
    pub(super) fn examine(&mut self, now: Now, flight: &mut Flight, cause: &Cause, events: &mut Vec<EventKind>) {
        let key = self.routes[flight.route.index()].key;
        let project = self.keys[key].project;
        let seq = flight.ticket.seq;
        let charges = &mut flight.ticket.course().charges;
        if charges.convicted {
            return;
        }
        let alike = |charge: &Charge| charge.outcome == cause.outcome && charge.project != project;
        if let Some(first) = charges.made.iter().copied().find(alike) {
            charges.convicted = true;
            let made = std::mem::take(&mut charges.made);
            for charge in made {
                self.keys[charge.key].health.refund();
                self.keys[charge.key].accusers.dismiss();
                self.measure_key(charge.key);
            }
            let message = format!(
                "item {} fails alike ({}) on {} and {}: the item is at fault, their scores are restored",
                seq.0, cause.outcome, self.keys[first.key].key.name, self.keys[key].key.name
            );
            events.push(EventKind::Run { level: EventLevel::Info, message });
            return;
        }
        if charges.made.iter().all(|charge| charge.key != key) {
            charges.made.push(Charge { key, project, outcome: cause.outcome });
            self.keys[key].health.own_fault();
        }
        if self.keys[key].accusers.accuse(now.mono, seq) {
            self.convict(now, key, cause, events);
        }
    }

    fn convict(&mut self, now: Now, key: usize, cause: &Cause, events: &mut Vec<EventKind>) {
        self.keys[key].accusers.dismiss();
        let span = self.policy.breaker_open_time;
        let mut any = false;
        for index in 0..self.keys[key].routes.len() {
            let route = self.keys[key].routes[index];
            let breaker = &mut self.routes[route.index()].breaker;
            if matches!(breaker, Breaker::Closed { .. }) {
                *breaker = Breaker::opened(now, span, cause.clone());
                any = true;
            }
        }
        if any {
            let message =
                format!("{ACCUSERS} different items failed here while other keys answered: {}", cause.message);
            let subject = format!("key {}", self.keys[key].key.name);
            events.push(EventKind::Cooldown { subject, outcome: cause.outcome, wait: Some(span), message });
        }
    }
}
