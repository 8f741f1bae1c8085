//! Memory allocation: a decision and a successful answer allocate nothing once the counters have their size.

use std::{collections::VecDeque, time::Duration};

use cascadeck::{
    domain::{Limits, MonoTime, Now, Outcome, Policy, RoutingTraits, Strategy},
    scheduler::{NextStep, Scheduler},
};

use super::world::{attempt_result, key, model, provider, queued_item, wall};

/// Answers until all windows have their final size.
const WARM_UP: u64 = 10_000;
const MEASURED: u64 = 2_000;

#[test]
fn a_decision_and_a_success_allocate_nothing() {
    for strategy in Strategy::ALL {
        assert_eq!(allocations_of(strategy), 0, "over {MEASURED} answers with {}", strategy.name());
    }
}

/// Allocations by `poll` and `complete` over [`MEASURED`] answered requests.
fn allocations_of(strategy: Strategy) -> u64 {
    let limits = || Limits { rpm: Some(600), rpd: Some(100_000_000), ..Limits::default() };
    let models: Vec<_> = (0..4).map(|index| model(&format!("m{index}"), limits())).collect();
    let keys: Vec<_> = (0..3).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect();
    let policy = Policy { strategy, max_in_flight: 64, ..Policy::default() };
    let mut scheduler = Scheduler::new(&[provider()], &models, &keys, policy, 7);
    let class = scheduler.find_or_add_class(&RoutingTraits::default());
    let success = attempt_result(Outcome::Ok);
    let mut now = Now { mono: MonoTime(1_000_000), wall: wall("2026-11-21T17:00:00Z") };
    let mut in_flight = VecDeque::with_capacity(64);
    let mut allocations = 0;
    for seq in 1..=48 + WARM_UP + MEASURED {
        scheduler.enqueue(class, queued_item(seq));
        let oldest = (seq > 48).then(|| in_flight.pop_front()).flatten();
        let info = allocation_counter::measure(|| {
            if let Some(attempt) = oldest {
                now = now + Duration::from_millis(20);
                scheduler.complete(now, attempt, &success);
            }
            let step = scheduler.poll(now);
            if let Some(NextStep::Send(planned)) = step {
                in_flight.push_back(planned.attempt);
            }
        });
        allocations += if seq > 48 + WARM_UP { info.count_total } else { 0 };
    }
    assert!(in_flight.len() > 10, "requests are sent");
    allocations
}
