//! "Why isn't it faster?": the right bottleneck is named, and the shares add up.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, Limits, Money, Outcome, Policy, QuotaDay, RetryAfter, RouteId,
        bottleneck::{Bottleneck, BottleneckShare},
    },
    scheduler::StallReason,
};

use super::{
    HOUR, MORNING, free_tier_fleet, policy,
    world::{World, attempt_result, key, limits, model, wall},
};

const MINUTE: Duration = Duration::from_secs(60);

fn one_key_world(limits: Limits, policy: Policy) -> World {
    World::new(vec![model("m", limits)], vec![key("a", "a")], policy, wall(MORNING), 1)
}

/// The run's bottleneck shares after `span`. Checks that nothing could have been sent at its end.
fn shares_after(world: &mut World, span: Duration) -> Vec<BottleneckShare> {
    let end = world.now + span;
    world.run(span);
    world.now = end;
    let step = world.scheduler.poll(world.now);
    assert!(step.is_none(), "{step:?} could have gone before");
    world.scheduler.run_bottlenecks(world.now)
}

fn share_of(shares: &[BottleneckShare], what: Bottleneck) -> f64 {
    shares.iter().find(|share| share.bottleneck == what).map_or(0.0, |share| share.share)
}

#[track_caller]
fn assert_main_bottleneck(shares: &[BottleneckShare], what: Bottleneck, least: f64) {
    assert!(share_of(shares, what) >= least && shares[0].bottleneck == what, "{what:?} in {shares:?}");
}

#[test]
fn a_full_minute_is_named() {
    let mut world = one_key_world(limits(10, None), policy(64));
    world.enqueue(200);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 5), Bottleneck::RequestsPerMinute, 0.95);
}

#[test]
fn full_tokens_are_named() {
    let mut world = one_key_world(Limits { tpm: Some(2_000), ..Limits::default() }, policy(64));
    world.enqueue(300);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 5), Bottleneck::TokensPerMinute, 0.95);
}

#[test]
fn a_spent_day_is_named() {
    let waits = Policy { on_exhausted: cascadeck::domain::OnExhausted::Wait, ..policy(64) };
    let mut world = one_key_world(limits(100, Some(50)), waits);
    world.enqueue(200);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 5), Bottleneck::DailyQuota, 0.95);
}

#[test]
fn a_rolling_day_whose_last_requests_are_in_flight_is_named_too() {
    let waits = Policy { on_exhausted: cascadeck::domain::OnExhausted::Wait, ..policy(64) };
    let rolling = Limits { quota_day: QuotaDay::Rolling, ..limits(1_000, Some(50)) };
    let mut world = one_key_world(rolling, waits);
    world.enqueue(200);
    let shares = shares_after(&mut world, Duration::from_secs(10));
    assert_main_bottleneck(&shares, Bottleneck::DailyQuota, 0.9);
    assert!(shares.iter().all(|share| share.bottleneck != Bottleneck::CircuitOpen), "no breaker was open: {shares:?}");
}

#[test]
fn the_in_flight_cap_is_named_for_the_run_while_the_route_is_sending() {
    let mut world = one_key_world(Limits::default(), policy(2));
    world.enqueue(10_000);
    world.run(MINUTE * 5);
    assert_main_bottleneck(&world.scheduler.run_bottlenecks(world.now), Bottleneck::MaxInFlight, 0.95);
    assert_main_bottleneck(&world.scheduler.route_bottlenecks(world.now, RouteId(0)), Bottleneck::Sending, 0.95);
}

#[test]
fn a_cooldown_is_named() {
    let mut world = one_key_world(Limits::default(), policy(4));
    world.inject_fault = Box::new(|_, _| {
        let retry_after = Some(RetryAfter { delay: Duration::from_secs(50) });
        Some(AttemptResult { status: Some(429), retry_after, ..attempt_result(Outcome::RateLimitedMinute) })
    });
    world.enqueue(10);
    let shares = shares_after(&mut world, Duration::from_secs(295));
    assert_main_bottleneck(&shares, Bottleneck::Cooldown, 0.9);
}

#[test]
fn an_open_breaker_is_named_where_items_could_go() {
    let mut world = one_key_world(Limits::default(), policy(8));
    world.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(503), ..attempt_result(Outcome::Overloaded) }));
    world.enqueue(2_000);
    world.run(MINUTE * 5);
    assert_main_bottleneck(&world.scheduler.run_bottlenecks(world.now), Bottleneck::CircuitOpen, 0.8);
}

#[test]
fn a_switched_off_key_has_its_share() {
    let mut world = World::new(
        vec![model("m", limits(10, None))],
        vec![key("a", "a"), key("b", "b")],
        policy(64),
        wall(MORNING),
        2,
    );
    world.scheduler.switch_key(world.now.wall, "b", false).unwrap();
    world.enqueue(500);
    let shares = shares_after(&mut world, MINUTE * 5 - Duration::from_secs(10));
    for what in [Bottleneck::SwitchedOff, Bottleneck::RequestsPerMinute] {
        assert!((share_of(&shares, what) - 0.5).abs() < 0.05, "{what:?} in {shares:?}");
    }
}

#[test]
fn the_budget_is_named() {
    let mut world = one_key_world(Limits::default(), Policy { max_usd: Money::from_usd(0.01), ..policy(8) });
    world.enqueue(1_000);
    let shares = shares_after(&mut world, MINUTE * 5);
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
    assert_main_bottleneck(&shares, Bottleneck::Budget, 0.9);
}

#[test]
fn a_pause_and_an_empty_queue_are_named() {
    let mut world = one_key_world(Limits::default(), policy(8));
    world.enqueue(10);
    world.scheduler.set_paused(true);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 5), Bottleneck::Paused, 0.95);
    world.scheduler.set_paused(false);
    world.run(HOUR);
    assert_eq!(world.done, 10);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 6), Bottleneck::NothingToSend, 0.95);
}

#[test]
fn retry_delays_are_named() {
    let mut world = one_key_world(
        Limits::default(),
        Policy { retry_delays: vec![Duration::from_secs(600)], breaker_threshold: 1_000, ..policy(8) },
    );
    world.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) }));
    world.enqueue(3);
    assert_main_bottleneck(&shares_after(&mut world, MINUTE * 5), Bottleneck::RetryDelay, 0.95);
}

#[test]
fn shares_add_up_whenever_they_are_asked_for() {
    for seed in 0..20 {
        let (models, keys) = free_tier_fleet(3);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(models, keys, policy(random.u32(1..40)), wall(MORNING), seed);
        let mut fault_rng = fastrand::Rng::with_seed(seed + 1);
        world.inject_fault = Box::new(move |_, _| {
            (fault_rng.u8(0..10) == 0)
                .then(|| AttemptResult { status: Some(503), ..attempt_result(Outcome::Overloaded) })
        });
        world.enqueue(random.u64(100..2_000));
        for _ in 0..20 {
            world.run(Duration::from_secs(random.u64(1..900)));
            let now = world.now;
            let routes = world.scheduler.route_count() as u32;
            let mut all = vec![("the run".to_owned(), world.scheduler.run_bottlenecks(now))];
            all.extend(
                (0..routes).map(|id| (format!("route {id}"), world.scheduler.route_bottlenecks(now, RouteId(id)))),
            );
            for (what, shares) in all {
                let total: f64 = shares.iter().map(|share| share.share).sum();
                assert!((total - 1.0).abs() < 1e-6, "seed {seed}, {what}: {shares:?}");
            }
        }
    }
}
