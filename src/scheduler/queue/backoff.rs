//! Items that wait for the end of a retry delay.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use crate::domain::{MonoTime, Seq};

use super::item::QueuedItem;

#[derive(Debug, Default)]
pub struct BackoffQueue {
    /// With their class.
    items: HashMap<Seq, (usize, QueuedItem)>,
    wakeups: BinaryHeap<Reverse<(MonoTime, Seq)>>,
}

impl BackoffQueue {
    pub fn insert(&mut self, until: MonoTime, class: usize, item: QueuedItem) {
        self.wakeups.push(Reverse((until, item.seq)));
        self.items.insert(item.seq, (class, item));
    }

    /// Removes an item whose delay is over at `now`, the earliest first.
    pub fn pop_due(&mut self, now: MonoTime) -> Option<(usize, QueuedItem)> {
        while let Some(Reverse((_, seq))) = self.wakeups.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.wakeups.pop();
            if let Some(found) = self.items.remove(&seq) {
                return Some(found);
            }
        }
        None
    }

    /// The end of the next delay.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        self.wakeups.peek().map(|Reverse((at, _))| *at)
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn items_of(&self, class: usize) -> impl Iterator<Item = &QueuedItem> {
        self.items.values().filter(move |(other, _)| *other == class).map(|(_, item)| item)
    }

    /// Number of items by class.
    pub fn counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        self.items.values().for_each(|(class, _)| counts[*class] += 1);
        counts
    }

    /// Removes the items for which `reject` returns a value, in input order, and returns these values.
    pub fn extract<T>(&mut self, reject: impl Fn(usize, &QueuedItem) -> Option<T>) -> Vec<T> {
        let rejected = self.items.iter().filter_map(|(seq, (class, item))| Some((*seq, reject(*class, item)?)));
        let mut rejected: Vec<(Seq, T)> = rejected.collect();
        rejected.sort_unstable_by_key(|(seq, _)| *seq);
        rejected
            .into_iter()
            .map(|(seq, value)| {
                self.items.remove(&seq);
                value
            })
            .collect()
    }
}
