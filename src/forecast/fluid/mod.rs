//! Fluid simulation of the rest of the run: items flow through windows, days, cooldowns and the in-flight cap.
//!
//! Items are amounts here, not objects, so ten million cost as much as ten. For the first two hours a minute window is
//! simulated turn by turn: it frees room in steps, and the steps decide when a short run ends. After that it is
//! simulated as a rate, since one turn more or less no longer matters. Days are always exact, since they end at
//! calendar instants.

mod money;
mod pool_state;

use crate::domain::{
    AllowedRoutes, QuotaDay, SpillRule,
    bottleneck::Bottleneck,
    forecast::{ConstraintShare, ForecastStop, ItemsBeforeReset, QuotaExhaustion, StopReason},
};

use super::input::ForecastInput;

use money::BudgetStates;
use pool_state::{DAY_SECS, EPSILON, MIN_STEP_SECS, PoolState, RateBucket};

/// Minute windows are simulated turn by turn for this long, in seconds.
const EXACT_WINDOW_SECS: f64 = 2.0 * 3_600.0;
/// The turn-by-turn simulation also ends after this many pool updates.
const MAX_EXACT_POOL_STEPS: usize = 200_000;
/// After the exact part: the smallest step as a share of the time simulated so far.
const RELATIVE_STEP: f64 = 0.002;
/// The simulation stops after this many seconds. The rest is extrapolated from the rate so far.
const HORIZON_SECS: f64 = 366.0 * DAY_SECS;

/// Result of a simulation. Instants are seconds from the start.
#[derive(Clone, Debug, Default)]
pub(super) struct FluidResult {
    /// Infinite if it never ends.
    pub finish: f64,
    pub stop: Option<ForecastStop>,
    pub first_exhausted: Option<QuotaExhaustion>,
    pub before_reset: Option<ItemsBeforeReset>,
    pub constraints: Vec<ConstraintShare>,
    /// Items by route.
    pub items_by_route: Vec<f64>,
    pub input_tokens: f64,
    pub output_tokens: f64,
    pub usd: f64,
    pub has_unpriced_items: bool,
}

pub(super) struct FluidSim<'a> {
    input: &'a ForecastInput,
    now_secs: f64,
    pools: Vec<PoolState<'a>>,
    in_flight_bucket: RateBucket,
    /// Requests left, by class.
    remaining_by_class: Vec<f64>,
    /// Classes with the fewest routes first, since they have the least choice.
    class_order: Vec<usize>,
    cursor: usize,
    /// The next end of each calendar day that some pool counts.
    resets: Vec<(QuotaDay, f64)>,
    budgets: BudgetStates<'a>,
    sent: f64,
    pool_steps: usize,
    secs_limited_by_in_flight: f64,
    secs_limited_by_money: f64,
    /// When the last request so far was sent.
    last_sent_secs: f64,
    result: FluidResult,
}

impl<'a> FluidSim<'a> {
    pub fn new(input: &'a ForecastInput) -> Self {
        let mut latency = vec![0.0_f64; input.pools.len()];
        for route in &input.routes {
            latency[route.pool] = latency[route.pool].max(input.models[route.model].latency_secs);
        }
        let mut days: Vec<QuotaDay> =
            input.pools.iter().filter(|pool| pool.per_day.is_some()).map(|pool| pool.day).collect();
        days.sort_unstable_by_key(|day| *day as u8);
        days.dedup();
        let reset = |day: QuotaDay| Some((day, day.next_reset(input.now)?.since(input.now).as_secs_f64()));
        let mut order: Vec<usize> = (0..input.classes.len()).collect();
        order.sort_by_key(|class| input.classes[*class].routes.len());
        let available = input.routes.iter().filter(|route| route.available_in.is_some());
        let (count, total) =
            available.fold((0, 0.0), |(n, sum), route| (n + 1, sum + input.models[route.model].latency_secs));
        let mean_latency = if count == 0 { 1.0 } else { total / f64::from(count) };
        Self {
            now_secs: 0.0,
            pools: input.pools.iter().zip(&latency).map(|(pool, latency)| PoolState::new(pool, *latency)).collect(),
            in_flight_bucket: RateBucket::new(
                f64::from(input.max_in_flight),
                f64::from(input.in_flight_now),
                mean_latency,
            ),
            remaining_by_class: input.classes.iter().map(|class| class.items * input.requests_per_item).collect(),
            class_order: order,
            cursor: input.cursor,
            resets: days.into_iter().filter_map(reset).collect(),
            budgets: BudgetStates::new(input),
            sent: 0.0,
            pool_steps: 0,
            secs_limited_by_in_flight: 0.0,
            secs_limited_by_money: 0.0,
            last_sent_secs: 0.0,
            result: FluidResult { items_by_route: vec![0.0; input.routes.len()], ..FluidResult::default() },
            input,
        }
    }

    pub fn run(mut self) -> FluidResult {
        // Items of classes without routes are left over; the rest is simulated without them.
        let left_without_route: f64 = (0..self.remaining_by_class.len())
            .filter(|class| self.input.classes[*class].routes.is_empty())
            .map(|class| std::mem::take(&mut self.remaining_by_class[class]))
            .sum();
        while self.remaining() > EPSILON {
            if self.now_secs >= HORIZON_SECS {
                let total = self.sent + self.remaining();
                self.last_sent_secs *= if self.sent > 0.0 { total / self.sent } else { f64::INFINITY };
                break;
            }
            self.start_new_days();
            let is_exact = self.now_secs < EXACT_WINDOW_SECS && self.pool_steps < MAX_EXACT_POOL_STEPS;
            self.pool_steps += self.pools.len();
            let until = self.next_change(is_exact);
            let span = until - self.now_secs;
            self.pools.iter_mut().for_each(|pool| pool.start_step(self.now_secs, span, is_exact));
            let (amount, share) = self.allocate(span);
            let last_sent_after = self.secs_until_last_sent(amount, share, span, is_exact);
            let is_in_flight_limited = if self.remaining() > EPSILON {
                amount >= self.in_flight_bucket.capacity_within(span) - EPSILON
            } else {
                last_sent_after > 0.0 && self.in_flight_bucket.time_until(amount) >= last_sent_after - EPSILON
            };
            self.attribute_time(if self.remaining() > EPSILON { span } else { last_sent_after }, is_in_flight_limited);
            self.end_step(span, is_exact, is_in_flight_limited);
            if amount > 0.0 {
                self.last_sent_secs = self.now_secs + last_sent_after;
            }
            self.sent += amount;
            if self.remaining() <= EPSILON {
                break;
            }
            let is_over_budget = self.detect_stop(last_sent_after);
            if until.is_infinite() || is_over_budget {
                self.last_sent_secs = f64::INFINITY;
                break;
            }
            self.in_flight_bucket.consume(amount, span);
            self.now_secs = until;
        }
        if left_without_route > EPSILON {
            let left = left_without_route / self.input.requests_per_item;
            let at = if self.last_sent_secs.is_finite() { self.last_sent_secs } else { self.now_secs };
            self.record_stop(at, StopReason::NoRoute, left, None);
            self.last_sent_secs = f64::INFINITY;
        }
        self.finish()
    }

    fn remaining(&self) -> f64 {
        self.remaining_by_class.iter().sum()
    }

    /// (class, route) pairs of classes with requests left.
    fn waiting_routes(&self) -> impl Iterator<Item = (usize, usize)> {
        let classes = (0..self.remaining_by_class.len()).filter(|class| self.remaining_by_class[*class] > EPSILON);
        classes.flat_map(|class| self.input.classes[class].routes.iter().map(move |route| (class, *route as usize)))
    }

    /// Starts new days: resets daily quotas and money caps, and adds what rolling days release.
    fn start_new_days(&mut self) {
        let (input, items) = (self.input, (self.sent / self.input.requests_per_item).floor() as u64);
        let items_before = |reset: f64| {
            Some(ItemsBeforeReset { at: input.wall_time_in(reset)?, items: items + u64::from(input.in_flight_now) })
        };
        for (day, reset) in &mut self.resets {
            if *reset > self.now_secs + EPSILON {
                continue;
            }
            self.result.before_reset = self.result.before_reset.or_else(|| items_before(*reset));
            self.pools.iter_mut().filter(|pool| pool.input.day == *day).for_each(PoolState::start_new_day);
            let wall = self.input.now + std::time::Duration::from_secs_f64(*reset + 1.0);
            *reset = day.next_reset(wall).map_or(f64::INFINITY, |at| at.since(self.input.now).as_secs_f64());
        }
        let midnight = self.budgets.next_midnight();
        if midnight <= self.now_secs + EPSILON {
            if self.resets.is_empty() {
                self.result.before_reset = self.result.before_reset.or_else(|| items_before(midnight));
            }
            self.budgets.start_new_day();
        }
        self.pools.iter_mut().for_each(|pool| pool.release_rolling_day(self.now_secs));
    }

    /// The next instant at which more may be sent than before; infinite if none is known.
    fn next_change(&self, is_exact: bool) -> f64 {
        let of_pools = self.pools.iter().map(|pool| pool.next_change(self.now_secs, is_exact));
        let is_later = |at: &f64| *at > self.now_secs + EPSILON;
        let available_at = self.input.routes.iter().filter_map(|route| route.available_in).filter(is_later);
        let next = of_pools.chain(available_at).fold(f64::INFINITY, f64::min);
        let min_step = if is_exact { MIN_STEP_SECS } else { (self.now_secs * RELATIVE_STEP).max(MIN_STEP_SECS) };
        let reset = self.resets.iter().map(|(_, at)| *at).fold(f64::INFINITY, f64::min);
        let rate_of = |pool: usize| self.pools[pool].rate().min(self.in_flight_bucket.rate);
        let next = next.min(self.now_secs + self.budgets.secs_until_limit(self.waiting_routes(), rate_of));
        let next = next.max(self.now_secs + min_step).min(reset).min(self.budgets.next_midnight());
        // Within a step, routes are filled one after the other. So a step is at most as long as all usable routes
        // together need for the rest; otherwise the first routes would take everything.
        let over_budget = self.budgets.over_budget_pools(self.waiting_routes());
        let affordable = self.pools.iter().zip(&over_budget).filter(|(_, is_over_budget)| !**is_over_budget);
        let rate: f64 = affordable.map(|(pool, _)| pool.rate()).sum();
        let rate = rate.min(self.in_flight_bucket.rate);
        if rate > 0.0 { next.min(self.now_secs + (self.remaining() / rate).max(MIN_STEP_SECS)) } else { next }
    }

    /// Distributes room to the classes. Returns the amount sent, and the largest share of the possible amount that a
    /// class used.
    fn allocate(&mut self, span: f64) -> (f64, f64) {
        let (mut amount, mut max_share) = (0.0, 0.0_f64);
        let in_flight_room = self.in_flight_bucket.capacity_within(span);
        for index in 0..self.class_order.len() {
            let class = self.class_order[index];
            let wanted = self.remaining_by_class[class];
            if wanted <= EPSILON {
                continue;
            }
            let mut total_possible = 0.0;
            // Strict order and same-model spilling move on within a step when a route is exhausted.
            for _ in 0..=self.input.routes.len() {
                let (sent, class_possible, may_use_others) = self.fill_class(class, in_flight_room - amount);
                amount += sent;
                total_possible += class_possible;
                if !may_use_others || self.remaining_by_class[class] <= EPSILON || in_flight_room - amount <= EPSILON {
                    break;
                }
            }
            if total_possible.is_finite() && total_possible > 0.0 {
                max_share = max_share.max((wanted - self.remaining_by_class[class]) / total_possible);
            }
        }
        (amount, max_share.min(1.0))
    }

    /// Fills a class's routes once. Returns the amount sent, the amount possible, and whether other routes may now be
    /// used.
    fn fill_class(&mut self, class: usize, mut in_flight_room: f64) -> (f64, f64, bool) {
        let input = self.input;
        let routes = &input.classes[class].routes;
        let rule = SpillRule::new(input.when_limited, input.spill_to, false, || self.is_row_model_busy(class));
        let allowed = rule.allowed(|| match rule {
            SpillRule::FromCursor => self.route_at_cursor(class),
            _ => routes.iter().copied().find(|route| self.has_quota(*route) && self.has_budget(class, *route)),
        });
        if rule == SpillRule::PreferredModel && allowed == AllowedRoutes::Any {
            // No route of the class has quota and money left.
            return (0.0, 0.0, false);
        }
        let (mut sent, mut possible) = (0.0, 0.0);
        for &index in routes {
            let route = &input.routes[index as usize];
            let is_unavailable = route.available_in.is_none_or(|available_in| available_in > self.now_secs + EPSILON);
            let is_row_model = |route| input.classes[class].row_model_routes.contains(&route);
            let is_allowed = allowed.allows(index, |route| input.routes[route as usize].model, is_row_model);
            if is_unavailable || !is_allowed {
                continue;
            }
            let affordable = self.budgets.affordable_requests(class, index as usize);
            if affordable < 1.0 {
                continue;
            }
            let room = self.pools[route.pool].room();
            possible += room.min(in_flight_room);
            let take = room.min(in_flight_room).min(self.remaining_by_class[class]).min(affordable);
            if take <= 0.0 {
                continue;
            }
            self.pools[route.pool].used_in_step += take;
            self.remaining_by_class[class] -= take;
            in_flight_room -= take;
            sent += take;
            self.record_sent(class, index as usize, take);
            if self.remaining_by_class[class] <= EPSILON || in_flight_room <= EPSILON {
                break;
            }
        }
        let may_use_others = rule != SpillRule::Any && sent > 0.0;
        (sent, possible, may_use_others)
    }

    /// Whether a route of the model that the class's rows name is limited in this step only by its requests in flight.
    fn is_row_model_busy(&self, class: usize) -> bool {
        self.input.classes[class].row_model_routes.iter().any(|&index| {
            let route = &self.input.routes[index as usize];
            let is_available = route.available_in.is_some_and(|available_in| available_in <= self.now_secs + EPSILON);
            is_available && self.pools[route.pool].is_limited_by_concurrency() && self.has_budget(class, index)
        })
    }

    /// Whether today's quota of the route's pool has room for a request.
    fn has_quota(&self, route: u32) -> bool {
        self.pools[self.input.routes[route as usize].pool].has_quota()
    }

    fn has_budget(&self, class: usize, route: u32) -> bool {
        self.budgets.affordable_requests(class, route as usize) >= 1.0
    }

    /// Strict order's route: the first from the cursor on that the class may use, that has quota left today and
    /// that there is money for. Moves the cursor past routes without quota.
    fn route_at_cursor(&mut self, class: usize) -> Option<u32> {
        let count = self.input.routes.len();
        let routes = &self.input.classes[class].routes;
        let is_usable = |route: &u32| {
            self.input.routes[*route as usize].available_in.is_some()
                && self.has_quota(*route)
                && routes.contains(route)
        };
        let from = |cursor: usize| (0..count).map(move |step| ((cursor + step) % count) as u32);
        let cursor = from(self.cursor).find(is_usable)? as usize;
        // The model that the rows name comes first: on the cursor's key, then on later keys.
        let row_model = &self.input.classes[class].row_model_routes;
        let key = |route: u32| self.input.routes[route as usize].key;
        let start = row_model.iter().find(|route| key(**route) == key(cursor as u32)).map_or(cursor, |at| *at as usize);
        let has_budget = |route: &u32| self.has_budget(class, *route);
        let named = from(start).filter(|route| row_model.contains(route) && is_usable(route)).find(has_budget);
        let route = named.or_else(|| from(cursor).filter(is_usable).find(has_budget));
        self.cursor = cursor;
        route
    }

    fn record_sent(&mut self, class: usize, route: usize, amount: f64) {
        let model = &self.input.models[self.input.routes[route].model];
        let input = self.input.classes[class].mean_input_tokens;
        let (output, _) = self.input.output_tokens(class, route);
        let result = &mut self.result;
        result.items_by_route[route] += amount / self.input.requests_per_item;
        result.input_tokens += amount * input;
        result.output_tokens += amount * output;
        match model.price {
            Some(price) => {
                let rates = price.rates(input as u64);
                let usd = amount * (rates.input as f64 * input + rates.output as f64 * output) / 1e12;
                result.usd += usd;
                self.budgets.spend(self.input.routes[route].key, usd);
            }
            None => result.has_unpriced_items = true,
        }
    }

    /// Seconds from the start of the step until its last request is sent.
    fn secs_until_last_sent(&self, amount: f64, share: f64, span: f64, is_exact: bool) -> f64 {
        let of_pools = self.pools.iter().map(PoolState::secs_until_last_sent);
        let mut last_sent_after = of_pools.fold(self.in_flight_bucket.time_until(amount), f64::max);
        if !is_exact && span.is_finite() {
            last_sent_after = last_sent_after.max(span * share);
        }
        last_sent_after.min(span)
    }

    /// Attributes the time of the step to the constraints that limited it.
    fn attribute_time(&mut self, span: f64, is_in_flight_limited: bool) {
        if !span.is_finite() || span <= 0.0 {
            return;
        }
        if is_in_flight_limited {
            self.secs_limited_by_in_flight += span;
            return;
        }
        let over_budget = self.budgets.over_budget_pools(self.waiting_routes());
        let exceeds_run_budget = |(class, route)| self.budgets.exceeds_run_budget(class, route);
        if over_budget.contains(&true) && self.waiting_routes().all(exceeds_run_budget) {
            self.secs_limited_by_money += span;
            return;
        }
        let mut weights = 0.0;
        let mut is_cooling_down = vec![false; self.pools.len()];
        let mut is_used = vec![false; self.pools.len()];
        for route in &self.input.routes {
            let Some(available_in) = route.available_in else { continue };
            if !std::mem::replace(&mut is_used[route.pool], true) {
                weights += self.pools[route.pool].weight();
            }
            is_cooling_down[route.pool] |= available_in > self.now_secs + EPSILON;
        }
        for (index, pool) in self.pools.iter_mut().enumerate().filter(|(index, _)| is_used[*index]) {
            let constraint = pool.constraint(is_cooling_down[index], over_budget[index]);
            pool.secs_lost[constraint as usize] += span * pool.weight() / weights;
        }
    }

    /// Takes the sent amounts from the pools, and notes the first day that this uses up.
    fn end_step(&mut self, span: f64, is_exact: bool, is_in_flight_limited: bool) {
        for pool in &mut self.pools {
            if pool.end_step(self.now_secs, span, is_exact, is_in_flight_limited) {
                let reset = self.resets.iter().find(|(day, _)| *day == pool.input.day).map(|(_, reset)| *reset);
                self.result.first_exhausted.get_or_insert_with(|| QuotaExhaustion {
                    pool: pool.input.label.clone(),
                    at: self.input.wall_time_in(self.now_secs).unwrap_or(self.input.now),
                    resets_at: reset.and_then(|reset| self.input.wall_time_in(reset)),
                });
            }
        }
    }

    /// Records a stop if quota or money allow nothing more today. True if the money can't cover the rest on any later
    /// day either.
    fn detect_stop(&mut self, last_sent_after: f64) -> bool {
        if self.result.stop.is_some() && !self.budgets.is_capped() {
            return false;
        }
        let (mut any_route, mut any_exhausted, mut all_exhausted) = (false, false, true);
        let (mut all_unavailable, mut affordable_some_day) = (true, false);
        for (class, index) in self.waiting_routes() {
            let route = &self.input.routes[index];
            let is_exhausted = self.pools[route.pool].is_spent();
            let affordable = self.budgets.affordable_requests(class, index) >= 1.0;
            any_route = true;
            any_exhausted |= is_exhausted;
            all_exhausted &= is_exhausted;
            all_unavailable &= is_exhausted || !affordable;
            affordable_some_day |= affordable || self.budgets.is_affordable_on_new_day(class, index);
        }
        let (items_left, at) = (self.remaining() / self.input.requests_per_item, self.now_secs + last_sent_after);
        let is_over_budget = any_route && !affordable_some_day;
        if is_over_budget {
            self.record_stop(at, StopReason::Budget, items_left, None);
        } else if any_route && all_unavailable && self.input.stops_when_exhausted {
            let calendar = self.resets.iter().map(|(_, reset)| *reset);
            let rolling = self.pools.iter().filter_map(PoolState::next_day_release);
            let quota = calendar.chain(rolling).filter(|_| any_exhausted);
            let money = Some(self.budgets.next_midnight()).filter(|_| !all_exhausted);
            let resumes_at = quota.chain(money).min_by(f64::total_cmp);
            let reason = if all_exhausted { StopReason::Quota } else { StopReason::Budget };
            self.record_stop(at, reason, items_left, resumes_at);
        }
        is_over_budget
    }

    /// Records why the run stops early, if that is not recorded yet. Instants are seconds from the start.
    fn record_stop(&mut self, at: f64, reason: StopReason, items_left: f64, resumes_at: Option<f64>) {
        self.result.stop.get_or_insert_with(|| ForecastStop {
            at: self.input.wall_time_in(at).unwrap_or(self.input.now),
            reason,
            items_left: items_left.ceil() as u64,
            resumes_at: resumes_at.and_then(|at| self.input.wall_time_in(at)),
        });
    }

    fn finish(mut self) -> FluidResult {
        // Assume that the last answer comes from the slowest route used.
        let loads = self.result.items_by_route.iter().zip(&self.input.routes);
        let latencies_used =
            loads.filter(|(load, _)| **load > 0.0).map(|(_, route)| self.input.models[route.model].latency_secs);
        let last_latency = latencies_used.fold(0.0, f64::max);
        self.result.finish = self.last_sent_secs + last_latency;
        let mut constraints: Vec<(Bottleneck, f64, Option<usize>)> = Bottleneck::ALL
            .into_iter()
            .map(|constraint| {
                let lost = |pool: &PoolState<'_>| pool.secs_lost[constraint as usize];
                let total: f64 = self.pools.iter().map(lost).sum();
                let most_limited = (0..self.pools.len())
                    .max_by(|one, two| lost(&self.pools[*one]).total_cmp(&lost(&self.pools[*two])));
                match constraint {
                    Bottleneck::MaxInFlight => (constraint, self.secs_limited_by_in_flight, None),
                    // Money of keys is attributed to pools; the run's own money is not.
                    Bottleneck::Budget => {
                        let pool = most_limited.filter(|_| self.secs_limited_by_money <= total);
                        (constraint, total + self.secs_limited_by_money, pool)
                    }
                    _ => (constraint, total, most_limited),
                }
            })
            .collect();
        constraints.retain(|(_, seconds, _)| *seconds > 0.0);
        constraints.sort_by(|one, two| two.1.total_cmp(&one.1));
        let total: f64 = constraints.iter().map(|(_, seconds, _)| seconds).sum();
        let to_share = |(constraint, seconds, pool): (Bottleneck, f64, Option<usize>)| ConstraintShare {
            constraint,
            pool: pool.map(|pool| self.input.pools[pool].label.clone()),
            share: seconds / total,
        };
        self.result.constraints = constraints.into_iter().map(to_share).collect();
        self.result
    }
}
