//! Day quotas that several processes share through the quota ledger.

use std::{collections::HashMap, time::Duration};

use cascadeck::{
    domain::{AttemptResult, Limits, OnExhausted, Outcome, Policy, PoolId, QuotaDay, WallTime, lease::LeaseRequest},
    scheduler::StallReason,
    store::QuotaLedger,
};

use super::{
    HOUR, policy,
    world::{World, attempt_result, key, limits, model, wall},
};

/// Half an hour before midnight in Los Angeles.
const EVENING: &str = "2026-11-22T07:30:00Z";
const SECOND: Duration = Duration::from_secs(1);

struct SharedLedger {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl SharedLedger {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("test");
        let path = dir.path().join("ledger.db");
        Self { _dir: dir, path }
    }

    fn start_process(&self, limits: Limits, items: u64, seed: u64) -> (World, QuotaLedger) {
        let waits = Policy { on_exhausted: OnExhausted::Wait, ..policy(4) };
        let mut world = World::new(vec![model("m", limits)], vec![key("a", "lab")], waits, wall(EVENING), seed);
        world.scheduler.share_daily_quotas();
        world.enqueue(items);
        (world, QuotaLedger::open(&self.path).expect("test"))
    }
}

/// Runs a process for one second, with its lease requests answered whenever it has some.
fn run_one_second((world, ledger): &mut (World, QuotaLedger)) {
    let end = world.now + SECOND;
    loop {
        let wishes = world.scheduler.lease_requests(world.now);
        answer_lease_requests(world, ledger, wishes);
        let before = world.arrivals.len();
        world.run(end.mono.since(world.now.mono));
        if world.arrivals.len() == before {
            break;
        }
    }
    world.now = end;
}

fn answer_lease_requests(world: &mut World, ledger: &mut QuotaLedger, wishes: Vec<LeaseRequest>) {
    let named: Vec<_> = wishes.into_iter().map(|wish| ("pool".to_owned(), wish)).collect();
    for grant in ledger.lease(world.now.wall, &named).expect("test") {
        world.scheduler.apply_lease_grant(world.now, &grant);
    }
}

/// The first request of a process: it reads the day's usage, and finds that it needs a lease.
fn request_first_leases(world: &mut World, ledger: &mut QuotaLedger) {
    let wishes = world.scheduler.lease_requests(world.now);
    answer_lease_requests(world, ledger, wishes);
    assert_eq!(world.scheduler.poll(world.now), None, "nothing goes before a block is there");
}

fn total_arrivals(processes: &[&(World, QuotaLedger)]) -> usize {
    processes.iter().map(|(world, _)| world.arrivals.len()).sum()
}

#[test]
fn processes_together_use_a_day_to_its_last_request_and_no_further() {
    for limit in [1, 7, 50, 400] {
        let machine = SharedLedger::new();
        let mut one = machine.start_process(limits(600, Some(limit)), 1_000, 1);
        let mut two = machine.start_process(limits(600, Some(limit)), 1_000, 2);
        for _ in 0..600 {
            run_one_second(&mut one);
            run_one_second(&mut two);
        }
        let together = total_arrivals(&[&one, &two]);
        assert!(together <= limit as usize, "{together} of {limit}");
        // A process may still hold part of a lease at the end.
        assert!(together as u32 + limit / 20 >= limit, "{together} of {limit}");
    }
}

#[test]
fn a_new_day_is_leased_anew() {
    let machine = SharedLedger::new();
    let mut one = machine.start_process(limits(600, Some(40)), 1_000, 3);
    for _ in 0..2_400 {
        run_one_second(&mut one);
    }
    let midnight: WallTime = wall("2026-11-22T08:00:00Z");
    let (before, after): (Vec<_>, Vec<_>) =
        one.0.arrivals.iter().map(|(at, _, _)| at.wall).partition(|at| *at < midnight);
    assert_eq!((before.len(), after.len()), (40, 40));
}

#[test]
fn a_returned_lease_can_be_used_by_others_and_a_killed_process_s_lease_can_not() {
    for (gives_back, want) in [(true, 100), (false, 95)] {
        let machine = SharedLedger::new();
        let mut one = machine.start_process(limits(600, Some(100)), 1_000, 4);
        // A process with one item only, so the rest of its lease is left over.
        let mut brief = machine.start_process(limits(600, Some(100)), 1, 5);
        run_one_second(&mut brief);
        run_one_second(&mut brief);
        assert_eq!(brief.0.done, 1);
        if gives_back {
            let (world, ledger) = &mut brief;
            let unused = world.scheduler.take_unused_leases(world.now);
            answer_lease_requests(world, ledger, unused);
        }
        for _ in 0..300 {
            run_one_second(&mut one);
        }
        let together = total_arrivals(&[&one, &brief]);
        assert!(together <= 100 && together >= want - 1, "{together}, gives back: {gives_back}");
        assert!(gives_back || together < 100, "{together}: a killed process's block counts as used");
    }
}

#[test]
fn a_day_exhausted_in_one_run_is_exhausted_for_the_next() {
    let machine = SharedLedger::new();
    let mut one = machine.start_process(limits(600, Some(1_000)), 10, 6);
    one.0.inject_fault =
        Box::new(|_, _| Some(AttemptResult { status: Some(429), ..attempt_result(Outcome::QuotaExhaustedDay) }));
    run_one_second(&mut one);
    run_one_second(&mut one);
    let until = one.0.scheduler.exhausted_until(one.0.now, PoolId(0)).expect("it was told so");
    one.1.mark_exhausted("pool", until).expect("test");
    let mut two = machine.start_process(limits(600, Some(1_000)), 10, 7);
    for _ in 0..30 {
        run_one_second(&mut two);
    }
    assert_eq!(two.0.arrivals.len(), 0);
    let holdup = two.0.scheduler.stall_reason(two.0.now);
    assert!(matches!(holdup, StallReason::Exhausted { resumes_at: Some(at), .. } if at == until), "{holdup:?}");
}

#[test]
fn tokens_and_rolling_days_are_leased_too() {
    let rolling = Limits { tpd: Some(6_000), rpm: Some(600), quota_day: QuotaDay::Rolling, ..Limits::default() };
    let machine = SharedLedger::new();
    let mut one = machine.start_process(rolling.clone(), 200, 8);
    let mut two = machine.start_process(rolling, 200, 9);
    for _ in 0..300 {
        run_one_second(&mut one);
        run_one_second(&mut two);
    }
    // 120 tokens each as the provider counts; the reservation of an attempt in flight is larger.
    let tokens = (one.0.done + two.0.done) * 120;
    assert!((4_000..=6_000).contains(&tokens), "{tokens}");
}

#[test]
fn a_block_that_comes_after_its_half_hour_is_given_back() {
    let rolling = Limits { rpd: Some(100), rpm: Some(600), quota_day: QuotaDay::Rolling, ..Limits::default() };
    let machine = SharedLedger::new();
    let (mut world, mut ledger) = machine.start_process(rolling, 50, 12);
    request_first_leases(&mut world, &mut ledger);
    let wishes: Vec<_> =
        world.scheduler.lease_requests(world.now).into_iter().map(|wish| ("pool".to_owned(), wish)).collect();
    let late = ledger.lease(world.now.wall, &wishes).expect("test");
    assert_eq!(late.iter().map(|grant| grant.granted).sum::<u64>(), 5);

    world.now = world.now + SECOND * 1_800;
    for grant in &late {
        world.scheduler.apply_lease_grant(world.now, grant);
    }
    assert_eq!(world.scheduler.poll(world.now), None, "its time is over");
    let wishes = world.scheduler.lease_requests(world.now);
    answer_lease_requests(&mut world, &mut ledger, wishes);
    let used = ledger.daily_usage(world.now.wall, "pool").expect("test");
    assert_eq!(used.requests, 5, "the new block alone, not both");
}

#[test]
fn without_its_ledger_a_process_counts_alone() {
    let machine = SharedLedger::new();
    let (mut world, _) = machine.start_process(limits(600, Some(40)), 100, 10);
    world.run(HOUR / 4);
    assert_eq!(world.arrivals.len(), 0, "nothing is leased yet");
    world.scheduler.stop_sharing_daily_quotas();
    world.run(HOUR / 4);
    assert_eq!(world.arrivals.len(), 40);
}

#[test]
fn an_unused_lease_is_reported_once() {
    let machine = SharedLedger::new();
    let (mut world, mut ledger) = machine.start_process(limits(600, Some(100)), 3, 11);
    request_first_leases(&mut world, &mut ledger);
    assert_eq!(
        ledger.daily_usage(world.now.wall, "pool").expect("test").requests,
        0,
        "nothing is held for what may never go"
    );
    let wishes = world.scheduler.lease_requests(world.now);
    answer_lease_requests(&mut world, &mut ledger, wishes);
    world.run(SECOND * 5);
    let unused: HashMap<PoolId, u64> = world
        .scheduler
        .take_unused_leases(world.now)
        .into_iter()
        .filter_map(|wish| Some((wish.pool, wish.returned?.1)))
        .collect();
    assert_eq!(unused, HashMap::from([(PoolId(0), 2)]), "a block of 5, of which 3 were used");
    assert_eq!(world.scheduler.take_unused_leases(world.now), []);
}
