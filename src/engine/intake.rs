//! The items between the input and the scheduler. Rows are recorded as they are read. Most waiting items are kept in
//! memory as numbers only; just the next few of each class are loaded from the database.

use std::{collections::HashMap, time::Duration};

use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::{
    item_table::ItemTable,
    messages::{DiskFault, LoadedBatch},
    seq_queue::SeqQueue,
};
use crate::{
    checks::CheckSet,
    domain::{Api, ItemSpec, MonoTime, PictureTokenizer, Request, RoutingTraits, Seq, request::estimated_text_tokens},
    provider::check_supported,
    scheduler::{QueuedItem, Scheduler},
    store::{EarlierAttempts, ItemLoader, LoadedItem, WaitingItem, WaitingRange},
};

/// Number of loaded items per class for each request that may be in flight, so that a burst does not wait for the disk.
const LOADED_PER_IN_FLIGHT: usize = 4;
/// Lower bound of loaded items per class.
const MIN_LOADED_ITEMS: usize = 64;

/// Delay before a failed load is reported as done, so that it is not repeated at once.
const LOAD_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Waiting items that are not loaded yet, and the loading of the next ones.
#[derive(Debug)]
pub(super) struct Intake {
    loader: ItemLoader,
    loaded_tx: mpsc::Sender<LoadedBatch>,
    fault_tx: mpsc::Sender<DiskFault>,
    /// Waiting items that are not loaded, in order, by the scheduler's class index.
    backlogs: Vec<ClassBacklog>,
    /// Maps the store's traits ids to the scheduler's classes.
    classes: HashMap<u32, usize>,
    apis: SmallVec<[Api; 3]>,
    checks: CheckSet,
    /// Counts the tokens of pictures.
    pub picture_tokenizer: PictureTokenizer,
    /// Rows are still being read.
    pub is_reading: bool,
    /// Number of waiting items that this start does not send, because it is limited to the first rows.
    pub held_back_items: u64,
    /// Why reading ended before the end of the input.
    pub input_error: Option<String>,
    /// An ingest batch is in the journal and not yet committed. No further rows are read until then.
    pub is_ingest_pending: bool,
}

#[derive(Debug, Default)]
struct ClassBacklog {
    unloaded: SeqQueue,
    /// Number of items requested from the loader and not yet received.
    loading_count: usize,
}

impl Intake {
    pub fn new(
        loader: ItemLoader,
        loaded_tx: mpsc::Sender<LoadedBatch>,
        fault_tx: mpsc::Sender<DiskFault>,
        apis: SmallVec<[Api; 3]>,
        checks: CheckSet,
    ) -> Self {
        Self {
            loader,
            loaded_tx,
            fault_tx,
            backlogs: Vec::new(),
            classes: HashMap::new(),
            apis,
            checks,
            picture_tokenizer: PictureTokenizer::default(),
            is_reading: false,
            held_back_items: 0,
            input_error: None,
            is_ingest_pending: false,
        }
    }

    /// Whether the next rows may be read.
    pub const fn wants_rows(&self) -> bool {
        self.is_reading && !self.is_ingest_pending
    }

    /// Adds traits by their id in the store. Returns the scheduler's class of items with them.
    pub fn add_class(&mut self, scheduler: &mut Scheduler, id: u32, traits: &RoutingTraits) -> usize {
        let class = scheduler.find_or_add_class(traits);
        self.classes.insert(id, class);
        if self.backlogs.len() <= class {
            self.backlogs.resize_with(class + 1, ClassBacklog::default);
        }
        class
    }

    /// Adds a waiting item by number. Its traits must have been passed to [`Self::add_class`] before.
    pub fn add_waiting(&mut self, scheduler: &mut Scheduler, item: WaitingItem) {
        let class = self.class_of(scheduler, item.traits_id);
        self.backlogs[class].unloaded.push_back(item.seq);
    }

    /// Adds waiting items with consecutive numbers, as [`Self::add_waiting`] does.
    pub fn add_waiting_range(&mut self, scheduler: &mut Scheduler, items: WaitingRange) {
        let class = self.class_of(scheduler, items.traits_id);
        self.backlogs[class].unloaded.push_back_range(items.first, items.count);
    }

    fn class_of(&mut self, scheduler: &mut Scheduler, traits_id: u32) -> usize {
        self.classes.get(&traits_id).copied().unwrap_or_else(|| {
            debug_assert!(false, "traits {traits_id} are unknown");
            self.add_class(scheduler, traits_id, &RoutingTraits::default())
        })
    }

    /// Adds waiting items by number, with the traits that are new.
    pub fn add_items(
        &mut self,
        scheduler: &mut Scheduler,
        new_traits: &[(u32, RoutingTraits)],
        items: Vec<WaitingItem>,
    ) {
        for (id, traits) in new_traits {
            self.add_class(scheduler, *id, traits);
        }
        for item in items {
            self.add_waiting(scheduler, item);
        }
        self.update_backlog(scheduler);
    }

    /// Tells the scheduler how many waiting items of each class it has not received yet.
    pub fn update_backlog(&self, scheduler: &mut Scheduler) {
        for (class, backlog) in self.backlogs.iter().enumerate() {
            scheduler.set_backlog(class, (backlog.unloaded.len() + backlog.loading_count) as u64);
        }
    }

    /// Whether items remain that are not queued: rows that are not read, or items that are not loaded.
    pub fn has_backlog(&self) -> bool {
        let is_waiting = |backlog: &ClassBacklog| backlog.loading_count > 0 || !backlog.unloaded.is_empty();
        self.is_reading || self.is_ingest_pending || self.backlogs.iter().any(is_waiting)
    }

    /// Starts to load the next items of each class that needs more, or of all classes if `gives_up_rest`.
    pub fn load_items(&mut self, scheduler: &mut Scheduler, gives_up_rest: bool) {
        while let Some((class, batch)) = self.next_batch(scheduler, gives_up_rest) {
            self.update_backlog(scheduler);
            let (loader, loaded_tx, fault_tx) = (self.loader.clone(), self.loaded_tx.clone(), self.fault_tx.clone());
            tokio::spawn(async move {
                let loaded = match loader.load(batch.clone()).await {
                    Ok(items) => Ok(items),
                    Err(error) => {
                        // The send fails only if the engine has ended.
                        let message = format!("waiting items can't be read from the run's database: {error}");
                        let _ = fault_tx.send(DiskFault::Blocking(message)).await;
                        tokio::time::sleep(LOAD_RETRY_INTERVAL).await;
                        Err(batch)
                    }
                };
                // The send fails only if the engine has ended.
                let _ = loaded_tx.send((class, loaded)).await;
            });
        }
    }

    /// The next items to load, all of one class. `None` if no class needs more.
    fn next_batch(&mut self, scheduler: &Scheduler, gives_up_rest: bool) -> Option<(usize, Vec<Seq>)> {
        let target = (scheduler.policy().max_in_flight as usize * LOADED_PER_IN_FLIGHT).max(MIN_LOADED_ITEMS);
        for (class, backlog) in self.backlogs.iter_mut().enumerate() {
            // One batch at a time, requested when half of the last one is left.
            let loaded = scheduler.pending_count(class);
            let has_enough = loaded * 2 > target || !scheduler.has_capacity(class);
            if backlog.loading_count > 0 || backlog.unloaded.is_empty() || (has_enough && !gives_up_rest) {
                continue;
            }
            let batch = backlog.unloaded.take_front(target);
            backlog.loading_count = batch.len();
            return Some((class, batch));
        }
        None
    }

    /// Queues loaded items in the scheduler and adds them to the table.
    pub fn on_loaded(
        &mut self,
        scheduler: &mut Scheduler,
        table: &mut ItemTable,
        now: MonoTime,
        class: usize,
        items: Vec<LoadedItem>,
    ) {
        self.backlogs[class].loading_count = 0;
        for loaded in items {
            let LoadedItem { seq, spec, completed_attempts, started_at, failed_check_message, earlier_attempts } =
                loaded;
            let mut item = self.queued_item(seq, &spec, now);
            if completed_attempts > 0 {
                item.restore_attempts(completed_attempts);
            }
            for EarlierAttempts { provider, model, outcome, count } in earlier_attempts {
                // Attempts on a model that is no longer configured don't matter.
                if let Some(model) = scheduler.find_model(&provider, &model) {
                    item.restore_failures(model, outcome, count);
                }
            }
            let explanation = failed_check_message.and_then(|message| self.checks.explanation(&message));
            if let Some(explanation) = &explanation {
                item.set_explanation_tokens(estimated_text_tokens(explanation));
            }
            table.insert(seq, spec, started_at, explanation);
            scheduler.enqueue(class, item);
        }
        self.update_backlog(scheduler);
    }

    /// Puts a batch that could not be loaded back to the front of its backlog.
    pub fn on_load_failed(&mut self, class: usize, batch: &[Seq]) {
        let backlog = &mut self.backlogs[class];
        backlog.loading_count = 0;
        backlog.unloaded.push_front_all(batch);
    }

    /// Why one of the fleet's APIs can't take a request, as a sentence; `None` if all can.
    pub fn unsupported_reason(&self, request: &Request) -> Option<String> {
        self.apis.iter().find_map(|api| check_supported(*api, request).err())
    }

    fn queued_item(&self, seq: Seq, spec: &ItemSpec, now: MonoTime) -> QueuedItem {
        let request = &spec.request;
        let unsupported_apis =
            self.apis.iter().copied().filter(|api| check_supported(*api, request).is_err()).collect();
        QueuedItem {
            seq,
            input_tokens: spec.estimated_input_tokens(&self.picture_tokenizer),
            max_output_tokens: request.params.max_output_tokens,
            cost_factors: request.cost_factors(),
            max_usd: spec.max_usd,
            is_caption: spec.caption_path.is_some(),
            unsupported_apis,
            waiting_since: now,
            retry_state: None,
        }
    }

    #[cfg(test)]
    pub const fn loader(&self) -> &ItemLoader {
        &self.loader
    }

    /// Whether items are requested from the loader and not yet received.
    #[cfg(test)]
    pub fn is_loading(&self) -> bool {
        self.backlogs.iter().any(|backlog| backlog.loading_count > 0)
    }
}
