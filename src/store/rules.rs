//! The routing rules that a run's items were classed by, and classing them anew when the rules have changed.
//!
//! An item's traits name the rule that applies, which is what its queue is found by. The rules are read afresh at
//! every start; what they are judged on is the item's own body, so that nothing depends on which rules were there
//! when its row was read, but the row's fields that were kept for them.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Store,
    error::StoreError,
    open::parse,
    requeue::traits_of,
    schema::{DONE, WAITING},
};
use crate::domain::{ItemSpec, RoutingRule, RoutingTraits, rule::referenced_fields};

/// The name under which the rules are kept.
const RULES: &str = "rules";

/// What a change of the rules has brought.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reclassed {
    /// Waiting items to which another rule applies now, or none.
    pub waiting: u64,
    /// Fields that the rules look at now and that were not kept of the rows read before.
    pub not_kept: Vec<String>,
}

impl Store {
    /// From now on items are classed by `rules`. Where these are not the last start's, every item that isn't done
    /// is looked at again.
    pub fn adopt_rules(&mut self, rules: &[RoutingRule]) -> Result<Reclassed, StoreError> {
        let mut reclassed = Reclassed::default();
        if self.rules == rules {
            return Ok(reclassed);
        }
        let json = serde_json::to_string(rules).map_err(|error| StoreError::record("the routing rules", error))?;
        self.transact(|group| {
            group.run("INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)", params![RULES, json])?;
            let unfinished: Vec<(i64, i64, u32)> = group
                .conn
                .prepare("SELECT seq, state, traits FROM progress WHERE state <> ?1")?
                .query_map([DONE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            for (seq, state, was) in unfinished {
                let body: String = group
                    .conn
                    .prepare_cached("SELECT body FROM payload WHERE seq = ?1")?
                    .query_row([seq], |row| row.get(0))?;
                let spec: ItemSpec = parse(&body, "an item")?;
                let required_target = traits_of(group.conn, was)?.required_target;
                let traits = group.traits_id(RoutingTraits { required_target, ..spec.routing_traits(rules) })?;
                if traits != was {
                    group.run("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![seq, traits])?;
                    reclassed.waiting += u64::from(state == WAITING);
                }
            }
            Ok(())
        })?;
        let kept = referenced_fields(&self.rules);
        if self.tallies.items > 0 {
            reclassed.not_kept = referenced_fields(rules).into_iter().filter(|field| !kept.contains(field)).collect();
        }
        self.rules = rules.to_vec();
        Ok(reclassed)
    }
}

/// The rules of the last start.
pub(super) fn load(conn: &Connection) -> Result<Vec<RoutingRule>, StoreError> {
    let json: Option<String> = conn
        .prepare_cached("SELECT json FROM states WHERE name = ?1")?
        .query_row([RULES], |row| row.get(0))
        .optional()?;
    json.map_or(Ok(Vec::new()), |json| parse(&json, "the routing rules"))
}
