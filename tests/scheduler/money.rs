//! Money caps of keys and days, as hard as the run's own.

use std::time::Duration;

use cascadeck::{
    domain::{
        AttemptResult, Key, Limits, Money, MoneyCaps, OnExhausted, Outcome, Policy, RouteTarget, RoutingTraits,
        WhenLimited,
    },
    scheduler::{NextStep, StallReason},
};

use super::{
    HOUR, policy,
    world::{World, key, limits, model, verdict, wall},
};

const EVENING: &str = "2026-11-21T22:00:00Z";
const MIDNIGHT: &str = "2026-11-22T00:00:00Z";
/// One answer of the world costs 80 input tokens at $1 and 40 output tokens at $2 a million.
const ANSWER: f64 = 160e-6;
/// And its worst case is 100 and 1,000 of them.
const WORST: f64 = 2_100e-6;

fn usd(amount: f64) -> Money {
    Money::from_usd(amount).expect("an amount")
}

fn capped(name: &str, total: Option<f64>, per_day: Option<f64>) -> Key {
    let caps = MoneyCaps { max_usd: total.map(usd), max_usd_per_day: per_day.map(usd) };
    Key { caps, ..key(name, name) }
}

fn world(keys: Vec<Key>, policy: Policy, seed: u64) -> World {
    World::new(vec![model("m", Limits::default())], keys, policy, wall(EVENING), seed)
}

fn waiting(in_flight: u32) -> Policy {
    Policy { on_exhausted: OnExhausted::Wait, ..policy(in_flight) }
}

fn sent(world: &World, key: usize) -> usize {
    world.arrivals.iter().filter(|(_, _, by)| *by == key).count()
}

#[test]
fn a_key_that_has_spent_its_cap_leaves_the_rest_to_the_next() {
    let mut world = world(vec![capped("a", Some(0.01), None), key("b", "b")], policy(4), 1);
    world.offer(500);
    world.run(HOUR);
    assert_eq!(world.done, 500);
    let spent = sent(&world, 0) as f64 * ANSWER;
    assert!(spent <= 0.01 && spent > 0.01 - WORST, "${spent}");
}

#[test]
fn with_every_key_at_its_cap_the_run_holds_for_its_budget() {
    let mut world = world(vec![capped("a", Some(0.01), None), capped("b", Some(0.02), None)], policy(4), 2);
    world.offer(500);
    world.run(HOUR);
    assert!(matches!(world.scheduler.stall_reason(world.now), StallReason::Budget { min_cost: Some(_) }));
    assert!(world.done < 500);
}

#[test]
fn a_day_that_comes_back_is_no_comfort_where_the_budget_does_not() {
    let models = vec![model("short", limits(600, Some(5))), model("long", Limits::default())];
    let budget = Policy { max_usd: Some(usd(0.02)), ..policy(4) };
    let mut world = World::new(models, vec![key("a", "a")], budget, wall(EVENING), 7);
    world.offer(500);
    world.run(HOUR);
    assert!(world.done > 5 && world.done < 500, "{}", world.done);
    let holdup = world.scheduler.stall_reason(world.now);
    assert!(matches!(holdup, StallReason::Budget { min_cost: Some(_) }), "{holdup:?}");
}

#[test]
fn a_days_money_comes_back_at_utc_midnight() {
    for (keys, policy) in [
        (vec![capped("a", None, Some(0.01))], waiting(4)),
        (vec![key("a", "a")], Policy { max_usd_per_day: Some(usd(0.01)), ..waiting(4) }),
    ] {
        let mut world = world(keys, policy, 3);
        world.offer(80);
        world.run(HOUR);
        let today = world.arrivals.len();
        assert!((today as f64 * ANSWER) <= 0.01 && (today as f64 * ANSWER) > 0.01 - WORST, "{today}");
        let holdup = world.scheduler.stall_reason(world.now);
        assert!(
            matches!(holdup, StallReason::Exhausted { resumes_at: Some(at), .. } if at == wall(MIDNIGHT)),
            "{holdup:?}"
        );
        world.run(HOUR * 3);
        assert_eq!(world.done, 80);
        assert!(world.arrivals[today..].iter().all(|(at, _, _)| at.wall >= wall(MIDNIGHT)));
    }
}

#[test]
fn the_runs_budget_counts_what_is_in_flight_at_its_worst() {
    let policy = Policy { max_usd: Some(usd(0.01)), ..policy(20) };
    let mut world = world(vec![key("a", "a"), key("b", "b")], policy, 6);
    world.weather = Box::new(|_, _| Some(AttemptResult { status: None, ..verdict(Outcome::Timeout) }));
    world.offer(100);
    world.run(Duration::from_secs(30));
    assert_eq!(world.arrivals.len(), 4, "four worst cases fit into $0.01, however many may be in flight");
}

#[test]
fn who_insists_on_a_key_goes_on_to_the_next_when_others_have_taken_its_last_money() {
    let models = vec![model("narrow", limits(1, None)), model("wide", Limits::default())];
    let keys = vec![capped("a", Some(0.01), None), key("b", "b")];
    let policy = Policy { when_limited: WhenLimited::Wait, ..policy(20) };
    let mut world = World::new(models, keys, policy, wall(EVENING), 7);
    let drain = |world: &mut World| {
        let sends = std::iter::from_fn(|| world.scheduler.poll(world.now));
        let sent: Vec<u32> =
            sends.map(|step| if let NextStep::Send(sent) = step { sent.route.0 } else { 99 }).collect();
        assert_eq!(world.scheduler.find_sendable(world.now), None, "something was left lying after {sent:?}");
        sent
    };
    world.offer(2);
    assert_eq!(drain(&mut world), [0], "the second waits for the next minute of the same route");
    let wide = RouteTarget { model: "wide".to_owned(), key: None };
    let others = world.scheduler.class_for(&RoutingTraits { required_target: Some(wide), ..RoutingTraits::default() });
    world.offer_to(others, 3);
    assert_eq!(drain(&mut world), [1, 1, 1, 2], "with the last of its money gone, the next key");
}

#[test]
fn what_may_have_been_billed_counts_against_every_cap() {
    let mut world = world(vec![capped("a", Some(0.01), None)], Policy { breaker_threshold: 1_000, ..policy(1) }, 4);
    world.weather = Box::new(|_, _| Some(AttemptResult { status: None, ..verdict(Outcome::Timeout) }));
    world.offer(100);
    world.run(HOUR);
    assert_eq!(world.arrivals.len(), 4, "four worst cases fit into $0.01");
}

#[test]
fn what_earlier_processes_spent_is_remembered() {
    let mut world = world(vec![capped("a", Some(0.01), Some(0.005))], waiting(1), 5);
    let yesterday = wall("2026-11-20T12:00:00Z");
    world.scheduler.restore_spend(world.now, "a", yesterday, usd(0.004));
    world.scheduler.restore_spend(world.now, "a", world.now.wall, usd(0.0025));
    world.offer(100);
    world.run(Duration::from_secs(600));
    // Of the day's $0.005 half is gone, of the total $0.0035 are left: the day is what binds.
    assert_eq!(world.arrivals.len(), 3, "the worst case must still fit after each");
}

#[test]
fn no_cap_is_ever_overspent() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let cap = |random: &mut fastrand::Rng| random.bool().then(|| 0.003 + random.f64() * 0.03);
        let keys: Vec<Key> = (0..3)
            .map(|index| {
                let (total, per_day) = (cap(&mut random), cap(&mut random));
                capped(&format!("k{index}"), total, per_day)
            })
            .collect();
        let per_day = cap(&mut random).map(usd);
        let policy = Policy { max_usd_per_day: per_day, ..waiting(random.u32(1..20)) };
        let mut world = world(keys.clone(), policy, seed);
        let mut dice = fastrand::Rng::with_seed(!seed);
        world.weather = Box::new(move |_, _| {
            (dice.u8(0..8) == 0).then(|| AttemptResult { status: None, ..verdict(Outcome::Timeout) })
        });
        world.offer(400);
        world.run(HOUR * 60);
        // Timeouts are at risk at their worst; answers cost what they cost.
        let money = world.scheduler.run_spend();
        let days = 4;
        if let Some(most) = per_day {
            assert!((money.spent + money.at_risk).as_usd() <= most.as_usd() * f64::from(days), "seed {seed}");
        }
        for (index, key) in keys.iter().enumerate() {
            let least = sent(&world, index) as f64 * ANSWER;
            if let Some(most) = key.caps.max_usd {
                assert!(least <= most.as_usd(), "seed {seed}, key {index}: ${least} of {most}");
            }
        }
    }
}
