//! Strategies that rank routes by latency, by price, or by both and quality.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, BalanceWeights, Model, Money, Outcome, Policy, Price, RoutingRule, RoutingTraits, Strategy,
    },
    scheduler::{NextStep, PlannedAttempt},
};

use super::{keys, policy, poll_send, priced_model, unlimited_model};
use crate::{
    HOUR, MORNING,
    world::{World, attempt_result, limits, queued_item, wall},
};

fn extra_latency_by_key(millis: [u64; 3]) -> impl Fn(&cascadeck::domain::Now, &PlannedAttempt) -> Duration {
    move |_, dispatch| Duration::from_millis(millis[dispatch.key.index()])
}

#[test]
fn fastest_uses_the_fastest_route_and_keeps_exploring() {
    let mut world = World::new(vec![unlimited_model("m")], keys(3), policy(Strategy::Fastest, 1), wall(MORNING), 13);
    world.extra_latency = Box::new(extra_latency_by_key([5_000, 500, 9_000]));
    world.enqueue(600);
    world.run(HOUR * 10);
    let counts = world.arrivals_by_key();
    assert!(counts[1] > 500, "{counts:?}");
    // One request in sixteen explores the three routes in turn.
    assert!(counts[0] >= 4 && counts[2] >= 4, "{counts:?}");
}

#[test]
fn the_time_of_a_check_is_not_the_latency_of_its_model() {
    let policy = Policy { explore_every: 1_000_000, ..policy(Strategy::Fastest, 3) };
    let mut world = World::new(vec![unlimited_model("a"), unlimited_model("b")], keys(1), policy, wall(MORNING), 15);
    world.enqueue(2);
    let [one, other] = [poll_send(&mut world), poll_send(&mut world)];
    assert_ne!(one.model, other.model);
    // The first answers after one second and is then checked for a minute, the other answers after five seconds.
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let sent = world.now;
    world.scheduler.complete(sent + second * 5, other.attempt, &attempt_result(Outcome::Ok)).unwrap();
    world.now = sent + second + minute;
    world.scheduler.complete_after_check(world.now, one.attempt, &attempt_result(Outcome::Ok), minute).unwrap();
    world.enqueue(1);
    assert_eq!(poll_send(&mut world).model, one.model);
}

#[test]
fn a_slow_start_does_not_exclude_a_route_for_good() {
    let mut world = World::new(vec![unlimited_model("m")], keys(3), policy(Strategy::Fastest, 1), wall(MORNING), 14);
    let warm = world.now.mono + Duration::from_secs(60);
    world.extra_latency = Box::new(move |now, dispatch| {
        let cold = dispatch.key.index() == 2 && now.mono < warm;
        Duration::from_millis(if cold { 30_000 } else { [3_000, 4_000, 100][dispatch.key.index()] })
    });
    world.enqueue(1_000);
    world.run(HOUR * 10);
    let late = &world.arrivals[700..];
    assert!(late.iter().filter(|(_, _, key)| *key == 2).count() > 250, "{:?}", world.arrivals_by_key());
}

#[test]
fn untried_routes_are_tried_by_one_item_at_a_time() {
    let models = vec![unlimited_model("a"), unlimited_model("b"), unlimited_model("c")];
    let mut world = World::new(
        models,
        keys(1),
        Policy { explore_every: 1_000_000, ..policy(Strategy::Fastest, 3) },
        wall(MORNING),
        15,
    );
    world.enqueue(3);
    let sent: Vec<usize> = (0..3).map(|_| poll_send(&mut world).model.index()).collect();
    assert_eq!(sent, [0, 1, 2]);
}

#[test]
fn quick_failures_do_not_look_fast() {
    let patient = Policy { breaker_threshold: 1_000_000, ..policy(Strategy::Fastest, 1) };
    let mut world = World::new(vec![unlimited_model("m")], keys(2), patient, wall(MORNING), 16);
    world.latency_range = (Duration::from_millis(2), Duration::from_millis(2));
    world.extra_latency = Box::new(extra_latency_by_key([0, 2_000, 0]));
    world.inject_fault = Box::new(|_, dispatch| {
        (dispatch.key.index() == 0).then(|| AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) })
    });
    world.enqueue(160);
    world.run(HOUR * 10);
    let counts = world.arrivals_by_key();
    assert!(world.done >= 158 && counts[0] < 25, "{counts:?}");
}

#[test]
fn cheapest_takes_the_cheapest_ready_route() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let models: Vec<Model> = (0..random.usize(2..5))
            .map(|index| Model {
                limits: limits(random.u32(2..9), None),
                ..priced_model(&format!("m{index}"), f64::from(random.u32(0..9)), f64::from(random.u32(0..9)))
            })
            .collect();
        let cost = |model: usize| models[model].price.map(|price| price.uncached_cost(100, 256)).unwrap();
        let mut world = World::new(models.clone(), keys(2), policy(Strategy::Cheapest, 32), wall(MORNING), seed);
        world.enqueue(300);
        // All at one instant: requests move to more expensive models only as cheaper ones fill up.
        let mut last = Money::ZERO;
        while let Some(NextStep::Send(dispatch)) = world.scheduler.poll(world.now) {
            assert!(cost(dispatch.model.index()) >= last, "seed {seed}");
            last = cost(dispatch.model.index());
        }
        assert!(last > Money::ZERO || models.iter().any(|model| model.price == Price::from_usd_per_mtok(0.0, 0.0)));
    }
}

#[test]
fn the_cheapest_route_depends_on_the_item() {
    let models = vec![priced_model("long-answers", 10.0, 1.0), priced_model("long-questions", 1.0, 20.0)];
    let mut world = World::new(models, keys(1), policy(Strategy::Cheapest, 8), wall(MORNING), 17);
    let mut sent = |input, max_output| {
        let mut ticket = queued_item(input);
        (ticket.input_tokens, ticket.max_output_tokens) = (input, Some(max_output));
        world.scheduler.enqueue(0, ticket);
        poll_send(&mut world).model.index()
    };
    assert_eq!((sent(10, 200), sent(5_000, 10)), (0, 1));
}

#[test]
fn a_model_without_answers_is_not_assumed_expensive() {
    // Answers have 40 tokens, far fewer than is assumed before the first answer.
    let models = vec![
        Model { limits: limits(5, None), ..priced_model("usual", 1.0, 1.0) },
        priced_model("dear", 3.0, 3.0),
        priced_model("fair", 2.0, 2.0),
    ];
    let mut world = World::new(models, keys(1), policy(Strategy::Cheapest, 1), wall(MORNING), 18);
    world.enqueue(8);
    world.run(HOUR);
    let models: Vec<usize> = world.arrivals.iter().map(|(_, model, _)| *model).collect();
    assert_eq!(models, [0, 0, 0, 0, 0, 2, 2, 2]);
}

#[test]
fn models_without_a_price_rank_as_most_expensive() {
    let models = vec![Model { price: None, ..unlimited_model("unknown") }, priced_model("known", 900.0, 900.0)];
    let mut world = World::new(models, keys(2), policy(Strategy::Cheapest, 8), wall(MORNING), 18);
    world.enqueue(4);
    assert!((0..4).all(|_| poll_send(&mut world).model.index() == 1));
}

#[test]
fn an_items_money_limit_holds_whatever_the_strategy() {
    for strategy in Strategy::ALL {
        // Worst cases of 100 tokens in and 1,000 out: $0.0021 and $0.021.
        let models = vec![priced_model("dear", 10.0, 20.0), priced_model("fair", 1.0, 2.0)];
        let rules =
            vec![RoutingRule { name: "thrifty".to_owned(), max_usd: Money::from_usd(0.01), ..RoutingRule::default() }];
        let mut world = World::new(models, keys(2), Policy { rules, ..policy(strategy, 4) }, wall(MORNING), 19);
        let thrifty = world
            .scheduler
            .find_or_add_class(&RoutingTraits { rule: Some("thrifty".to_owned()), ..RoutingTraits::default() });
        world.enqueue_in(thrifty, 50);
        world.run(HOUR);
        assert_eq!(world.done, 50, "{}", strategy.name());
        assert!(world.arrivals.iter().all(|(_, model, _)| *model == 1), "{}", strategy.name());
    }
}

#[test]
fn balanced_takes_the_best_model_unless_price_or_latency_outweigh_it() {
    let split = |price: f64, lag: u64, balance_weights: BalanceWeights| {
        let models = vec![priced_model("best", price, price), priced_model("other", 1.0, 1.0)];
        let mut world =
            World::new(models, keys(1), Policy { balance_weights, ..policy(Strategy::Balanced, 1) }, wall(MORNING), 20);
        world.extra_latency =
            Box::new(move |_, dispatch| Duration::from_millis(if dispatch.model.index() == 0 { lag } else { 0 }));
        world.enqueue(40);
        world.run(HOUR * 10);
        world.arrivals.iter().filter(|(_, model, _)| *model == 0).count()
    };
    let even = BalanceWeights::default();
    assert_eq!(split(1.0, 0, even), 40);
    assert_eq!(
        split(3.0, 0, even),
        39,
        "three times the price is not enough against quality, once the other was tried"
    );
    assert!(split(20.0, 20_000, even) <= 2, "twenty times the price and a long wait are");
    assert_eq!(split(20.0, 0, BalanceWeights { price: 0.0, ..even }), 40, "unless price does not count");
}

#[test]
fn balanced_goes_to_the_next_best_when_the_best_is_full() {
    let models = vec![Model { limits: limits(3, None), ..unlimited_model("best") }, unlimited_model("other")];
    let mut world = World::new(models, keys(1), policy(Strategy::Balanced, 8), wall(MORNING), 21);
    world.enqueue(5);
    let sent: Vec<usize> = (0..5).map(|_| poll_send(&mut world).model.index()).collect();
    assert_eq!(sent, [0, 0, 0, 1, 1]);
}
