//! The one place where real time enters the program.

use std::time::{Duration, Instant, SystemTime};

use crate::domain::{MonoTime, Now, WallTime};

/// The system's wall clock, whatever it is set to.
pub fn system_time() -> WallTime {
    wall_of(SystemTime::now())
}

/// Years that a calendar has no room for are clamped only where they are shown.
fn wall_of(time: SystemTime) -> WallTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => WallTime(0) + since,
        Err(before) => WallTime(0) - before.duration(),
    }
}

/// A monotonic and a wall clock, read together; both may run faster than real time.
///
/// At speed 1 the wall is the system's, read anew each time, so that suspends and corrections show. At any
/// other speed both axes are reckoned from the moment the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Instant,
    started_wall: WallTime,
    speed: f64,
    /// Microseconds since the clock was made, where a test moves it by hand.
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

    /// A clock whose wall shows `wall` now. At speed 1 the wall is the system's whatever `wall` says.
    ///
    /// # Panics
    /// Where `speed` is not a positive, finite number.
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

    /// A clock that stands still until a test moves it: `micros` is the time since `wall` in microseconds.
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

    /// How long to sleep in real time for `span` of this clock's.
    pub fn to_real(&self, span: Duration) -> Duration {
        if self.is_real() { span } else { span.div_f64(self.speed) }
    }

    /// The real instant at which this clock will show `mono`.
    pub fn instant_of(&self, mono: MonoTime) -> Instant {
        self.started_at + self.to_real(mono.since(MonoTime::default()))
    }

    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.to_real(span)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_to_any_year_can_be_read_and_shown() {
        const YEAR: u64 = 366 * 86_400;
        for seconds in [0, 253_402_207_199, 253_402_207_201, 253_402_300_800, 20_000 * YEAR, 200_000 * YEAR] {
            for time in [
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                SystemTime::UNIX_EPOCH - Duration::from_secs(seconds),
            ] {
                let wall = wall_of(time);
                assert_eq!(wall.0.unsigned_abs(), seconds * 1_000_000);
                assert!(wall.rfc3339().ends_with('Z'));
            }
        }
    }
}
