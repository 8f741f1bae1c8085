//! Money caps in the simulation: in total and per day, of the run and of its keys. As in dispatch, the worst case of
//! the next request must fit.

use crate::{
    domain::QuotaDay,
    forecast::input::{BudgetInput, ForecastInput},
};

/// Dollars per request.
#[derive(Clone, Copy, Debug)]
struct RequestCost {
    mean: f64,
    worst: f64,
}

/// The amounts left of one set of caps, in dollars; infinite without a cap.
#[derive(Clone, Copy, Debug)]
struct BudgetState {
    total_left: f64,
    today_left: f64,
    per_day: f64,
}

impl BudgetState {
    fn new(budget: &BudgetInput) -> Self {
        Self {
            total_left: budget.total.map_or(f64::INFINITY, |cap| cap.left),
            today_left: budget.day.map_or(f64::INFINITY, |cap| cap.left),
            per_day: budget.day.map_or(f64::INFINITY, |cap| cap.limit),
        }
    }

    const fn available_now(&self) -> f64 {
        self.total_left.min(self.today_left)
    }

    /// The amount that can be committed on a day that has just begun.
    const fn available_on_new_day(&self) -> f64 {
        self.total_left.min(self.per_day)
    }
}

/// The caps of the run and of all keys.
#[derive(Debug)]
pub(super) struct BudgetStates<'a> {
    input: &'a ForecastInput,
    run: BudgetState,
    keys: Vec<BudgetState>,
    is_capped: bool,
    /// When the next day begins, in seconds; infinite if there is no cap per day.
    next_midnight: f64,
}

impl<'a> BudgetStates<'a> {
    pub fn new(input: &'a ForecastInput) -> Self {
        let budget_inputs = || input.keys.iter().map(|key| &key.budget).chain([&input.budget]);
        let midnight =
            (QuotaDay::Utc.next_reset(input.now)).filter(|_| budget_inputs().any(|budget| budget.day.is_some()));
        Self {
            input,
            run: BudgetState::new(&input.budget),
            keys: input.keys.iter().map(|key| BudgetState::new(&key.budget)).collect(),
            is_capped: budget_inputs().any(|budget| *budget != BudgetInput::default()),
            next_midnight: midnight.map_or(f64::INFINITY, |at| at.since(input.now).as_secs_f64()),
        }
    }

    pub const fn is_capped(&self) -> bool {
        self.is_capped
    }

    pub const fn next_midnight(&self) -> f64 {
        self.next_midnight
    }

    pub fn spend(&mut self, key: usize, usd: f64) {
        for budget in [&mut self.run, &mut self.keys[key]] {
            budget.total_left -= usd;
            budget.today_left -= usd;
        }
    }

    /// Starts a new day: resets what is left of the daily caps.
    pub fn start_new_day(&mut self) {
        self.next_midnight += 86_400.0;
        for budget in self.keys.iter_mut().chain([&mut self.run]) {
            budget.today_left = budget.per_day;
        }
    }

    /// Requests that the money of the route's key and of the run still covers; the last one counts with its worst case.
    /// A model without a price costs nothing, as in dispatch.
    pub fn affordable_requests(&self, class: usize, route: usize) -> f64 {
        if !self.is_capped {
            return f64::INFINITY;
        }
        self.request_cost(class, route).filter(|cost| cost.mean > 0.0).map_or(f64::INFINITY, |cost| {
            let available = self.available_to(self.input.routes[route].key);
            ((available - cost.worst) / cost.mean + 1.0).floor().max(0.0)
        })
    }

    /// Whether the run's own money does not cover the request.
    pub fn exceeds_run_budget(&self, class: usize, route: usize) -> bool {
        self.request_cost(class, route).is_some_and(|cost| self.run.available_now() < cost.worst)
    }

    /// Whether the money of a new day covers the request.
    pub fn is_affordable_on_new_day(&self, class: usize, route: usize) -> bool {
        self.request_cost(class, route).is_none_or(|cost| {
            let key = &self.keys[self.input.routes[route].key];
            cost.mean <= 0.0 || key.available_on_new_day().min(self.run.available_on_new_day()) >= cost.worst
        })
    }

    /// By pool: whether its routes have requests left, but not enough money for any of them. `waiting` are the (class,
    /// route) pairs of classes with requests left.
    pub fn over_budget_pools(&self, waiting: impl Iterator<Item = (usize, usize)>) -> Vec<bool> {
        if !self.is_capped {
            return vec![false; self.input.pools.len()];
        }
        let mut over_budget = vec![None; self.input.pools.len()];
        for (class, route) in waiting {
            let is_over_budget = &mut over_budget[self.input.routes[route].pool];
            if *is_over_budget != Some(false) {
                *is_over_budget = Some(self.affordable_requests(class, route) < 1.0);
            }
        }
        over_budget.into_iter().map(|is_over_budget| is_over_budget == Some(true)).collect()
    }

    /// Seconds during which no cap of a key or of the run can be reached, however requests are distributed over routes.
    /// `rate_of` gives the requests per second of a pool.
    pub fn secs_until_limit(
        &self,
        waiting: impl Iterator<Item = (usize, usize)>,
        rate_of: impl Fn(usize) -> f64,
    ) -> f64 {
        if !self.is_capped {
            return f64::INFINITY;
        }
        let (mut key_spend_rates, mut run_spend_rate, mut min_left) = (vec![0.0; self.keys.len()], 0.0, f64::INFINITY);
        for (class, index) in waiting.filter(|(class, route)| self.affordable_requests(*class, *route) >= 1.0) {
            let route = &self.input.routes[index];
            let spend_rate = rate_of(route.pool) * self.request_cost(class, index).map_or(0.0, |cost| cost.mean);
            key_spend_rates[route.key] += spend_rate;
            run_spend_rate += spend_rate;
            min_left = min_left.min(self.available_to(route.key));
        }
        let keys = key_spend_rates.iter().enumerate().filter(|(_, spend_rate)| **spend_rate > 0.0);
        let first_key_limit =
            keys.map(|(key, spend_rate)| self.available_to(key) / spend_rate).fold(f64::INFINITY, f64::min);
        if run_spend_rate > 0.0 { first_key_limit.min(min_left / run_spend_rate) } else { first_key_limit }
    }

    /// `None` if the model has no price.
    fn request_cost(&self, class: usize, route: usize) -> Option<RequestCost> {
        let price = self.input.models[self.input.routes[route].model].price?;
        let input = self.input.classes[class].mean_input_tokens;
        let rates = price.rates(input as u64);
        let (mean_output, max_output) = self.input.output_tokens(class, route);
        let cost_for = |input_rate: u64, output: f64| (input_rate as f64 * input + rates.output as f64 * output) / 1e12;
        Some(RequestCost {
            mean: cost_for(rates.input, mean_output),
            worst: cost_for(rates.dearest_input(false), max_output),
        })
    }

    /// Dollars that a key may commit now.
    fn available_to(&self, key: usize) -> f64 {
        self.keys[key].available_now().min(self.run.available_now())
    }
}
