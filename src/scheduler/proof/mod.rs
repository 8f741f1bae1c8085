//! The proof: random fleets, providers, faults and operators through simulated days, thousands of times.
//!
//! In every world: no window, day or budget is exceeded (checked against [`reference`] at every dispatch), every item
//! ends exactly once, every wait ends, nothing waits while it could be sent, nothing goes to a worse route because of
//! slow start, and one seed gives one history. For the first 2,000 seeds the history is the recorded one in
//! `tests/golden/scheduler.txt`. `CASCADECK_SEEDS=N` sets the number of worlds; `CASCADECK_SEED=N` runs one world and
//! prints what happens.
//!
//! Only [`idle_check`] and [`preference`] read the scheduler's private fields. Everything else uses the scheduler as
//! the engine does, by its public functions.

#[path = "../../../tests/scheduler/fixtures.rs"]
mod fixtures;
mod idle_check;
mod operator;
mod plan;
mod preference;
mod reference;
mod server;
mod strict_budget;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use world::World;

use crate::golden::{Golden, env_number, single_seed};

/// Takes some seven seconds without optimization. `.ci/run` tries more.
const DEFAULT_SEEDS: u64 = 100;

#[test]
fn every_invariant_holds_in_thousands_of_worlds() {
    let golden = Golden::read("scheduler.txt");
    let traces = Mutex::new(BTreeMap::new());
    if let Some(seed) = single_seed() {
        World::new(seed).verbose().run_to_end();
        try_seed(seed, &golden, &traces);
        assert_eq!(World::new(seed).run_to_end(), World::new(seed).run_to_end(), "two histories from one seed");
        return;
    }
    let seeds = env_number("CASCADECK_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds || !failures.is_empty() {
                    return failures;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| try_seed(seed, &golden, &traces))) {
                    let words = panic.downcast_ref::<String>().map(String::as_str);
                    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
                    failures.push(format!("seed {seed}: {words}"));
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("caught")).collect()
    });
    assert!(failures.is_empty(), "try again with CASCADECK_SEED=<seed>:\n{}", failures.join("\n"));
    if Golden::is_recording() {
        golden.record(&traces.into_inner().expect("no thread has panicked"));
    }
}

fn try_seed(seed: u64, golden: &Golden, traces: &Mutex<BTreeMap<u64, u64>>) {
    let trace = World::new(seed).run_to_end();
    if seed.is_multiple_of(8) {
        assert_eq!(trace, World::new(seed).run_to_end(), "two histories from one seed");
    }
    golden.check(seed, trace);
    traces.lock().expect("no thread has panicked").insert(seed, trace);
}
