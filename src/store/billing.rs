//! Tokens and costs of attempts, by kind, as columns of `attempts`.

use rusqlite::{Connection, Row};

use super::{error::StoreError, schema};
use crate::domain::{CostByKind, Money, Usage};

/// The tokens and the cost of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Billing {
    pub usage: Usage,
    pub cost: Money,
    /// All zero in attempts of versions that did not record the kinds.
    pub cost_by_kind: CostByKind,
}

/// The columns that [`read_billing`] reads. Databases that have no kinds yet get zeros in their places.
pub(super) fn billing_columns(conn: &Connection) -> Result<&'static str, StoreError> {
    Ok(if schema::has_kinds(conn)? {
        "input_tokens, output_tokens, thinking_tokens, cost, cached_input_tokens, cache_write_tokens,
         cache_write_1h_tokens, cost_input, cost_cached_input, cost_cache_write, cost_output, cost_images"
    } else {
        "input_tokens, output_tokens, thinking_tokens, cost, 0, 0, 0, 0, 0, 0, 0, 0"
    })
}

/// Reads the columns of [`billing_columns`], the first of which is column `first` of the row.
pub(super) fn read_billing(row: &Row<'_>, first: usize) -> rusqlite::Result<Billing> {
    let number = |column: usize| row.get::<_, u64>(first + column);
    let money = |column: usize| number(column).map(Money);
    Ok(Billing {
        usage: Usage {
            input_tokens: number(0)?,
            output_tokens: number(1)?,
            thinking_tokens: number(2)?,
            cached_input_tokens: number(4)?,
            cache_write_tokens: number(5)?,
            cache_write_1h_tokens: number(6)?,
        },
        cost: money(3)?,
        cost_by_kind: CostByKind {
            input: money(7)?,
            cached_input: money(8)?,
            cache_write: money(9)?,
            output: money(10)?,
            images: money(11)?,
        },
    })
}

impl Billing {
    pub fn add(&mut self, other: &Self) {
        self.usage += other.usage;
        self.cost += other.cost;
        self.cost_by_kind += other.cost_by_kind;
    }
}
