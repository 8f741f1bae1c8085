//! The wall clock jumps: a suspended machine, or a correction forward or back, by an hour or a day. Minute windows
//! follow the monotonic clock and are never exceeded. Days follow the wall clock and return when it says so. No wait is
//! lost.

use std::time::Duration;

use cascadeck::{
    domain::{Limits, MonoTime, Now, Outcome, Policy, RetryAfter, RoutingTraits, WallTime},
    scheduler::{NextStep, Scheduler},
};

use crate::world::{attempt_result, key, limits, model, provider, queued_item, wall};

const HOUR: i64 = 3_600;

struct ClockFixture {
    scheduler: Scheduler,
    now: Now,
}

impl ClockFixture {
    /// Twenty waiting items on one route.
    fn with_limits(limits: Limits) -> Self {
        let (models, keys) = ([model("m", limits)], [key("alice", "one")]);
        let mut scheduler = Scheduler::new(&[provider()], &models, &keys, Policy::default(), 7);
        let class = scheduler.find_or_add_class(&RoutingTraits::default());
        (1..=20).for_each(|seq| scheduler.enqueue(class, queued_item(seq)));
        let now = Now { mono: MonoTime(1_000_000), wall: wall("2026-11-21T20:00:00Z") };
        Self { scheduler, now }
    }

    /// Advances the two clocks, each by its own number of seconds.
    fn advance(&mut self, mono: u64, wall: i64) {
        self.now =
            Now { mono: self.now.mono + Duration::from_secs(mono), wall: WallTime(self.now.wall.0 + wall * 1_000_000) };
    }

    /// Sends all that can be sent now, completes each attempt with `outcome`, and returns their number.
    fn send_all(&mut self, outcome: Outcome, hint: Option<u64>) -> usize {
        let mut sent = 0;
        while let Some(step) = self.scheduler.poll(self.now) {
            let NextStep::Send(dispatch) = step else { panic!("nothing is refused here") };
            self.scheduler.on_sent(self.now, dispatch.attempt);
            let mut answer = attempt_result(outcome);
            answer.retry_after = hint.map(|seconds| RetryAfter { delay: Duration::from_secs(seconds) });
            self.scheduler.complete(self.now, dispatch.attempt, &answer).expect("it was in flight");
            sent += 1;
        }
        sent
    }
}

#[test]
fn a_minute_is_a_minute_whatever_the_wall_says() {
    for jump in [-24 * HOUR, -HOUR, -10, 10, HOUR, 24 * HOUR] {
        let mut desk = ClockFixture::with_limits(limits(3, None));
        assert_eq!(desk.send_all(Outcome::Ok, None), 3);
        desk.advance(30, jump);
        assert_eq!(desk.send_all(Outcome::Ok, None), 0, "the wall jumped {jump} s: the minute is not over");
        desk.advance(31, 31);
        assert_eq!(desk.send_all(Outcome::Ok, None), 3, "the wall jumped {jump} s: the minute is over");
    }
}

#[test]
fn a_day_that_ended_while_the_machine_slept_is_noticed_at_once() {
    let mut desk = ClockFixture::with_limits(limits(100, Some(2)));
    assert_eq!(desk.send_all(Outcome::Ok, None), 2);
    desk.advance(1, HOUR);
    assert_eq!(desk.send_all(Outcome::Ok, None), 0, "not yet midnight in Los Angeles");
    // The machine slept from 13:00 to 01:00 in Los Angeles; the monotonic clock advanced one second.
    desk.advance(1, 12 * HOUR);
    assert_eq!(desk.send_all(Outcome::Ok, None), 2, "a new day");
}

#[test]
fn a_wall_clock_set_back_gives_no_second_day() {
    let mut desk = ClockFixture::with_limits(limits(100, Some(2)));
    assert_eq!(desk.send_all(Outcome::Ok, None), 2);
    desk.advance(60, -2 * HOUR);
    assert_eq!(desk.send_all(Outcome::Ok, None), 0);
    // Back to where it was, and on to midnight in Los Angeles.
    desk.advance(60, 2 * HOUR);
    assert_eq!(desk.send_all(Outcome::Ok, None), 0);
    desk.advance(12 * HOUR as u64, 12 * HOUR);
    assert_eq!(desk.send_all(Outcome::Ok, None), 2);
}

#[test]
fn a_stated_wait_ends_when_it_was_stated_to_end() {
    for jump in [-24 * HOUR, -HOUR, HOUR] {
        let mut desk = ClockFixture::with_limits(limits(100, None));
        assert_eq!(desk.send_all(Outcome::RateLimitedMinute, Some(40)), 1, "the first refusal cools the route");
        desk.advance(10, jump);
        desk.send_all(Outcome::Ok, None);
        desk.advance(60, 60);
        assert!(desk.send_all(Outcome::Ok, None) > 0, "the wall jumped {jump} s: the wait is over");
    }
}
