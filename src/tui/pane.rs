//! The panes of the dashboard: their names, and what the layout must know of them.

/// A part of the dashboard that can have the focus, in the order of the numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Pane {
    Keys,
    Cooldowns,
    Models,
    Events,
    Items,
    Routes,
    Log,
    Charts,
    Failures,
}

/// The names of a pane, and the rows of its heading.
pub struct PaneInfo {
    pub title: &'static str,
    /// The title in a row of tabs.
    pub short_title: &'static str,
    /// The command that focuses the pane; also the name of this action in the configuration.
    pub command_name: &'static str,
    /// The content of the pane, in the help.
    pub help_text: &'static str,
    /// Rows above the list that don't scroll.
    pub heading_rows: u16,
}

impl Pane {
    pub const ALL: [Self; 9] = [
        Self::Keys,
        Self::Cooldowns,
        Self::Models,
        Self::Events,
        Self::Items,
        Self::Routes,
        Self::Log,
        Self::Charts,
        Self::Failures,
    ];

    /// The digit that focuses the pane.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    pub const fn info(self) -> PaneInfo {
        match self {
            Self::Keys => PaneInfo::new("Keys", "keys", 1, "keys: health, state, cooldowns"),
            Self::Cooldowns => {
                PaneInfo::new("Cooldowns", "cooldowns", 0, "cooldowns: what is unavailable, until when, and why")
            }
            Self::Models => PaneInfo::new("Models", "models", 1, "models: quotas used and left, latency, tokens, cost"),
            Self::Events => PaneInfo {
                short_title: "Events",
                ..PaneInfo::new("Fallback events", "events", 0, "fallback events: what just happened")
            },
            Self::Items => PaneInfo::new("Items", "items", 1, "items, failed ones first"),
            Self::Routes => PaneInfo::new("Routes", "routes", 1, "routes: every key with every model"),
            Self::Log => PaneInfo::new("Log", "log", 0, "the program's own log"),
            Self::Charts => PaneInfo::new("Charts", "charts", 0, "throughput, 429s, latency and spend over time"),
            Self::Failures => {
                PaneInfo::new("Failures", "failures", 1, "failed items by cause; replay or export a group")
            }
        }
    }
}

impl PaneInfo {
    const fn new(title: &'static str, command_name: &'static str, heading_rows: u16, help_text: &'static str) -> Self {
        Self { title, short_title: title, command_name, help_text, heading_rows }
    }
}
