//! The routing rules that determine items' traits, and the update of the traits when the rules change.
//!
//! An item's traits name the rule that applies to it. Items with the same traits share a queue. The rules may change at
//! every start. They are evaluated on the item's recorded body, so that the result doesn't depend on the rules at the
//! time when the row was read. Only the row's fields that were recorded then can be used.

use rusqlite::{Connection, params};

use super::{
    error::StoreError,
    row::{parse_json, to_json},
    saved_state::{load_state, save_state},
    schema::{DONE, WAITING},
    txn::Txn,
};
use crate::domain::{ItemSpec, RoutingRule, RoutingTraits};

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

/// Saves `rules` and updates the traits of every item that isn't done. Returns the number of waiting items to which
/// another rule, or none, applies now.
pub(super) fn reclassify(txn: &mut Txn<'_>, rules: &[RoutingRule]) -> Result<u64, StoreError> {
    save_state(txn.conn, RULES_STATE, &to_json(rules, "the routing rules")?)?;
    let unfinished: Vec<(i64, i64, u32)> = txn
        .conn
        .prepare("SELECT seq, state, traits FROM progress WHERE state <> ?1")?
        .query_map([DONE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut changed_waiting = 0;
    for (seq, state, old_traits) in unfinished {
        let body: String =
            txn.conn.prepare_cached("SELECT body FROM payload WHERE seq = ?1")?.query_row([seq], |row| row.get(0))?;
        let spec: ItemSpec = parse_json(&body, "an item")?;
        let required_target = txn.read_traits(old_traits)?.required_target;
        let traits = txn.intern_traits(RoutingTraits { required_target, ..spec.routing_traits(rules) })?;
        if traits != old_traits {
            txn.execute("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![seq, traits])?;
            changed_waiting += u64::from(state == WAITING);
        }
    }
    Ok(changed_waiting)
}

/// Loads the rules of the last start.
pub(super) fn load_rules(conn: &Connection) -> Result<Vec<RoutingRule>, StoreError> {
    load_state(conn, RULES_STATE)?.map_or(Ok(Vec::new()), |json| parse_json(&json, "the routing rules"))
}
