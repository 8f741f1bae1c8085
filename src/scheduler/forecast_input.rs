//! Copies what a forecast needs. The cost depends on the number of routes, classes and items that are backing off, not
//! on that of all items.

use std::time::Duration;

use crate::{
    domain::{KeyId, Money, Now, OnExhausted, PoolId, RouteId},
    forecast::{
        ASSUMED_LATENCY, Assumptions, BudgetCap, BudgetInput, ClassInput, ForecastInput, ForecastRoute, KeyInput,
        ModelInput, PoolInput,
    },
};

use super::{
    admission::Availability, fleet::TYPICAL_OUTPUT_TOKENS, limits::pool_limits::TokenEstimate, queue::Queue,
    routing::Routing, view::View,
};

/// The state that a forecast starts from.
pub struct ForecastSource<'a> {
    pub now: Now,
    pub view: View<'a>,
    pub queue: &'a Queue,
    pub routing: &'a Routing,
    /// The route and the reserved worst-case cost of each request in flight.
    pub in_flight: &'a [(RouteId, Money)],
    pub assumptions: &'a Assumptions,
}

impl ForecastSource<'_> {
    pub fn input(&self) -> ForecastInput {
        let View { fleet, budget, policy } = self.view;
        let (now, models) = (self.now, self.models());
        let routes: Vec<ForecastRoute> = self.routing.ranking().iter().map(|id| self.route(*id)).collect();
        let classes = self.classes(&routes);
        let items: f64 = classes.iter().map(|class| class.items).sum();
        let input_tokens: f64 = classes.iter().map(|class| class.items * class.mean_input_tokens).sum();
        let mean_input = (input_tokens / items.max(1.0)).ceil() as u64;
        // If several models share a pool, the last one in the cascade stands for them.
        let mut model_of_pool = vec![None; fleet.pools().len()];
        for route in &routes {
            model_of_pool[route.pool] = Some(&models[route.model]);
        }
        let pool = |id: PoolId| -> PoolInput {
            let (output, latency) =
                model_of_pool[id.index()].map_or((0.0, 0.0), |model| (model.mean_output_tokens, model.latency_secs));
            let estimate = TokenEstimate { input: mean_input, output: f64::ceil(output) as u64 };
            fleet.pool(id).forecast_input(now, estimate, latency)
        };
        let (cost_by_key, cost) = self.in_flight_costs(&models, mean_input);
        let key = |id: KeyId| KeyInput {
            name: fleet.key(id).key.name.clone(),
            kind: (fleet.key(id).key.provider.index(), fleet.key(id).key.models.clone()),
            budget: budget
                .key(id)
                .map(|budget| budget.forecast_input(now.wall, cost_by_key[id.index()]))
                .unwrap_or_default(),
        };
        ForecastInput {
            now: now.wall,
            max_in_flight: policy.max_in_flight,
            in_flight_now: self.in_flight.len() as u32,
            when_limited: policy.when_limited,
            spill_to: policy.spill_to,
            stops_when_exhausted: policy.on_exhausted == OnExhausted::Stop,
            budget: BudgetInput {
                total: BudgetCap::new(policy.max_usd, budget.spend().spent + budget.spend().at_risk + cost),
                ..budget.day().forecast_input(now.wall, cost)
            },
            requests_per_item: self.assumptions.requests_per_item.max(1.0),
            keys: fleet.key_ids().map(key).collect(),
            pools: fleet.pool_ids().map(pool).collect(),
            models,
            routes,
            cursor: self.routing.cursor(),
            classes,
        }
    }

    /// The expected cost of the requests in flight, by key and in all: a mean answer each, not the worst case that is
    /// reserved until it has come.
    fn in_flight_costs(&self, models: &[ModelInput], mean_input: u64) -> (Vec<Money>, Money) {
        let (mut by_key, mut total) = (vec![Money::ZERO; self.view.fleet.keys().len()], Money::ZERO);
        for (route, reserved) in self.in_flight {
            let route = self.view.fleet.route(*route);
            let model = &models[route.model.index()];
            let mean = model.price.map(|price| price.uncached_cost(mean_input, model.mean_output_tokens.ceil() as u64));
            let cost = mean.unwrap_or_default().min(*reserved);
            by_key[route.key.index()] += cost;
            total += cost;
        }
        (by_key, total)
    }

    fn models(&self) -> Vec<ModelInput> {
        let assumptions = self.assumptions;
        // A model that has not answered yet is assumed to be like those that have.
        let measured: Vec<Duration> = assumptions.latency_by_model.iter().copied().flatten().collect();
        let default_latency = match measured.len() as u32 {
            0 => ASSUMED_LATENCY,
            count => measured.iter().sum::<Duration>() / count,
        };
        let states = self.view.fleet.models().iter().enumerate();
        states
            .map(|(index, state)| {
                let latency = assumptions.latency_by_model.get(index).copied().flatten().unwrap_or(default_latency);
                let max_output = state.model.max_output.map(f64::from);
                let mean = state.mean_output_tokens.or(assumptions.mean_output_tokens).unwrap_or(TYPICAL_OUTPUT_TOKENS);
                ModelInput {
                    name: state.model.name.clone(),
                    price: state.model.price,
                    latency_secs: latency.as_secs_f64(),
                    mean_output_tokens: mean.min(max_output.unwrap_or(f64::INFINITY)),
                    max_output_tokens: max_output.unwrap_or(mean),
                }
            })
            .collect()
    }

    fn route(&self, id: RouteId) -> ForecastRoute {
        let route = self.view.fleet.route(id);
        let availability = self.view.fleet.availability(self.now, id);
        let available_in = match &availability {
            Availability::SwitchedOff { .. } | Availability::Disabled(_) => None,
            // Minute windows and daily limits are simulated per pool.
            Availability::Ready | Availability::Limited { .. } | Availability::DailyLimitReached { .. } => Some(0.0),
            Availability::CoolingDown(_) | Availability::Exhausted(_) | Availability::CircuitOpen { .. } => {
                let deadline = availability.admission().deadline();
                let left = deadline.map(|deadline| deadline.to_mono(self.now).since(self.now.mono));
                Some(left.unwrap_or_default().as_secs_f64())
            }
        };
        ForecastRoute { key: route.key.index(), model: route.model.index(), pool: route.pool.index(), available_in }
    }

    /// `routes` is in the order of the ranking.
    fn classes(&self, routes: &[ForecastRoute]) -> Vec<ClassInput> {
        let mut index_by_route = vec![0_u32; routes.len()];
        for (index, id) in self.routing.ranking().iter().enumerate() {
            index_by_route[id.index()] = index as u32;
        }
        let backing_off = self.queue.backoff().counts(self.queue.classes().len());
        let classes = self.queue.classes().iter().zip(self.routing.classes()).zip(backing_off);
        classes
            .map(|((queue, class), backing_off)| {
                let sizes: Vec<u64> = queue.pending().take(64).map(|item| item.input_tokens).collect();
                let sampled_mean = (!sizes.is_empty()).then(|| sizes.iter().sum::<u64>() as f64 / sizes.len() as f64);
                let limits = queue.pending().take(64).map(|item| item.max_output_tokens);
                let max_output = limits.collect::<Option<Vec<_>>>().and_then(|limits| limits.into_iter().max());
                let indices = class.candidates().iter().map(|route| index_by_route[route.index()]);
                let mut can_serve = vec![false; self.view.fleet.models().len()];
                indices.clone().for_each(|index| can_serve[routes[index as usize].model] = true);
                let row_model = class.row_model_routes().iter().map(|route| index_by_route[route.index()]);
                let is_available = |index: &u32| routes[*index as usize].available_in.is_some();
                ClassInput {
                    items: (queue.backlog + queue.loaded_count() as u64 + backing_off) as f64,
                    mean_input_tokens: self.assumptions.mean_input_tokens.or(sampled_mean).unwrap_or(0.0),
                    max_output_tokens: max_output.map(f64::from),
                    routes: indices.filter(is_available).collect(),
                    row_model_routes: row_model.filter(is_available).collect(),
                    can_serve,
                }
            })
            .collect()
    }
}
