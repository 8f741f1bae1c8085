//! Money caps of keys and of days are hard, like the run's budget.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, CostFactors, Key, Limits, Model, Money, OnExhausted, Outcome, Policy, Price, Rates, SpendLimits,
        unbounded_field,
    },
    scheduler::{QueuedItem, StallReason},
};

use super::{
    HOUR, policy,
    world::{World, attempt_result, key, limits, model, queued_item, wall},
};

const EVENING: &str = "2026-11-21T22:00:00Z";
const MIDNIGHT: &str = "2026-11-22T00:00:00Z";
/// Cost of one answer: 80 input tokens at $1 and 40 output tokens at $2 a million.
const ANSWER_COST: f64 = 160e-6;
/// Cost of the worst case: 100 input and 1,000 output tokens.
const WORST_CASE_COST: f64 = 2_100e-6;

fn usd(amount: f64) -> Money {
    Money::from_usd(amount).expect("an amount")
}

fn capped_key(name: &str, total: Option<f64>, per_day: Option<f64>) -> Key {
    let spend_limits = SpendLimits { max_usd: total.map(usd), max_usd_per_day: per_day.map(usd) };
    Key { spend_limits, ..key(name, name) }
}

fn world_with_keys(keys: Vec<Key>, policy: Policy, seed: u64) -> World {
    World::new(vec![model("m", Limits::default())], keys, policy, wall(EVENING), seed)
}

fn wait_policy(in_flight: u32) -> Policy {
    Policy { on_exhausted: OnExhausted::Wait, ..policy(in_flight) }
}

fn arrivals_at(world: &World, key: usize) -> usize {
    world.arrivals.iter().filter(|(_, _, by)| *by == key).count()
}

#[test]
fn a_key_that_has_spent_its_cap_leaves_the_rest_to_the_next() {
    let mut world = world_with_keys(vec![capped_key("a", Some(0.01), None), key("b", "b")], policy(4), 1);
    world.enqueue(500);
    world.run(HOUR);
    assert_eq!(world.done, 500);
    let spent = arrivals_at(&world, 0) as f64 * ANSWER_COST;
    assert!(spent <= 0.01 && spent > 0.01 - WORST_CASE_COST, "${spent}");
}

#[test]
fn with_every_key_at_its_cap_the_run_is_limited_by_its_budget() {
    let mut world =
        world_with_keys(vec![capped_key("a", Some(0.01), None), capped_key("b", Some(0.02), None)], policy(4), 2);
    world.enqueue(500);
    world.run(HOUR);
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
    assert!(world.done < 500);
}

#[test]
fn a_spent_budget_stops_the_run_though_a_day_quota_returns() {
    let models = vec![model("short", limits(600, Some(5))), model("long", Limits::default())];
    let budget = Policy { max_usd: Some(usd(0.02)), ..policy(4) };
    let mut world = World::new(models, vec![key("a", "a")], budget, wall(EVENING), 7);
    world.enqueue(500);
    world.run(HOUR);
    assert!(world.done > 5 && world.done < 500, "{}", world.done);
    let holdup = world.scheduler.stall_reason(world.now);
    assert!(matches!(holdup, StallReason::Budget { min_cost: Some(_) }), "{holdup:?}");
}

#[test]
fn a_days_money_comes_back_at_utc_midnight() {
    for (keys, policy) in [
        (vec![capped_key("a", None, Some(0.01))], wait_policy(4)),
        (vec![key("a", "a")], Policy { max_usd_per_day: Some(usd(0.01)), ..wait_policy(4) }),
    ] {
        let mut world = world_with_keys(keys, policy, 3);
        world.enqueue(80);
        world.run(HOUR);
        let today = world.arrivals.len();
        assert!(
            (today as f64 * ANSWER_COST) <= 0.01 && (today as f64 * ANSWER_COST) > 0.01 - WORST_CASE_COST,
            "{today}"
        );
        let holdup = world.scheduler.stall_reason(world.now);
        assert!(
            matches!(holdup, StallReason::Exhausted { resumes_at: Some(at), .. } if at == wall(MIDNIGHT)),
            "{holdup:?}"
        );
        world.run(HOUR * 3);
        assert_eq!(world.done, 80);
        assert!(world.arrivals[today..].iter().all(|(at, _, _)| at.wall >= wall(MIDNIGHT)));
    }
}

#[test]
fn the_runs_budget_counts_what_is_in_flight_at_its_worst() {
    let policy = Policy { max_usd: Some(usd(0.01)), ..policy(20) };
    let mut world = world_with_keys(vec![key("a", "a"), key("b", "b")], policy, 6);
    world.inject_fault = Box::new(|_, _| Some(AttemptResult { status: None, ..attempt_result(Outcome::Timeout) }));
    world.enqueue(100);
    world.run(Duration::from_secs(30));
    assert_eq!(world.arrivals.len(), 4, "four worst cases fit into $0.01, however many may be in flight");
}

#[test]
fn money_at_risk_counts_against_every_cap() {
    let mut world =
        world_with_keys(vec![capped_key("a", Some(0.01), None)], Policy { breaker_threshold: 1_000, ..policy(1) }, 4);
    world.inject_fault = Box::new(|_, _| Some(AttemptResult { status: None, ..attempt_result(Outcome::Timeout) }));
    world.enqueue(100);
    world.run(HOUR);
    assert_eq!(world.arrivals.len(), 4, "four worst cases fit into $0.01");
}

#[test]
fn spend_of_earlier_processes_counts() {
    let mut world = world_with_keys(vec![capped_key("a", Some(0.01), Some(0.005))], wait_policy(1), 5);
    let yesterday = wall("2026-11-20T12:00:00Z");
    world.scheduler.restore_spend(world.now, "a", yesterday, usd(0.004));
    world.scheduler.restore_spend(world.now, "a", world.now.wall, usd(0.0025));
    world.enqueue(100);
    world.run(Duration::from_secs(600));
    // Half of the day's $0.005 is spent, and $0.0035 of the total is left: the day cap binds.
    assert_eq!(world.arrivals.len(), 3, "the worst case must still fit after each");
}

#[test]
fn no_cap_is_ever_overspent() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let cap = |random: &mut fastrand::Rng| random.bool().then(|| 0.003 + random.f64() * 0.03);
        let keys: Vec<Key> = (0..3)
            .map(|index| {
                let (total, per_day) = (cap(&mut random), cap(&mut random));
                capped_key(&format!("k{index}"), total, per_day)
            })
            .collect();
        let per_day = cap(&mut random).map(usd);
        let policy = Policy { max_usd_per_day: per_day, ..wait_policy(random.u32(1..20)) };
        let mut world = world_with_keys(keys.clone(), policy, seed);
        let mut fault_rng = fastrand::Rng::with_seed(!seed);
        world.inject_fault = Box::new(move |_, _| {
            (fault_rng.u8(0..8) == 0).then(|| AttemptResult { status: None, ..attempt_result(Outcome::Timeout) })
        });
        world.enqueue(400);
        world.run(HOUR * 60);
        // Timeouts put their worst case at risk; answers cost their actual cost.
        let money = world.scheduler.run_spend();
        let days = 4;
        if let Some(most) = per_day {
            assert!((money.spent + money.at_risk).as_usd() <= most.as_usd() * f64::from(days), "seed {seed}");
        }
        for (index, key) in keys.iter().enumerate() {
            let least = arrivals_at(&world, index) as f64 * ANSWER_COST;
            if let Some(most) = key.spend_limits.max_usd {
                assert!(least <= most.as_usd(), "seed {seed}, key {index}: ${least} of {most}");
            }
        }
    }
}

/// Number of requests for one item with this cost_factors and a cap of its own, on a model with a price of its own for
/// cache writes.
fn requests_within(max_usd: f64, cost_factors: CostFactors) -> usize {
    let rates = Rates {
        cache_write: 2_000_000,
        cache_write_1h: 4_000_000,
        ..Rates::from_usd_per_mtok(1.0, 2.0).expect("a price")
    };
    let price = Some(Price::new(rates).with_image(usd(0.001)));
    let models = vec![Model { price, ..model("m", Limits::default()) }];
    let mut world = World::new(models, vec![key("a", "p")], policy(1), wall(EVENING), 21);
    let class = world.default_class;
    world.enqueue_item(class, QueuedItem { cost_factors, max_usd: Some(usd(max_usd)), ..queued_item(0) });
    world.run(HOUR);
    world.arrivals.len()
}

#[test]
fn the_worst_case_is_a_cache_write_and_every_answer_and_picture_that_is_asked_for() {
    let plain = CostFactors::default();
    let cases = [
        // 100 input tokens that are written to the cache, and 1,000 output tokens.
        (plain, 2_200e-6),
        (CostFactors { writes_1h_cache: true, ..plain }, 2_400e-6),
        (CostFactors { answers: 3, ..plain }, 6_200e-6),
        (CostFactors { images: 2, ..plain }, 4_200e-6),
    ];
    for (cost_factors, worst_case) in cases {
        assert_eq!(requests_within(worst_case, cost_factors), 1, "{cost_factors:?}");
        assert_eq!(requests_within(worst_case - 1e-6, cost_factors), 0, "{cost_factors:?}");
    }
}

#[test]
fn an_item_whose_cost_has_no_upper_bound_is_sent_only_without_a_cap() {
    let unbounded_field = serde_json::json!({"service_tier": "priority"}).as_object().and_then(unbounded_field);
    let cost_factors = CostFactors { unbounded_field, ..CostFactors::default() };
    assert!(unbounded_field.is_some());
    let budget = Policy { max_usd: Some(usd(1.0)), ..policy(1) };
    let day_budget = Policy { max_usd_per_day: Some(usd(1.0)), ..policy(1) };
    for (keys, policy, sent) in [
        (vec![key("a", "p")], policy(1), 1),
        (vec![key("a", "p")], budget, 0),
        (vec![key("a", "p")], day_budget, 0),
        (vec![capped_key("a", Some(1.0), None)], policy(1), 0),
        (vec![capped_key("a", Some(1.0), None), key("b", "b")], policy(1), 1),
    ] {
        let mut world = world_with_keys(keys, policy, 22);
        let class = world.default_class;
        world.enqueue_item(class, QueuedItem { cost_factors, ..queued_item(0) });
        world.run(HOUR);
        assert_eq!((world.arrivals.len(), world.is_stuck), (sent, false));
    }
}

#[test]
fn an_item_with_a_cap_of_its_own_uses_no_model_whose_cost_has_no_upper_bound() {
    let searches = serde_json::json!({"web_search_options": {}}).as_object().cloned().unwrap_or_default();
    let priced = model("m", Limits::default());
    for (model, sent) in [
        (priced.clone(), 1),
        (Model { extra_body: searches, ..priced.clone() }, 0),
        (Model { name: "groq/compound".to_owned(), ..priced.clone() }, 0),
        (Model { price: None, ..priced }, 0),
    ] {
        for (max_usd, sent) in [(None, 1), (Some(usd(1.0)), sent)] {
            let mut world = World::new(vec![model.clone()], vec![key("a", "p")], policy(1), wall(EVENING), 23);
            let class = world.default_class;
            world.enqueue_item(class, QueuedItem { max_usd, ..queued_item(0) });
            world.run(HOUR);
            assert_eq!(world.arrivals.len(), sent, "{}, {max_usd:?}", model.name);
        }
    }
}
