//! The engine's clock between two snapshots, so that countdowns run smoothly. Nothing but the time is extrapolated.

use std::time::{Duration, Instant};

use crate::domain::{Snapshot, WallTime};

/// Minimum real time between two redraws that only update the clock.
const MIN_TICK: Duration = Duration::from_millis(33);

#[derive(Clone, Copy, Debug)]
pub struct EngineClock {
    /// Engine time at `anchored_at`.
    anchor: WallTime,
    anchored_at: Instant,
    /// Seconds of engine time in one real second.
    speed: f64,
    /// True once the run is over or no more snapshots come.
    is_stopped: bool,
}

impl EngineClock {
    pub fn from_snapshot(snapshot: &Snapshot, received_at: Instant) -> Self {
        let speed =
            if snapshot.clock_speed.is_finite() && snapshot.clock_speed > 0.0 { snapshot.clock_speed } else { 1.0 };
        Self { anchor: snapshot.at, anchored_at: received_at, speed, is_stopped: snapshot.state.is_over() }
    }

    /// Stops the clock at its current time.
    pub fn stop(&mut self, now: Instant) {
        (self.anchor, self.anchored_at, self.is_stopped) = (self.now(now), now, true);
    }

    pub fn now(&self, now: Instant) -> WallTime {
        if self.is_stopped {
            return self.anchor;
        }
        self.anchor + now.saturating_duration_since(self.anchored_at).mul_f64(self.speed)
    }

    /// When the engine's clock next shows another second, but not before [`MIN_TICK`] has passed; `None` if the clock
    /// is stopped.
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        if self.is_stopped {
            return None;
        }
        let into_second = self.now(now).0.rem_euclid(1_000_000) as u64;
        let real = Duration::from_micros(1_000_000 - into_second).div_f64(self.speed);
        Some(now + real.max(MIN_TICK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_with_speed(speed: f64) -> (EngineClock, Instant) {
        let received = Instant::now();
        (EngineClock { anchor: WallTime(10_250_000), anchored_at: received, speed, is_stopped: false }, received)
    }

    #[test]
    fn a_faster_clock_runs_faster_between_snapshots() {
        let (clock, start) = clock_with_speed(60.0);
        assert_eq!(clock.now(start), WallTime(10_250_000));
        assert_eq!(clock.now(start + Duration::from_millis(500)), WallTime(40_250_000));
    }

    #[test]
    fn the_next_tick_is_at_the_next_engine_second_but_not_before_min_tick() {
        let (clock, start) = clock_with_speed(1.0);
        assert_eq!(clock.next_tick(start), Some(start + Duration::from_millis(750)));
        let (fast, start) = clock_with_speed(1_000.0);
        assert_eq!(fast.next_tick(start), Some(start + MIN_TICK));
    }

    #[test]
    fn a_stopped_clock_does_not_advance() {
        let (mut clock, start) = clock_with_speed(2.0);
        clock.stop(start + Duration::from_secs(1));
        assert_eq!(clock.now(start + Duration::from_secs(9)), WallTime(12_250_000));
        assert_eq!(clock.next_tick(start), None);
    }
}
