//! Items that not every route can take, among items that any route can take.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, CostByKind, Limits, Model, Money, Outcome, OutcomeAction, Policy, Price, RouteId, RoutingTraits,
        SpendLimits, SpillTo, SummedAttempt, Usage, UsageSlot, WhenLimited,
    },
    scheduler::{QueuedItem, StallReason},
};

use super::{
    HOUR, MORNING, policy,
    world::{World, attempt_result, key, limits, model, queued_item, wall},
};

fn with_context(name: &str, context: u64, limits: Limits) -> Model {
    Model { context: Some(context), ..model(name, limits) }
}

fn long_item() -> QueuedItem {
    QueuedItem { input_tokens: 5_000, ..queued_item(0) }
}

#[test]
fn an_item_that_fits_only_a_full_route_blocks_no_other_item() {
    // The larger counts exceed what the scheduler skips over and what it loads at a time.
    for long_items in [1, 40, 400] {
        let models =
            vec![with_context("large", 100_000, limits(2, None)), with_context("small", 1_000, limits(60_000, None))];
        let mut world = World::new(models, vec![key("a", "p")], policy(4), wall(MORNING), 1);
        let class = world.default_class;
        for _ in 0..long_items {
            world.enqueue_item(class, long_item());
        }
        world.enqueue(100);
        world.run(Duration::from_secs(59));
        let short_done = world.dispositions.keys().filter(|seq| **seq > long_items).count();
        assert_eq!(short_done, 100, "{long_items} long ones ahead");
        world.run(HOUR * 4);
        assert_eq!(world.done, long_items + 100);
        assert_eq!(world.throttled, 0);
    }
}

#[test]
fn a_ready_route_that_no_waiting_item_may_use_does_not_hide_that_the_rest_is_exhausted() {
    let mut world = World::new(
        vec![model("sulks", limits(100, None)), model("spent", limits(100, Some(1)))],
        vec![key("a", "p")],
        policy(4),
        wall(MORNING),
        2,
    );
    // The first model rejects every item at once, and is always ready.
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.model.index() == 0).then(|| AttemptResult {
            action: OutcomeAction::NextModel,
            status: Some(400),
            ..attempt_result(Outcome::BadRequest)
        })
    });
    world.enqueue(2);
    world.run(Duration::from_secs(60));
    assert_eq!(world.done, 1);
    let holdup = world.scheduler.stall_reason(world.now);
    assert!(matches!(holdup, StallReason::Exhausted { resumes_at: Some(_), .. }), "{holdup:?}");
}

#[test]
fn an_unavailable_cheap_route_does_not_hide_that_the_rest_is_too_expensive() {
    let cheap = Model { price: Price::from_usd_per_mtok(0.000_1, 0.000_1), ..model("cheap", Limits::default()) };
    let dear = Model { price: Price::from_usd_per_mtok(100.0, 100.0), ..model("dear", Limits::default()) };
    let budget = Policy { max_usd: Money::from_usd(0.01), ..policy(4) };
    let mut world = World::new(vec![cheap, dear], vec![key("a", "p")], budget, wall(MORNING), 3);
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.model.index() == 0)
            .then(|| AttemptResult { status: Some(404), ..attempt_result(Outcome::ModelNotFound) })
    });
    world.enqueue(5);
    world.run(HOUR);
    assert_eq!(world.done, 0);
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
}

#[test]
fn requests_larger_than_a_token_window_go_one_at_a_time() {
    let narrow = Limits { tpm: Some(150), ..Limits::default() };
    let mut world = World::new(vec![model("m", narrow)], vec![key("a", "p")], policy(4), wall(MORNING), 4);
    world.enqueue(3);
    world.run(HOUR);
    assert_eq!((world.done, world.is_stuck), (3, false));
    assert!(world.elapsed() > Duration::from_secs(120), "each takes a whole minute: {:?}", world.elapsed());
}

#[test]
fn spilling_to_the_same_model_does_not_wait_for_one_that_is_switched_off() {
    let same_model = Policy { spill_to: SpillTo::SameModel, ..policy(4) };
    let models = vec![model("off", limits(100, None)), model("on", limits(100, None))];
    let mut world = World::new(models, vec![key("a", "p")], same_model, wall(MORNING), 5);
    world.scheduler.switch_model(world.now.wall, "off", false).expect("a model of that name");
    world.enqueue(10);
    world.run(HOUR);
    assert_eq!(world.done, 10);
}

#[test]
fn a_prompt_too_long_for_one_model_goes_to_a_larger_one_only() {
    let too_long = || AttemptResult {
        exceeds_context: true,
        action: OutcomeAction::FailItem,
        status: Some(400),
        ..attempt_result(Outcome::BadRequest)
    };
    for (third_model, done) in [("larger", 10), ("smaller", 0)] {
        let context = if third_model == "larger" { 1_000_000 } else { 10_000 };
        let models = vec![
            with_context("first", 32_000, Limits::default()),
            model("unknown", Limits::default()),
            with_context(third_model, context, Limits::default()),
        ];
        let mut world = World::new(models, vec![key("a", "p")], policy(2), wall(MORNING), 6);
        world.inject_fault = Box::new(move |_, dispatch| (dispatch.model.index() == 0).then(too_long));
        world.enqueue(10);
        world.run(HOUR);
        assert_eq!((world.done, world.dispositions.len()), (done, 10), "{third_model}");
        assert_eq!(world.arrivals.iter().filter(|(_, model, _)| *model == 1).count(), 0, "{third_model}");
        // Ten prompts that are too long don't count against the route.
        assert!(!world.scheduler.needs_operator());
    }
}

#[test]
fn usage_of_an_earlier_process_in_the_last_minute_counts() {
    for (outcome, must_wait) in [(Outcome::Lost, true), (Outcome::Timeout, true), (Outcome::InvalidKey, false)] {
        let narrow = Limits { tpm: Some(500), ..Limits::default() };
        let mut world = World::new(vec![model("m", narrow)], vec![key("a", "p")], policy(1), wall(MORNING), 7);
        let attempt = SummedAttempt {
            at: world.now.wall,
            outcome,
            status: None,
            is_unchecked: false,
            usage: Usage::default(),
            est_tokens: 450,
            latency_ms: 0,
            cost: Money::ZERO,
            cost_by_kind: CostByKind::default(),
            at_risk: Money::ZERO,
        };
        world.scheduler.restore_recent_usage(world.now, RouteId(0), &UsageSlot::of_attempt(&attempt));
        world.enqueue(1);
        world.run(Duration::from_secs(30));
        assert_eq!(world.done == 0, must_wait, "{outcome:?}");
        world.run(HOUR);
        assert_eq!(world.done, 1);
    }
}

#[test]
fn remaining_money_goes_to_items_it_can_pay_for() {
    // The first item's worst case exceeds what the key may spend; the items behind it fit.
    let caps = SpendLimits { max_usd: Money::from_usd(0.003), max_usd_per_day: None };
    let keys = vec![cascadeck::domain::Key { spend_limits: caps, ..key("a", "p") }];
    let talkative = Model { max_output: Some(1_000_000), ..model("m", Limits::default()) };
    let mut world = World::new(vec![talkative], keys, policy(1), wall(MORNING), 8);
    let class = world.default_class;
    let dear = world.enqueue_item(class, QueuedItem { max_output_tokens: Some(1_000_000), ..queued_item(0) });
    for _ in 0..3 {
        world.enqueue_item(class, QueuedItem { max_output_tokens: Some(1_000), ..queued_item(0) });
    }
    world.run(HOUR);
    assert_eq!(world.done, 3);
    assert!(!world.dispositions.contains_key(&dear));
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
}

fn expensive_and_cheap_models() -> Vec<Model> {
    let dear = Model { price: Price::from_usd_per_mtok(100.0, 100.0), ..model("dear", Limits::default()) };
    let cheap = Model { price: Price::from_usd_per_mtok(0.1, 0.1), ..model("cheap", Limits::default()) };
    vec![dear, cheap]
}

#[test]
fn strict_and_same_model_policies_leave_a_model_they_can_not_pay_for() {
    let wait = Policy { when_limited: WhenLimited::Wait, ..policy(1) };
    let same_model = Policy { spill_to: SpillTo::SameModel, ..policy(4) };
    for policy in [wait, same_model] {
        let budget = Policy { max_usd: Money::from_usd(0.05), ..policy };
        let mut world = World::new(expensive_and_cheap_models(), vec![key("a", "p")], budget, wall(MORNING), 9);
        world.enqueue(20);
        world.run(HOUR);
        assert_eq!((world.done, world.is_stuck), (20, false));
    }
}

#[test]
fn a_day_whose_tokens_are_used_up_is_spent_like_any_other() {
    let narrow = Limits { tpd: Some(400), ..Limits::default() };
    let models = vec![model("first", narrow), model("second", Limits::default())];
    // Strict order moves on to the next model. Without a next model the run is exhausted.
    let wait = Policy { when_limited: WhenLimited::Wait, ..policy(1) };
    let mut world = World::new(models.clone(), vec![key("a", "p")], wait, wall(MORNING), 10);
    world.enqueue(20);
    world.run(HOUR);
    assert_eq!(world.done, 20);

    let mut world = World::new(models[..1].to_vec(), vec![key("a", "p")], policy(4), wall(MORNING), 10);
    world.enqueue(20);
    world.run(HOUR);
    assert!(world.done < 20);
    let holdup = world.scheduler.stall_reason(world.now);
    assert!(matches!(holdup, StallReason::Exhausted { resumes_at: Some(_), .. }), "{holdup:?}");
}

#[test]
fn a_larger_output_limit_is_asked_for_only_where_it_can_be_had() {
    let nothing = || AttemptResult { action: OutcomeAction::FailItem, ..attempt_result(Outcome::Truncated) };
    // The item's own limit, its budget, and how often it is sent. The model's limit is 1,000 tokens.
    for (max_output_tokens, max_usd, sent) in [(Some(300), None, 2), (Some(300), Some(900e-6), 1), (None, None, 1)] {
        let enlarge = Policy { truncated_retry_factor: Some(4), ..policy(1) };
        let mut world =
            World::new(vec![model("m", Limits::default())], vec![key("a", "p")], enlarge, wall(MORNING), 11);
        world.inject_fault = Box::new(move |_, _| Some(nothing()));
        let class = world.default_class;
        let max_usd = max_usd.and_then(Money::from_usd);
        world.enqueue_item(class, QueuedItem { max_output_tokens, max_usd, is_caption: true, ..queued_item(0) });
        world.run(HOUR);
        assert_eq!((world.dispositions.len(), world.arrivals.len()), (1, sent), "{max_output_tokens:?} {max_usd:?}");
    }
}

#[test]
fn a_large_item_is_not_starved_of_tokens_by_small_ones_of_another_class() {
    let narrow = Limits { tpm: Some(10_000), ..Limits::default() };
    let mut world = World::new(vec![model("m", narrow)], vec![key("a", "p")], policy(4), wall(MORNING), 12);
    let (class, other) = (
        world.default_class,
        world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..RoutingTraits::default() }),
    );
    world.enqueue_in(other, 3);
    let large = world.enqueue_item(class, QueuedItem { input_tokens: 9_000, ..queued_item(0) });
    world.enqueue_in(other, 2_000);
    world.run(Duration::from_secs(240));
    assert!(world.dispositions.contains_key(&large));
    world.run(HOUR);
    assert_eq!(world.done, 2_004);
}

#[test]
fn spend_on_a_removed_key_still_counts_against_the_day() {
    let capped = Policy { max_usd_per_day: Money::from_usd(1.0), ..policy(4) };
    let mut world = World::new(vec![model("m", Limits::default())], vec![key("a", "p")], capped, wall(MORNING), 13);
    world.scheduler.restore_spend(world.now, "renamed-since", world.now.wall, Money::from_usd(1.0).expect("money"));
    world.enqueue(1);
    world.run(HOUR);
    assert_eq!(world.done, 0);
}
