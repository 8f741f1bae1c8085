//! From the input to the scheduler: rows are recorded as they are read, items wait by number alone, and only
//! the next few of each class are held in memory whole.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    domain::{Api, ItemSpec, MonoTime, RoutingTraits, Seq},
    provider::can_express,
    scheduler::{QueuedItem, Scheduler},
    store::{Loaded, Queued},
};

/// Loaded tickets per class and flight, so that a burst never waits for the disk.
const AHEAD: usize = 4;
/// And at least this many.
const LEAST: usize = 64;

/// Waiting items, by the scheduler's class.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// By the scheduler's class index: numbers of items that are not loaded, in order.
    queues: Vec<Queue>,
    /// The store's traits ids to the scheduler's classes.
    classes: HashMap<u32, usize>,
    /// Loaded items that wait or fly.
    specs: HashMap<Seq, Arc<ItemSpec>>,
    apis: SmallVec<[Api; 3]>,
    /// Rows are still being read.
    pub reading: bool,
    /// Why reading ended before the input did.
    pub broken: Option<String>,
}

#[derive(Debug, Default)]
struct Queue {
    unloaded: VecDeque<Seq>,
    /// Asked of the loader and not yet here.
    loading: usize,
}

impl Intake {
    pub fn new(apis: SmallVec<[Api; 3]>) -> Self {
        Self { apis, ..Self::default() }
    }

    pub fn learn(&mut self, scheduler: &mut Scheduler, id: u32, traits: &RoutingTraits) {
        let class = scheduler.class_for(traits);
        self.classes.insert(id, class);
        if self.queues.len() <= class {
            self.queues.resize_with(class + 1, Queue::default);
        }
    }

    /// A waiting item, known by number. Its traits have been learnt.
    pub fn queue(&mut self, scheduler: &mut Scheduler, item: Queued) {
        let class = self.classes.get(&item.traits).copied().unwrap_or_else(|| {
            debug_assert!(false, "traits {} were never learnt", item.traits);
            scheduler.class_for(&RoutingTraits::default())
        });
        if self.queues.len() <= class {
            self.queues.resize_with(class + 1, Queue::default);
        }
        self.queues[class].unloaded.push_back(item.seq);
    }

    /// Tells the scheduler how many items wait unseen.
    pub fn count_backlog(&self, scheduler: &mut Scheduler) {
        for (class, queue) in self.queues.iter().enumerate() {
            scheduler.set_backlog(class, (queue.unloaded.len() + queue.loading) as u64);
        }
    }

    /// The next items worth loading, if any: one class at a time.
    pub fn wanted(&mut self, scheduler: &Scheduler) -> Option<(usize, Vec<Seq>)> {
        let target = (scheduler.policy().max_in_flight as usize * AHEAD).max(LEAST);
        for (class, queue) in self.queues.iter_mut().enumerate() {
            // One batch under way at a time, asked for while half of the last is left.
            let loaded = scheduler.pending_count(class);
            let enough = loaded * 2 > target || !scheduler.has_capacity(class);
            if queue.loading > 0 || queue.unloaded.is_empty() || enough {
                continue;
            }
            let batch: Vec<Seq> = queue.unloaded.drain(..queue.unloaded.len().min(target)).collect();
            queue.loading = batch.len();
            return Some((class, batch));
        }
        None
    }

    /// Loaded items become tickets.
    pub fn loaded(&mut self, scheduler: &mut Scheduler, now: MonoTime, class: usize, items: Vec<Loaded>) {
        self.queues[class].loading = 0;
        for Loaded { seq, spec, attempts, .. } in items {
            let mut ticket = self.ticket(seq, &spec, now);
            if attempts > 0 {
                ticket.restore_attempts(attempts);
            }
            self.specs.insert(seq, Arc::new(spec));
            scheduler.enqueue(class, ticket);
        }
        self.count_backlog(scheduler);
    }

    /// A batch could not be loaded: it waits again, in front.
    pub fn not_loaded(&mut self, class: usize, batch: Vec<Seq>) {
        let queue = &mut self.queues[class];
        queue.loading = 0;
        batch.into_iter().rev().for_each(|seq| queue.unloaded.push_front(seq));
    }

    fn ticket(&self, seq: Seq, spec: &ItemSpec, now: MonoTime) -> QueuedItem {
        let request = &spec.request;
        let unsupported_apis = self.apis.iter().copied().filter(|api| can_express(*api, request).is_err()).collect();
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

    /// Items were asked of the loader and have not come yet.
    #[cfg(test)]
    pub fn is_loading(&self) -> bool {
        self.queues.iter().any(|queue| queue.loading > 0)
    }

    pub fn spec(&self, seq: Seq) -> Option<&Arc<ItemSpec>> {
        self.specs.get(&seq)
    }

    /// The item has ended.
    pub fn forget(&mut self, seq: Seq) -> Option<Arc<ItemSpec>> {
        self.specs.remove(&seq)
    }
}
