//! The one place where real time enters the program.

use std::time::{Duration, Instant};

use crate::domain::{Mono, Now, Wall};

/// A monotonic and a wall clock, read together; both may run faster than real time.
///
/// At speed 1 the wall is the system's, read anew each time, so that suspends and corrections show. At any
/// other speed both axes are reckoned from the moment the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_wall: Wall,
    speed: f64,
    /// Microseconds since the clock was made, where a test moves it by hand.
    #[cfg(test)]
    by_hand: Option<&'static std::sync::atomic::AtomicU64>,
}

impl Clock {
    pub fn real() -> Self {
        Self::starting_at(jiff::Timestamp::now().into(), 1.0)
    }

    /// A clock `speed` times as fast as real time.
    pub fn sped_up(speed: f64) -> Self {
        Self::starting_at(jiff::Timestamp::now().into(), speed)
    }

    /// A clock whose wall shows `wall` now. At speed 1 the wall is the system's whatever `wall` says.
    ///
    /// # Panics
    /// Where `speed` is not a positive, finite number.
    pub fn starting_at(wall: Wall, speed: f64) -> Self {
        assert!(speed.is_finite() && speed > 0.0, "a clock's speed is a positive number");
        Self {
            began: Instant::now(),
            began_wall: wall,
            speed,
            #[cfg(test)]
            by_hand: None,
        }
    }

    /// A clock that stands still until a test moves it: `micros` is the time since `wall` in microseconds.
    #[cfg(test)]
    pub fn by_hand(wall: Wall, micros: &'static std::sync::atomic::AtomicU64) -> Self {
        Self { by_hand: Some(micros), ..Self::starting_at(wall, 1.0) }
    }

    pub const fn speed(&self) -> f64 {
        self.speed
    }

    fn is_real(&self) -> bool {
        (self.speed - 1.0).abs() < f64::EPSILON
    }

    pub fn now(&self) -> Now {
        #[cfg(test)]
        if let Some(micros) = self.by_hand {
            let elapsed = Duration::from_micros(micros.load(std::sync::atomic::Ordering::Relaxed));
            return Now { mono: Mono::default() + elapsed, wall: self.began_wall + elapsed };
        }
        let elapsed = self.began.elapsed();
        if self.is_real() {
            return Now { mono: Mono::default() + elapsed, wall: jiff::Timestamp::now().into() };
        }
        let scaled = elapsed.mul_f64(self.speed);
        Now { mono: Mono::default() + scaled, wall: self.began_wall + scaled }
    }

    /// How long to sleep in real time for `span` of this clock's.
    pub fn to_real(&self, span: Duration) -> Duration {
        if self.is_real() { span } else { span.div_f64(self.speed) }
    }

    /// The real instant at which this clock will show `mono`.
    pub fn instant_of(&self, mono: Mono) -> Instant {
        self.began + self.to_real(mono.since(Mono::default()))
    }

    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.to_real(span)).await;
    }
}
