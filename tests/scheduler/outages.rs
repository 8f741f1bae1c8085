//! Outages of a whole provider: what the screens are told, and that nobody is charged for them.

use std::time::Duration;

use cascadeck::{
    domain::{AttemptResult, Limits, Now, Outcome, Policy, ProviderId},
    scheduler::Disposition,
};

use crate::{
    HOUR, MORNING,
    world::{World, attempt_result, key, model, wall},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Two keys and two models, so four routes.
fn world() -> World {
    let models = vec![model("one", Limits::default()), model("two", Limits::default())];
    let keys = vec![key("a", "a"), key("b", "b")];
    let mut world = World::new(models, keys, Policy::default(), wall(MORNING), 7);
    world.responds_to_health_checks = false;
    world
}

fn server_error(status: u16) -> AttemptResult {
    AttemptResult { status: Some(status), ..attempt_result(Outcome::ServerError) }
}

/// Fails every request from the 10th second to the given one.
fn fail_until(world: &mut World, second: u64, result: impl Fn() -> AttemptResult + 'static) {
    let start = world.now.mono;
    world.inject_fault =
        Box::new(move |now: &Now, _| (10..second).contains(&now.mono.since(start).as_secs()).then(&result));
}

#[test]
fn an_outage_is_one_state_with_its_fault_and_its_next_trial() {
    let unreachable = || AttemptResult {
        message: "can't connect to 127.0.0.1:1: connection refused".to_owned(),
        ..attempt_result(Outcome::ClientTrouble)
    };
    let silent = || AttemptResult { status: None, ..attempt_result(Outcome::Timeout) };
    for (fault, want, outcome) in [
        (
            Box::new(|| server_error(503)) as Box<dyn Fn() -> AttemptResult>,
            "HTTP 503 on 4 of 4 routes",
            Outcome::ServerError,
        ),
        (Box::new(unreachable), "connection refused on 4 of 4 routes", Outcome::ClientTrouble),
        (Box::new(silent), "no answers in time on 4 of 4 routes", Outcome::Timeout),
    ] {
        let mut world = world();
        world.enqueue(20_000);
        fail_until(&mut world, 600, fault);
        world.run(Duration::from_secs(5));
        assert_eq!(world.scheduler.outages(world.now), [], "it works");
        world.run(5 * MINUTE);
        let outages = world.scheduler.outages(world.now);
        let [outage] = &outages[..] else { panic!("{outages:?}") };
        assert_eq!(outage.summary(), want);
        let since_start = outage.since.since(wall(MORNING));
        assert!((10..12).contains(&since_start.as_secs()), "{since_start:?}");
        assert!(outage.failed_requests >= 4, "{outage:?}");
        // All the cooldowns and circuits of the provider are one.
        let shown = world.scheduler.cooldowns(world.now);
        assert!(shown.len() <= 1 && shown.iter().all(|shown| shown.subject == "gemini"), "{shown:?}");
        assert!(shown.iter().all(|shown| shown.cause.outcome == outcome), "{shown:?}");
        assert_eq!(outage.last_outcome, outcome);
        world.run(HOUR);
        assert_eq!(world.scheduler.outages(world.now), []);
    }
}

#[test]
fn a_common_outage_costs_no_key_its_health_and_no_item_its_tries() {
    for items in [3, 40, 20_000] {
        let mut world = world();
        world.enqueue(items);
        // With few items, everything fails from the start.
        fail_until(&mut world, 3_600, || server_error(500));
        if items < 20_000 {
            world.inject_fault = Box::new(|_, _| Some(server_error(500)));
        }
        world.run(30 * MINUTE);
        for status in world.scheduler.key_statuses(world.now) {
            assert_eq!(status.health, 100, "{items} items");
        }
        let failed = world.dispositions.values().filter(|end| **end == Disposition::Failed).count();
        assert_eq!(failed, 0, "{items} items");
    }
}

#[test]
fn a_key_that_fails_while_another_one_answers_loses_health() {
    let mut world = world();
    world.enqueue(2_000);
    world.inject_fault = Box::new(|_, planned| (planned.key.index() == 0).then(|| server_error(500)));
    world.run(10 * MINUTE);
    let health: Vec<u8> = world.scheduler.key_statuses(world.now).iter().map(|status| status.health).collect();
    assert!(health[0] < 100 && health[1] == 100, "{health:?}");
}

#[test]
fn answers_to_requests_from_before_an_outage_charge_no_key() {
    let mut world = world();
    world.enqueue(20_000);
    fail_until(&mut world, 600, || server_error(500));
    // Those that were sent last before the outage are answered while others fail.
    world.extra_latency = Box::new(|_, planned| Duration::from_millis(planned.seq.0 % 40 * 100));
    world.run(5 * MINUTE);
    let health: Vec<u8> = world.scheduler.key_statuses(world.now).iter().map(|status| status.health).collect();
    assert_eq!(health, [100, 100]);
}

#[test]
fn a_health_check_closes_no_circuit_while_no_item_is_left() {
    let mut world = world();
    world.enqueue(8);
    world.inject_fault = Box::new(|_, _| Some(server_error(500)));
    world.run(5 * MINUTE);
    while world.scheduler.unfinished_items() > 0 {
        world.scheduler.give_up(|_| true);
        world.run(Duration::from_secs(1));
    }
    assert!(world.scheduler.is_provider_failing(ProviderId(0)));
    world.scheduler.on_health_response(ProviderId(0), world.now.mono);
    assert!(world.scheduler.is_provider_failing(ProviderId(0)), "nothing is to be tried");
}

#[test]
fn a_health_check_that_was_sent_before_an_items_first_failure_charges_it_nothing() {
    let mut world = world();
    world.enqueue(8);
    world.inject_fault = Box::new(|_, _| Some(server_error(500)));
    let start = world.now.mono;
    for _ in 0..60 {
        world.run(MINUTE);
        world.scheduler.on_health_response(ProviderId(0), start);
    }
    assert!(world.dispositions.is_empty(), "nothing shows that the provider works since then");
}

#[test]
fn items_that_always_fail_end_once_the_provider_is_seen_to_work() {
    let mut world = world();
    world.enqueue(8);
    world.inject_fault = Box::new(|_, _| Some(server_error(500)));
    for minute in 0..60 {
        world.run(MINUTE);
        if minute == 20 {
            assert!(world.dispositions.is_empty(), "nothing shows that the provider works");
        }
        if minute >= 20 {
            world.scheduler.on_health_response(ProviderId(0), world.now.mono);
        }
        if world.dispositions.len() == 8 {
            assert!(minute < 35, "it takes {minute} minutes");
            return;
        }
    }
    panic!("{} of 8 have ended", world.dispositions.len());
}
