//! `when_limited = "wait"` compared with the script that it stands for: one request at a time, a backoff schedule, then
//! the next model, then the next key. Both use the same provider, and must send the same items on the same routes at
//! the same instants.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use cascadeck::{
    domain::{AttemptResult, Limits, OnExhausted, Outcome, Policy, WhenLimited},
    scheduler::Scheduler,
};

use crate::world::{World, attempt_result, key, model, provider, wall};

const BACKOFF_SECS: [u64; 5] = [5, 10, 20, 40, 80];
const ROUND_TRIP: Duration = Duration::from_millis(2);
const ITEMS: u64 = 40;

/// Time since the first request, key, model, item.
type SentRequest = (Duration, usize, usize, u64);

/// Decides the outcome of the next request on a route. The outcomes of a route don't depend on the order of requests on
/// others.
struct ScriptedProvider {
    seed: u64,
    routes: HashMap<(usize, usize), (fastrand::Rng, u32)>,
}

impl ScriptedProvider {
    fn new(seed: u64) -> Self {
        Self { seed, routes: HashMap::new() }
    }

    fn respond(&mut self, key: usize, model: usize) -> Outcome {
        let seed = self.seed * 100 + key as u64 * 10 + model as u64;
        let (random, refusals) = self.routes.entry((key, model)).or_insert_with(|| (fastrand::Rng::with_seed(seed), 0));
        if *refusals == 0 && random.u8(0..5) == 0 {
            // Several refusals in a row, sometimes more than the backoff schedule has steps.
            *refusals = random.u32(1..9);
        }
        match random.u8(0..40) {
            0 => Outcome::QuotaExhaustedDay,
            _ if *refusals > 0 => {
                *refusals -= 1;
                Outcome::RateLimitedMinute
            }
            _ => Outcome::Ok,
        }
    }
}

/// The script, as people write it.
fn run_script(seed: u64, keys: usize, models: usize) -> Vec<SentRequest> {
    let mut provider = ScriptedProvider::new(seed);
    let (mut now, mut route_number, mut sent) = (Duration::ZERO, 0, Vec::new());
    for item in 1..=ITEMS {
        let mut refusals = 0;
        loop {
            if route_number == keys * models {
                return sent;
            }
            let (key, model) = (route_number / models, route_number % models);
            sent.push((now, key, model, item));
            now += ROUND_TRIP;
            match provider.respond(key, model) {
                Outcome::Ok => break,
                Outcome::RateLimitedMinute if refusals < BACKOFF_SECS.len() => {
                    now += Duration::from_secs(BACKOFF_SECS[refusals]);
                    refusals += 1;
                }
                _ => (route_number, refusals) = (route_number + 1, 0),
            }
        }
    }
    sent
}

fn fleet(keys: usize, models: usize) -> (Vec<cascadeck::domain::Model>, Vec<cascadeck::domain::Key>, Policy) {
    let models = (0..models).map(|index| model(&format!("m{index}"), Limits::default())).collect();
    let keys = (0..keys).map(|index| key(&format!("k{index}"), &format!("p{index}"))).collect();
    let when_limited = WhenLimited::Wait;
    (models, keys, Policy { max_in_flight: 1, when_limited, on_exhausted: OnExhausted::Wait, ..Policy::default() })
}

/// The same requests by the scheduler. With `restart` it is stopped halfway and continued from its saved state.
fn run_scheduler(seed: u64, keys: usize, models: usize, restart: bool) -> Vec<SentRequest> {
    let (models, keys, policy) = fleet(keys, models);
    let mut world = World::new(models.clone(), keys.clone(), policy.clone(), wall("2026-11-21T08:00:00Z"), seed);
    world.latency_range = (ROUND_TRIP, ROUND_TRIP);
    let sent: Rc<RefCell<Vec<SentRequest>>> = Rc::default();
    let (record, mut server, mut first) = (Rc::clone(&sent), ScriptedProvider::new(seed), None);
    world.inject_fault = Box::new(move |now, dispatch| {
        let began = *first.get_or_insert(now.mono);
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        record.borrow_mut().push((now.mono.since(began), key, model, dispatch.seq.0));
        let outcome = server.respond(key, model);
        let status = if outcome == Outcome::Ok { 200 } else { 429 };
        Some(AttemptResult { status: Some(status), ..attempt_result(outcome) })
    });
    if restart {
        world.enqueue(ITEMS / 2);
        world.run(Duration::from_secs(8 * 3_600));
        let prints = vec![Some("the same".to_owned()); keys.len()];
        let memory = world.scheduler.saved_state(world.now, &prints);
        world.scheduler = Scheduler::new(&[provider()], &models, &keys, policy, seed);
        world.scheduler.find_or_add_class(&cascadeck::domain::RoutingTraits::default());
        world.scheduler.restore(world.now, memory, &prints);
        world.enqueue(ITEMS / 2);
    } else {
        world.enqueue(ITEMS);
    }
    world.run(Duration::from_secs(8 * 3_600));
    sent.borrow().clone()
}

#[test]
fn the_wait_policy_equals_the_serial_script_to_the_microsecond() {
    let mut left_first_route = 0;
    for seed in 0..300 {
        let (keys, models) = (1 + seed as usize % 3, 1 + seed as usize % 4);
        let script = run_script(seed, keys, models);
        let scheduled = run_scheduler(seed, keys, models, false);
        left_first_route += usize::from(script.last().is_some_and(|last| (last.1, last.2) != (0, 0)));
        // Behind the last model of the last key the script gives up; the scheduler waits and begins again.
        assert_eq!(scheduled[..script.len().min(scheduled.len())], script[..], "seed {seed}");
    }
    assert!(left_first_route > 100, "{left_first_route} of 300 left their first route");
}

#[test]
fn the_wait_policy_resumes_at_its_cursor() {
    for seed in 0..100 {
        let script = run_script(seed, 3, 4);
        let resumed = run_scheduler(seed, 3, 4, true);
        assert_eq!(resumed[..script.len().min(resumed.len())], script[..], "seed {seed}");
    }
}
