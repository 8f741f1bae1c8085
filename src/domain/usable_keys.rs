//! Counts the usable keys of a run over its snapshots, and says when only one or none is left.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    outcome::Outcome,
    snapshot::{Condition, KeyView, Snapshot},
    time::WallTime,
};

/// Shorter waits for a connection are not counted: most end by themselves.
const MIN_UNREACHABLE_WAIT: Duration = Duration::from_secs(20);

/// A key that is available again counts as recovered when it has answered, or after this time.
const RECOVERY_TIME: Duration = Duration::from_mins(10);

/// How many keys are usable, as far as it was reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum KeysLeft {
    None,
    One,
    #[default]
    Several,
}

impl KeysLeft {
    const fn of(count: usize) -> Self {
        match count {
            0 => Self::None,
            1 => Self::One,
            _ => Self::Several,
        }
    }
}

/// Follows the keys of a run. Reports once when one usable key is left of several, once when none is left, and again
/// only after a key has recovered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct UsableKeys {
    reported: KeysLeft,
    /// Keys that were unusable and have not recovered yet.
    lost: BTreeMap<String, LostKey>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct LostKey {
    /// Number of answers when it was last unusable.
    ok: u64,
    /// Since when it is available again; `None` while it is unusable.
    usable_since: Option<WallTime>,
}

impl UsableKeys {
    /// The message if the number of usable keys has gone to one or to none; a sentence.
    pub fn update(&mut self, snapshot: &Snapshot) -> Option<String> {
        let keys = &snapshot.keys;
        for key in keys {
            self.update_key(key, snapshot.at);
        }
        let usable: Vec<&KeyView> = keys.iter().filter(|key| unusable_reason(&key.condition).is_none()).collect();
        let recovered = usable.iter().filter(|key| !self.lost.contains_key(&key.name)).count();
        let left = KeysLeft::of(usable.len());
        // A key that is available again but has not recovered does not count, so that a key that fails again and again
        // is reported once.
        self.reported = self.reported.max(KeysLeft::of(recovered));
        if keys.len() < 2 || left >= self.reported {
            return None;
        }
        self.reported = left;
        let reasons = describe_reasons(keys);
        Some(match usable.first() {
            Some(key) => format!("one usable key of {} is left, {} ({reasons})", keys.len(), key.name),
            None => format!("no usable key of {} is left ({reasons})", keys.len()),
        })
    }

    fn update_key(&mut self, key: &KeyView, now: WallTime) {
        if unusable_reason(&key.condition).is_some() {
            self.lost.insert(key.name.clone(), LostKey { ok: key.ok, usable_since: None });
        } else if let Some(lost) = self.lost.get_mut(&key.name) {
            let usable_since = *lost.usable_since.get_or_insert(now);
            if key.ok > lost.ok || now.since(usable_since) >= RECOVERY_TIME {
                self.lost.remove(&key.name);
            }
        }
    }
}

/// Why a key can't be used for long; `None` if it can, if only after a minute limit or a short cooldown.
fn unusable_reason(condition: &Condition) -> Option<&'static str> {
    match condition {
        Condition::SwitchedOff { .. } => Some("switched off"),
        Condition::Disabled { .. } => Some("disabled"),
        Condition::Exhausted { cause, .. } if cause.outcome == Outcome::QuotaExhaustedBilling => Some("out of credit"),
        Condition::Exhausted { .. } => Some("day quota spent"),
        Condition::CoolingDown { until, cause }
            if cause.outcome == Outcome::ClientTrouble && until.since(cause.since) >= MIN_UNREACHABLE_WAIT =>
        {
            Some("provider unreachable")
        }
        limited if limited.is_budget_reached() => Some("budget reached"),
        _ => None,
    }
}

/// `2 day quota spent, 1 disabled`
fn describe_reasons(keys: &[KeyView]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for reason in keys.iter().filter_map(|key| unusable_reason(&key.condition)) {
        match counts.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason, 1)),
        }
    }
    let mut text = String::new();
    for (index, (reason, count)) in counts.into_iter().enumerate() {
        // Writing to a string can't fail.
        let _ = write!(text, "{}{count} {reason}", if index > 0 { ", " } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        CostByKind, KeyRole, Money, Usage,
        snapshot::{BUDGET_REACHED, Cause, CauseSource},
    };

    const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

    fn cause(outcome: Outcome, since: WallTime) -> Cause {
        Cause { outcome, source: CauseSource::Provider, message: String::new(), since, status: None }
    }

    fn day_spent() -> Condition {
        Condition::Exhausted { until: NOON, cause: cause(Outcome::QuotaExhaustedDay, NOON) }
    }

    fn unreachable_for(seconds: u64) -> Condition {
        let until = NOON + Duration::from_secs(seconds);
        Condition::CoolingDown { until, cause: cause(Outcome::ClientTrouble, NOON) }
    }

    /// The keys' answers and conditions, `minutes` after noon.
    fn at<const N: usize>(minutes: u64, keys: [(u64, Condition); N]) -> Snapshot {
        let view = |(name, (ok, condition)): (&str, (u64, Condition))| KeyView {
            name: name.to_owned(),
            provider: "g".to_owned(),
            project: name.to_owned(),
            role: KeyRole::Primary,
            health: 100,
            ok,
            failed: 0,
            in_flight: 0,
            condition,
            usage: Usage::default(),
            cost: Money::ZERO,
            cost_by_kind: CostByKind::default(),
            last_error: None,
        };
        let keys = ["alice", "bob", "carol"].into_iter().zip(keys).map(view).collect();
        Snapshot { keys, ..Snapshot::empty("r", NOON + Duration::from_mins(minutes), 1.0) }
    }

    fn messages(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<String> {
        let mut keys = UsableKeys::default();
        snapshots.into_iter().filter_map(|snapshot| keys.update(&snapshot)).collect()
    }

    #[test]
    fn every_long_reason_counts_and_no_short_one() {
        let ready = || Condition::Ready;
        let reasons = [
            (Condition::SwitchedOff { since: NOON }, "1 switched off"),
            (Condition::Disabled { since: NOON, cause: cause(Outcome::InvalidKey, NOON) }, "1 disabled"),
            (day_spent(), "1 day quota spent"),
            (
                Condition::Exhausted { until: NOON, cause: cause(Outcome::QuotaExhaustedBilling, NOON) },
                "1 out of credit",
            ),
            (unreachable_for(30), "1 provider unreachable"),
            (Condition::Limited { limit: BUDGET_REACHED.to_owned(), until: None }, "1 budget reached"),
        ];
        for (condition, reason) in reasons {
            let want = format!("one usable key of 2 is left, bob ({reason})");
            assert_eq!(messages([at(0, [(0, condition), (0, ready())])]), [want]);
        }
        let short = [
            unreachable_for(1),
            Condition::Limited { limit: "RPM limit reached".to_owned(), until: None },
            Condition::CoolingDown { until: NOON, cause: cause(Outcome::RateLimitedMinute, NOON) },
            Condition::CircuitOpen { until: NOON, cause: cause(Outcome::ServerError, NOON) },
        ];
        for condition in short {
            assert_eq!(messages([at(0, [(0, condition), (0, ready())])]), [""; 0]);
        }
    }

    #[test]
    fn one_and_none_are_reported_once_each() {
        let ready = || (0, Condition::Ready);
        let spent = || (0, day_spent());
        assert_eq!(
            messages([
                at(0, [ready(), ready(), ready()]),
                at(1, [spent(), ready(), ready()]),
                at(2, [spent(), ready(), spent()]),
                at(3, [spent(), ready(), spent()]),
                at(4, [spent(), spent(), spent()]),
                at(5, [spent(), spent(), spent()]),
            ]),
            ["one usable key of 3 is left, bob (2 day quota spent)", "no usable key of 3 is left (3 day quota spent)"]
        );
        assert_eq!(messages([at(0, [spent()])]), [""; 0], "the run's own state says it");
    }

    #[test]
    fn a_key_is_reported_again_only_after_it_recovered() {
        let lost = |minutes, ok| at(minutes, [(ok, unreachable_for(30)), (9, Condition::Ready)]);
        let back = |minutes, ok| at(minutes, [(ok, Condition::Ready), (9, Condition::Ready)]);
        let count = |snapshots: Vec<Snapshot>| messages(snapshots).len();
        assert_eq!(count(vec![lost(0, 1), back(1, 1), lost(2, 1)]), 1, "a trial that failed");
        assert_eq!(count(vec![lost(0, 1), back(1, 1), back(1, 2), lost(2, 2)]), 2, "it has answered");
        assert_eq!(count(vec![lost(0, 1), back(1, 1), back(11, 1), lost(12, 1)]), 2, "it was there for long");
    }
}
