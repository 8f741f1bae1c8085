//! Money ahead of the clock: the caps of the run, of its keys and of their days, by the same rule as dispatch: the worst
//! case of the next request must fit.

use crate::domain::QuotaDay;

use super::{
    super::{super::day::next_reset, ForecastInput, PurseOutlook},
    CRUMB, Flow,
};

/// Dollars that one request takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub mean: f64,
    pub worst: f64,
}

/// What the caps of one spender leave.
#[derive(Clone, Copy, Debug)]
struct Purse {
    total: f64,
    today: f64,
    per_day: f64,
}

impl Purse {
    fn new(outlook: &PurseOutlook) -> Self {
        Self {
            total: outlook.total.map_or(f64::INFINITY, |cap| cap.left),
            today: outlook.day.map_or(f64::INFINITY, |cap| cap.left),
            per_day: outlook.day.map_or(f64::INFINITY, |cap| cap.whole),
        }
    }

    const fn now(&self) -> f64 {
        self.total.min(self.today)
    }

    /// On a day that has just begun.
    const fn fresh(&self) -> f64 {
        self.total.min(self.per_day)
    }
}

/// All purses of a run.
#[derive(Debug)]
pub(super) struct Purses {
    run: Purse,
    keys: Vec<Purse>,
    is_capped: bool,
    /// When days of money begin anew, in seconds; infinite where none is capped.
    midnight: f64,
}

impl Purses {
    pub fn new(input: &ForecastInput) -> Self {
        let outlooks = || input.keys.iter().map(|key| &key.purse).chain([&input.purse]);
        let midnight = next_reset(QuotaDay::Utc, input.now).filter(|_| outlooks().any(|purse| purse.day.is_some()));
        Self {
            run: Purse::new(&input.purse),
            keys: input.keys.iter().map(|key| Purse::new(&key.purse)).collect(),
            is_capped: outlooks().any(|purse| *purse != PurseOutlook::default()),
            midnight: midnight.map_or(f64::INFINITY, |at| at.since(input.now).as_secs_f64()),
        }
    }

    pub const fn is_capped(&self) -> bool {
        self.is_capped
    }

    pub const fn midnight(&self) -> f64 {
        self.midnight
    }

    /// Dollars that a key may commit now.
    pub fn left(&self, key: usize) -> f64 {
        self.keys[key].now().min(self.run.now())
    }

    /// Requests that a key's money and the run's still cover.
    pub fn covers(&self, key: usize, cost: Cost) -> f64 {
        if cost.mean <= 0.0 {
            f64::INFINITY
        } else {
            ((self.left(key) - cost.worst) / cost.mean + 1.0).floor().max(0.0)
        }
    }

    /// Whether it is the run's own money that doesn't cover the request.
    pub fn run_lacks(&self, cost: Cost) -> bool {
        self.run.now() < cost.worst
    }

    /// Whether some day to come covers the request.
    pub fn ever_covers(&self, key: usize, cost: Cost) -> bool {
        cost.mean <= 0.0 || self.keys[key].fresh().min(self.run.fresh()) >= cost.worst
    }

    pub fn spend(&mut self, key: usize, usd: f64) {
        for purse in [&mut self.run, &mut self.keys[key]] {
            purse.total -= usd;
            purse.today -= usd;
        }
    }

    /// Midnight has passed: days of money begin anew.
    pub fn begin_day(&mut self) {
        self.midnight += 86_400.0;
        for purse in self.keys.iter_mut().chain([&mut self.run]) {
            purse.today = purse.per_day;
        }
    }
}

impl Flow<'_> {
    /// `None` where the model has no price.
    pub(super) fn cost(&self, class: usize, lane: usize) -> Option<Cost> {
        let model = &self.input.models[self.input.lanes[lane].model];
        let price = model.price?;
        let input = self.input.classes[class].input;
        let one = |output: f64| (price.input as f64 * input + price.output as f64 * output) / 1e12;
        Some(Cost { mean: one(model.output), worst: one(model.max_output) })
    }

    /// Requests that the money caps still cover: the last one by its worst case. What has no price costs nothing, as it
    /// does where requests are sent.
    pub(super) fn affordable(&self, class: usize, lane: usize) -> f64 {
        if !self.purses.is_capped() {
            return f64::INFINITY;
        }
        self.cost(class, lane).map_or(f64::INFINITY, |cost| self.purses.covers(self.input.lanes[lane].key, cost))
    }

    /// Classes with something left, and each of their lanes.
    pub(super) fn wants(&self) -> impl Iterator<Item = (usize, usize)> {
        let classes = (0..self.left.len()).filter(|class| self.left[*class] > CRUMB);
        classes.flat_map(|class| self.input.classes[class].lanes.iter().map(move |lane| (class, *lane as usize)))
    }

    /// By pool: whether money alone keeps everything that is left from it.
    pub(super) fn broke(&self) -> Vec<bool> {
        if !self.purses.is_capped() {
            return vec![false; self.tanks.len()];
        }
        let mut broke = vec![None; self.tanks.len()];
        for (class, lane) in self.wants() {
            let broke = &mut broke[self.input.lanes[lane].pool];
            if *broke != Some(false) {
                *broke = Some(self.affordable(class, lane) < 1.0);
            }
        }
        broke.into_iter().map(|broke| broke == Some(true)).collect()
    }

    /// Seconds for which no key's money, nor the run's, can run out, however the work is shared out.
    pub(super) fn money_lasts(&self) -> f64 {
        if !self.purses.is_capped() {
            return f64::INFINITY;
        }
        let (mut of_keys, mut of_run, mut least) = (vec![0.0; self.input.keys.len()], 0.0, f64::INFINITY);
        for (class, index) in self.wants().filter(|(class, lane)| self.affordable(*class, *lane) >= 1.0) {
            let lane = &self.input.lanes[index];
            let rate = self.tanks[lane.pool].rate(self.input.pools[lane.pool].per_minute).min(self.slots.rate);
            let burns = rate * self.cost(class, index).map_or(0.0, |cost| cost.mean);
            of_keys[lane.key] += burns;
            of_run += burns;
            least = least.min(self.purses.left(lane.key));
        }
        let keys = of_keys.iter().enumerate().filter(|(_, burns)| **burns > 0.0);
        let soonest = keys.map(|(key, burns)| self.purses.left(key) / burns).fold(f64::INFINITY, f64::min);
        if of_run > 0.0 { soonest.min(least / of_run) } else { soonest }
    }
}
