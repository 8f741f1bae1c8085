//! Health score of a key, shown to the operator and used as a weight by strategies.

/// Range 0 to 100. A success adds 5; a failure caused by the key subtracts 20.
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

    /// The score, but at least 5, so that a key is still used and can recover.
    pub const fn weight(self) -> u8 {
        if self.0 > MIN_WEIGHT { self.0 } else { MIN_WEIGHT }
    }

    pub fn reward(&mut self) {
        self.0 = (self.0 + 5).min(100);
    }

    pub fn penalize(&mut self) {
        self.0 = self.0.saturating_sub(20);
    }

    /// Takes a penalty back, after the failure turned out not to be the key's fault.
    pub fn refund_penalty(&mut self) {
        self.0 = (self.0 + 20).min(100);
    }

    pub fn set_to_zero(&mut self) {
        self.0 = 0;
    }
}
