//! Simulated providers that keep their own books: one [`Server`] counts for one (project, model).

use std::{collections::VecDeque, time::Duration};

use cascadeck::domain::{Day, Dimension, Hint, LimitReport, Limits, Mono, Now, Outcome, Verdict, Wall};
use jiff::tz::TimeZone;

use crate::world::verdict;

const MINUTE: Duration = Duration::from_secs(60);
const ROLLING: Duration = Duration::from_secs(86_400);

/// What a server says of how long to stay away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hints {
    None,
    Honest,
    TooShort,
    Absurd,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub limits: Limits,
    pub hints: Hints,
    /// States its limits with every answer.
    pub states: bool,
    /// Says how long it worked.
    pub tells_work: bool,
    minute: VecDeque<(Mono, u64)>,
    day: VecDeque<(Wall, i64)>,
    in_flight: u32,
    pub refused: u64,
}

/// The number of the provider's day that an instant is in; 0 for rolling days.
pub fn day_number(day: Day, at: Wall) -> i64 {
    use std::cell::RefCell;
    thread_local! {
        static PACIFIC: TimeZone = TimeZone::get("America/Los_Angeles").expect("bundled");
        static LAST: RefCell<(i64, i64)> = const { RefCell::new((i64::MIN, 0)) };
    }
    let number = |zone: TimeZone| {
        let date = at.timestamp().to_zoned(zone).date();
        i64::from(date.year()) * 1_000 + i64::from(date.day_of_year())
    };
    match day {
        Day::Rolling => 0,
        Day::Utc => at.0.div_euclid(86_400_000_000),
        Day::Pacific => {
            // Days begin and end on the minute: one look at the calendar serves it whole.
            let minute = at.0.div_euclid(60_000_000);
            let (known, day) = LAST.with_borrow(|last| *last);
            if known == minute {
                return day;
            }
            let day = PACIFIC.with(|zone| number(zone.clone()));
            LAST.set((minute, day));
            day
        }
    }
}

impl Server {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            hints: Hints::Honest,
            states: false,
            tells_work: false,
            minute: VecDeque::new(),
            day: VecDeque::new(),
            in_flight: 0,
            refused: 0,
        }
    }

    /// A request arrives: counted and served (`None`), or refused.
    pub fn arrive(&mut self, now: Now, tokens: u64) -> Option<Verdict> {
        while self.minute.front().is_some_and(|(at, _)| now.mono.since(*at) >= MINUTE) {
            self.minute.pop_front();
        }
        let today = day_number(self.limits.day, now.wall);
        let over = |(at, day): &(Wall, i64)| match self.limits.day {
            Day::Rolling => now.wall.since(*at) >= ROLLING,
            _ => *day != today,
        };
        while self.day.front().is_some_and(over) {
            self.day.pop_front();
        }
        if self.limits.rpd.is_some_and(|rpd| self.day.len() >= rpd as usize) {
            let hint = match (self.limits.day, self.day.front()) {
                (Day::Rolling, Some((at, _))) => Some((*at + ROLLING).since(now.wall)),
                _ => None,
            };
            return Some(self.refuse(Outcome::QuotaExhaustedDay, hint, &[]));
        }
        if self.limits.concurrency.is_some_and(|most| self.in_flight >= most) {
            let report = LimitReport::of(Dimension::Concurrency);
            return Some(self.refuse(Outcome::RateLimitedMinute, None, &[report]));
        }
        let free_at = |counted: &VecDeque<(Mono, u64)>, skip: usize| {
            counted.get(skip).map(|(at, _)| (*at + MINUTE).since(now.mono))
        };
        if self.limits.rpm.is_some_and(|rpm| self.minute.len() >= rpm as usize) {
            let hint = free_at(&self.minute, 0);
            return Some(self.refuse(Outcome::RateLimitedMinute, hint, &[]));
        }
        let used: u64 = self.minute.iter().map(|(_, tokens)| tokens).sum();
        if self.limits.tpm.is_some_and(|tpm| used + tokens > tpm && used > 0) {
            let hint = free_at(&self.minute, self.minute.len() - 1);
            return Some(self.refuse(Outcome::TokensLimitedMinute, hint, &[]));
        }
        self.minute.push_back((now.mono, tokens));
        self.day.push_back((now.wall, today));
        self.in_flight += 1;
        None
    }

    /// A request that was counted is answered.
    pub fn answer(&mut self) {
        self.in_flight -= 1;
    }

    /// What it says of its limits beside an answer.
    pub fn statements(&self) -> Vec<LimitReport> {
        if !self.states {
            return Vec::new();
        }
        let requests = self.limits.rpm.map(|rpm| (Dimension::RequestsPerMinute, u64::from(rpm)));
        let tokens = self.limits.tpm.map(|tpm| (Dimension::TokensPerMinute, tpm));
        let day = self.limits.rpd.map(|rpd| (Dimension::RequestsPerDay, u64::from(rpd)));
        let known = [requests, tokens, day].into_iter().flatten();
        known.map(|(dimension, limit)| LimitReport { limit: Some(limit), ..LimitReport::of(dimension) }).collect()
    }

    fn refuse(&mut self, outcome: Outcome, honest: Option<Duration>, reports: &[LimitReport]) -> Verdict {
        self.refused += 1;
        let after = match self.hints {
            Hints::None => None,
            Hints::Honest => honest,
            Hints::TooShort => honest.map(|_| Duration::from_millis(200)),
            Hints::Absurd => honest.map(|_| Duration::from_secs(20 * 86_400)),
        };
        let mut refusal = Verdict { status: Some(429), hint: after.map(|after| Hint { after }), ..verdict(outcome) };
        refusal.report.limits = reports.to_vec();
        refusal
    }
}
