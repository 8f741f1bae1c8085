//! Coming back carefully: one at a time, then two, four, eight, and then as many as there is room for.

/// The last width that is counted; after it the way is free.
const WIDEST: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ramp {
    /// Most in flight at once.
    width: u32,
    successes: u32,
}

impl Ramp {
    /// From one request.
    pub const TRIAL: Self = Self { width: 1, successes: 0 };

    /// The trial went well.
    pub const PASSED: Self = Self { width: 2, successes: 0 };

    pub const fn width(self) -> u32 {
        self.width
    }

    /// After as many successes as it is wide it doubles; `None` once it is over.
    pub const fn succeeded(self) -> Option<Self> {
        let successes = self.successes + 1;
        match () {
            () if successes < self.width => Some(Self { successes, ..self }),
            () if self.width >= WIDEST => None,
            () => Some(Self { width: self.width * 2, successes: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_widens_from_one_to_eight_and_ends() {
        let mut widths = vec![];
        let mut ramp = Some(Ramp::TRIAL);
        while let Some(now) = ramp {
            widths.push(now.width());
            ramp = now.succeeded();
        }
        assert_eq!(widths, [[1].as_slice(), &[2; 2], &[4; 4], &[8; 8]].concat());
    }
}
