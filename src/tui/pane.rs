//! The panes of the dashboard: their titles, their numbers and the rows of their headings.

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
        match self {
            Self::Keys => "Keys",
            Self::Cooldowns => "Cooldowns",
            Self::Models => "Models",
            Self::Events => "Fallback events",
            Self::Items => "Items",
            Self::Routes => "Routes",
            Self::Log => "Log",
            Self::Charts => "Charts",
            Self::Failures => "Failures",
        }
    }

    /// The title in a row of tabs.
    pub const fn short_title(self) -> &'static str {
        match self {
            Self::Events => "Events",
            _ => self.title(),
        }
    }

    /// Rows above the list that don't scroll.
    pub const fn heading_rows(self) -> u16 {
        match self {
            Self::Keys | Self::Models | Self::Routes | Self::Items | Self::Failures => 1,
            Self::Cooldowns | Self::Events | Self::Log | Self::Charts => 0,
        }
    }
}
