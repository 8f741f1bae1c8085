//! Money caps beside the run's own: for a key, and for a day.
//!
//! As with the run's cap, what counts is the worst case: the dearest answer is reserved before a request goes out, so
//! that a cap can be undershot and never overshot. A day of money is a UTC day, of this run.

use crate::domain::{Money, MoneyCaps, Now, QuotaDay, RouteId, WallTime};

use super::{Scheduler, Ticket, day::next_reset, pool::Block, standing::Standing};

/// What has been spent against some caps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purse {
    pub caps: MoneyCaps,
    /// For certain, or at risk.
    gone: Money,
    reserved: Money,
    /// Gone in the day that ends then.
    today: Money,
    ends: WallTime,
}

/// Whether an amount may be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    Now,
    /// Once a new day begins.
    Tomorrow(WallTime),
    Never,
}

impl Fit {
    pub const fn opens(self) -> Option<WallTime> {
        match self {
            Self::Tomorrow(at) => Some(at),
            Self::Now | Self::Never => None,
        }
    }
}

impl Purse {
    pub const fn new(caps: MoneyCaps) -> Self {
        Self { caps, gone: Money::ZERO, reserved: Money::ZERO, today: Money::ZERO, ends: WallTime(0) }
    }

    pub const fn is_capped(&self) -> bool {
        self.caps.max_usd.is_some() || self.caps.max_usd_per_day.is_some()
    }

    fn today(&self, now: WallTime) -> Money {
        if now < self.ends { self.today } else { Money::ZERO }
    }

    /// What may still be committed of the total and of today; `None` for no cap.
    pub fn left(&self, now: WallTime) -> (Option<Money>, Option<Money>) {
        let total = self.caps.max_usd.map(|most| most.saturating_sub(self.gone + self.reserved));
        let today = self.caps.max_usd_per_day.map(|most| most.saturating_sub(self.today(now) + self.reserved));
        (total, today)
    }

    pub fn fit(&self, now: WallTime, worst: Money) -> Fit {
        if self.caps.max_usd.is_some_and(|most| self.gone + self.reserved + worst > most) {
            return Fit::Never;
        }
        let Some(most) = self.caps.max_usd_per_day else { return Fit::Now };
        if self.today(now) + self.reserved + worst <= most {
            return Fit::Now;
        }
        match next_reset(QuotaDay::Utc, now) {
            Some(midnight) if worst <= most => Fit::Tomorrow(midnight),
            _ => Fit::Never,
        }
    }

    pub fn reserve(&mut self, worst: Money) {
        self.reserved += worst;
    }

    /// Turns a reservation into what is gone: certain, or at risk.
    pub fn settle(&mut self, now: WallTime, reserved: Money, gone: Money) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.recall(now, now, gone);
    }

    /// Counts what went at `at`. Calls come in time order.
    pub fn recall(&mut self, now: WallTime, at: WallTime, gone: Money) {
        self.gone += gone;
        if next_reset(QuotaDay::Utc, at) == next_reset(QuotaDay::Utc, now) {
            self.today = self.today(now) + gone;
            self.ends = next_reset(QuotaDay::Utc, now).unwrap_or_default();
        }
    }
}

impl Scheduler {
    /// Whether this ticket's worst case on this route fits every cap.
    pub(super) fn fits_budget(&self, now: Now, id: RouteId, ticket: &Ticket) -> Fit {
        let worst = self.worst_case(id, ticket);
        let money = self.money;
        let committed = money.spent + money.reserved + money.at_risk;
        if self.policy.max_usd.is_some_and(|most| committed + worst > most) {
            return Fit::Never;
        }
        let key = &self.keys[self.routes[id.index()].key];
        match (self.purse.fit(now.wall, worst), key.purse.fit(now.wall, worst)) {
            (Fit::Now, fit) | (fit, Fit::Now) => fit,
            (Fit::Tomorrow(at), Fit::Tomorrow(_)) => Fit::Tomorrow(at),
            _ => Fit::Never,
        }
    }

    /// Whether this route has enough left of money, and of the day's tokens, for this ticket.
    pub(super) fn has_left(&self, now: Now, id: RouteId, ticket: &Ticket) -> Fit {
        let day = match self.pools[self.routes[id.index()].pool].day_tokens_block(now, self.need(id, ticket)) {
            Some(Block::DayFull { until, .. }) => Fit::Tomorrow(until),
            _ => Fit::Now,
        };
        match (self.fits_budget(now, id, ticket), day) {
            (Fit::Never, _) => Fit::Never,
            (Fit::Now, fit) | (fit, Fit::Now) => fit,
            (Fit::Tomorrow(money), Fit::Tomorrow(tokens)) => Fit::Tomorrow(money.max(tokens)),
            (_, Fit::Never) => Fit::Never,
        }
    }

    /// What the ticket can expect of the route once its counters have room: to go there, to wait for a day that lets it
    /// in, or nothing for as long as the run lasts; `None` where the route may not serve it at all.
    pub(super) fn prospect(&self, now: Now, id: RouteId, ticket: &Ticket) -> Option<Fit> {
        self.unfit(id, ticket).is_none().then(|| self.has_left(now, id, ticket))
    }

    /// How what is left bears on a ready route: `Now` where a waiting ticket that may use it fits, or else the day
    /// that lets one; `None` where no waiting ticket may use it.
    pub(super) fn affordable(&self, now: Now, id: RouteId) -> Option<Fit> {
        let mut best = None;
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(id).is_some());
        for (index, class) in classes {
            if class.backlog > 0 && class.fresh.is_empty() && class.takes_more() {
                // The next are being loaded.
                return Some(Fit::Now);
            }
            let delayed = self.backing_off.values().filter(|(class, _)| *class == index).map(|(_, ticket)| ticket);
            for fit in class.tickets().chain(delayed).filter_map(|ticket| self.prospect(now, id, ticket)) {
                match (fit, best) {
                    (Fit::Now, _) => return Some(Fit::Now),
                    (Fit::Never, Some(_)) => {}
                    (fit, _) => best = Some(fit),
                }
            }
        }
        best
    }

    /// The least that a waiting ticket may cost at the worst, on the ready routes that may serve it; where none is
    /// ready, on those that come back.
    pub(super) fn least_worst_case(&self, now: Now) -> Option<Money> {
        let routes = (0..self.routes.len() as u32).map(RouteId);
        let (mut ready, mut out): (Option<Money>, Option<Money>) = (None, None);
        for id in routes {
            let least = match self.standing(now, id) {
                Standing::Off { .. } | Standing::Dead(_) => continue,
                Standing::Ready => &mut ready,
                _ => &mut out,
            };
            *least = (*least).into_iter().chain(self.least_worst_case_on(id)).min();
        }
        ready.or(out)
    }

    fn least_worst_case_on(&self, id: RouteId) -> Option<Money> {
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(id).is_some());
        let tickets = classes.flat_map(|(index, class)| {
            let delayed = self.backing_off.values().filter(move |(class, _)| *class == index).map(|(_, ticket)| ticket);
            class.tickets().chain(delayed)
        });
        tickets.filter(|ticket| self.unfit(id, ticket).is_none()).map(|ticket| self.worst_case(id, ticket)).min()
    }

    /// Money that an earlier process spent, or may have spent, with the key of this name, if there still is one. Calls
    /// come in time order.
    pub fn recall_money(&mut self, now: Now, key: &str, at: WallTime, gone: Money) {
        self.purse.recall(now.wall, at, gone);
        if let Some(state) = self.keys.iter_mut().find(|state| state.key.name == key) {
            state.purse.recall(now.wall, at, gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(amount: f64) -> Money {
        Money::from_usd(amount).unwrap()
    }

    #[test]
    fn a_days_cap_opens_at_utc_midnight_and_a_total_never() {
        let (evening, midnight) =
            (WallTime::from_unix_seconds(1_795_302_000), WallTime::from_unix_seconds(1_795_305_600));
        let caps = MoneyCaps { max_usd: Some(usd(3.0)), max_usd_per_day: Some(usd(2.0)) };
        let mut purse = Purse::new(caps);
        purse.reserve(usd(1.5));
        assert_eq!(purse.fit(evening, usd(0.5)), Fit::Now);
        assert_eq!(purse.fit(evening, usd(0.6)), Fit::Tomorrow(midnight));
        purse.settle(evening, usd(1.5), usd(1.2));
        assert_eq!(purse.fit(evening, usd(0.8)), Fit::Now);
        assert_eq!(purse.fit(evening, usd(0.9)), Fit::Tomorrow(midnight));
        assert_eq!(purse.fit(midnight, usd(1.8)), Fit::Now);
        assert_eq!(purse.fit(midnight, usd(1.9)), Fit::Never, "over the total");
        assert_eq!(purse.fit(midnight, usd(2.1)), Fit::Never, "no day is large enough");
    }
}
