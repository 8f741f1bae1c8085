//! A quota pool: the counters that some routes share, and what keeps them from being drawn on.

use crate::domain::{
    Counted, Limits, Now, RouteId, Wall,
    days::Unit,
    snapshot::{Cause, Gauge},
};

use super::{
    cooldown::{Cooldown, Wake},
    day::DayMeter,
    share::SHARED_DAY,
    window::{Pace, Room, Window},
};

/// Tokens that an attempt is expected to use, before the provider has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Need {
    pub input: u64,
    pub output: u64,
}

impl Need {
    pub const fn counted(self, counted: Counted) -> u64 {
        match counted {
            Counted::Input => self.input,
            Counted::Total => self.total(),
        }
    }

    /// What a window of this size is asked for: all that it can ever hold, where only our own estimate says that it is
    /// more. How long an answer will be nobody knows, and the input is reckoned generously; so a request is too large
    /// only where half its estimated input is.
    fn at_most(self, counted: fn(Self) -> u64, limit: Option<u64>) -> u64 {
        let amount = counted(self);
        let least = counted(Self { input: self.input / 2, output: 0 });
        match limit {
            Some(limit) if amount > limit && least <= limit => limit,
            _ => amount,
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

    const fn counter(counted: Counted) -> fn(Self) -> u64 {
        match counted {
            Counted::Input => Self::input,
            Counted::Total => Self::total,
        }
    }
}

/// What an answer proves about the room it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// Answered: the request stays, tokens are as the provider counted.
    Actual(Need),
    /// Refused for quota: the request stays in its minute, tokens and the day's place are returned.
    Refused,
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
        what: &'static str,
        wake: Wake,
    },
    /// The day is spent by our own count.
    DayFull {
        until: Wall,
        used: u64,
        limit: u64,
    },
    Cooling(&'a Cooldown),
    Spent(&'a Cooldown),
    /// More than the window holds: never here.
    TooLarge {
        what: &'static str,
    },
}

#[derive(Debug)]
pub struct Pool {
    /// `provider/project/model`, or the shared pool's own name in the model's place.
    pub name: String,
    /// `model@project` for the screen.
    pub label: String,
    pub routes: Vec<RouteId>,
    pub in_flight: u32,
    pub cooldown: Option<Cooldown>,
    /// The provider said that the day's quota is used up.
    pub spent: Option<Cooldown>,
    /// Minute refusals in a row, one per episode.
    pub ladder_step: usize,
    /// After a guessed cooldown: how many may be in flight until a success doubles it.
    pub ramp: Option<u32>,
    counted: Counted,
    concurrency: Option<u32>,
    requests: Window,
    tokens: Window,
    input: Window,
    output: Window,
    pace: Option<Pace>,
    day_requests: DayMeter,
    day_tokens: DayMeter,
}

/// A look at a pool's counters, for reckoning ahead.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a> {
    pub counted: Counted,
    pub concurrency: Option<u32>,
    pub requests: &'a Window,
    pub tokens: &'a Window,
    pub input: &'a Window,
    pub output: &'a Window,
    pub pace: Option<&'a Pace>,
    pub day_requests: &'a DayMeter,
    pub day_tokens: &'a DayMeter,
}

/// A ramp that reaches this is over.
const RAMPED: u32 = 16;

impl Pool {
    pub fn new(name: String, label: String, limits: &Limits) -> Self {
        Self {
            name,
            label,
            routes: Vec::new(),
            in_flight: 0,
            cooldown: None,
            spent: None,
            ladder_step: 0,
            ramp: None,
            counted: limits.counted,
            concurrency: limits.concurrency,
            requests: Window::new(limits.rpm.map(u64::from)),
            tokens: Window::new(limits.tpm),
            input: Window::new(limits.itpm),
            output: Window::new(limits.otpm),
            pace: limits.rpm.zip(limits.burst).map(|(rpm, burst)| Pace::new(rpm, burst)),
            day_requests: DayMeter::new(limits.day, limits.rpd.map(u64::from)),
            day_tokens: DayMeter::new(limits.day, limits.tpd),
        }
    }

    fn amounts(&self, need: Need) -> [(u64, &Window, &'static str); 4] {
        let tokens = need.at_most(Need::counter(self.counted), self.tokens.limit());
        let input = need.at_most(Need::input, self.input.limit());
        let output = need.at_most(Need::output, self.output.limit());
        [
            (1, &self.requests, "requests/min"),
            (tokens, &self.tokens, "tokens/min"),
            (input, &self.input, "input tokens/min"),
            (output, &self.output, "output tokens/min"),
        ]
    }

    /// What keeps any request out, whatever its size; `None` where only its tokens may.
    pub fn block(&self, now: Now) -> Option<Block<'_>> {
        if let Some(spent) = self.spent.as_ref().filter(|spent| !spent.over(now)) {
            return Some(Block::Spent(spent));
        }
        if let Some(until) = self.day_requests.full_until(now.wall, 1) {
            let (used, limit) = (self.day_requests.used(now.wall), self.day_requests.limit().unwrap_or_default());
            return Some(Block::DayFull { until, used, limit });
        }
        if self.day_requests.lacks(now.wall, 1) {
            return Some(Block::Full { what: SHARED_DAY, wake: Wake::Settle });
        }
        if let Some(cooldown) = self.cooldown.as_ref().filter(|cooldown| !cooldown.over(now)) {
            return Some(Block::Cooling(cooldown));
        }
        if self.concurrency.is_some_and(|most| self.in_flight >= most) {
            return Some(Block::Full { what: "concurrency", wake: Wake::Settle });
        }
        if self.ramp.is_some_and(|most| self.in_flight >= most) {
            return Some(Block::Full { what: "ramping up", wake: Wake::Settle });
        }
        let room = self.requests.room(now.mono, 1);
        if room != Room::Now {
            return Some(full("requests/min", room));
        }
        let room = self.pace.as_ref().map_or(Room::Now, |pace| pace.room(now.mono));
        (room != Room::Now).then(|| full("pacing", room))
    }

    /// The window that can never hold a request of this size, if there is one.
    pub fn too_large(&self, need: Need) -> Option<&'static str> {
        let mut windows = self.amounts(need).into_iter().skip(1);
        let minute = windows.find(|(amount, window, _)| window.limit().is_some_and(|limit| *amount > limit));
        let day = need.at_most(Need::counter(self.counted), self.day_tokens.limit());
        let over_day = self.day_tokens.limit().is_some_and(|limit| day > limit);
        minute.map(|(_, _, what)| what).or(over_day.then_some("tokens/day"))
    }

    /// What keeps a request of this size out, given that [`Pool::block`] has found nothing.
    pub fn token_block(&self, now: Now, need: Need) -> Option<Block<'_>> {
        for (amount, window, what) in &self.amounts(need)[1..] {
            match window.room(now.mono, *amount) {
                Room::Now => {}
                Room::Never => return Some(Block::TooLarge { what }),
                room => return Some(full(what, room)),
            }
        }
        let amount = need.at_most(Need::counter(self.counted), self.day_tokens.limit());
        if self.day_tokens.limit().is_some_and(|limit| amount > limit) {
            return Some(Block::TooLarge { what: "tokens/day" });
        }
        let Some(until) = self.day_tokens.full_until(now.wall, amount) else {
            let lacks = self.day_tokens.lacks(now.wall, amount);
            return lacks.then_some(Block::Full { what: SHARED_DAY, wake: Wake::Settle });
        };
        let (used, limit) = (self.day_tokens.used(now.wall), self.day_tokens.limit().unwrap_or_default());
        Some(Block::DayFull { until, used, limit })
    }

    /// Takes room for one request; what was taken comes back in [`Pool::settle`].
    pub fn reserve(&mut self, now: Now, need: Need) -> Need {
        let taken = Need {
            input: need.at_most(Need::input, self.input.limit()),
            output: need.at_most(Need::output, self.output.limit()),
        };
        let tokens = need.at_most(Need::counter(self.counted), self.tokens.limit());
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
        self.day_requests.count(now.wall, 1);
        self.day_tokens.count(now.wall, taken.counted(self.counted));
        taken
    }

    /// The request left the process just now, later than it was reserved.
    pub fn sent(&mut self, now: Now) {
        if let Some(pace) = &mut self.pace {
            pace.sent(now.mono);
        }
    }

    /// Settles one request that was reserved at `reserved_at` with `taken`.
    pub fn settle(&mut self, now: Now, reserved_at: Now, taken: Need, counting: Counting) {
        self.in_flight -= 1;
        let (requests, day_requests, used) = match counting {
            Counting::Actual(used) => (1, 1, used),
            Counting::Refused => (1, 0, Need::default()),
            Counting::Unknown => (1, 1, taken),
            Counting::NotSent => (0, 0, Need::default()),
        };
        let (reserved, actual) = (taken.counted(self.counted), used.counted(self.counted));
        self.requests.settle(now.mono, 1, requests);
        self.tokens.settle(now.mono, reserved, actual);
        self.input.settle(now.mono, taken.input, used.input);
        self.output.settle(now.mono, taken.output, used.output);
        self.day_requests.correct(now.wall, reserved_at.wall, 1, day_requests);
        self.day_tokens.correct(now.wall, reserved_at.wall, reserved, actual);
    }

    /// Counts an attempt of an earlier process: settled (or, at the latest, sent) at `at`, `age` before `now`.
    pub fn recall(&mut self, now: Now, at: Wall, used: Need, refused: bool) {
        let age = now.wall.since(at);
        if age < super::window::MINUTE {
            let release = now.mono + (super::window::MINUTE - age);
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
        self.ramp = self.ramp.map(|most| most * 2).filter(|most| *most < RAMPED);
    }

    pub fn requests_gauge(&self, now: Now) -> Gauge {
        Gauge { used: self.requests.used(now.mono), limit: self.requests.limit() }
    }

    pub fn tokens_gauge(&self, now: Now) -> Gauge {
        let input_only = self.tokens.limit().is_none() && self.input.limit().is_some();
        let window = if input_only { &self.input } else { &self.tokens };
        Gauge { used: window.used(now.mono), limit: window.limit() }
    }

    /// The day as the provider sees it: full where it said so, whatever we counted.
    pub fn day_gauge(&self, now: Now) -> Gauge {
        let (used, limit) = (self.day_requests.used(now.wall), self.day_requests.limit());
        let said_spent = self.spent.as_ref().is_some_and(|spent| !spent.over(now));
        Gauge { used: if said_spent { used.max(limit.unwrap_or(used)) } else { used }, limit }
    }

    pub fn day_meters(&mut self) -> impl Iterator<Item = (Unit, &mut DayMeter)> {
        [(Unit::Requests, &mut self.day_requests), (Unit::Tokens, &mut self.day_tokens)].into_iter()
    }

    pub const fn is_shared(&self) -> bool {
        self.day_requests.is_shared() || self.day_tokens.is_shared()
    }

    /// A request of this size found too little of the block in hand.
    pub fn note_short(&mut self, need: Need) {
        let tokens = need.at_most(Need::counter(self.counted), self.day_tokens.limit());
        if let Some(share) = self.day_tokens.share_mut() {
            share.note_short(tokens);
        }
    }

    pub const fn counters(&self) -> Counters<'_> {
        Counters {
            counted: self.counted,
            concurrency: self.concurrency,
            requests: &self.requests,
            tokens: &self.tokens,
            input: &self.input,
            output: &self.output,
            pace: self.pace.as_ref(),
            day_requests: &self.day_requests,
            day_tokens: &self.day_tokens,
        }
    }

    pub const fn day(&self) -> crate::domain::Day {
        self.day_requests.day()
    }

    /// Notes a refusal for the minute; true where it begins a new episode.
    pub fn is_new_episode(&self, now: Now, sent_at: crate::domain::Mono) -> bool {
        self.cooldown.as_ref().is_none_or(|cooldown| cooldown.over(now) && sent_at >= cooldown.until.mono)
    }

    /// Ends what our side can end: cooldown and spent day. The operator asked.
    pub fn clear(&mut self) -> Option<Cause> {
        self.ramp = None;
        self.ladder_step = 0;
        let cooldown = self.cooldown.take();
        self.spent.take().or(cooldown).map(|cooldown| cooldown.cause)
    }
}

const fn full(what: &'static str, room: Room) -> Block<'static> {
    let wake = match room {
        Room::At(at) => Wake::Mono(at),
        Room::Now | Room::WhenSettled | Room::Never => Wake::Settle,
    };
    Block::Full { what, wake }
}
