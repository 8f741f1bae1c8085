//! What happened, for the fallback log: short, typed, in plain words.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{outcome::Outcome, time::Wall};

/// One line of the log. Numbered from 1 over the whole run, restarts included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    pub number: u64,
    pub at: Wall,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    /// The operator acted.
    You,
    Warn,
    /// Wants attention: a key died, the run holds.
    Alarm,
}

/// Routes are written `model@key`, items by their id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// An attempt failed and the item goes on: to another route, or back to wait.
    Fallback {
        seq: u64,
        item: String,
        from: String,
        /// The next candidate, as far as it is known when the answer arrives.
        to: Option<String>,
        outcome: Outcome,
        status: Option<u16>,
        wait: Option<Duration>,
        words: String,
    },
    /// A route, pool, project or key is out until an instant.
    Cooldown { what: String, outcome: Outcome, wait: Option<Duration>, words: String },
    /// Something that was out came back.
    Recovered { what: String, words: String },
    /// Off for good, or until the operator says otherwise.
    Disabled { what: String, outcome: Outcome, words: String },
    /// An item ended as failed.
    ItemFailed { seq: u64, item: String, route: Option<String>, outcome: Outcome, words: String },
    /// The operator did something.
    Operator { words: String },
    /// The run changed its state, or says something about itself.
    Run { level: Level, words: String },
}

impl Event {
    pub const fn level(&self) -> Level {
        match &self.kind {
            EventKind::Fallback { .. } | EventKind::Recovered { .. } => Level::Info,
            EventKind::Cooldown { .. } | EventKind::ItemFailed { .. } => Level::Warn,
            EventKind::Disabled { .. } => Level::Alarm,
            EventKind::Operator { .. } => Level::You,
            EventKind::Run { level, .. } => *level,
        }
    }
}

/// A span as people read it at a glance: `0.8s`, `37s`, `4:05`, `6h12m`, `2d03h`.
pub fn short_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 if span.subsec_millis() > 0 => format!("{:.1}s", span.as_secs_f64()),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// One sentence, without time and number; text from outside is not yet neutralised for a terminal.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = |words: &str| if words.is_empty() { String::new() } else { format!(": {words}") };
        match self {
            Self::Fallback { item, from, to, outcome, status, wait, words, .. } => {
                write!(f, "#{item} {from} → {}  ", to.as_deref().unwrap_or("waits"))?;
                if let Some(status) = status {
                    write!(f, "{status} ")?;
                }
                write!(f, "{outcome}")?;
                if let Some(wait) = wait {
                    write!(f, ", {}", short_span(*wait))?;
                }
                f.write_str(&tail(words))
            }
            Self::Cooldown { what, outcome, wait, words } => {
                write!(f, "{what} cools down")?;
                if let Some(wait) = wait {
                    write!(f, " for {}", short_span(*wait))?;
                }
                write!(f, ", {outcome}{}", tail(words))
            }
            Self::Recovered { what, words } => write!(f, "{what} is back{}", tail(words)),
            Self::Disabled { what, outcome, words } => write!(f, "{what} is off, {outcome}{}", tail(words)),
            Self::ItemFailed { item, route, outcome, words, .. } => {
                write!(f, "#{item} failed")?;
                if let Some(route) = route {
                    write!(f, " on {route}")?;
                }
                write!(f, ", {outcome}{}", tail(words))
            }
            Self::Operator { words } => write!(f, "you: {words}"),
            Self::Run { words, .. } => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_at_a_glance() {
        let cases = [(800, "0.8s"), (37_000, "37s"), (245_000, "4:05"), (22_320_000, "6h12m"), (183_600_000, "2d03h")];
        for (millis, want) in cases {
            assert_eq!(short_span(Duration::from_millis(millis)), want);
        }
    }
}
