//! The items between the input and the scheduler. Rows are recorded as they are read. Most waiting items are kept in
//! memory as numbers only; just the next few of each class are loaded from the database.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    domain::{Api, ItemSpec, MonoTime, RoutingTraits, Seq},
    provider::check_supported,
    scheduler::{QueuedItem, Scheduler},
    store::{LoadedItem, WaitingItem},
};

/// Number of loaded items per class for each request that may be in flight, so that a burst does not wait for the disk.
const LOADED_PER_IN_FLIGHT: usize = 4;
/// Lower bound of loaded items per class.
const MIN_LOADED_ITEMS: usize = 64;

/// The items that have not ended: numbers of those not loaded yet, and requests of those that are loaded.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Waiting items that are not loaded, in order, by the scheduler's class index.
    backlogs: Vec<ClassBacklog>,
    /// Maps the store's traits ids to the scheduler's classes.
    classes: HashMap<u32, usize>,
    /// Loaded items, waiting or in flight.
    specs: HashMap<Seq, Arc<ItemSpec>>,
    apis: SmallVec<[Api; 3]>,
    /// Rows are still being read.
    pub is_reading: bool,
    /// Why reading ended before the end of the input.
    pub input_error: Option<String>,
}

#[derive(Debug, Default)]
struct ClassBacklog {
    unloaded: VecDeque<Seq>,
    /// Number of items requested from the loader and not yet received.
    loading_count: usize,
}

impl Intake {
    pub fn new(apis: SmallVec<[Api; 3]>) -> Self {
        Self { apis, ..Self::default() }
    }

    pub fn add_class(&mut self, scheduler: &mut Scheduler, id: u32, traits: &RoutingTraits) {
        let class = scheduler.find_or_add_class(traits);
        self.classes.insert(id, class);
        if self.backlogs.len() <= class {
            self.backlogs.resize_with(class + 1, ClassBacklog::default);
        }
    }

    /// Adds a waiting item by number. Its traits must have been passed to [`Self::add_class`] before.
    pub fn add_waiting(&mut self, scheduler: &mut Scheduler, item: WaitingItem) {
        let class = self.classes.get(&item.traits_id).copied().unwrap_or_else(|| {
            debug_assert!(false, "traits {} were never learnt", item.traits_id);
            scheduler.find_or_add_class(&RoutingTraits::default())
        });
        if self.backlogs.len() <= class {
            self.backlogs.resize_with(class + 1, ClassBacklog::default);
        }
        self.backlogs[class].unloaded.push_back(item.seq);
    }

    /// Tells the scheduler how many waiting items of each class it has not received yet.
    pub fn update_backlog(&self, scheduler: &mut Scheduler) {
        for (class, backlog) in self.backlogs.iter().enumerate() {
            scheduler.set_backlog(class, (backlog.unloaded.len() + backlog.loading_count) as u64);
        }
    }

    /// The next items to load, all of one class. `None` if no class needs more.
    pub fn next_batch(&mut self, scheduler: &Scheduler) -> Option<(usize, Vec<Seq>)> {
        let target = (scheduler.policy().max_in_flight as usize * LOADED_PER_IN_FLIGHT).max(MIN_LOADED_ITEMS);
        for (class, backlog) in self.backlogs.iter_mut().enumerate() {
            // One batch at a time, requested when half of the last one is left.
            let loaded = scheduler.pending_count(class);
            let has_enough = loaded * 2 > target || !scheduler.has_capacity(class);
            if backlog.loading_count > 0 || backlog.unloaded.is_empty() || has_enough {
                continue;
            }
            let batch: Vec<Seq> = backlog.unloaded.drain(..backlog.unloaded.len().min(target)).collect();
            backlog.loading_count = batch.len();
            return Some((class, batch));
        }
        None
    }

    /// Queues loaded items in the scheduler.
    pub fn on_loaded(&mut self, scheduler: &mut Scheduler, now: MonoTime, class: usize, items: Vec<LoadedItem>) {
        self.backlogs[class].loading_count = 0;
        for LoadedItem { seq, spec, completed_attempts, .. } in items {
            let mut item = self.queued_item(seq, &spec, now);
            if completed_attempts > 0 {
                item.restore_attempts(completed_attempts);
            }
            self.specs.insert(seq, Arc::new(spec));
            scheduler.enqueue(class, item);
        }
        self.update_backlog(scheduler);
    }

    /// Puts a batch that could not be loaded back to the front of its backlog.
    pub fn on_load_failed(&mut self, class: usize, batch: Vec<Seq>) {
        let backlog = &mut self.backlogs[class];
        backlog.loading_count = 0;
        batch.into_iter().rev().for_each(|seq| backlog.unloaded.push_front(seq));
    }

    fn queued_item(&self, seq: Seq, spec: &ItemSpec, now: MonoTime) -> QueuedItem {
        let request = &spec.request;
        let unsupported_apis =
            self.apis.iter().copied().filter(|api| check_supported(*api, request).is_err()).collect();
        QueuedItem {
            seq,
            input_tokens: request.estimated_input_tokens(),
            max_output_tokens: request.params.max_output_tokens,
            max_usd: spec.max_usd,
            is_caption: spec.caption_path.is_some(),
            unsupported_apis,
            waiting_since: now,
            retry_state: None,
        }
    }

    /// Whether items are requested from the loader and not yet received.
    #[cfg(test)]
    pub fn is_loading(&self) -> bool {
        self.backlogs.iter().any(|backlog| backlog.loading_count > 0)
    }

    pub fn spec(&self, seq: Seq) -> Option<&Arc<ItemSpec>> {
        self.specs.get(&seq)
    }

    /// Removes an item that has ended.
    pub fn remove(&mut self, seq: Seq) -> Option<Arc<ItemSpec>> {
        self.specs.remove(&seq)
    }
}
