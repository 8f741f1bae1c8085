//! The routing rules that determine items' traits, and the update of the traits when the rules change.
//!
//! An item's traits name the rule that applies to it. Items with the same traits share a queue. The rules may change at
//! every start. They are evaluated on the item's recorded body, so that the result doesn't depend on the rules at the
//! time when the row was read. Only the row's fields that were recorded then can be used.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Store,
    error::StoreError,
    open::parse_json,
    requeue::read_traits,
    schema::{DONE, WAITING},
};
use crate::domain::{ItemSpec, RoutingRule, RoutingTraits, rule::referenced_fields};

/// Name of the saved state with the rules.
const RULES_STATE: &str = "rules";

/// The effects of a change of the rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reclassification {
    /// Number of waiting items to which another rule, or none, applies now.
    pub changed_waiting: u64,
    /// Fields that the rules use now and that were not recorded for the rows read before.
    pub missing_fields: Vec<String>,
}

impl Store {
    /// Uses `rules` from now on. If they differ from those of the last start, updates the traits of every item that
    /// isn't done.
    pub fn apply_rules(&mut self, rules: &[RoutingRule]) -> Result<Reclassification, StoreError> {
        let mut report = Reclassification::default();
        if self.rules == rules {
            return Ok(report);
        }
        let json =
            serde_json::to_string(rules).map_err(|error| StoreError::corrupt_record("the routing rules", error))?;
        self.transact(|txn| {
            txn.execute("INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)", params![RULES_STATE, json])?;
            let unfinished: Vec<(i64, i64, u32)> = txn
                .conn
                .prepare("SELECT seq, state, traits FROM progress WHERE state <> ?1")?
                .query_map([DONE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            for (seq, state, old_traits) in unfinished {
                let body: String = txn
                    .conn
                    .prepare_cached("SELECT body FROM payload WHERE seq = ?1")?
                    .query_row([seq], |row| row.get(0))?;
                let spec: ItemSpec = parse_json(&body, "an item")?;
                let required_target = read_traits(txn.conn, old_traits)?.required_target;
                let traits = txn.intern_traits(RoutingTraits { required_target, ..spec.routing_traits(rules) })?;
                if traits != old_traits {
                    txn.execute("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![seq, traits])?;
                    report.changed_waiting += u64::from(state == WAITING);
                }
            }
            Ok(())
        })?;
        let recorded_fields = referenced_fields(&self.rules);
        if self.counters.items > 0 {
            report.missing_fields =
                referenced_fields(rules).into_iter().filter(|field| !recorded_fields.contains(field)).collect();
        }
        self.rules = rules.to_vec();
        Ok(report)
    }
}

/// The rules of the last start.
pub(super) fn load_rules(conn: &Connection) -> Result<Vec<RoutingRule>, StoreError> {
    let json: Option<String> = conn
        .prepare_cached("SELECT json FROM states WHERE name = ?1")?
        .query_row([RULES_STATE], |row| row.get(0))
        .optional()?;
    json.map_or(Ok(Vec::new()), |json| parse_json(&json, "the routing rules"))
}
