//! The model that a row names: tried first whatever the policy, and left only for a reason.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, CascadeOrder, Limits, Outcome, Policy, RouteTarget, RoutingTraits, SpillTo, Strategy,
        WhenLimited,
    },
    scheduler::{NextStep, PlannedAttempt},
};

use crate::{
    HOUR, MORNING,
    world::{World, attempt_result, key, limits, model, wall},
};

/// The models `best` and `second`, the second with these limits, each on the keys `a` and `b`.
fn world(second: Limits, policy: Policy) -> World {
    let models = vec![model("best", Limits::default()), model("second", second)];
    World::new(models, vec![key("a", "a"), key("b", "b")], policy, wall(MORNING), 31)
}

fn names_second() -> RoutingTraits {
    RoutingTraits { preferred_model: Some("second".to_owned()), ..RoutingTraits::default() }
}

fn pinned_to(model: &str) -> RoutingTraits {
    RoutingTraits { preferred_model: Some(model.to_owned()), model_pinned: true, ..RoutingTraits::default() }
}

/// All that is sent at this instant, as `model@key`.
fn send_all(world: &mut World) -> Vec<(String, PlannedAttempt)> {
    std::iter::from_fn(|| match world.scheduler.poll(world.now) {
        Some(NextStep::Send(planned)) => Some((world.scheduler.route_name(planned.route), planned)),
        Some(NextStep::Reject(rejection)) => panic!("{rejection:?}"),
        None => None,
    })
    .collect()
}

fn route_names(sent: &[(String, PlannedAttempt)]) -> Vec<&str> {
    sent.iter().map(|(route, _)| route.as_str()).collect()
}

/// Every strategy with both rules of spilling, and strict order.
fn policies() -> Vec<(String, Policy)> {
    let mut policies = Vec::new();
    for strategy in Strategy::ALL {
        for spill_to in SpillTo::ALL {
            let name = format!("{} {}", strategy.name(), spill_to.name());
            policies.push((name, Policy { strategy, spill_to, max_in_flight: 64, ..Policy::default() }));
        }
    }
    policies.push(("wait".to_owned(), Policy { when_limited: WhenLimited::Wait, ..Policy::default() }));
    policies
}

#[test]
fn all_items_go_to_their_rows_model_while_it_only_has_too_many_in_flight() {
    for (name, policy) in policies() {
        let mut world = world(Limits::default(), policy);
        let class = world.scheduler.find_or_add_class(&names_second());
        world.enqueue_in(class, 200);
        world.run(HOUR);
        assert_eq!(world.done, 200, "{name}");
        let elsewhere = world.arrivals.iter().filter(|(_, model, _)| *model == 0).count();
        assert_eq!(elsewhere, 0, "{name}: its unknown limit is found without leaving it");
    }
}

#[test]
fn an_item_leaves_its_rows_model_for_a_stated_reason() {
    for strategy in Strategy::ALL {
        let mut world = world(limits(2, None), Policy { strategy, max_in_flight: 64, ..Policy::default() });
        let class = world.scheduler.find_or_add_class(&names_second());
        world.enqueue_in(class, 6);
        let sent = send_all(&mut world);
        let reasons: Vec<_> = sent.iter().map(|(_, planned)| planned.why_not_row_model).collect();
        assert_eq!(reasons[..4], [None; 4], "{}", strategy.name());
        assert_eq!(reasons[4..], [Some("RPM limit reached"); 2], "{}", strategy.name());
        assert!(sent[4..].iter().all(|(route, _)| route.starts_with("best@")), "{}", strategy.name());
    }
}

#[test]
fn the_strict_pipeline_tries_the_rows_model_on_the_cursors_key_and_keeps_its_place() {
    for order in CascadeOrder::ALL {
        let policy = Policy { when_limited: WhenLimited::Wait, order, max_in_flight: 1, ..Policy::default() };
        let mut world = world(Limits::default(), policy);
        let class = world.scheduler.find_or_add_class(&names_second());
        let refusal = AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) };
        world.enqueue_in(class, 1);
        // Six refusals: one for each step of the schedule, and the one that ends it.
        for _ in 0..6 {
            let sent = send_all(&mut world);
            assert_eq!(route_names(&sent), ["second@a"], "{}", order.name());
            world.scheduler.complete(world.now, sent[0].1.attempt, &refusal).unwrap();
            world.now = world.now + Duration::from_secs(if world.scheduler.in_flight_count() == 0 { 80 } else { 0 });
        }
        // Then the same model on the next key, and the others still go to the cursor's route.
        let sent = send_all(&mut world);
        assert_eq!(route_names(&sent), ["second@b"], "{}", order.name());
        world.scheduler.complete(world.now, sent[0].1.attempt, &attempt_result(Outcome::Ok)).unwrap();
        world.enqueue(1);
        assert_eq!(route_names(&send_all(&mut world)), ["best@a"], "{}: the cursor has not moved", order.name());
    }
}

#[test]
fn a_pinned_model_is_the_only_one() {
    for (name, policy) in policies() {
        let mut world = world(limits(2, None), policy);
        let class = world.scheduler.find_or_add_class(&pinned_to("second"));
        assert_ne!(class, world.scheduler.find_or_add_class(&names_second()), "{name}");
        world.enqueue_in(class, 12);
        world.run(HOUR);
        assert_eq!(world.done, 12, "{name}");
        assert!(world.arrivals.iter().all(|(_, model, _)| *model == 1), "{name}");
    }
}

#[test]
fn a_pinned_model_that_is_gone_leaves_no_route_and_the_operator_may_still_choose_one() {
    let mut world = world(Limits::default(), Policy::default());
    let class = world.scheduler.find_or_add_class(&pinned_to("gone"));
    world.enqueue_in(class, 1);
    let Some(NextStep::Reject(rejection)) = world.scheduler.poll(world.now) else { panic!("it has no route") };
    assert_eq!(rejection.outcome, Outcome::NoRoute);
    assert!(rejection.message.ends_with("its row allows only the model gone"), "{}", rejection.message);

    let target = RouteTarget { model: "best".to_owned(), key: None };
    let class =
        world.scheduler.find_or_add_class(&RoutingTraits { required_target: Some(target), ..pinned_to("second") });
    world.enqueue_in(class, 1);
    assert_eq!(route_names(&send_all(&mut world)), ["best@a"]);
}
