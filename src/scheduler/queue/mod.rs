//! Everything that waits: items by class, items that back off, and items that fail locally.

mod backoff;
mod class_queue;
mod item;
mod retry_state;

use std::collections::HashSet;

use crate::domain::{MonoTime, Outcome, Seq};

use backoff::BackoffQueue;

pub use class_queue::{ClassQueue, LOOKAHEAD};
pub use item::QueuedItem;
pub use retry_state::{Evidence, Retry};

/// An item that fails locally: nothing is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalRejection {
    pub seq: Seq,
    pub outcome: Outcome,
    pub message: String,
    /// Attempts for this item so far, those that sent nothing included.
    pub attempts: u32,
}

impl LocalRejection {
    pub fn given_up(seq: Seq, attempts: u32) -> Self {
        Self { seq, outcome: Outcome::GivenUp, message: "given up by the operator".to_owned(), attempts }
    }
}

/// All waiting items. Classes are numbered in the order of their creation, as in [`super::routing::Routing`].
#[derive(Debug, Default)]
pub struct Queue {
    classes: Vec<ClassQueue>,
    backoff: BackoffQueue,
    /// Items that no route can ever serve, not yet returned by `poll`.
    rejections: Vec<LocalRejection>,
    /// Unfinished items that have had a provider error on their current model. If all unfinished items are among them,
    /// errors count against an item even though no other item succeeds.
    failing_items: HashSet<Seq>,
}

impl Queue {
    pub fn add_class(&mut self) {
        self.classes.push(ClassQueue::default());
    }

    pub fn class(&self, class: usize) -> &ClassQueue {
        &self.classes[class]
    }

    pub fn class_mut(&mut self, class: usize) -> &mut ClassQueue {
        &mut self.classes[class]
    }

    pub fn classes(&self) -> &[ClassQueue] {
        &self.classes
    }

    pub fn classes_mut(&mut self) -> &mut [ClassQueue] {
        &mut self.classes
    }

    /// Records that the routes of all classes have changed.
    pub fn mark_changed(&mut self) {
        self.classes.iter_mut().for_each(ClassQueue::mark_changed);
    }

    /// Adds an item that is to wait for the end of a retry delay.
    pub fn back_off(&mut self, until: MonoTime, class: usize, item: QueuedItem) {
        self.backoff.insert(until, class, item);
    }

    /// Queues the items whose retry delay is over.
    pub fn end_backoffs(&mut self, now: MonoTime) {
        while let Some((class, item)) = self.backoff.pop_due(now) {
            self.classes[class].push_retry(item);
        }
    }

    /// The items that wait for the end of a retry delay.
    pub const fn backoff(&self) -> &BackoffQueue {
        &self.backoff
    }

    /// All loaded items of a class, including those that back off.
    pub fn items(&self, class: usize) -> impl Iterator<Item = &QueuedItem> {
        self.classes[class].items().chain(self.backoff.items_of(class))
    }

    /// Whether more items of the class are about to be loaded.
    pub fn is_loading(&self, class: usize) -> bool {
        let class = &self.classes[class];
        class.backlog > 0 && class.pending_count() == 0 && class.has_capacity()
    }

    pub fn has_loaded(&self) -> bool {
        self.classes.iter().any(|class| class.loaded_count() > 0)
    }

    /// Items that are not in flight, whether loaded or not.
    pub fn waiting_count(&self) -> u64 {
        let queued: u64 = self.classes.iter().map(|class| class.backlog + class.loaded_count() as u64).sum();
        queued + (self.backoff.len() + self.rejections.len()) as u64
    }

    /// Adds an item that fails locally.
    pub fn reject(&mut self, rejection: LocalRejection) {
        self.rejections.push(rejection);
    }

    pub fn pop_rejection(&mut self) -> Option<LocalRejection> {
        self.rejections.pop()
    }

    /// Rejects all waiting items for which `rejection` returns one. Returns their number.
    pub fn reject_where(&mut self, rejection: impl Fn(usize, &QueuedItem) -> Option<LocalRejection>) -> usize {
        let mut rejected: Vec<LocalRejection> = Vec::new();
        for (index, class) in self.classes.iter_mut().enumerate() {
            let of_class: Vec<LocalRejection> = class.items().filter_map(|item| rejection(index, item)).collect();
            if !of_class.is_empty() {
                class.retain(|item| of_class.iter().all(|rejected| rejected.seq != item.seq));
                rejected.extend(of_class);
            }
        }
        rejected.extend(self.backoff.extract(rejection));
        for rejection in &rejected {
            self.failing_items.remove(&rejection.seq);
        }
        let count = rejected.len();
        self.rejections.extend(rejected);
        count
    }

    /// Records that an item had a provider error. Returns the number of such items.
    pub fn mark_failing(&mut self, seq: Seq) -> u64 {
        self.failing_items.insert(seq);
        self.failing_items.len() as u64
    }

    /// Number of unfinished items whose last attempt ended with a provider error.
    pub fn failing_count(&self) -> u64 {
        self.failing_items.len() as u64
    }

    /// Records that an item moves to another model or has ended.
    pub fn clear_failing(&mut self, seq: Seq) {
        self.failing_items.remove(&seq);
    }
}
