//! The scheduler in a simulated world with a virtual clock.

mod allocations;
mod bottleneck;
mod clock_jumps;
mod forecast;
mod ineligible_routes;
mod learning;
mod leases;
mod money;
mod optimum;
mod outages;
mod retries;
mod row_models;
mod serial;
mod slow_start;
mod strategies;
mod world;

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, CascadeOrder, Key, KeyRole, Limits, Money, OnExhausted, Outcome, Policy, RetryAfter,
        RoutingTraits, SpillTo, Strategy, WhenLimited,
    },
    scheduler::{Disposition, NextStep, StallReason},
};
use world::{World, attempt_result, key, limits, model, queued_item, wall};

const MORNING: &str = "2026-11-21T17:00:00Z";
const HOUR: Duration = Duration::from_secs(3_600);

/// Whether tests that take long have their full size, as `.ci/run` wants.
fn is_full_test_run() -> bool {
    std::env::var_os("CASCADECK_FULL_TESTS").is_some()
}

fn policy(max_in_flight: u32) -> Policy {
    Policy { max_in_flight, ..Policy::default() }
}

fn free_tier_fleet(keys: usize) -> (Vec<cascadeck::domain::Model>, Vec<cascadeck::domain::Key>) {
    let models = vec![
        model("pro", limits(10, Some(250))),
        model("flash", limits(15, Some(1_000))),
        model("lite", limits(15, Some(200))),
        model("mini", limits(30, Some(200))),
    ];
    let keys = (0..keys).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect();
    (models, keys)
}

/// The shortest time in which sliding windows of these sizes allow so many requests.
fn min_makespan(rpm_total: u64, items: u64) -> Duration {
    Duration::from_secs(60 * ((items - 1) / rpm_total))
}

#[test]
fn known_limits_are_used_to_the_full_and_never_exceeded() {
    let (models, keys) = free_tier_fleet(3);
    let mut world = World::new(models, keys, policy(64), wall(MORNING), 1);
    world.enqueue(1_000);
    world.run(HOUR);
    assert_eq!(world.done, 1_000);
    assert_eq!(world.throttled, 0);
    // Each window costs a minute, plus the latency of the answer that frees it.
    let bound = min_makespan(3 * 70, 1_000);
    let turns = bound.as_secs() as u32 / 60;
    assert!(world.elapsed() <= bound + Duration::from_millis(1_000) * (turns + 1), "{:?}", world.elapsed());
}

#[test]
fn keys_of_one_project_share_every_quota() {
    let mut world = World::new(
        vec![model("m", limits(10, None))],
        vec![key("a", "shared"), key("b", "shared")],
        policy(64),
        wall(MORNING),
        2,
    );
    world.enqueue(25);
    world.run(HOUR);
    assert_eq!((world.done, world.throttled), (25, 0));
    assert!(world.elapsed() > Duration::from_secs(120), "two windows had to pass: {:?}", world.elapsed());
}

#[test]
fn the_cascade_prefers_in_order_by_key_or_by_model() {
    for (order, want) in [
        (CascadeOrder::KeyFirst, ["big@a", "small@a", "big@b"]),
        (CascadeOrder::ModelFirst, ["big@a", "big@b", "small@a"]),
    ] {
        let mut world = World::new(
            vec![model("big", limits(1, None)), model("small", limits(1, None))],
            vec![key("a", "a"), key("b", "b")],
            Policy { order, ..policy(8) },
            wall(MORNING),
            3,
        );
        world.enqueue(4);
        let mut sent = Vec::new();
        while let Some(NextStep::Send(dispatch)) = world.scheduler.poll(world.now) {
            sent.push(world.scheduler.route_name(dispatch.route));
        }
        assert_eq!(sent[..3], want);
    }
}

#[test]
fn a_spent_day_moves_on_at_once_and_returns_after_pacific_midnight() {
    // Half an hour before midnight in Los Angeles (08:00 UTC in winter).
    let mut world = World::new(
        vec![model("m", limits(60, Some(40)))],
        vec![key("a", "a")],
        Policy { on_exhausted: OnExhausted::Wait, ..policy(8) },
        wall("2026-11-22T07:30:00Z"),
        4,
    );
    world.enqueue(60);
    world.run(HOUR * 3);
    assert_eq!((world.done, world.throttled), (60, 0));
    let after_reset = world.arrivals.iter().filter(|(at, _, _)| at.wall >= wall("2026-11-22T08:00:00Z")).count();
    assert_eq!(after_reset, 20);
}

#[test]
fn a_stated_day_limit_error_overrides_our_own_count() {
    let mut world = World::new(
        vec![model("m", limits(60, Some(1_000)))],
        vec![key("a", "a"), key("b", "b")],
        policy(1),
        wall(MORNING),
        5,
    );
    // The key was used elsewhere: only 3 of its 1,000 are left.
    world.enforced[0].rpd = Some(3);
    world.enqueue(10);
    world.run(HOUR);
    assert_eq!((world.done, world.throttled), (6, 2));
    assert!(
        matches!(world.scheduler.stall_reason(world.now), StallReason::Exhausted { resumes_at: Some(at), .. } if at == wall("2026-11-22T08:00:00Z"))
    );
}

#[test]
fn the_strict_pipeline_follows_the_backoff_schedule_and_then_moves_on_for_good() {
    let mut world = World::new(
        vec![model("first", Limits::default()), model("second", Limits::default())],
        vec![key("a", "a"), key("b", "b")],
        Policy { when_limited: WhenLimited::Wait, ..policy(1) },
        wall(MORNING),
        6,
    );
    world.latency_range = (Duration::from_millis(2), Duration::from_millis(2));
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.model.index() == 0 && dispatch.key.index() == 0)
            .then(|| AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) })
    });
    world.enqueue(3);
    world.run(HOUR);
    assert_eq!(world.done, 3);
    let arrival_secs: Vec<u64> = world
        .arrivals
        .iter()
        .filter(|(_, model, _)| *model == 0)
        .map(|(at, _, _)| at.mono.since(world.arrivals[0].0.mono).as_secs())
        .collect();
    assert_eq!(arrival_secs, [0, 5, 15, 35, 75, 155], "5, 10, 20, 40, 80 seconds, and the sixth refusal ends it");
    assert_eq!(world.arrivals.iter().filter(|(_, model, _)| *model == 1).count(), 3);
}

#[test]
fn a_refused_items_next_route_is_only_one_that_policy_allows() {
    let minute = Duration::from_secs(60);
    let policies = [
        ("spill", Policy::default(), Some("second@a")),
        ("wait", Policy { when_limited: WhenLimited::Wait, ..Policy::default() }, None),
        ("same model", Policy { spill_to: SpillTo::SameModel, ..Policy::default() }, Some("first@b")),
        ("spill after a minute", Policy { spill_after: minute, ..Policy::default() }, None),
        ("primary_backup", Policy { strategy: Strategy::PrimaryBackup, ..Policy::default() }, Some("second@a")),
    ];
    for (name, policy, want) in policies {
        let models = vec![model("first", Limits::default()), model("second", Limits::default())];
        let backup = Key { role: KeyRole::Backup, ..key("b", "b") };
        let mut world = World::new(models, vec![key("a", "a"), backup], policy, wall(MORNING), 8);
        world.enqueue(1);
        let Some(NextStep::Send(sent)) = world.scheduler.poll(world.now) else { panic!("{name}") };
        assert_eq!(world.scheduler.route_name(sent.route), "first@a", "{name}");
        let refusal = AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) };
        let effects = world.scheduler.complete(world.now, sent.attempt, &refusal).unwrap();
        let Disposition::Requeued { next_route, .. } = effects.disposition else { panic!("{name}: {effects:?}") };
        let named = next_route.map(|route| world.scheduler.route_name(route));
        assert_eq!(named.as_deref(), want, "{name}");

        let step = world.scheduler.poll(world.now);
        let taken = step.as_ref().map(|step| match step {
            NextStep::Send(next) => world.scheduler.route_name(next.route),
            NextStep::Reject(rejection) => panic!("{name}: {rejection:?}"),
        });
        assert_eq!(taken, named, "{name}: it goes where the event says");
        let StallReason::WaitingUntil { at, reason } = world.scheduler.stall_reason(world.now) else {
            assert!(taken.is_some(), "{name}");
            continue;
        };
        assert_eq!(reason, "first@a: cooling down", "{name}");
        assert_eq!(at.since(world.now.wall), Duration::from_secs(5), "{name}");
        let (step, wait) = world.scheduler.running_backoff(world.now, sent.route).unwrap();
        assert_eq!((step, wait.status, wait.until), (1, Some(429), at), "{name}");
    }
}

#[test]
fn the_strict_pipeline_goes_from_the_last_model_to_the_next_keys_first() {
    let mut world = World::new(
        vec![model("first", limits(60, Some(2))), model("second", limits(60, Some(2)))],
        vec![key("a", "a"), key("b", "b")],
        Policy { when_limited: WhenLimited::Wait, ..policy(1) },
        wall(MORNING),
        7,
    );
    world.enqueue(8);
    world.run(HOUR);
    let path: Vec<(usize, usize)> = world.arrivals.iter().map(|(_, model, key)| (*key, *model)).collect();
    assert_eq!(path, [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0), (1, 1), (1, 1)]);
}

#[test]
fn a_minute_limit_error_spills_to_the_next_route_and_returns() {
    let mut world = World::new(
        vec![model("m", Limits::default())],
        vec![key("a", "a"), key("b", "b")],
        policy(1),
        wall(MORNING),
        8,
    );
    let mut first = true;
    world.inject_fault = Box::new(move |_, dispatch| {
        (dispatch.key.index() == 0 && std::mem::take(&mut first)).then(|| AttemptResult {
            status: Some(429),
            retry_after: Some(RetryAfter { delay: Duration::from_secs(10) }),
            ..attempt_result(Outcome::RateLimitedMinute)
        })
    });
    world.enqueue(60);
    world.run(HOUR);
    assert_eq!(world.done, 60);
    let keys: Vec<usize> = world.arrivals.iter().map(|(_, _, key)| *key).collect();
    assert_eq!(keys[..2], [0, 1]);
    assert_eq!(keys.last(), Some(&0), "back on the first key once it has cooled down");
    assert_eq!(keys.iter().filter(|key| **key == 0).count() + keys.iter().filter(|key| **key == 1).count(), 61);
}

#[test]
fn same_model_spill_never_leaves_the_model() {
    let mut world = World::new(
        vec![model("best", limits(5, None)), model("other", limits(100, None))],
        vec![key("a", "a"), key("b", "b")],
        Policy { spill_to: SpillTo::SameModel, ..policy(16) },
        wall(MORNING),
        9,
    );
    world.enqueue(20);
    world.run(HOUR);
    assert_eq!(world.done, 20);
    assert!(world.arrivals.iter().all(|(_, model, _)| *model == 0));
}

#[test]
fn a_disabled_key_is_never_used_again_and_all_disabled_is_exhausted() {
    let mut world = World::new(
        vec![model("m", Limits::default())],
        vec![key("a", "a"), key("b", "b")],
        policy(1),
        wall(MORNING),
        10,
    );
    world.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(400), ..attempt_result(Outcome::InvalidKey) }));
    world.enqueue(5);
    world.run(HOUR);
    assert_eq!(world.arrivals.len(), 2);
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Exhausted { resumes_at: None, .. }));
}

#[test]
fn a_key_switched_off_gets_nothing_more_and_is_waited_for() {
    let mut world = World::new(vec![model("m", limits(10, None))], vec![key("a", "a")], policy(4), wall(MORNING), 11);
    world.enqueue(100);
    world.run(Duration::from_secs(90));
    let before = world.arrivals.len();
    world.scheduler.switch_key(world.now.wall, "a", false).unwrap();
    world.run(HOUR);
    assert!(world.arrivals.len() <= before + 4, "only what was in flight");
    assert_eq!(world.scheduler.stall_reason(world.now), StallReason::SwitchedOff);
    world.scheduler.switch_key(world.now.wall, "a", true).unwrap();
    world.run(HOUR);
    assert_eq!(world.done, 100);
}

#[test]
fn an_outage_counts_against_no_item() {
    let mut world = World::new(vec![model("m", limits(600, None))], vec![key("a", "a")], policy(8), wall(MORNING), 12);
    let back = world.now.mono + Duration::from_secs(1_800);
    world.inject_fault = Box::new(move |now, _| {
        (now.mono < back).then(|| AttemptResult { status: Some(503), ..attempt_result(Outcome::Overloaded) })
    });
    world.enqueue(500);
    world.run(HOUR * 2);
    assert_eq!(world.done, 500, "every item outlived the outage");
    let during = world.arrivals.iter().filter(|(at, _, _)| at.mono < back).count();
    assert!(during < 40, "the breaker kept {during} requests from a provider that was down");
}

#[test]
fn an_item_that_fails_where_others_succeed_goes_on_and_fails_in_the_end() {
    let mut world = World::new(
        vec![model("one", limits(600, None)), model("two", limits(600, None))],
        vec![key("a", "a")],
        policy(4),
        wall(MORNING),
        13,
    );
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.seq.0 == 3).then(|| AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) })
    });
    world.enqueue(2_000);
    world.run(HOUR * 2);
    assert_eq!(world.done, 1_999);
    assert_eq!(world.dispositions.len(), 2_000);
    let on_first = world.arrivals.iter().filter(|(_, model, _)| *model == 0).count();
    assert!(on_first > 0);
}

#[test]
fn poisonous_items_fail_even_without_recent_successes() {
    let mut world = World::new(vec![model("m", limits(600, None))], vec![key("a", "a")], policy(4), wall(MORNING), 14);
    world.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) }));
    world.enqueue(3);
    world.run(HOUR * 48);
    assert_eq!((world.dispositions.len(), world.done), (3, 0));
}

#[test]
fn a_budget_is_never_overspent() {
    let mut world = World::new(
        vec![model("m", Limits::default())],
        vec![key("a", "a")],
        Policy { max_usd: Money::from_usd(0.05), ..policy(32) },
        wall(MORNING),
        15,
    );
    world.enqueue(10_000);
    world.run(HOUR);
    let money = world.scheduler.run_spend();
    assert!(money.spent + money.at_risk <= Money::from_usd(0.05).unwrap());
    // The worst case of one more request (100 tokens in, 1,000 out) is $0.0021, so less than that may be left over.
    assert!(money.spent > Money::from_usd(0.0478).unwrap(), "{}", money.spent.as_usd());
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
}

#[test]
fn token_windows_hold_large_items_back_but_not_for_ever() {
    let tight = Limits { tpm: Some(1_000), ..Limits::default() };
    let mut world = World::new(vec![model("m", tight)], vec![key("a", "a")], policy(8), wall(MORNING), 16);
    let class = world.scheduler.find_or_add_class(&RoutingTraits::default());
    let mut large = queued_item(1_000_000);
    (large.input_tokens, large.max_output_tokens) = (700, Some(100));
    world.enqueue(3);
    world.scheduler.enqueue(class, large);
    world.enqueued += 1;
    world.enqueue(200);
    world.run(HOUR * 3);
    assert_eq!(world.done, 204);
}

#[test]
fn an_item_larger_than_the_window_is_rejected_at_once() {
    let tight = Limits { tpm: Some(1_000), ..Limits::default() };
    let mut world = World::new(vec![model("m", tight)], vec![key("a", "a")], policy(8), wall(MORNING), 17);
    let class = world.scheduler.find_or_add_class(&RoutingTraits::default());
    let mut huge = queued_item(1);
    huge.input_tokens = 5_000;
    world.scheduler.enqueue(class, huge);
    match world.scheduler.poll(world.now) {
        Some(NextStep::Reject(refusal)) => assert_eq!(refusal.outcome, Outcome::NoRoute),
        other => panic!("{other:?}"),
    }
}

#[test]
fn five_identical_rejections_stop_the_route_before_five_thousand_items_fail() {
    let mut world = World::new(vec![model("m", Limits::default())], vec![key("a", "a")], policy(1), wall(MORNING), 18);
    world.inject_fault = Box::new(|_, dispatch| {
        let message = format!("Invalid value at generation_config.top_k ({})", dispatch.seq.0);
        Some(AttemptResult { status: Some(400), message, ..attempt_result(Outcome::BadRequest) })
    });
    world.enqueue(5_000);
    world.run(HOUR);
    assert_eq!(world.dispositions.len(), 5);
    assert!(world.scheduler.needs_operator());
}

/// Items of which the provider refuses the pictures of those that `refused` names. Returns how many have ended, and
/// whether the route holds for the operator.
fn run_with_refused_pictures(needs_vision: bool, items: u64, refused: fn(u64) -> bool) -> (usize, bool) {
    let mut world = World::new(vec![model("m", Limits::default())], vec![key("a", "a")], policy(1), wall(MORNING), 18);
    world.inject_fault = Box::new(move |_, dispatch| {
        let message = "Unable to process input image".to_owned();
        let result =
            AttemptResult { status: Some(400), message, picture_refused: true, ..attempt_result(Outcome::BadRequest) };
        refused(dispatch.seq.0).then_some(result)
    });
    let class = world.scheduler.find_or_add_class(&RoutingTraits { needs_vision, ..RoutingTraits::default() });
    world.enqueue_in(class, items);
    world.run(HOUR);
    (world.dispositions.len(), world.scheduler.needs_operator())
}

#[test]
fn pictures_that_the_provider_refuses_alike_fail_alone() {
    assert_eq!(run_with_refused_pictures(true, 60, |seq| seq <= 12), (60, false));
    // One that is accepted in between ends the row.
    assert_eq!(run_with_refused_pictures(true, 300, |seq| seq % 50 != 0), (300, false));
}

#[test]
fn fifty_refused_pictures_in_a_row_stop_the_route_before_five_thousand_items_fail() {
    assert_eq!(run_with_refused_pictures(true, 5_000, |_| true), (50, true));
    assert_eq!(run_with_refused_pictures(true, 5_000, |seq| seq > 10), (60, true));
}

#[test]
fn a_text_that_is_refused_in_the_words_for_pictures_counts_as_any_other() {
    assert_eq!(run_with_refused_pictures(false, 5_000, |_| true), (5, true));
}
