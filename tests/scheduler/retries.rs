//! How often an item is tried: per model, in all, and without waiting for a route that is out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cascadeck::{
    domain::{AttemptResult, FailedCheck, Limits, Money, Outcome, Policy, snapshot::Condition},
    scheduler::Disposition,
};

use super::{
    HOUR, MORNING, policy,
    world::{World, attempt_result, key, model, wall},
};

const SECOND: Duration = Duration::from_secs(1);

/// A world of `models` models where every request of item 1 fails, and all others succeed if `others_succeed`.
fn world_with_errors(models: usize, policy: Policy, others_succeed: bool) -> World {
    let models = (0..models).map(|index| model(&format!("m{index}"), Limits::default())).collect();
    let mut world = World::new(models, vec![key("a", "a")], policy, wall(MORNING), 4);
    world.inject_fault = Box::new(move |_, planned| {
        (planned.seq.0 == 1 || !others_succeed).then(|| attempt_result(Outcome::ServerError))
    });
    world
}

#[test]
fn no_retries_means_one_try_per_model() {
    for others_succeed in [false, true] {
        let policy = Policy { retries_per_model: 0, breaker_threshold: 1_000, ..policy(1) };
        let mut world = world_with_errors(3, policy, others_succeed);
        world.enqueue(1);
        world.run(HOUR);
        let models: Vec<usize> = world.arrivals.iter().map(|(_, model, _)| *model).collect();
        assert_eq!(models, [0, 1, 2]);
        assert_eq!(world.dispositions.len(), 1);
    }
}

#[test]
fn an_item_moves_on_after_its_errors_on_a_model_and_fails_after_its_tries_in_all() {
    let policy = Policy { max_errors_per_model: Some(2), max_attempts: Some(5), breaker_threshold: 1_000, ..policy(1) };
    let mut world = world_with_errors(4, policy, false);
    world.enqueue(1);
    world.run(HOUR);
    let models: Vec<usize> = world.arrivals.iter().map(|(_, model, _)| *model).collect();
    assert_eq!(models, [0, 0, 1, 1, 2]);
    assert_eq!(world.dispositions.len(), 1);
}

#[test]
fn an_item_does_not_wait_for_a_route_whose_circuit_is_open_while_another_is_ready() {
    let policy = Policy { retry_delays: vec![SECOND * 60], breaker_threshold: 1, ..policy(1) };
    let mut world = world_with_errors(2, policy, true);
    world.inject_fault = Box::new(|_, planned| (planned.model.0 == 0).then(|| attempt_result(Outcome::ServerError)));
    world.enqueue(1);
    world.run(HOUR);
    assert_eq!(world.done, 1);
    assert!(world.elapsed() < SECOND * 10, "{:?}", world.elapsed());
}

/// An answer without usage that failed a check, with `retries` on the same model.
fn invalid_answer(retries: u32, explanation: Option<&str>) -> AttemptResult {
    let failed_check = FailedCheck {
        name: "shape".to_owned(),
        retries,
        is_truncated: false,
        explanation: explanation.map(str::to_owned),
    };
    AttemptResult { failed_check: Some(Box::new(failed_check)), ..attempt_result(Outcome::InvalidOutput) }
}

#[test]
fn an_item_with_invalid_answers_is_retried_then_moves_on_then_fails() {
    let mut world = world_with_errors(3, policy(1), true);
    world.inject_fault = Box::new(|_, planned| (planned.seq.0 == 1).then(|| invalid_answer(1, None)));
    world.enqueue(1);
    world.run(HOUR);
    let models: Vec<usize> = world.arrivals.iter().map(|(_, model, _)| *model).collect();
    assert_eq!(models, [0, 0, 1, 1, 2, 2]);
    assert_eq!(world.dispositions[&1], Disposition::Failed);
    let keys = world.scheduler.key_statuses(world.now);
    assert_eq!((keys[0].health, &keys[0].condition), (100, &Condition::Ready), "the key did nothing wrong");
    // Six answers may have been billed, each for 100 tokens in and 1,000 out.
    let spend = world.scheduler.run_spend();
    assert_eq!((spend.spent, spend.at_risk), (Money::ZERO, Money::from_usd(6.0 * 0.002_1).unwrap()));
}

#[test]
fn invalid_answers_count_as_tries_of_the_item() {
    let mut world = world_with_errors(3, Policy { max_attempts: Some(2), ..policy(1) }, true);
    world.inject_fault = Box::new(|_, _| Some(invalid_answer(5, None)));
    world.enqueue(1);
    world.run(HOUR);
    assert_eq!((world.arrivals.len(), &world.dispositions[&1]), (2, &Disposition::Failed));
}

#[test]
fn an_explanation_is_part_of_the_next_requests_input() {
    let mut world = world_with_errors(1, policy(1), true);
    let estimates = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&estimates);
    let explanation = "x".repeat(299);
    world.inject_fault = Box::new(move |_, planned| {
        let mut seen = seen.lock().unwrap();
        seen.push(planned.estimated_input_tokens);
        (seen.len() < 3).then(|| invalid_answer(5, Some(&explanation)))
    });
    world.enqueue(1);
    world.run(HOUR);
    assert_eq!(world.done, 1);
    assert_eq!(*estimates.lock().unwrap(), [100, 200, 200], "one explanation replaces the last one");
}
