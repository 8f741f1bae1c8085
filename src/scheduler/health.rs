//! A key's score: what an operator reads as "healthy", and what weighted strategies weigh with.

/// 0 to 100. A success earns 5, a failure of the key's own costs 20.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health(u8);

const MIN_WEIGHT: u8 = 5;

impl Default for Health {
    fn default() -> Self {
        Self(100)
    }
}

impl Health {
    pub const fn from_score(score: u8) -> Self {
        Self(if score > 100 { 100 } else { score })
    }

    pub const fn score(self) -> u8 {
        self.0
    }

    /// Never nothing, so that a key can always earn its way back.
    pub const fn weight(self) -> u8 {
        if self.0 > MIN_WEIGHT { self.0 } else { MIN_WEIGHT }
    }

    pub fn reward(&mut self) {
        self.0 = (self.0 + 5).min(100);
    }

    pub fn penalize(&mut self) {
        self.0 = self.0.saturating_sub(20);
    }

    /// Gives back what an own fault took: it was somebody else's.
    pub fn restore_penalty(&mut self) {
        self.0 = (self.0 + 20).min(100);
    }

    pub fn set_to_zero(&mut self) {
        self.0 = 0;
    }
}
