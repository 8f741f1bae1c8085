//! Events of a run: short, typed, and readable as one sentence each.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{outcome::Outcome, time::WallTime};

/// One entry of the event log. Numbered from 1 over the whole run, restarts included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    pub number: u64,
    pub at: WallTime,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventLevel {
    Info,
    /// An action of the operator.
    #[serde(alias = "you")]
    Operator,
    Warn,
    /// Needs attention: a key was disabled, the run is blocked.
    #[serde(alias = "alarm")]
    Alert,
}

/// Routes are written `model@key`; items are named by their id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// An attempt failed, and its item was requeued: for another route, or to wait.
    Fallback {
        seq: u64,
        #[serde(alias = "item")]
        item_id: String,
        from: String,
        /// The next candidate route, if it is known when the answer arrives.
        to: Option<String>,
        outcome: Outcome,
        status: Option<u16>,
        wait: Option<Duration>,
        #[serde(alias = "words")]
        message: String,
    },
    /// A route, pool, project or key is unavailable until an instant.
    Cooldown {
        #[serde(alias = "what")]
        subject: String,
        outcome: Outcome,
        wait: Option<Duration>,
        #[serde(alias = "words")]
        message: String,
    },
    /// Something that was unavailable can be used again.
    Recovered {
        #[serde(alias = "what")]
        subject: String,
        #[serde(alias = "words")]
        message: String,
    },
    /// Disabled for good, or until the operator switches it on.
    Disabled {
        #[serde(alias = "what")]
        subject: String,
        outcome: Outcome,
        #[serde(alias = "words")]
        message: String,
    },
    /// An item ended as failed.
    ItemFailed {
        seq: u64,
        #[serde(alias = "item")]
        item_id: String,
        route: Option<String>,
        outcome: Outcome,
        #[serde(alias = "words")]
        message: String,
    },
    /// The operator did something.
    Operator {
        #[serde(alias = "words")]
        message: String,
    },
    /// The run changed its state, or reports on itself.
    Run {
        level: EventLevel,
        #[serde(alias = "words")]
        message: String,
    },
}

impl Event {
    pub const fn level(&self) -> EventLevel {
        match &self.kind {
            EventKind::Fallback { .. } | EventKind::Recovered { .. } => EventLevel::Info,
            EventKind::Cooldown { .. } | EventKind::ItemFailed { .. } => EventLevel::Warn,
            EventKind::Disabled { .. } => EventLevel::Alert,
            EventKind::Operator { .. } => EventLevel::Operator,
            EventKind::Run { level, .. } => *level,
        }
    }
}

/// A duration in short form: `0.8s`, `37s`, `4:05`, `6h12m`, `2d03h`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 if duration.subsec_millis() > 0 => format!("{:.1}s", duration.as_secs_f64()),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// When an item whose attempt failed is sent again, as a continuation of the outcome. `to` is its next route.
pub fn retry_text(to: Option<&str>, wait: Option<Duration>) -> String {
    match (to, wait) {
        (Some(_), Some(wait)) => format!(", {}", format_duration(wait)),
        (None, Some(wait)) => format!(", retry in {}", format_duration(wait)),
        (None, None) => ", waiting for a route".to_owned(),
        (Some(_), None) => String::new(),
    }
}

/// One sentence, without time and number. Text from outside is not sanitized for a terminal yet.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message_suffix = |message: &str| if message.is_empty() { String::new() } else { format!(": {message}") };
        match self {
            Self::Fallback { item_id, from, to, outcome, status, wait, message, .. } => {
                match to {
                    Some(to) if to == from => write!(f, "#{item_id} {from}, retry on the same route  ")?,
                    Some(to) => write!(f, "#{item_id} {from} → {to}  ")?,
                    None => write!(f, "#{item_id} {from}  ")?,
                }
                if let Some(status) = status {
                    write!(f, "{status} ")?;
                }
                write!(f, "{outcome}{}{}", retry_text(to.as_deref(), *wait), message_suffix(message))
            }
            Self::Cooldown { subject, outcome, wait, message } => {
                let wait = wait.map(format_duration);
                match (outcome, wait) {
                    (Outcome::QuotaExhaustedDay, None) => write!(f, "{subject}: day quota spent")?,
                    (Outcome::QuotaExhaustedDay, Some(wait)) => {
                        write!(f, "{subject}: day quota spent, frees in {wait}")?;
                    }
                    (_, None) => write!(f, "{subject} cooling down, {outcome}")?,
                    (_, Some(wait)) => write!(f, "{subject} cooling down for {wait}, {outcome}")?,
                }
                f.write_str(&message_suffix(message))
            }
            Self::Recovered { subject, message } => write!(f, "{subject} recovered{}", message_suffix(message)),
            Self::Disabled { subject, outcome, message } => {
                write!(f, "{subject} disabled, {outcome}{}", message_suffix(message))
            }
            Self::ItemFailed { item_id, route, outcome, message, .. } => {
                write!(f, "#{item_id} failed")?;
                if let Some(route) = route {
                    write!(f, " on {route}")?;
                }
                write!(f, ", {outcome}{}", message_suffix(message))
            }
            Self::Operator { message } => write!(f, "you: {message}"),
            Self::Run { message, .. } => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_by_their_largest_units() {
        let cases = [(800, "0.8s"), (37_000, "37s"), (245_000, "4:05"), (22_320_000, "6h12m"), (183_600_000, "2d03h")];
        for (millis, want) in cases {
            assert_eq!(format_duration(Duration::from_millis(millis)), want);
        }
    }
}
