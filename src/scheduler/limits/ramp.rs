//! Concurrency ramp after a failure: 1, 2, 4, 8, unlimited.

/// The last limit before concurrency is unlimited.
const MAX_LIMIT: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ramp {
    /// The most requests in flight at once.
    limit: u32,
    successes: u32,
}

impl Ramp {
    /// One probe at a time.
    pub const PROBE: Self = Self { limit: 1, successes: 0 };

    /// After a successful probe.
    pub const AFTER_PROBE: Self = Self { limit: 2, successes: 0 };

    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// Doubles the limit after as many successes as the limit. `None` when the ramp is over.
    pub const fn on_success(self) -> Option<Self> {
        let successes = self.successes + 1;
        match () {
            () if successes < self.limit => Some(Self { successes, ..self }),
            () if self.limit >= MAX_LIMIT => None,
            () => Some(Self { limit: self.limit * 2, successes: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_from_one_to_eight_and_ends() {
        let mut limits = vec![];
        let mut ramp = Some(Ramp::PROBE);
        while let Some(current) = ramp {
            limits.push(current.limit());
            ramp = current.on_success();
        }
        assert_eq!(limits, [[1].as_slice(), &[2; 2], &[4; 4], &[8; 8]].concat());
    }
}
