//! A quota pool: the counters that some routes share, and what keeps them from being drawn on.

use std::time::Duration;

use crate::domain::{
    LimitDimension, LimitSource, Limits, Now, RouteId, TokenCounting, WallTime,
    lease::QuotaUnit,
    snapshot::{Cause, Gauge},
};

use super::{
    bound::Bound,
    bounds::{Admission, Bounds},
    capacity::Capacity,
    cooldown::{Cooldown, Wake},
    day::{DayMeter, DayRoom, Stay},
    ramp::Ramp,
    window::{MINUTE, Pace, Room, Window},
};

/// Tokens that an attempt is expected to use, before the provider has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Need {
    pub input: u64,
    pub output: u64,
}

impl Need {
    pub const fn counted(self, counted: TokenCounting) -> u64 {
        match counted {
            TokenCounting::Input => self.input,
            TokenCounting::Total => self.total(),
        }
    }

    const fn input(self) -> u64 {
        self.input
    }

    const fn output(self) -> u64 {
        self.output
    }

    const fn total(self) -> u64 {
        self.input + self.output
    }

    const fn counter(counted: TokenCounting) -> fn(Self) -> u64 {
        match counted {
            TokenCounting::Input => Self::input,
            TokenCounting::Total => Self::total,
        }
    }

    /// What of it is reserved under a limit. How long an answer will be nobody knows, and the input is reckoned
    /// generously; so a request is too large only where half its estimated input is.
    fn under(self, bound: &Bound, counted: fn(Self) -> u64) -> u64 {
        bound.reserved(counted(self), counted(Self { input: self.input / 2, output: 0 }))
    }
}

/// What an answer proves about the room it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// Answered: the request stays, tokens are as the provider counted.
    Actual(Need),
    /// Refused for quota: the request stays in its minute, tokens and the day's place are returned.
    Refused,
    /// Answered, and nobody says how much it used: all that was reserved stays.
    Untold,
    /// Sent and never answered: all that was reserved stays.
    Unknown,
    /// No byte was sent: all is returned.
    NotSent,
}

/// Why a pool can't be drawn on now.
#[derive(Debug)]
pub enum Block<'a> {
    /// Our own counters are full.
    Full {
        what: Capacity,
        wake: Wake,
    },
    /// The day is spent by our own count.
    DayFull {
        until: WallTime,
        used: u64,
        limit: u64,
    },
    Cooling(&'a Cooldown),
    Spent(&'a Cooldown),
    /// More than the window holds: never here.
    TooLarge {
        what: Capacity,
    },
}

#[derive(Debug)]
pub struct Pool {
    /// `provider/project/model`, or the shared pool's own name in the model's place.
    pub name: String,
    /// `model@project` for the screen.
    pub label: String,
    pub routes: Vec<RouteId>,
    /// Which of the scheduler's families it is of.
    pub family: usize,
    /// When it was last refused far below its limit by our own count.
    pub surprised_at: Option<crate::domain::MonoTime>,
    pub in_flight: u32,
    pub cooldown: Option<Cooldown>,
    /// The provider said that the day's quota is used up.
    pub spent: Option<Cooldown>,
    /// Minute refusals in a row, one per episode.
    pub ladder_step: usize,
    /// Times in a row that the day was still spent when it should have begun anew.
    pub day_step: u32,
    /// After a guessed cooldown: the way back up.
    pub ramp: Option<Ramp>,
    pub bounds: Bounds,
    counted: TokenCounting,
    burst: Option<u32>,
    requests: Window,
    tokens: Window,
    input: Window,
    output: Window,
    pace: Option<Pace>,
    day_requests: DayMeter,
    day_tokens: DayMeter,
}

/// What a settled request tells of its time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub reserved: Now,
    /// When it left, as far as that was told.
    pub sent: Now,
    /// How long before the answer the server has counted it for certain.
    pub head_start: Duration,
}

/// A look at a pool's counters, for reckoning ahead.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a> {
    pub counted: TokenCounting,
    pub concurrency: Option<u64>,
    pub requests: &'a Window,
    pub tokens: &'a Window,
    pub input: &'a Window,
    pub output: &'a Window,
    pub pace: Option<&'a Pace>,
    pub day_requests: &'a DayMeter,
    pub day_tokens: &'a DayMeter,
}

impl Pool {
    pub fn new(name: String, label: String, family: usize, limits: &Limits) -> Self {
        Self {
            name,
            label,
            routes: Vec::new(),
            family,
            surprised_at: None,
            in_flight: 0,
            cooldown: None,
            spent: None,
            ladder_step: 0,
            day_step: 0,
            ramp: None,
            bounds: Bounds::new(limits),
            counted: limits.token_counting,
            burst: limits.burst,
            requests: Window::new(limits.rpm.map(u64::from)),
            tokens: Window::new(limits.tpm),
            input: Window::new(limits.itpm),
            output: Window::new(limits.otpm),
            pace: limits.rpm.zip(limits.burst).map(|(rpm, burst)| Pace::new(rpm, burst)),
            day_requests: DayMeter::new(limits.quota_day, limits.rpd.map(u64::from)),
            day_tokens: DayMeter::new(limits.quota_day, limits.tpd),
        }
    }

    fn amounts(&self, need: Need) -> [(u64, &Window, Capacity); 4] {
        let tokens = need.under(&self.bounds.tokens, Need::counter(self.counted));
        let input = need.under(&self.bounds.input, Need::input);
        let output = need.under(&self.bounds.output, Need::output);
        [
            (1, &self.requests, Capacity::RequestsPerMinute),
            (tokens, &self.tokens, Capacity::TokensPerMinute),
            (input, &self.input, Capacity::InputTokensPerMinute),
            (output, &self.output, Capacity::OutputTokensPerMinute),
        ]
    }

    /// What keeps any request out, whatever its size; `None` where only its tokens may.
    pub fn block(&self, now: Now) -> Option<Block<'_>> {
        if let Some(spent) = self.spent.as_ref().filter(|spent| !spent.over(now)) {
            return Some(Block::Spent(spent));
        }
        if let Some(block) = day_block(&self.day_requests, now, 1, Capacity::RequestsPerDay) {
            return Some(block);
        }
        if self.day_requests.lacks(now.wall, 1) {
            return Some(Block::Full { what: Capacity::Lease, wake: Wake::Settle });
        }
        if let Some(cooldown) = self.cooldown.as_ref().filter(|cooldown| !cooldown.over(now)) {
            return Some(Block::Cooling(cooldown));
        }
        if self.bounds.concurrency.effective().is_some_and(|most| u64::from(self.in_flight) >= most) {
            return Some(Block::Full { what: Capacity::Concurrency, wake: Wake::Settle });
        }
        if self.ramp.is_some_and(|ramp| self.in_flight >= ramp.width()) {
            return Some(Block::Full { what: Capacity::Ramp, wake: Wake::Settle });
        }
        if self.bounds.slow_start().is_some_and(|most| self.in_flight >= most) {
            return Some(Block::Full { what: Capacity::SlowStart, wake: Wake::Settle });
        }
        let room = self.requests.room(now.mono, 1);
        if room != Room::Now {
            return Some(full(Capacity::RequestsPerMinute, room));
        }
        let room = self.pace.as_ref().map_or(Room::Now, |pace| pace.room(now.mono));
        (room != Room::Now).then(|| full(Capacity::Pacing, room))
    }

    /// Whether some window can never hold a request of this size.
    pub fn is_too_large(&self, need: Need) -> bool {
        let mut windows = self.amounts(need).into_iter().skip(1);
        let over_minute = windows.any(|(amount, window, _)| window.limit().is_some_and(|limit| amount > limit));
        let day = need.under(&self.bounds.day_tokens, Need::counter(self.counted));
        over_minute || self.day_tokens.limit().is_some_and(|limit| day > limit)
    }

    /// What keeps a request of this size out, given that [`Pool::block`] has found nothing.
    pub fn token_block(&self, now: Now, need: Need) -> Option<Block<'_>> {
        for (amount, window, what) in self.amounts(need).into_iter().skip(1) {
            match window.room(now.mono, amount) {
                Room::Now => {}
                Room::Never => return Some(Block::TooLarge { what }),
                room => return Some(full(what, room)),
            }
        }
        if let Some(block) = self.day_tokens_block(now, need) {
            return Some(block);
        }
        let amount = need.under(&self.bounds.day_tokens, Need::counter(self.counted));
        let lacks = self.day_tokens.lacks(now.wall, amount);
        lacks.then_some(Block::Full { what: Capacity::Lease, wake: Wake::Settle })
    }

    /// Whether a request's size decides if the day still has room for it.
    pub const fn counts_days_tokens(&self) -> bool {
        self.day_tokens.limit().is_some()
    }

    /// What the day's tokens keep out: until its reset, or for ever.
    pub fn day_tokens_block(&self, now: Now, need: Need) -> Option<Block<'_>> {
        let amount = need.under(&self.bounds.day_tokens, Need::counter(self.counted));
        if self.day_tokens.limit().is_some_and(|limit| amount > limit) {
            return Some(Block::TooLarge { what: Capacity::TokensPerDay });
        }
        day_block(&self.day_tokens, now, amount, Capacity::TokensPerDay)
    }

    /// Takes room for one request; what was taken comes back in [`Pool::settle`].
    pub fn reserve(&mut self, now: Now, need: Need) -> Need {
        let taken = Need {
            input: need.under(&self.bounds.input, Need::input),
            output: need.under(&self.bounds.output, Need::output),
        };
        let tokens = need.under(&self.bounds.tokens, Need::counter(self.counted));
        // Both token windows must settle what they took, so a clamp in one applies to the input estimate of all.
        let taken = if tokens < taken.counted(self.counted) { Need { input: tokens, output: 0 } } else { taken };
        self.in_flight += 1;
        self.requests.reserve(now.mono, 1);
        self.tokens.reserve(now.mono, taken.counted(self.counted));
        self.input.reserve(now.mono, taken.input);
        self.output.reserve(now.mono, taken.output);
        if let Some(pace) = &mut self.pace {
            pace.reserve(now.mono);
        }
        self.day_requests.reserve(now.wall, 1);
        self.day_tokens.reserve(now.wall, taken.counted(self.counted));
        taken
    }

    /// The request left the process just now, later than it was reserved.
    pub fn sent(&mut self, now: Now) {
        if let Some(pace) = &mut self.pace {
            pace.sent(now.mono);
        }
    }

    /// Settles one request that was reserved with `taken`.
    pub fn settle(&mut self, now: Now, taken: Need, counting: Counting, timing: Timing) {
        self.in_flight -= 1;
        let Timing { reserved: reserved_at, sent, head_start } = timing;
        // Output is counted as it is made: as late as the last of it.
        let hold = MINUTE.saturating_sub(head_start);
        let tokens_hold = if self.counted == TokenCounting::Input { hold } else { MINUTE };
        let counted_by = now.wall - head_start;
        let (requests, day_requests, used) = match counting {
            Counting::Actual(used) => (1, 1, used),
            Counting::Refused => (1, 0, Need::default()),
            Counting::Untold | Counting::Unknown => (1, 1, taken),
            Counting::NotSent => (0, 0, Need::default()),
        };
        let (reserved, actual) = (taken.counted(self.counted), used.counted(self.counted));
        self.requests.settle(now.mono, 1, requests, hold);
        self.tokens.settle(now.mono, reserved, actual, tokens_hold);
        self.input.settle(now.mono, taken.input, used.input, hold);
        self.output.settle(now.mono, taken.output, used.output, MINUTE);
        let stay = Stay { reserved_at: reserved_at.wall, counted_by };
        self.day_requests.settle(now.wall, stay, 1, day_requests);
        self.day_tokens.settle(now.wall, stay, reserved, actual);
        if matches!(counting, Counting::Actual(_) | Counting::Untold) {
            let admission =
                Admission { sent: sent.mono, latency: now.mono.since(sent.mono), used, others: self.in_flight };
            self.bounds.admit(now.mono, admission);
            self.retune();
        }
    }

    /// Counts an attempt of an earlier process: settled (or, at the latest, sent) at `at`, `age` before `now`.
    pub fn recall(&mut self, now: Now, at: WallTime, used: Need, refused: bool) {
        let age = now.wall.since(at);
        if age < MINUTE {
            let release = now.mono + (MINUTE - age);
            self.requests.recall(release, 1);
            if !refused {
                self.tokens.recall(release, used.counted(self.counted));
                self.input.recall(release, used.input);
                self.output.recall(release, used.output);
            }
        }
        if !refused {
            self.day_requests.recall(now.wall, at, 1);
            self.day_tokens.recall(now.wall, at, used.counted(self.counted));
        }
    }

    /// A success: the ladder starts anew and the ramp doubles.
    pub fn succeeded(&mut self) {
        self.ladder_step = 0;
        self.day_step = 0;
        self.ramp = self.ramp.and_then(Ramp::succeeded);
    }

    pub fn requests_gauge(&self, now: Now) -> Gauge {
        gauge(self.requests.used(now.mono), self.bounds.requests)
    }

    pub fn tokens_gauge(&self, now: Now) -> Gauge {
        let input_only = self.tokens.limit().is_none() && self.input.limit().is_some();
        if input_only {
            gauge(self.input.used(now.mono), self.bounds.input)
        } else {
            gauge(self.tokens.used(now.mono), self.bounds.tokens)
        }
    }

    /// The day as the provider sees it: full where it said so, whatever we counted.
    pub fn day_gauge(&self, now: Now) -> Gauge {
        let (used, limit) = (self.day_requests.used(now.wall), self.day_requests.limit());
        let said_spent = self.spent.as_ref().is_some_and(|spent| !spent.over(now));
        gauge(if said_spent { used.max(limit.unwrap_or(used)) } else { used }, self.bounds.day_requests)
    }

    pub fn day_meters(&mut self) -> impl Iterator<Item = (QuotaUnit, &mut DayMeter)> {
        [(QuotaUnit::Requests, &mut self.day_requests), (QuotaUnit::Tokens, &mut self.day_tokens)].into_iter()
    }

    pub const fn is_shared(&self) -> bool {
        self.day_requests.is_shared() || self.day_tokens.is_shared()
    }

    /// A request of this size found too little of the block in hand.
    pub fn note_short(&mut self, need: Need) {
        let tokens = need.under(&self.bounds.day_tokens, Need::counter(self.counted));
        if let Some(share) = self.day_tokens.share_mut() {
            share.note_short(tokens);
        }
    }

    pub fn counters(&self) -> Counters<'_> {
        Counters {
            counted: self.counted,
            concurrency: self.bounds.concurrency.effective(),
            requests: &self.requests,
            tokens: &self.tokens,
            input: &self.input,
            output: &self.output,
            pace: self.pace.as_ref(),
            day_requests: &self.day_requests,
            day_tokens: &self.day_tokens,
        }
    }

    pub const fn day(&self) -> crate::domain::QuotaDay {
        self.day_requests.day()
    }

    /// Notes a refusal for the minute; true where it begins a new episode.
    pub fn is_new_episode(&self, now: Now, sent_at: crate::domain::MonoTime) -> bool {
        self.cooldown.as_ref().is_none_or(|cooldown| cooldown.over(now) && sent_at >= cooldown.until.mono)
    }

    /// A refusal that our counters did not foresee, the first of its episode, of a request sent at `sent`.
    pub fn refused_unforeseen(&mut self, now: Now, sent: Now, what: LimitDimension) {
        self.bounds.refuse(now.mono, sent.mono, what, self.in_flight);
        self.retune();
    }

    /// The limits may have changed: puts those in force into the counters.
    pub fn retune(&mut self) {
        let bounds = &self.bounds;
        self.requests.set_limit(bounds.requests.effective());
        self.tokens.set_limit(bounds.tokens.effective());
        self.input.set_limit(bounds.input.effective());
        self.output.set_limit(bounds.output.effective());
        self.day_requests.set_limit(bounds.day_requests.effective());
        self.day_tokens.set_limit(bounds.day_tokens.effective());
        let rpm = bounds.requests.effective().map(|rpm| u32::try_from(rpm).unwrap_or(u32::MAX));
        // A learned limit is not spent at once: should it be wrong, or a day end, few requests meet the refusal.
        let gentle = rpm.filter(|_| bounds.requests.provenance() == Some(LimitSource::Learned)).map(|rpm| rpm / 8 + 1);
        let burst = self.burst.into_iter().chain(gentle).min();
        self.pace = rpm.zip(burst).map(|(rpm, burst)| match &self.pace {
            Some(pace) => pace.retuned(rpm, burst),
            None => Pace::new(rpm, burst),
        });
    }

    /// Ends what our side can end: cooldown and spent day. The operator asked.
    pub fn clear(&mut self) -> Option<Cause> {
        self.ramp = None;
        (self.ladder_step, self.day_step) = (0, 0);
        let cooldown = self.cooldown.take();
        self.spent.take().or(cooldown).map(|cooldown| cooldown.cause)
    }
}

fn gauge(used: u64, bound: Bound) -> Gauge {
    Gauge { used, limit: bound.effective(), source: bound.provenance() }
}

fn day_block(meter: &DayMeter, now: Now, amount: u64, what: Capacity) -> Option<Block<'static>> {
    match meter.room(now.wall, amount) {
        DayRoom::Now => None,
        DayRoom::At(until) => {
            let (used, limit) = (meter.used(now.wall), meter.limit().unwrap_or_default());
            Some(Block::DayFull { until, used, limit })
        }
        DayRoom::WhenSettled => Some(Block::Full { what, wake: Wake::Settle }),
    }
}

const fn full(what: Capacity, room: Room) -> Block<'static> {
    let wake = match room {
        Room::At(at) => Wake::Mono(at),
        Room::Now | Room::WhenSettled | Room::Never => Wake::Settle,
    };
    Block::Full { what, wake }
}
