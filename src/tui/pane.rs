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
struct PaneInfo {
    title: &'static str,
    /// The title in a row of tabs.
    short_title: &'static str,
    /// The command that focuses the pane; also the name of this action in the configuration.
    command_name: &'static str,
    /// The content of the pane, in the help.
    help_text: &'static str,
    heading_rows: u16,
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

    pub const fn title(self) -> &'static str {
        self.info().title
    }

    /// The title in a row of tabs.
    pub const fn short_title(self) -> &'static str {
        self.info().short_title
    }

    /// The command that focuses the pane.
    pub const fn command_name(self) -> &'static str {
        self.info().command_name
    }

    /// The content of the pane, for the help.
    pub const fn help_text(self) -> &'static str {
        self.info().help_text
    }

    /// Rows above the list that don't scroll.
    pub const fn heading_rows(self) -> u16 {
        self.info().heading_rows
    }

    const fn info(self) -> PaneInfo {
        match self {
            Self::Keys => PaneInfo {
                title: "Keys",
                short_title: "Keys",
                command_name: "keys",
                help_text: "keys: health, state, cooldowns",
                heading_rows: 1,
            },
            Self::Cooldowns => PaneInfo {
                title: "Cooldowns",
                short_title: "Cooldowns",
                command_name: "cooldowns",
                help_text: "cooldowns: what is unavailable, until when, and why",
                heading_rows: 0,
            },
            Self::Models => PaneInfo {
                title: "Models",
                short_title: "Models",
                command_name: "models",
                help_text: "models: quotas used and left, latency, tokens, cost",
                heading_rows: 1,
            },
            Self::Events => PaneInfo {
                title: "Fallback events",
                short_title: "Events",
                command_name: "events",
                help_text: "fallback events: what just happened",
                heading_rows: 0,
            },
            Self::Items => PaneInfo {
                title: "Items",
                short_title: "Items",
                command_name: "items",
                help_text: "items, failed ones first",
                heading_rows: 1,
            },
            Self::Routes => PaneInfo {
                title: "Routes",
                short_title: "Routes",
                command_name: "routes",
                help_text: "routes: every key with every model",
                heading_rows: 1,
            },
            Self::Log => PaneInfo {
                title: "Log",
                short_title: "Log",
                command_name: "log",
                help_text: "the program's own log",
                heading_rows: 0,
            },
            Self::Charts => PaneInfo {
                title: "Charts",
                short_title: "Charts",
                command_name: "charts",
                help_text: "throughput, 429s, latency and spend over time",
                heading_rows: 0,
            },
            Self::Failures => PaneInfo {
                title: "Failures",
                short_title: "Failures",
                command_name: "failures",
                help_text: "failed items by cause; replay or export a group",
                heading_rows: 1,
            },
        }
    }
}
