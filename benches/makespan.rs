//! How close the scheduler comes to the shortest makespan that the limits allow: `cargo bench --bench makespan`.
//!
//! It runs on a simulated clock, so days take seconds and the numbers are the same on every machine. The lower bound
//! assumes that every minute and day window of every pool is full from its first instant on. Answers take 0.3 to 0.9 s.

#[path = "../tests/scheduler/optimum.rs"]
mod optimum;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../tests/scheduler/world.rs"]
mod world;

use optimum::{FleetQuota, free_tier};

fn main() {
    let uneven = (0..5).map(|index| (5 + 12 * index, Some(60 + 150 * index))).collect();
    let quotas = [
        FleetQuota { name: "1 x 1, 10 a minute", keys: 1, models: vec![(10, None)], items: 3_000 },
        FleetQuota { name: "1 x 1, 15 a minute, 1000 a day", keys: 1, models: vec![(15, Some(1_000))], items: 3_500 },
        FleetQuota { name: "1 x 1, 600 a minute", keys: 1, models: vec![(600, None)], items: 30_000 },
        FleetQuota { name: "3 x 4, free tier, one day", keys: 3, models: free_tier(), items: 4_800 },
        FleetQuota { name: "3 x 4, free tier, a week", keys: 3, models: free_tier(), items: 33_000 },
        FleetQuota { name: "50 x 5, uneven", keys: 50, models: uneven, items: 150_000 },
    ];
    println!("{:<32} {:>8} {:>8} {:>8} {:>9} {:>8}", "quota", "limits", "items", "hours", "/ bound", "refused");
    for quota in &quotas {
        for known in [true, false] {
            let measured = quota.measure(known);
            println!(
                "{:<32} {:>8} {:>8} {:>8.2} {:>9.4} {:>7.3}%",
                quota.name,
                if known { "known" } else { "unknown" },
                quota.items,
                measured.makespan.as_secs_f64() / 3_600.0,
                measured.ratio(),
                measured.refused as f64 / measured.sent as f64 * 100.0,
            );
        }
    }
}
