//! Invariants of each strategy, in a simulated world and by direct calls, and those that all share.

mod rules;
mod scored;
mod spread;

use std::time::Duration;

use cascadeck::{
    domain::{
        Key, KeyRole, Limits, Model, Policy, Price, RouteTarget, RoutingRule, RoutingTraits, Strategy, WhenLimited,
    },
    scheduler::{NextStep, PlannedAttempt},
};

use crate::{
    HOUR, MORNING,
    world::{World, key, limits, model, wall},
};

fn policy(strategy: Strategy, max_in_flight: u32) -> Policy {
    Policy { strategy, max_in_flight, ..Policy::default() }
}

fn unlimited_model(name: &str) -> Model {
    model(name, Limits::default())
}

fn with_weight(key: Key, weight: u32) -> Key {
    Key { weight, ..key }
}

fn backup(key: Key) -> Key {
    Key { role: KeyRole::Backup, ..key }
}

fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect()
}

fn priced_model(name: &str, input: f64, output: f64) -> Model {
    Model { price: Price::from_usd_per_mtok(input, output), ..unlimited_model(name) }
}

/// Sends `items` more requests, each after the answer to the one before, and returns the keys of all requests so far.
fn keys_in_turn(world: &mut World, items: u64) -> Vec<usize> {
    world.enqueue(items);
    world.run(HOUR * 10);
    assert_eq!(world.done, world.enqueued);
    world.arrivals.iter().map(|(_, _, key)| *key).collect()
}

fn poll_send(world: &mut World) -> PlannedAttempt {
    match world.scheduler.poll(world.now) {
        Some(NextStep::Send(dispatch)) => dispatch,
        other => panic!("{other:?}"),
    }
}

fn rule_and_traits(rule: RoutingRule) -> (Vec<RoutingRule>, RoutingTraits) {
    let traits = RoutingTraits { rule: Some("r".to_owned()), ..RoutingTraits::default() };
    (vec![RoutingRule { name: "r".to_owned(), ..rule }], traits)
}

#[test]
fn no_strategy_idles_while_a_route_is_ready_or_exceeds_a_limit() {
    for strategy in Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::PrimaryBackup) {
        let models = vec![model("a", limits(10, None)), model("b", limits(15, None))];
        let mut world = World::new(models, keys(3), policy(strategy, 64), wall(MORNING), 22);
        world.enqueue(300);
        world.run(HOUR);
        assert_eq!((world.done, world.throttled), (300, 0), "{}", strategy.name());
        // 75 a minute: the last of 300 is sent after three windows.
        assert!(world.elapsed() < Duration::from_secs(3 * 61 + 2), "{}: {:?}", strategy.name(), world.elapsed());
    }
}

#[test]
fn the_items_own_model_leads_under_every_strategy() {
    for strategy in Strategy::ALL {
        let models = vec![
            unlimited_model("a"),
            Model { limits: limits(4, None), ..unlimited_model("own") },
            priced_model("cheap", 0.0, 0.0),
        ];
        let mut world = World::new(models, keys(2), policy(strategy, 16), wall(MORNING), 23);
        let own = world
            .scheduler
            .find_or_add_class(&RoutingTraits { preferred_model: Some("own".to_owned()), ..RoutingTraits::default() });
        world.enqueue_in(own, 10);
        let sent: Vec<usize> = (0..10).map(|_| poll_send(&mut world).model.index()).collect();
        assert!(sent[..8].iter().all(|model| *model == 1), "{}: {sent:?}", strategy.name());
        assert!(sent[8..].iter().all(|model| *model != 1), "{}: spills when its own is full", strategy.name());
    }
}

#[test]
fn items_sent_to_one_target_go_nowhere_else() {
    for strategy in Strategy::ALL {
        let models = vec![unlimited_model("a"), Model { limits: limits(4, None), ..unlimited_model("b") }];
        let mut world = World::new(models, keys(2), policy(strategy, 16), wall(MORNING), 25);
        let target =
            |model: &str, key: Option<&str>| RouteTarget { model: model.to_owned(), key: key.map(str::to_owned) };
        let name = world.scheduler.key_and_model_names(cascadeck::domain::RouteId(0)).0;
        let only = |only: RouteTarget| RoutingTraits { required_target: Some(only), ..RoutingTraits::default() };
        let to_model = world.scheduler.find_or_add_class(&only(target("b", None)));
        let to_route = world.scheduler.find_or_add_class(&only(target("b", Some(&name))));
        let nowhere = world.scheduler.find_or_add_class(&only(target("gone", None)));
        assert_ne!(to_model, to_route);
        assert_eq!(
            nowhere,
            world.scheduler.find_or_add_class(&RoutingTraits::default()),
            "a place that is gone is no place"
        );
        world.enqueue_in(to_route, 20);
        let sent: Vec<PlannedAttempt> = std::iter::from_fn(|| match world.scheduler.poll(world.now) {
            Some(NextStep::Send(dispatch)) => Some(dispatch),
            _ => None,
        })
        .collect();
        assert_eq!(sent.len(), 4, "{}: its route's minute is full, and nothing spills over", strategy.name());
        for dispatch in sent {
            let (key, model) = world.scheduler.key_and_model_names(dispatch.route);
            assert_eq!((key.as_str(), model.as_str()), (name.as_str(), "b"), "{}", strategy.name());
        }
    }
}

#[test]
fn one_seed_makes_one_history() {
    for strategy in Strategy::ALL {
        let history = || {
            let models = vec![model("a", limits(10, Some(90))), model("b", limits(15, None))];
            let mut world = World::new(models, keys(4), policy(strategy, 16), wall(MORNING), 24);
            world.enqueue(400);
            world.run(HOUR);
            world.arrivals
        };
        assert_eq!(history(), history(), "{}", strategy.name());
    }
}

#[test]
fn the_strict_pipeline_requires_the_cascade_strategy() {
    let wait = Policy { when_limited: WhenLimited::Wait, ..policy(Strategy::Cascade, 1) };
    let mut world = World::new(vec![unlimited_model("m")], keys(2), wait.clone(), wall(MORNING), 30);
    let refused = world.scheduler.set_strategy(Strategy::Fastest).unwrap_err();
    assert!(refused.contains("fastest") && refused.contains("wait"), "{refused}");
    assert_eq!(world.scheduler.policy().strategy, Strategy::Cascade);
    world.scheduler.set_when_limited(WhenLimited::Spill).unwrap();
    world.scheduler.set_strategy(Strategy::Fastest).unwrap();
    assert!(world.scheduler.set_when_limited(WhenLimited::Wait).is_err());
    assert_eq!(world.scheduler.policy().when_limited, WhenLimited::Spill);

    let (rules, _) = rule_and_traits(RoutingRule { strategy: Some(Strategy::Health), ..RoutingRule::default() });
    let spill = Policy { rules, when_limited: WhenLimited::Spill, ..wait };
    let mut world = World::new(vec![unlimited_model("m")], keys(2), spill, wall(MORNING), 30);
    assert!(world.scheduler.set_when_limited(WhenLimited::Wait).unwrap_err().contains("rule r"));
}

#[test]
fn keys_take_turns_at_being_first_day_by_day() {
    let fleet = vec![key("a", "a"), key("b", "b"), key("c", "c"), backup(key("d", "d"))];
    let rotating = Policy { rotate_keys_daily: true, ..policy(Strategy::Cascade, 1) };
    let mut world = World::new(vec![unlimited_model("m")], fleet, rotating, wall("2026-11-21T23:59:00Z"), 31);
    let mut firsts = Vec::new();
    for _ in 0..4 {
        firsts.push(*keys_in_turn(&mut world, 3).last().unwrap());
        world.now = world.now + HOUR * 24;
    }
    assert_eq!(firsts[3], firsts[0]);
    assert_eq!((firsts[1], firsts[2]), ((firsts[0] + 1) % 3, (firsts[0] + 2) % 3));
    assert!(firsts.iter().all(|key| *key != 3), "a backup never comes first");
}
