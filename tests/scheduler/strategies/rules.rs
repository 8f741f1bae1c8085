//! Rules: routes and strategies for some items only.

use cascadeck::{
    domain::{CascadeOrder, Model, Outcome, Policy, RoutingRule, RoutingTraits, Strategy},
    scheduler::NextStep,
};

use super::{keys, keys_in_turn, policy, poll_send, rule_and_traits, unlimited_model};
use crate::{
    HOUR, MORNING,
    world::{World, limits, model, queued_item, wall},
};

#[test]
fn a_rules_models_take_the_place_of_the_cascade() {
    for (order, want) in [
        (CascadeOrder::KeyFirst, [(0, 2), (0, 0), (1, 2), (1, 0)]),
        (CascadeOrder::ModelFirst, [(0, 2), (1, 2), (0, 0), (1, 0)]),
    ] {
        let (rules, traits) = rule_and_traits(RoutingRule {
            models: Some(vec!["c".to_owned(), "a".to_owned()]),
            ..RoutingRule::default()
        });
        let models = ["a", "b", "c"].map(|name| model(name, limits(1, None))).to_vec();
        let policy = Policy { rules, order, ..policy(Strategy::Cascade, 8) };
        let mut world = World::new(models, keys(2), policy, wall(MORNING), 25);
        let class = world.scheduler.find_or_add_class(&traits);
        world.enqueue_in(class, 5);
        let mut sent = Vec::new();
        while let Some(NextStep::Send(dispatch)) = world.scheduler.poll(world.now) {
            sent.push((dispatch.key.index(), dispatch.model.index()));
        }
        assert_eq!(sent, want);
    }
}

#[test]
fn the_items_own_model_leads_even_where_a_rule_does_not_list_it() {
    let (rules, traits) = rule_and_traits(RoutingRule { models: Some(vec!["a".to_owned()]), ..RoutingRule::default() });
    let models = ["a", "b"].map(|name| model(name, limits(1, None))).to_vec();
    let mut world = World::new(models, keys(1), Policy { rules, ..policy(Strategy::Cascade, 8) }, wall(MORNING), 26);
    let class = world.scheduler.find_or_add_class(&RoutingTraits { preferred_model: Some("b".to_owned()), ..traits });
    world.enqueue_in(class, 2);
    assert_eq!([poll_send(&mut world).model.index(), poll_send(&mut world).model.index()], [1, 0]);
}

#[test]
fn a_rules_strategy_is_for_its_items_alone_and_outlives_a_switch() {
    let (rules, traits) =
        rule_and_traits(RoutingRule { strategy: Some(Strategy::RoundRobin), ..RoutingRule::default() });
    let mut world = World::new(
        vec![unlimited_model("m")],
        keys(3),
        Policy { rules, ..policy(Strategy::Cascade, 1) },
        wall(MORNING),
        27,
    );
    let class = world.scheduler.find_or_add_class(&traits);
    world.enqueue_in(class, 3);
    world.run(HOUR);
    assert_eq!(keys_in_turn(&mut world, 3), [0, 1, 2, 0, 0, 0]);
    world.scheduler.set_strategy(Strategy::LeastRecentlyUsed).unwrap();
    world.enqueue_in(class, 3);
    world.run(HOUR);
    let turns: Vec<usize> = world.arrivals.iter().map(|(_, _, key)| *key).collect();
    assert_eq!(turns[6..], [1, 2, 0]);
}

#[test]
fn an_item_left_without_a_model_by_its_rule_is_rejected_and_names_the_rule() {
    let (rules, traits) =
        rule_and_traits(RoutingRule { models: Some(vec!["blind".to_owned()]), ..RoutingRule::default() });
    let models = vec![unlimited_model("a"), Model { vision: false, ..unlimited_model("blind") }];
    let mut world = World::new(models, keys(1), Policy { rules, ..policy(Strategy::Cascade, 1) }, wall(MORNING), 28);
    let class = world.scheduler.find_or_add_class(&RoutingTraits { needs_vision: true, ..traits });
    world.scheduler.enqueue(class, queued_item(1));
    match world.scheduler.poll(world.now) {
        Some(NextStep::Reject(refusal)) => {
            assert_eq!(refusal.outcome, Outcome::NoRoute);
            assert!(refusal.message.ends_with("(rule r applies)"), "{}", refusal.message);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn traits_that_route_alike_share_a_class() {
    let mut world = World::new(vec![unlimited_model("m")], keys(1), policy(Strategy::Cascade, 1), wall(MORNING), 29);
    let of = |model: &str, rule: &str| RoutingTraits {
        preferred_model: Some(model.to_owned()),
        rule: Some(rule.to_owned()),
        ..RoutingTraits::default()
    };
    let plain = world.scheduler.find_or_add_class(&RoutingTraits::default());
    assert_eq!(world.scheduler.find_or_add_class(&of("no-such-model", "no-such-rule")), plain);
    assert_ne!(world.scheduler.find_or_add_class(&of("m", "no-such-rule")), plain);
}
