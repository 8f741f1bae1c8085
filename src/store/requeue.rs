//! Requeues failed items that match a filter.

use std::collections::HashMap;

use rusqlite::params;

use super::{error::StoreError, failed_items::matching_items, op::OpReply, row::WaitingItem, schema::FAILED, txn::Txn};
use crate::domain::{ReplayFilter, RouteTarget, RoutingTraits};

/// Requeues the items that match a filter: to the whole cascade, or to one target only.
pub(super) fn requeue(
    txn: &mut Txn<'_>,
    filter: &ReplayFilter,
    target: Option<&RouteTarget>,
) -> Result<Vec<WaitingItem>, StoreError> {
    // Failed items are found by the blocks' counters, so changes of this transaction are saved first.
    std::mem::take(&mut txn.block_changes).save(txn.conn)?;
    let known_before = txn.new_traits.len();
    let mut items = matching_items(txn.conn, filter)?;
    let mut new_traits_ids = HashMap::new();
    for item in &mut items {
        txn.reopen_item(item.seq.0, FAILED)?;
        let traits = match new_traits_ids.get(&item.traits_id) {
            Some(traits) => *traits,
            None => *new_traits_ids.entry(item.traits_id).or_insert(retarget_traits(txn, item.traits_id, target)?),
        };
        if traits != item.traits_id {
            txn.execute("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![item.seq.0, traits])?;
            item.traits_id = traits;
        }
    }
    if txn.new_traits.len() > known_before {
        let all = txn.new_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        txn.replies.push(OpReply::Traits(all));
    }
    Ok(items)
}

/// Returns the id of the same traits with `target` as the required target.
fn retarget_traits(txn: &mut Txn<'_>, traits_id: u32, target: Option<&RouteTarget>) -> Result<u32, StoreError> {
    let traits = txn.read_traits(traits_id)?;
    if traits.required_target.as_ref() == target {
        return Ok(traits_id);
    }
    txn.intern_traits(RoutingTraits { required_target: target.cloned(), ..traits })
}
