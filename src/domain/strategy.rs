//! The strategies, by name and description. The scheduler implements them.

use serde::{Deserialize, Serialize};

use super::named::names;

/// Decides which ready route an item takes. Under every strategy, the item's own preferred model comes first and backup
/// keys come last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Priority order.
    #[default]
    Cascade,
    /// All routes in turn.
    RoundRobin,
    /// In proportion to the weights of key and model, evenly mixed.
    Weighted,
    /// Like `Cascade`, but backup keys are used only while no primary key is in service. A primary key at a per-minute
    /// limit is in service: the run waits for it.
    PrimaryBackup,
    /// At random, weighted by the key's health (at least 5) times the weights of key and model.
    Health,
    /// The route that has not been used for the longest time.
    LeastRecentlyUsed,
    /// The route with the lowest recent latency. From time to time another route is used, to measure it again.
    Fastest,
    /// The route with the lowest expected cost for this item; of equally cheap ones, the better model.
    Cheapest,
    /// The best compromise between the model's rank in the cascade, its price and its wait.
    Balanced,
}

names!(Strategy {
    Cascade = "cascade",
    RoundRobin = "round_robin",
    Weighted = "weighted",
    PrimaryBackup = "primary_backup",
    Health = "health",
    LeastRecentlyUsed = "least_recently_used",
    Fastest = "fastest",
    Cheapest = "cheapest",
    Balanced = "balanced",
});

impl Strategy {
    /// A short description for menus.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Cascade => "priority order",
            Self::RoundRobin => "each in turn",
            Self::Weighted => "in proportion to the weights, evenly mixed",
            Self::PrimaryBackup => "backup keys only while no primary is in service",
            Self::Health => "at random, weighted by health",
            Self::LeastRecentlyUsed => "the route unused for longest",
            Self::Fastest => "the lowest recent latency",
            Self::Cheapest => "the lowest expected cost",
            Self::Balanced => "quality weighed against price and wait",
        }
    }

    /// Whether it works with `when_limited = "wait"`: strict order supports only the cascade's order.
    pub const fn supports_wait(self) -> bool {
        matches!(self, Self::Cascade)
    }
}
