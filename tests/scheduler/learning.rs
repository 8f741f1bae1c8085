//! Learning from responses: stated and unstated limits, whose fault a failure was, and shared quotas.

use std::{cell::RefCell, rc::Rc, time::Duration};

use cascadeck::{
    domain::{
        AttemptResult, EventKind, Key, LimitDimension, LimitSource, Limits, OnExhausted, Outcome, Policy,
        ProviderLimit, ResponseMeta, RetryAfter, RouteId, RoutingTraits, WhenLimited,
        snapshot::{CauseSource, Condition, Gauge},
    },
    scheduler::{QueuedItem, Scheduler},
};

use super::{
    HOUR, MORNING, policy,
    world::{World, attempt_result, key, limits, model, provider, queued_item, wall},
};

const SECOND: Duration = Duration::from_secs(1);

fn two_keys() -> Vec<Key> {
    vec![key("alice", "studio"), key("bob", "garage")]
}

fn unlimited() -> Limits {
    Limits { quota_day: cascadeck::domain::QuotaDay::Pacific, ..Limits::default() }
}

fn ok_with_meta(response_meta: ResponseMeta) -> AttemptResult {
    AttemptResult { response_meta, ..attempt_result(Outcome::Ok) }
}

fn rpm_gauge(world: &World) -> Gauge {
    world.scheduler.model_statuses(world.now)[0].rpm
}

fn count_run_messages(world: &World, words: &str) -> usize {
    let run = |event: &&EventKind| matches!(event, EventKind::Run { message: told, .. } if told.contains(words));
    world.events.iter().filter(run).count()
}

#[test]
fn a_stated_limit_tightens_what_is_configured_and_never_loosens_it() {
    let cases = [
        (unlimited(), 7, Some(7), LimitSource::Provider),
        (limits(20, None), 7, Some(7), LimitSource::Provider),
        (limits(20, None), 500, Some(20), LimitSource::Configured),
    ];
    for (configured, stated, limit, provenance) in cases {
        let mut world = World::new(vec![model("m", configured)], vec![key("a", "a")], policy(1), wall(MORNING), 1);
        world.enforced = vec![unlimited()];
        world.inject_fault = Box::new(move |_, _| {
            let said = ProviderLimit { limit: Some(stated), ..ProviderLimit::new(LimitDimension::RequestsPerMinute) };
            Some(ok_with_meta(ResponseMeta { limits: vec![said], server_time: None }))
        });
        world.enqueue(1);
        world.run(HOUR);
        let facts = world.scheduler.route_statuses(world.now);
        assert_eq!((facts[0].rpm.limit, facts[0].rpm.source), (limit, Some(provenance)));
    }
}

#[test]
fn a_stated_remaining_of_zero_makes_the_pool_wait() {
    let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(1), wall(MORNING), 2);
    let mut left = 3_u64;
    world.inject_fault = Box::new(move |_, _| {
        left = left.checked_sub(1).unwrap_or(3);
        let resets_in = (left == 0).then_some(SECOND * 30);
        let said = ProviderLimit {
            limit: Some(100),
            remaining: Some(left),
            resets_in,
            dimension: LimitDimension::RequestsPerMinute,
        };
        Some(ok_with_meta(ResponseMeta { limits: vec![said], server_time: None }))
    });
    world.enqueue(4);
    world.run(HOUR);
    let times: Vec<u64> =
        world.arrivals.iter().map(|(at, ..)| at.mono.since(world.arrivals[0].0.mono).as_secs()).collect();
    assert!(times[2] < 5 && times[3] >= 30, "{times:?}");
    assert_eq!(world.done, 4);
}

#[test]
fn an_unstated_limit_is_learned_kept_over_a_restart_and_unused_by_the_strict_pipeline() {
    let models = vec![model("m", unlimited())];
    let mut world = World::new(models.clone(), vec![key("a", "a")], policy(16), wall(MORNING), 3);
    world.enforced = vec![limits(12, None)];
    world.enqueue(200);
    world.run(HOUR);
    assert_eq!((rpm_gauge(&world).limit, rpm_gauge(&world).source), (Some(12), Some(LimitSource::Learned)));
    let memory = world.scheduler.saved_state(world.now, &[None]);
    let keys = [key("a", "a")];
    for (when_limited, limit) in [(WhenLimited::Spill, Some(12)), (WhenLimited::Wait, None)] {
        let policy = Policy { when_limited, ..policy(16) };
        let mut later = Scheduler::new(&[provider()], &models, &keys, policy, 4);
        later.restore(world.now, memory.clone(), &[None]);
        assert_eq!(later.model_statuses(world.now)[0].rpm.limit, limit, "{when_limited:?}");
    }
}

#[test]
fn a_short_stated_wait_teaches_a_minute_limit_only_at_the_end_of_a_minute() {
    for (at, is_the_minute) in [(5, false), (59, true)] {
        let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(1), wall(MORNING), 9);
        world.enforced = vec![unlimited()];
        let (start, mut refused) = (world.now.mono, false);
        world.inject_fault = Box::new(move |now, _| {
            let refuses = !refused && now.mono.since(start).as_secs() >= at;
            refused |= refuses;
            let retry_after = Some(RetryAfter { delay: SECOND });
            refuses.then(|| AttemptResult {
                status: Some(429),
                retry_after,
                ..attempt_result(Outcome::RateLimitedMinute)
            })
        });
        world.enqueue(200);
        world.run(SECOND * (at as u32 + 3));
        assert_eq!(rpm_gauge(&world).limit.is_some(), is_the_minute, "refused after {at} s");
    }
}

#[test]
fn server_errors_and_timeouts_never_shrink_a_rate() {
    let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(8), wall(MORNING), 5);
    let mut count = 0;
    world.inject_fault = Box::new(move |_, _| {
        count += 1;
        let outcome = [Outcome::ServerError, Outcome::Timeout, Outcome::Overloaded, Outcome::Ok][count % 4];
        Some(attempt_result(outcome))
    });
    world.enqueue(60);
    world.run(HOUR);
    assert_eq!(rpm_gauge(&world).limit, None);
}

#[test]
fn keys_that_share_a_quota_though_they_claim_two_projects_are_named_once() {
    let mut world = World::new(vec![model("m", limits(30, None))], two_keys(), policy(8), wall(MORNING), 6);
    // The server counts both keys on one project, so both together have half of what is configured.
    for key in &mut world.keys {
        key.project = "studio".to_owned();
    }
    world.enqueue(900);
    world.run(HOUR);
    assert_eq!(count_run_messages(&world, "alice and bob seem to share a quota"), 1, "{:?}", world.events);
}

#[test]
fn busy_keys_or_lower_limits_are_not_reported_as_a_shared_quota() {
    for enforced in [30, 25] {
        let mut world = World::new(vec![model("m", limits(30, None))], two_keys(), policy(8), wall(MORNING), 7);
        world.enforced = vec![limits(enforced, None)];
        world.enqueue(900);
        world.run(HOUR);
        assert_eq!(count_run_messages(&world, "share a quota"), 0, "enforced {enforced}: {:?}", world.events);
    }
}

#[test]
fn an_item_that_fails_the_same_on_two_projects_is_at_fault_and_the_keys_get_their_score_back() {
    let mut world = World::new(vec![model("m", limits(600, None))], two_keys(), policy(2), wall(MORNING), 8);
    world.inject_fault = Box::new(|_, dispatch| {
        // Round robin sends it to either key, and to bob once alice's minute is full.
        (dispatch.seq.0 == 5).then(|| AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) })
    });
    world.scheduler.set_strategy(cascadeck::domain::Strategy::RoundRobin).expect("goes with spilling");
    world.enqueue(400);
    world.run(HOUR);
    let health: Vec<u8> = world.scheduler.key_statuses(world.now).iter().map(|facts| facts.health).collect();
    assert_eq!((count_run_messages(&world, "item at fault"), health), (1, vec![100, 100]), "{:?}", world.events);
    assert_eq!(world.done, 399);
}

#[test]
fn items_that_never_succeed_leave_requests_of_a_scarce_route_to_others() {
    for in_other_class in [false, true] {
        let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(1), wall(MORNING), 8);
        // Every second request is refused for the day, which shows that the route works.
        let mut arrivals = 0;
        world.inject_fault = Box::new(move |_, dispatch| {
            arrivals += 1;
            let retry_after = Some(RetryAfter { delay: HOUR });
            match (arrivals % 2, dispatch.seq.0) {
                (0, _) => {
                    Some(AttemptResult { status: Some(429), retry_after, ..attempt_result(Outcome::QuotaExhaustedDay) })
                }
                (_, 1 | 2) => Some(attempt_result(Outcome::ServerError)),
                _ => None,
            }
        });
        let others = if in_other_class {
            world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..RoutingTraits::default() })
        } else {
            world.default_class
        };
        world.enqueue(2);
        world.enqueue_in(others, 3);
        world.run(HOUR * 24 * 60);
        assert_eq!((world.done, world.dispositions.len()), (3, 5), "of a class of their own: {in_other_class}");
    }
}

#[test]
fn an_open_breaker_is_probed_with_the_smallest_item_and_ramps_up_1_2_4_8() {
    let mut world =
        World::new(vec![model("m", limits(6_000, None))], vec![key("a", "a")], policy(64), wall(MORNING), 9);
    world.latency_range = (SECOND, SECOND);
    let recovers = world.now.mono + SECOND * 20;
    world.inject_fault = Box::new(move |now, _| (now.mono < recovers).then(|| attempt_result(Outcome::Timeout)));
    let sends: Rc<RefCell<Vec<(u64, u32)>>> = Rc::default();
    let seen = Rc::clone(&sends);
    world.extra_latency = Box::new(move |now, dispatch| {
        seen.borrow_mut().push((now.mono.0, dispatch.seq.0 as u32));
        Duration::ZERO
    });
    world.enqueue(64);
    // These items arrive while the breaker is open; one of them is small.
    world.run(SECOND * 10);
    let class = world.default_class;
    for input_tokens in [500, 400, 7, 300] {
        world.enqueue_item(class, QueuedItem { input_tokens, ..queued_item(0) });
    }
    world.run(HOUR);
    let after: Vec<(u64, u32)> = sends.borrow().iter().copied().filter(|(at, _)| *at >= recovers.0).collect();
    assert_eq!(after[0].1, 67, "the smallest of those that had no trouble");
    let mut waves: Vec<(u64, usize)> = Vec::new();
    for (at, _) in &after {
        match waves.last_mut().filter(|(wave, _)| wave == at) {
            Some((_, count)) => *count += 1,
            None => waves.push((*at, 1)),
        }
    }
    let sizes: Vec<usize> = waves.iter().map(|(_, count)| *count).collect();
    assert_eq!(sizes[..4], [1, 2, 4, 8], "{waves:?}");
    assert_eq!(world.done, 68);
}

#[test]
fn a_stated_wait_longer_than_backoff_rest_is_kept_after_the_backoff_schedule() {
    let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(1), wall(MORNING), 10);
    let mut count = 0;
    world.inject_fault = Box::new(move |_, _| {
        count += 1;
        let delay = if count == 6 { SECOND * 1_800 } else { SECOND };
        (count <= 6).then(|| AttemptResult {
            status: Some(429),
            retry_after: Some(RetryAfter { delay }),
            ..attempt_result(Outcome::RateLimitedMinute)
        })
    });
    world.enqueue(1);
    world.run(HOUR);
    let last = world.arrivals[6].0.mono.since(world.arrivals[5].0.mono);
    assert!(last >= SECOND * 1_800, "{last:?}");
}

#[test]
fn a_stated_wait_of_an_overloaded_server_is_kept() {
    let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(1), wall(MORNING), 11);
    let mut first = true;
    world.inject_fault = Box::new(move |_, _| {
        std::mem::take(&mut first).then(|| AttemptResult {
            status: Some(503),
            retry_after: Some(RetryAfter { delay: SECOND * 40 }),
            ..attempt_result(Outcome::Overloaded)
        })
    });
    world.enqueue(1);
    world.run(HOUR);
    let wait = world.arrivals[1].0.mono.since(world.arrivals[0].0.mono);
    assert!(wait >= SECOND * 40, "{wait:?}");
}

#[test]
fn a_disabled_key_stays_disabled_while_its_secret_is_known_to_be_the_same() {
    let fingerprint = |text: &str| [Some(text.to_owned())];
    let build = || World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy(4), wall(MORNING), 5);
    let mut world = build();
    world.scheduler.disable_key(world.now, "a", "no such key".to_owned()).expect("it was alive");
    let saved = serde_json::to_value(world.scheduler.saved_state(world.now, &fingerprint("key:1"))).expect("test");
    // The form in which earlier versions saved it.
    let mut unsalted = saved.clone();
    unsalted["keys"][0]["fingerprint"] = 12_345_678_901_234_567_890_u64.into();
    let cases = [
        ("the same", &saved, fingerprint("key:1"), true),
        ("another", &saved, fingerprint("key:2"), false),
        ("nothing to compare with", &saved, [None], false),
        ("an unsalted one", &unsalted, fingerprint("key:1"), false),
    ];
    for (what, kept, now_is, is_disabled) in cases {
        let mut later = build();
        let memory = serde_json::from_value(kept.clone()).expect(what);
        later.scheduler.restore(later.now, memory, &now_is);
        assert_eq!(later.scheduler.mark_key_valid("a", &[]).is_some(), is_disabled, "{what}");
    }
}

/// Runs items through three keys with an unknown limit of `rpm` a minute. Returns the time and the refusals.
fn run_with_unknown_limit(rpm: u32, stated_wait: Option<Duration>) -> (Duration, u64) {
    let keys = ["a", "b", "c"].map(|name| key(name, name)).to_vec();
    let mut world = World::new(vec![model("m", unlimited())], keys, policy(32), wall(MORNING), 5);
    world.enforced = vec![limits(rpm, None)];
    world.stated_wait = stated_wait;
    let items = u64::from(rpm) * 10;
    world.enqueue(items);
    world.run(HOUR);
    assert_eq!(world.done, items, "{rpm} a minute, {stated_wait:?} stated");
    (world.elapsed(), world.throttled)
}

#[test]
fn a_stated_wait_that_is_false_costs_little_time_and_few_refusals() {
    for rpm in [10, 20, 60, 600] {
        let (honest, _) = run_with_unknown_limit(rpm, None);
        for millis in [100, 1_000, 2_000, 5_000, 10_000] {
            let (took, refused) = run_with_unknown_limit(rpm, Some(Duration::from_millis(millis)));
            let max_refused = u64::from(rpm) * 10 / 100 + 3 * 16;
            assert!(refused <= max_refused, "{rpm} a minute, {millis} ms stated: {refused} refused");
            assert!(took <= honest.mul_f64(1.15), "{rpm} a minute, {millis} ms stated: {took:?} for {honest:?}");
        }
    }
}

#[test]
fn refusals_without_a_reason_that_outlast_two_rounds_of_the_backoff_count_as_the_days() {
    let policy = Policy { on_exhausted: OnExhausted::Wait, ..policy(1) };
    let mut world = World::new(vec![model("m", unlimited())], vec![key("a", "a")], policy, wall(MORNING), 3);
    world.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) }));
    world.enqueue(3);
    world.run(HOUR * 6);
    let Condition::Exhausted { cause, .. } = world.scheduler.route_condition(world.now, RouteId(0)) else {
        panic!("{:?}", world.scheduler.route_condition(world.now, RouteId(0)))
    };
    assert_eq!((cause.outcome, cause.source), (Outcome::QuotaExhaustedDay, CauseSource::Backoff));
    let in_last_hours = world.arrivals.iter().filter(|(at, ..)| world.now.mono.since(at.mono) < HOUR * 3).count();
    assert!((2..=4).contains(&in_last_hours), "{in_last_hours} tries in three hours");
}
