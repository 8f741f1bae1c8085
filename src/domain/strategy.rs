//! The strategies, by name and meaning. What each does is the scheduler's business.

use serde::{Deserialize, Serialize};

/// Which of the ready routes an item takes. Under every strategy the model that an item itself prefers comes
/// first, and backup keys come last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Priority order.
    #[default]
    Cascade,
    /// Each in turn.
    RoundRobin,
    /// In proportion to the weights of key and model, evenly mixed.
    Weighted,
    /// As `Cascade`, but a backup key is used only while no primary is in service: full minutes are waited out.
    PrimaryBackup,
    /// At random, by the key's health (never less than 5) times the weights of key and model.
    Health,
    /// The one that has rested longest.
    LeastRecentlyUsed,
    /// The one that lately answered soonest; now and then another, so that news of it stays fresh.
    Fastest,
    /// The one at which this item is expected to cost least; among equals the better model.
    Cheapest,
    /// The best compromise between the model's place in the cascade, its price and its wait.
    Balanced,
}

impl Strategy {
    pub const ALL: [Self; 9] = [
        Self::Cascade,
        Self::RoundRobin,
        Self::Weighted,
        Self::PrimaryBackup,
        Self::Health,
        Self::LeastRecentlyUsed,
        Self::Fastest,
        Self::Cheapest,
        Self::Balanced,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cascade => "cascade",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::PrimaryBackup => "primary_backup",
            Self::Health => "health",
            Self::LeastRecentlyUsed => "least_recently_used",
            Self::Fastest => "fastest",
            Self::Cheapest => "cheapest",
            Self::Balanced => "balanced",
        }
    }

    /// What it does, in a phrase for menus.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Cascade => "priority order",
            Self::RoundRobin => "each in turn",
            Self::Weighted => "in proportion to the weights, evenly mixed",
            Self::PrimaryBackup => "backup keys only while no primary is in service",
            Self::Health => "at random, the healthier the likelier",
            Self::LeastRecentlyUsed => "the one that has rested longest",
            Self::Fastest => "whichever lately answered soonest",
            Self::Cheapest => "the lowest expected cost",
            Self::Balanced => "quality weighed against price and wait",
        }
    }

    /// Whether it goes with `when_limited = "wait"`: the strict pipeline walks the cascade's order and no other.
    pub const fn supports_wait(self) -> bool {
        matches!(self, Self::Cascade)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}
