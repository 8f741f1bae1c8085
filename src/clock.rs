//! The clock of the engine and the simulator, which can run faster than real time, and the system's wall clock.
//!
//! Other code reads the system's clocks directly only where it needs real time, such as for deadlines and file times.

use std::time::{Duration, Instant, SystemTime};

use crate::domain::{MonoTime, Now, WallTime};

/// Reads the system's wall clock.
pub fn system_time() -> WallTime {
    to_wall_time(SystemTime::now())
}

/// Converts any time, also one outside of the calendar's range. Such a time is clamped only when it is shown.
fn to_wall_time(time: SystemTime) -> WallTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => WallTime(0) + since,
        Err(before) => WallTime(0) - before.duration(),
    }
}

/// A monotonic and a wall clock that are read together. Both can run faster than real time.
///
/// At speed 1 every call reads the system's wall clock, so the wall time follows suspends and corrections of that
/// clock. At any other speed, both times are computed from the real time since this clock was created.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Instant,
    started_wall: WallTime,
    speed: f64,
    /// Microseconds since the clock was created, in tests that move the clock by hand.
    #[cfg(test)]
    manual_micros: Option<&'static std::sync::atomic::AtomicU64>,
}

impl Clock {
    pub fn real() -> Self {
        Self::starting_at(system_time(), 1.0)
    }

    /// A clock `speed` times as fast as real time.
    pub fn with_speed(speed: f64) -> Self {
        Self::starting_at(system_time(), speed)
    }

    /// A clock whose wall time is `wall` now. At speed 1 `wall` is ignored and the system's time is used.
    ///
    /// # Panics
    /// If `speed` is not a positive, finite number.
    pub fn starting_at(wall: WallTime, speed: f64) -> Self {
        assert!(speed.is_finite() && speed > 0.0, "a clock's speed is a positive number");
        Self {
            started_at: Instant::now(),
            started_wall: wall,
            speed,
            #[cfg(test)]
            manual_micros: None,
        }
    }

    /// A clock that moves only when a test changes `micros`, the time since `wall` in microseconds.
    #[cfg(test)]
    pub fn manual(wall: WallTime, micros: &'static std::sync::atomic::AtomicU64) -> Self {
        Self { manual_micros: Some(micros), ..Self::starting_at(wall, 1.0) }
    }

    pub const fn speed(&self) -> f64 {
        self.speed
    }

    fn is_real(&self) -> bool {
        (self.speed - 1.0).abs() < f64::EPSILON
    }

    pub fn now(&self) -> Now {
        #[cfg(test)]
        if let Some(micros) = self.manual_micros {
            let elapsed = Duration::from_micros(micros.load(std::sync::atomic::Ordering::Relaxed));
            return Now { mono: MonoTime::default() + elapsed, wall: self.started_wall + elapsed };
        }
        let elapsed = self.started_at.elapsed();
        if self.is_real() {
            return Now { mono: MonoTime::default() + elapsed, wall: system_time() };
        }
        let scaled = elapsed.mul_f64(self.speed);
        Now { mono: MonoTime::default() + scaled, wall: self.started_wall + scaled }
    }

    /// Converts a duration of this clock to real time.
    pub fn to_real_duration(&self, span: Duration) -> Duration {
        if self.is_real() { span } else { span.div_f64(self.speed) }
    }

    /// The real instant at which this clock reaches `mono`.
    pub fn instant_of(&self, mono: MonoTime) -> Instant {
        self.started_at + self.to_real_duration(mono.since(MonoTime::default()))
    }

    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.to_real_duration(span)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_year_of_the_system_clock_can_be_read_and_shown() {
        const YEAR: u64 = 366 * 86_400;
        for seconds in [0, 253_402_207_199, 253_402_207_201, 253_402_300_800, 20_000 * YEAR, 200_000 * YEAR] {
            for time in [
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                SystemTime::UNIX_EPOCH - Duration::from_secs(seconds),
            ] {
                let wall = to_wall_time(time);
                assert_eq!(wall.0.unsigned_abs(), seconds * 1_000_000);
                assert!(wall.rfc3339().ends_with('Z'));
            }
        }
    }
}
