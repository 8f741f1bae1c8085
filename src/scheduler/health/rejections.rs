//! Rejections of a route in a row: whether it fails every item alike, so that the operator has to decide.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Pictures that must be refused in a row before the route waits for the operator.
pub const MAX_PICTURE_REJECTIONS: u32 = 50;

#[derive(Clone, Copy, Debug, Default)]
pub struct Rejections {
    /// The number of rejections in a row with the same message, and the fingerprint of that message.
    identical: (u32, u64),
    /// Refused pictures, without an accepted request in between.
    pictures: u32,
    /// Whether the provider has ever accepted a request on this route.
    has_accepted: bool,
}

impl Rejections {
    /// Counts a rejection with this message. True from the `threshold`-th identical one in a row on; never if the route
    /// has accepted anything or the threshold is 0.
    ///
    /// Otherwise one wrong parameter could fail thousands of items, and requests that a proxy rejects because of the
    /// key would be sent forever.
    pub fn count_identical(&mut self, message: &str, threshold: u32) -> bool {
        if self.has_accepted || threshold == 0 {
            return false;
        }
        let fingerprint = message_fingerprint(message);
        let count = if self.identical.1 == fingerprint { self.identical.0 + 1 } else { 1 };
        self.identical = (count, fingerprint);
        count >= threshold
    }

    /// Counts a refused picture. True from the [`MAX_PICTURE_REJECTIONS`]-th in a row on.
    ///
    /// A few broken pictures say nothing about the others. But if the route accepts nothing among many, it is something
    /// else, such as a provider that can't fetch URLs. Unlike identical rejections, they also count on a route that has
    /// accepted something before.
    pub const fn count_picture(&mut self) -> bool {
        self.pictures += 1;
        self.pictures >= MAX_PICTURE_REJECTIONS
    }

    pub const fn on_accepted(&mut self) {
        self.has_accepted = true;
        self.clear();
    }

    /// Starts counting anew.
    pub const fn clear(&mut self) {
        self.identical = (0, 0);
        self.pictures = 0;
    }
}

/// Hash of a message without its digits, which differ between otherwise equal messages (sizes, positions, request ids).
fn message_fingerprint(message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for character in message.chars().filter(|character| !character.is_ascii_digit()) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}
