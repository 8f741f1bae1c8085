//! The forecast, compared with what then happens in the simulated world.

use std::time::Duration;

use cascadeck::{
    domain::{
        CascadeOrder, Forecast, Key, Limits, Model, Money, OnExhausted, Policy, QuotaDay, RoutingTraits, SpendLimits,
        SpillTo, WhenLimited, bottleneck::Bottleneck, forecast::StopReason,
    },
    forecast::{Assumptions, ForecastInput, ForecastResult, forecast},
    scheduler::QueuedItem,
};

use super::{
    HOUR, MORNING, free_tier_fleet, is_full_test_run, policy,
    world::{World, key, limits, model, queued_item, wall},
};

/// The predicted finish may be off by this share of the whole, and by [`ONE_WINDOW`].
const TOLERANCE: f64 = 0.01;
const ONE_WINDOW: Duration = Duration::from_secs(62);

fn input(world: &World) -> ForecastInput {
    // The world's answers take 0.3 to 0.9 s, and use 80 input and 40 output tokens.
    let latency_by_model = vec![Some(Duration::from_millis(600)); world.enforced.len()];
    world.scheduler.forecast_input(
        world.now,
        &Assumptions {
            latency_by_model,
            mean_input_tokens: Some(80.0),
            mean_output_tokens: Some(40.0),
            ..Assumptions::default()
        },
    )
}

fn forecast_world(world: &World) -> Forecast {
    forecast(&input(world)).forecast
}

fn capped_key(name: &str, total: Option<f64>, per_day: Option<f64>) -> Key {
    let usd = |amount| Money::from_usd(amount).expect("an amount");
    Key { spend_limits: SpendLimits { max_usd: total.map(usd), max_usd_per_day: per_day.map(usd) }, ..key(name, name) }
}

fn wait_policy(in_flight: u32) -> Policy {
    Policy { on_exhausted: OnExhausted::Wait, ..policy(in_flight) }
}

fn paced_limits(rpm: u32, burst: u32) -> Limits {
    Limits { burst: Some(burst), ..limits(rpm, None) }
}

#[test]
fn the_finish_is_predicted_within_one_percent() {
    let one = |limits: Limits| vec![model("m", limits)];
    let three = || (0..3).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect::<Vec<_>>();
    let tokens = Limits { tpm: Some(2_000), ..Limits::default() };
    let rolling = Limits { rpd: Some(100), rpm: Some(60), quota_day: QuotaDay::Rolling, ..Limits::default() };
    let fifty_keys = (0..50).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect::<Vec<_>>();
    let uneven: Vec<_> =
        (0..5).map(|index| model(&format!("m{index}"), limits(5 + 7 * index, Some(20 + 90 * index)))).collect();
    let days_keys = if is_full_test_run() { 3 } else { 1 };
    let cases: Vec<(&str, World, u64)> = vec![
        ("one window", World::new(one(limits(10, None)), three(), wait_policy(64), wall(MORNING), 1), 500),
        ("a few turns", World::new(one(limits(10, None)), three(), wait_policy(64), wall(MORNING), 2), 100),
        ("one turn", World::new(one(limits(10, None)), three(), wait_policy(64), wall(MORNING), 3), 25),
        (
            "classic, one day",
            World::new(free_tier_fleet(3).0, free_tier_fleet(3).1, wait_policy(64), wall(MORNING), 4),
            3_000,
        ),
        (
            "classic, over two resets",
            World::new(free_tier_fleet(days_keys).0, free_tier_fleet(days_keys).1, wait_policy(16), wall(MORNING), 5),
            4_000 * days_keys as u64,
        ),
        (
            "over the day on which clocks go back",
            World::new(free_tier_fleet(1).0, free_tier_fleet(1).1, wait_policy(16), wall("2026-10-31T12:00:00Z"), 6),
            4_500,
        ),
        ("few in flight", World::new(one(Limits::default()), three(), wait_policy(4), wall(MORNING), 7), 5_000),
        ("paced", World::new(one(paced_limits(30, 3)), three(), wait_policy(64), wall(MORNING), 8), 600),
        ("tokens", World::new(one(tokens), three(), wait_policy(64), wall(MORNING), 9), 500),
        ("rolling days", World::new(one(rolling), three(), wait_policy(64), wall(MORNING), 10), 700),
        (
            "fifty by five",
            World::new(uneven, fifty_keys, wait_policy(200), wall(MORNING), 11),
            if is_full_test_run() { 40_000 } else { 4_000 },
        ),
        (
            "strict order",
            World::new(
                free_tier_fleet(2).0,
                free_tier_fleet(2).1,
                Policy { when_limited: WhenLimited::Wait, ..wait_policy(16) },
                wall(MORNING),
                12,
            ),
            2_500,
        ),
        (
            "spilling to the same model only",
            World::new(
                free_tier_fleet(3).0,
                free_tier_fleet(3).1,
                Policy { spill_to: SpillTo::SameModel, ..wait_policy(16) },
                wall(MORNING),
                13,
            ),
            3_000,
        ),
        (
            "a key with little money",
            World::new(
                one(limits(10, None)),
                vec![capped_key("a", Some(0.02), None), key("b", "b")],
                wait_policy(64),
                wall(MORNING),
                15,
            ),
            800,
        ),
        (
            "a day's money of every key",
            World::new(
                one(limits(20, None)),
                vec![capped_key("a", None, Some(0.04)), capped_key("b", None, Some(0.03))],
                wait_policy(64),
                wall(MORNING),
                16,
            ),
            1_500,
        ),
        (
            "a day's money of the run, in strict order",
            World::new(
                one(limits(20, None)),
                three(),
                Policy { max_usd_per_day: Money::from_usd(0.06), when_limited: WhenLimited::Wait, ..wait_policy(8) },
                wall(MORNING),
                17,
            ),
            1_300,
        ),
        (
            "a day's money of a key, spilling to the same model only",
            World::new(
                vec![model("m", limits(20, None)), model("n", limits(5, Some(40)))],
                vec![capped_key("a", None, Some(0.04)), capped_key("b", None, Some(0.03))],
                Policy { spill_to: SpillTo::SameModel, ..wait_policy(16) },
                wall(MORNING),
                18,
            ),
            1_500,
        ),
        (
            "a concurrency limit",
            World::new(
                one(Limits { concurrency: Some(2), ..Limits::default() }),
                three(),
                wait_policy(64),
                wall(MORNING),
                14,
            ),
            3_000,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, mut world, items) in cases {
        world.enqueue(items);
        let begun = world.now.wall;
        let predicted = forecast_world(&world);
        world.run(HOUR * 24 * 30);
        assert_eq!(world.done, items, "{name}: {} of {items} done", world.done);
        let (actual, finish) = (world.now.wall, predicted.finish.expect("it ends"));
        let span = actual.since(begun);
        let error = Duration::from_micros(finish.0.abs_diff(actual.0));
        let range = (predicted.earliest_finish.expect("a range"), predicted.latest_finish.expect("a range"));
        if error > span.mul_f64(TOLERANCE) + ONE_WINDOW || actual < range.0 || actual > range.1 {
            let predicted = finish.since(begun);
            wrong.push(format!("{name}: took {span:?}, foreseen {predicted:?}, range {range:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_forecast_made_in_the_middle_is_as_good() {
    let (models, keys) = free_tier_fleet(2);
    let mut world = World::new(models, keys, wait_policy(32), wall("2026-11-22T06:30:00Z"), 21);
    world.enqueue(9_000);
    world.run(Duration::from_secs(60 * 137));
    let predicted = forecast_world(&world);
    assert_eq!(predicted.items_left, world.enqueued - world.dispositions.len() as u64);
    let from = world.now.wall;
    world.run(HOUR * 24 * 10);
    let (took, thought) = (world.now.wall.since(from), predicted.finish.expect("it ends").since(from));
    assert!(took.abs_diff(thought) < took.mul_f64(TOLERANCE) + ONE_WINDOW, "took {took:?}, thought {thought:?}");
}

#[test]
fn the_binding_constraint_is_named() {
    let key_a = || vec![key("a", "a")];
    let cases = [
        (limits(10, None), 64, 500, Bottleneck::RequestsPerMinute),
        (Limits { tpm: Some(2_000), ..Limits::default() }, 64, 500, Bottleneck::TokensPerMinute),
        (limits(60, Some(100)), 64, 500, Bottleneck::DailyQuota),
        (Limits::default(), 2, 500, Bottleneck::MaxInFlight),
        (Limits { concurrency: Some(2), ..Limits::default() }, 64, 500, Bottleneck::Concurrency),
    ];
    for (limits, in_flight, items, want) in cases {
        let mut world = World::new(vec![model("m", limits)], key_a(), wait_policy(in_flight), wall(MORNING), 31);
        world.enqueue(items);
        let predicted = forecast_world(&world);
        let top = predicted.constraints.first().unwrap_or_else(|| panic!("{want:?}: nothing binds in {predicted:?}"));
        assert_eq!(top.constraint, want, "{:?}", predicted.constraints);
        let total: f64 = predicted.constraints.iter().map(|bind| bind.share).sum();
        assert!((total - 1.0).abs() < 1e-9, "shares add up: {total}");
    }
}

#[test]
fn first_exhaustion_and_items_before_the_reset_are_predicted() {
    let mut world = World::new(
        vec![model("big", limits(60, Some(500))), model("small", limits(60, Some(100)))],
        vec![key("a", "a")],
        wait_policy(32),
        wall("2026-11-22T07:00:00Z"),
        41,
    );
    world.enqueue(900);
    let predicted = forecast_world(&world);
    let midnight = wall("2026-11-22T08:00:00Z");
    let out = predicted.first_exhausted.expect("a day is limited");
    assert_eq!((out.pool.as_str(), out.resets_at), ("small@a", Some(midnight)));
    assert_eq!(predicted.before_reset.map(|before| (before.at, before.items)), Some((midnight, 600)));
    world.run(HOUR);
    assert_eq!(world.done, 600);
}

#[test]
fn a_run_that_will_stop_says_when_and_with_how_much_left() {
    let (models, keys) = free_tier_fleet(1);
    let mut world = World::new(models, keys, policy(32), wall(MORNING), 51);
    world.enqueue(2_000);
    let stop = forecast_world(&world).stop.expect("1,650 a day");
    assert_eq!(
        (stop.reason, stop.items_left, stop.resumes_at),
        (StopReason::Quota, 350, Some(wall("2026-11-22T08:00:00Z")))
    );
    world.run(HOUR * 10);
    assert_eq!(world.done, 1_650);
}

#[test]
fn a_budget_that_is_too_small_is_predicted() {
    let budgeted = Policy { max_usd: Money::from_usd(0.05), ..policy(16) };
    let mut world = World::new(vec![model("m", Limits::default())], vec![key("a", "a")], budgeted, wall(MORNING), 61);
    world.enqueue(1_000);
    let predicted = forecast_world(&world);
    let stop = predicted.stop.expect("$0.05 is not enough");
    assert_eq!((stop.reason, predicted.finish), (StopReason::Budget, None));
    world.run(HOUR);
    let left = 1_000 - world.done;
    assert!(stop.items_left.abs_diff(left) <= 60, "foreseen {}, left {left}", stop.items_left);
}

#[test]
fn the_money_reserved_for_requests_in_flight_is_not_taken_for_spent() {
    // 16 requests in flight reserve two thirds of the budget, and cost a twentieth.
    let budgeted = Policy { max_usd: Money::from_usd(0.05), ..policy(16) };
    let mut world = World::new(vec![model("m", Limits::default())], vec![key("a", "a")], budgeted, wall(MORNING), 61);
    world.enqueue(400);
    world.run(Duration::from_millis(100));
    let stop = forecast_world(&world).stop.expect("$0.05 is not enough");
    world.run(HOUR);
    let left = 400 - world.done;
    assert!(stop.items_left.abs_diff(left) <= 20, "foreseen {}, left {left}", stop.items_left);
}

#[test]
fn the_output_limit_of_the_items_bounds_their_worst_case() {
    // The longest answer that the model can give costs more than the budget.
    let large = Model { max_output: Some(1_000_000), ..model("m", Limits::default()) };
    let budgeted = Policy { max_usd: Money::from_usd(0.05), ..policy(16) };
    let mut world = World::new(vec![large], vec![key("a", "a")], budgeted, wall(MORNING), 61);
    for _ in 0..400 {
        world.enqueue_item(world.default_class, QueuedItem { max_output_tokens: Some(100), ..queued_item(0) });
    }
    let stop = forecast_world(&world).stop.expect("$0.05 is not enough");
    world.run(HOUR);
    let left = 400 - world.done;
    assert!(world.done > 200 && stop.items_left.abs_diff(left) <= 20, "foreseen {}, left {left}", stop.items_left);
}

#[test]
fn a_day_budget_binds_until_midnight_and_stops_a_run_that_does_not_wait() {
    let midnight = wall("2026-11-22T00:00:00Z");
    let of_a_key = || vec![capped_key("a", None, Some(0.05))];
    let of_the_run = |policy| Policy { max_usd_per_day: Money::from_usd(0.05), ..policy };
    for (keys, waits, stops, pool) in [
        (of_a_key(), wait_policy(16), policy(16), Some("m@a")),
        (vec![key("a", "a")], of_the_run(wait_policy(16)), of_the_run(policy(16)), None),
    ] {
        let world = |policy| {
            let mut world = World::new(vec![model("m", limits(60, None))], keys.clone(), policy, wall(MORNING), 62);
            world.enqueue(1_000);
            world
        };
        let predicted = forecast_world(&world(waits));
        let top = predicted.constraints.first().expect("something binds");
        assert_eq!((top.constraint, top.pool.as_deref()), (Bottleneck::Budget, pool), "{:?}", predicted.constraints);
        assert!(top.share > 0.9, "{:?}", predicted.constraints);
        assert_eq!(predicted.stop, None);
        assert_eq!(predicted.before_reset.map(|before| before.at), Some(midnight));

        let mut world = world(stops);
        let predicted = forecast_world(&world);
        let stop = predicted.stop.expect("about 300 a day");
        assert_eq!((stop.reason, stop.resumes_at), (StopReason::Budget, Some(midnight)));
        assert!(predicted.finish.is_some_and(|finish| finish > midnight), "when it ends, if it is resumed");
        world.run(HOUR * 5);
        let left = 1_000 - world.done;
        assert!(stop.items_left.abs_diff(left) <= 20, "foreseen {}, left {left}", stop.items_left);
    }
}

#[test]
fn keys_with_spent_caps_stop_the_run_and_one_more_key_saves_it() {
    let keys = vec![capped_key("a", Some(0.03), None), capped_key("b", Some(0.03), Some(0.02))];
    let mut world = World::new(vec![model("m", limits(60, None))], keys, wait_policy(16), wall(MORNING), 63);
    world.enqueue(480);
    let predicted = forecast_world(&world);
    let stop = predicted.stop.expect("$0.06 is not enough for $0.077");
    assert_eq!((stop.reason, stop.resumes_at, predicted.finish), (StopReason::Budget, None, None));
    assert!(predicted.savings[0].finish.is_some(), "a third key has $0.03 of its own: {:?}", predicted.savings);
    world.run(HOUR * 48);
    let left = 480 - world.done;
    assert!(stop.items_left.abs_diff(left) <= 25, "foreseen {}, left {left}", stop.items_left);
}

#[test]
fn a_cap_on_one_key_leaves_the_models_without_a_price_to_the_others() {
    let free = Model { price: None, ..model("free", limits(10, None)) };
    let of_one = |key: Key, model: &str| Key { models: Some(vec![model.to_owned()]), ..key };
    let keys = vec![of_one(capped_key("paid", Some(0.01), None), "m"), of_one(key("local", "local"), "free")];
    let mut world = World::new(vec![model("m", limits(10, None)), free], keys, policy(8), wall(MORNING), 17);
    world.enqueue(200);
    let predicted = forecast_world(&world);
    assert!(predicted.stop.is_none(), "{:?}", predicted.stop);
    let ends = predicted.finish.expect("the free model answers the rest");
    world.run(HOUR * 2);
    assert_eq!(world.done, 200);
    assert!(ends >= wall(MORNING) + Duration::from_secs(600), "{ends}");
}

#[test]
fn the_predicted_saving_of_one_more_key_is_what_it_saves() {
    let fleet = |keys: usize| {
        let keys = (0..keys).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect();
        let mut world = World::new(vec![model("m", limits(10, None))], keys, wait_policy(64), wall(MORNING), 71);
        world.enqueue(1_000);
        world
    };
    let predicted = forecast_world(&fleet(2));
    let (mut two, mut three) = (fleet(2), fleet(3));
    two.run(HOUR * 24);
    three.run(HOUR * 24);
    let saved = two.elapsed() - three.elapsed();
    let predicted_saving = predicted.savings[0].time_saved.expect("it saves");
    assert!(predicted_saving.abs_diff(saved) < Duration::from_secs(65), "said {predicted_saving:?}, saved {saved:?}");
}

#[test]
fn a_switched_off_fleet_never_ends_and_items_without_a_route_are_left() {
    let mut world = World::new(vec![model("m", limits(10, None))], vec![key("a", "a")], policy(4), wall(MORNING), 81);
    world.enqueue(10);
    world.scheduler.switch_key(world.now.wall, "a", false).expect("known");
    let predicted = forecast_world(&world);
    assert_eq!(predicted.finish, None);
    assert_eq!(predicted.stop.map(|stop| (stop.reason, stop.items_left)), Some((StopReason::NoRoute, 10)));
}

#[test]
fn one_more_key_saves_nothing_where_its_models_do_not_fit() {
    let blind = Model { vision: false, ..model("blind", limits(30, None)) };
    let of_one = |name: &str, model: &str| Key { models: Some(vec![model.to_owned()]), ..key(name, name) };
    let keys = vec![of_one("reader", "blind"), of_one("viewer", "seeing")];
    let mut world = World::new(vec![model("seeing", limits(10, None)), blind], keys, policy(4), wall(MORNING), 82);
    let pictures = world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..RoutingTraits::default() });
    world.enqueue_in(pictures, 10);
    world.scheduler.switch_key(world.now.wall, "viewer", false).expect("known");
    let savings = forecast_world(&world).savings;
    let ends: Vec<_> = savings.iter().map(|saving| (saving.similar_to.as_str(), saving.finish.is_some())).collect();
    assert_eq!(ends, [("viewer", true), ("reader", false)]);
}

#[test]
fn classes_share_what_they_may_both_use() {
    let mut blind = model("blind", limits(30, None));
    blind.vision = false;
    let seeing = model("seeing", limits(10, None));
    let order = Policy { order: CascadeOrder::ModelFirst, ..wait_policy(64) };
    let mut world = World::new(vec![seeing, blind], vec![key("a", "a")], order, wall(MORNING), 91);
    let pictures = world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..RoutingTraits::default() });
    let texts = world.scheduler.find_or_add_class(&RoutingTraits::default());
    world.scheduler.set_backlog(pictures, 200);
    world.scheduler.set_backlog(texts, 300);
    let ForecastResult { forecast, items_by_route } = forecast(&input(&world));
    assert_eq!(items_by_route.len(), 2);
    // Only the vision model takes pictures: 200 of them take 20 minutes at 10 a minute.
    let span = forecast.finish.expect("it ends").since(world.now.wall);
    assert!(span.abs_diff(Duration::from_secs(19 * 60)) < Duration::from_secs(90), "{span:?}");
}

#[test]
fn ten_million_items_over_a_thousand_routes_are_forecast_without_iterating() {
    let models: Vec<_> = (0..10).map(|index| model(&format!("m{index}"), limits(15, Some(500)))).collect();
    let keys: Vec<_> = (0..100).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect();
    let mut world = World::new(models, keys, wait_policy(2_000), wall(MORNING), 101);
    let class = world.scheduler.find_or_add_class(&RoutingTraits::default());
    world.scheduler.set_backlog(class, 10_000_000);
    let input = input(&world);
    let reckoning = forecast(&input);
    assert_eq!(reckoning.forecast.items_left, 10_000_000);
    // 500,000 a day: the first day's at once, then nineteen more nights; the last requests go in the first half hour of
    // a day.
    let days = reckoning.forecast.finish.expect("it ends").since(world.now.wall).as_secs_f64() / 86_400.0;
    assert!((18.5..19.5).contains(&days), "{days}");
    assert!((reckoning.items_by_route.iter().sum::<f64>() - 1e7).abs() < 10.0);
}
