//! A strict item whose key runs out of money by the items of another class.

use super::fixtures::{key, limits, model, provider, queued_item, wall};
use crate::{
    domain::{Key, Limits, Money, MonoTime, Now, Policy, RouteTarget, RoutingTraits, SpendLimits, WhenLimited},
    scheduler::{NextStep, QueuedItem, Scheduler},
};

/// Polls until nothing more can be sent. Returns the routes of the requests.
fn send_all(scheduler: &mut Scheduler, now: Now) -> Vec<u32> {
    let steps = std::iter::from_fn(|| scheduler.poll(now));
    let sent: Vec<u32> = steps
        .map(|step| match step {
            NextStep::Send(attempt) => attempt.route.0,
            NextStep::Reject(rejection) => panic!("{rejection:?}"),
        })
        .collect();
    assert_eq!(scheduler.find_sendable(now), None, "something was left lying after {sent:?}");
    sent
}

#[test]
fn a_strict_item_moves_to_the_next_key_when_others_spent_the_last_money() {
    let models = [model("narrow", limits(1, None)), model("wide", Limits::default())];
    let cap = SpendLimits { max_usd: Money::from_usd(0.01), ..SpendLimits::default() };
    let keys = [Key { spend_limits: cap, ..key("a", "a") }, key("b", "b")];
    let policy = Policy { when_limited: WhenLimited::Wait, max_in_flight: 20, ..Policy::default() };
    let now = Now { mono: MonoTime(1_000_000), wall: wall("2026-11-21T22:00:00Z") };
    let mut scheduler = Scheduler::new(&[provider()], &models, &keys, policy, 7);

    let any = scheduler.find_or_add_class(&RoutingTraits::default());
    for seq in 1..=2 {
        scheduler.enqueue(any, QueuedItem { waiting_since: now.mono, ..queued_item(seq) });
    }
    assert_eq!(send_all(&mut scheduler, now), [0], "the second waits for the next minute of the same route");

    let wide = RouteTarget { model: "wide".to_owned(), key: None };
    let others =
        scheduler.find_or_add_class(&RoutingTraits { required_target: Some(wide), ..RoutingTraits::default() });
    for seq in 3..=5 {
        scheduler.enqueue(others, QueuedItem { waiting_since: now.mono, ..queued_item(seq) });
    }
    assert_eq!(send_all(&mut scheduler, now), [1, 1, 1, 2], "with the last of its money gone, the next key");
}
