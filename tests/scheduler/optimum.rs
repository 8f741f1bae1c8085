//! How close the scheduler comes to the shortest makespan that the limits allow: simulated time compared with a lower
//! bound, and the share of refused requests. The same table at full size: `cargo bench --bench makespan`.

use std::time::Duration;

use cascadeck::{
    domain::{Key, Limits, Model, OnExhausted, Policy, QuotaDay},
    scheduler::StallReason,
};

use crate::world::{World, key, model, wall};

/// Nine in the morning in Los Angeles, fifteen hours before the day ends there.
const MORNING: &str = "2026-11-21T17:00:00Z";
const TO_MIDNIGHT: u64 = 15 * 3_600;
const DAY: u64 = 24 * 3_600;

/// A fleet: a number of keys, each with its own project, and the limits of each model.
pub struct FleetQuota {
    pub name: &'static str,
    pub keys: usize,
    /// Requests a minute and requests a day, for each model.
    pub models: Vec<(u32, Option<u32>)>,
    pub items: u64,
}

/// The classic free tier: 10/15/15/30 requests a minute, 250/1000/200/200 a day.
pub fn free_tier() -> Vec<(u32, Option<u32>)> {
    vec![(10, Some(250)), (15, Some(1_000)), (15, Some(200)), (30, Some(200))]
}

#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    pub makespan: Duration,
    /// The lower bound of the makespan.
    pub bound: Duration,
    pub sent: u64,
    pub refused: u64,
}

impl Measurement {
    pub fn ratio(&self) -> f64 {
        self.makespan.as_secs_f64() / self.bound.as_secs_f64()
    }
}

impl FleetQuota {
    fn fleet(&self, known: bool) -> (Vec<Model>, Vec<Key>, Vec<Limits>) {
        let enforced: Vec<Limits> = self
            .models
            .iter()
            .map(|(rpm, rpd)| Limits { rpm: Some(*rpm), rpd: *rpd, quota_day: QuotaDay::Pacific, ..Limits::default() })
            .collect();
        let models = enforced.iter().enumerate().map(|(index, limits)| {
            let unknown = Limits { quota_day: QuotaDay::Pacific, ..Limits::default() };
            model(&format!("m{index}"), if known { limits.clone() } else { unknown })
        });
        let keys = (0..self.keys).map(|index| key(&format!("k{index}"), &format!("p{index}")));
        (models.collect(), keys.collect(), enforced)
    }

    /// Earliest possible time of the last request, in seconds: every minute and day window of every pool is full from
    /// its first instant on.
    fn last_send_lower_bound_secs(&self) -> u64 {
        let mut sends: Vec<(u64, u64)> = Vec::new();
        for (rpm, rpd) in &self.models {
            let (mut at, mut left, mut today, mut day_ends) = (0, self.items, rpd.map(u64::from), TO_MIDNIGHT);
            while left > 0 {
                let goes = u64::from(*rpm).min(left).min(today.unwrap_or(u64::MAX));
                sends.push((at, goes * self.keys as u64));
                left -= goes;
                today = today.map(|today| today - goes);
                at = if today == Some(0) { day_ends } else { at + 60 };
                if at >= day_ends {
                    (today, day_ends) = (rpd.map(u64::from), day_ends + DAY);
                }
            }
        }
        sends.sort_unstable();
        let mut sent = 0;
        let last = sends.into_iter().find(|(_, goes)| {
            sent += goes;
            sent >= self.items
        });
        last.map_or(0, |(at, _)| at)
    }

    /// Runs all items to the end.
    pub fn measure(&self, known: bool) -> Measurement {
        let (models, keys, enforced) = self.fleet(known);
        let policy = Policy { max_in_flight: 10_000, on_exhausted: OnExhausted::Wait, ..Policy::default() };
        let mut world = World::new(models, keys, policy, wall(MORNING), 1);
        world.enforced = enforced;
        world.enqueue(self.items);
        world.run(Duration::from_secs(400 * DAY));
        assert_eq!(world.done, self.items, "{}: not all were answered", self.name);
        assert_eq!(world.scheduler.stall_reason(world.now), StallReason::NothingToDo);
        Measurement {
            makespan: world.elapsed(),
            bound: Duration::from_secs(self.last_send_lower_bound_secs()) + world.latency_range.0,
            sent: world.arrivals.len() as u64,
            refused: world.throttled,
        }
    }
}

#[test]
fn known_limits_are_used_to_within_a_hundredth_and_never_exceeded() {
    let quotas = [
        FleetQuota { name: "one key, one model", keys: 1, models: vec![(10, None)], items: 600 },
        FleetQuota { name: "three keys of the free tier", keys: 3, models: free_tier(), items: 5_500 },
    ];
    for quota in quotas {
        let measured = quota.measure(true);
        assert!(measured.ratio() <= 1.01 && measured.refused == 0, "{}: {measured:?}", quota.name);
    }
}

#[test]
fn unknown_limits_are_found_with_few_refusals() {
    let quotas = [
        FleetQuota { name: "one key, one model", keys: 1, models: vec![(10, None)], items: 600 },
        FleetQuota { name: "places that open many a second", keys: 1, models: vec![(600, None)], items: 15_000 },
        FleetQuota { name: "three keys of the free tier", keys: 3, models: free_tier(), items: 5_500 },
    ];
    for quota in quotas {
        let measured = quota.measure(false);
        // Each unknown limit is run into once.
        let max_refused = measured.sent / 100 + 16 * (quota.keys * quota.models.len()) as u64;
        assert!(measured.ratio() <= 1.15 && measured.refused <= max_refused, "{}: {measured:?}", quota.name);
    }
}
