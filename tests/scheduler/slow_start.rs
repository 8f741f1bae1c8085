//! Slow start: where no limit is known, it raises the requests in flight quickly, and no item goes to a worse route
//! because of it.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, Key, KeyRole, Limits, Model, Outcome, Policy, Price, ProviderId, RouteId, RoutingTraits,
        SpillTo, Strategy, snapshot::Condition,
    },
    scheduler::{Disposition, NextStep, Scheduler},
};

use crate::{
    HOUR, MORNING,
    world::{World, attempt_result, key, model, wall},
};

const SECOND: Duration = Duration::from_secs(1);

fn priced(name: &str, dollars: f64) -> Model {
    Model { price: Price::from_usd_per_mtok(dollars, dollars), ..model(name, Limits::default()) }
}

/// The models `cheap` and `dear` without limits.
fn cheap_and_dear() -> Vec<Model> {
    vec![priced("cheap", 1.0), priced("dear", 10.0)]
}

fn policy(strategy: Strategy) -> Policy {
    Policy { strategy, max_in_flight: 64, ..Policy::default() }
}

fn world(policy: Policy) -> World {
    World::new(cheap_and_dear(), vec![key("a", "a")], policy, wall(MORNING), 41)
}

/// The strategies that order models.
const ORDERING: [Strategy; 4] = [Strategy::Cascade, Strategy::PrimaryBackup, Strategy::Cheapest, Strategy::Balanced];

/// The number of requests for each model.
fn by_model(world: &World) -> [usize; 2] {
    [0, 1].map(|index| world.arrivals.iter().filter(|(_, model, _)| *model == index).count())
}

/// Sends all that can be sent at this instant. Returns the number of requests for each model.
fn send_all(scheduler: &mut Scheduler, now: cascadeck::domain::Now) -> [usize; 2] {
    let mut counts = [0; 2];
    while let Some(NextStep::Send(planned)) = scheduler.poll(now) {
        counts[planned.model.index()] += 1;
    }
    counts
}

#[test]
fn no_item_goes_to_a_dearer_model_because_of_slow_start() {
    for strategy in ORDERING {
        for spill_to in SpillTo::ALL {
            let mut world = world(Policy { spill_to, ..policy(strategy) });
            world.enqueue(400);
            world.run(HOUR);
            assert_eq!(by_model(&world), [400, 0], "{}", strategy.name());
        }
    }
    // The cheaper model is the second.
    let models = vec![priced("dear", 10.0), priced("cheap", 1.0)];
    let mut world = World::new(models, vec![key("a", "a")], policy(Strategy::Cheapest), wall(MORNING), 41);
    world.enqueue(400);
    world.run(HOUR);
    assert_eq!(by_model(&world), [0, 400]);
}

#[test]
fn strategies_that_share_the_work_use_all_models_meanwhile() {
    for strategy in Strategy::ALL.into_iter().filter(|strategy| !ORDERING.contains(strategy)) {
        let mut world = world(policy(strategy));
        world.enqueue(400);
        assert_eq!(send_all(&mut world.scheduler, world.now), [8, 8], "{}", strategy.name());
    }
}

#[test]
fn backup_keys_and_other_models_than_the_rows_wait_under_every_strategy() {
    let backup = Key { role: KeyRole::Backup, ..key("spare", "spare") };
    for strategy in Strategy::ALL {
        let keys = vec![key("a", "a"), backup.clone()];
        let mut world = World::new(vec![priced("m", 1.0)], keys.clone(), policy(strategy), wall(MORNING), 42);
        world.enqueue(400);
        world.run(HOUR);
        assert_eq!((world.done, world.arrivals_by_key()), (400, vec![400, 0]), "{}", strategy.name());

        let mut world = World::new(cheap_and_dear(), keys, policy(strategy), wall(MORNING), 42);
        let names_dear = RoutingTraits { preferred_model: Some("dear".to_owned()), ..RoutingTraits::default() };
        let class = world.scheduler.find_or_add_class(&names_dear);
        world.enqueue_in(class, 400);
        world.run(HOUR);
        assert_eq!((by_model(&world), world.arrivals_by_key()), ([0, 400], vec![400, 0]), "{}", strategy.name());
    }
}

#[test]
fn a_provider_that_answers_gets_64_requests_at_once_within_seconds() {
    let mut world = world(policy(Strategy::Cascade));
    world.enqueue(10_000);
    assert_eq!(send_all(&mut world.scheduler, world.now), [8, 0]);
    let Condition::Limited { limit, .. } = world.scheduler.route_condition(world.now, RouteId(0)) else {
        panic!("it is full");
    };
    assert_eq!(limit, "raising its requests in flight (now 8)");

    let mut world = self::world(policy(Strategy::Cascade));
    world.enqueue(10_000);
    // Answers take up to 0.9 s, and it doubles three times.
    world.run(SECOND * 4);
    assert_eq!(world.scheduler.in_flight_count(), 64);
    assert_eq!(by_model(&world)[1], 0);

    // The provider's other model, which was idle, begins there. Another provider begins at the start.
    world.run(HOUR);
    world.scheduler.switch_model(world.now.wall, "cheap", false).unwrap();
    world.enqueue(100);
    assert_eq!(send_all(&mut world.scheduler, world.now), [0, 64]);
}

#[test]
fn another_provider_shows_nothing() {
    let mut models = cheap_and_dear();
    models[1].provider = ProviderId(1);
    let other = Key { provider: ProviderId(1), ..key("b", "b") };
    let providers = ["one", "two"]
        .map(|name| cascadeck::domain::Provider::new(name, cascadeck::domain::Api::OpenAi, "http://127.0.0.1:1"));
    let mut world =
        World::new(cheap_and_dear(), vec![key("a", "a"), key("b", "b")], Policy::default(), wall(MORNING), 41);
    world.scheduler = Scheduler::new(&providers, &models, &[key("a", "a"), other], policy(Strategy::Cascade), 41);
    world.default_class = world.scheduler.find_or_add_class(&RoutingTraits::default());
    world.enqueue(1_000);
    world.run(HOUR);
    assert_eq!(by_model(&world), [1_000, 0]);
    world.scheduler.switch_model(world.now.wall, "cheap", false).unwrap();
    world.enqueue(100);
    assert_eq!(send_all(&mut world.scheduler, world.now), [0, 8]);
}

#[test]
fn a_refusal_ends_the_waiting_and_slows_the_models_other_pools() {
    for strategy in ORDERING {
        let keys = vec![key("a", "a"), key("b", "b")];
        let mut world = World::new(cheap_and_dear(), keys, policy(strategy), wall(MORNING), 43);
        world.enqueue(20);
        // Both keys of the cheap model are in slow start.
        let planned: Vec<_> = std::iter::from_fn(|| match world.scheduler.poll(world.now) {
            Some(NextStep::Send(planned)) => Some(planned),
            _ => None,
        })
        .collect();
        assert!(planned.len() == 16 && planned.iter().all(|planned| planned.model.index() == 0), "{}", strategy.name());
        let refusal = AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) };
        for planned in &planned {
            world.scheduler.complete(world.now, planned.attempt, &refusal).unwrap();
        }
        assert_eq!(send_all(&mut world.scheduler, world.now), [0, 16], "{}", strategy.name());
    }
}

#[test]
fn an_item_goes_on_where_the_better_route_can_no_longer_be_waited_for() {
    for strategy in ORDERING {
        let mut world = world(policy(strategy));
        world.enqueue(12);
        assert_eq!(send_all(&mut world.scheduler, world.now), [8, 0], "{}", strategy.name());
        world.scheduler.switch_route(world.now.wall, "a", "cheap", false).unwrap();
        assert_eq!(send_all(&mut world.scheduler, world.now), [0, 4], "{}: switched off", strategy.name());
    }
    for strategy in ORDERING {
        let mut world = world(policy(strategy));
        world.enqueue(12);
        assert_eq!(send_all(&mut world.scheduler, world.now), [8, 0], "{}", strategy.name());
        world.scheduler.mark_provider_down(ProviderId(0));
        assert_eq!(send_all(&mut world.scheduler, world.now), [0, 4], "{}: its health check failed", strategy.name());
    }
    for strategy in ORDERING {
        let mut world = world(policy(strategy));
        world.extra_latency = Box::new(|_, planned| if planned.model.index() == 0 { SECOND * 200 } else { SECOND });
        world.enqueue(12);
        world.run(SECOND * 119);
        assert_eq!(by_model(&world), [8, 0], "{}", strategy.name());
        world.run(SECOND * 4);
        assert_eq!(by_model(&world), [8, 4], "{}: nothing came back for two minutes", strategy.name());
    }
}

#[test]
fn a_refused_item_names_no_next_route_while_it_waits_for_a_better_one() {
    for strategy in [Strategy::Cascade, Strategy::Cheapest] {
        let models = vec![priced("cheap", 1.0), priced("dear", 10.0), priced("dearest", 20.0)];
        let mut world = World::new(models, vec![key("a", "a")], policy(strategy), wall(MORNING), 44);
        world.scheduler.switch_model(world.now.wall, "cheap", false).unwrap();
        world.enqueue(1);
        let Some(NextStep::Send(on_dear)) = world.scheduler.poll(world.now) else { panic!("it goes to dear") };
        assert_eq!(on_dear.model.index(), 1, "{}", strategy.name());
        world.scheduler.switch_model(world.now.wall, "cheap", true).unwrap();
        world.enqueue(8);
        assert_eq!(send_all(&mut world.scheduler, world.now), [8, 0], "{}", strategy.name());
        let refusal = AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) };
        let effects = world.scheduler.complete(world.now, on_dear.attempt, &refusal).unwrap();
        let Disposition::Requeued { next_route, .. } = effects.disposition else { panic!("{effects:?}") };
        assert_eq!(next_route, None, "{}", strategy.name());
        assert_eq!(world.scheduler.poll(world.now), None, "{}: it waits", strategy.name());
    }
}
