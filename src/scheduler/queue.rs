//! What waits: tickets by class, in input order, with those that were tried before ahead of the fresh ones.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::domain::{Api, ModelId, Money, Mono, Outcome, RouteId, Seq};

use super::{
    bits::BitSet,
    candidates::{Candidates, Routing},
    examination::Charges,
    pool::Need,
    strategy::Picker,
};

/// An item as the scheduler knows it: its size and its history, never its text.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub seq: Seq,
    /// Estimated input tokens.
    pub input: u64,
    /// The most output tokens its own parameters allow.
    pub max_output: Option<u32>,
    pub max_usd: Option<Money>,
    /// The answer becomes a sidecar: a truncated one is no answer.
    pub caption: bool,
    /// APIs that can't express its request.
    pub inexpressible: SmallVec<[Api; 2]>,
    /// When it could first have been sent.
    pub since: Mono,
    /// `None` until something went wrong; most items never need one.
    pub course: Option<Box<Course>>,
}

/// What an item has been through.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// HTTP requests so far.
    pub attempts: u32,
    /// Models that it is done with.
    pub given_up: SmallVec<[ModelId; 4]>,
    /// The model that the counts below are about.
    pub model: Option<ModelId>,
    /// Provider faults charged to the item on this model.
    pub charged: u32,
    /// Provider faults that nobody else's success has confirmed as the item's.
    pub uncharged: u32,
    pub empties: u32,
    pub timeouts: u32,
    /// The one retry with a larger output limit has been used.
    pub enlarged: bool,
    pub last: Option<Outcome>,
    pub charges: Charges,
}

impl Ticket {
    pub fn course(&mut self) -> &mut Course {
        self.course.get_or_insert_default()
    }

    pub fn attempts(&self) -> u32 {
        self.course.as_ref().map_or(0, |course| course.attempts)
    }

    /// Earlier processes have sent it this many times already.
    pub fn recall_attempts(&mut self, attempts: u32) {
        self.course().attempts = attempts;
    }

    pub fn has_given_up(&self, model: ModelId) -> bool {
        self.course.as_ref().is_some_and(|course| course.given_up.contains(&model))
    }

    /// Has failed on its present model in a way that may yet be its own fault.
    pub fn is_suspect(&self) -> bool {
        self.course.as_ref().is_some_and(|course| course.charged + course.uncharged > 0)
    }

    pub fn timeouts(&self) -> u32 {
        self.course.as_ref().map_or(0, |course| course.timeouts)
    }
}

impl Course {
    /// Counts are per model: moving on starts them anew.
    pub fn on_model(&mut self, model: ModelId) {
        if self.model != Some(model) {
            self.model = Some(model);
            (self.charged, self.uncharged, self.empties, self.timeouts) = (0, 0, 0, 0);
        }
    }
}

/// Items that may use the same routes.
#[derive(Debug)]
pub struct Class {
    pub routing: Routing,
    /// In order of preference.
    pub candidates: Vec<RouteId>,
    /// By route: its place in `candidates`, or `ABSENT`.
    rank_of: Vec<u32>,
    /// Ranks that may be ready; a bit is cleared when a look says otherwise and set when that may have changed.
    pub ready: BitSet,
    /// Chooses among them.
    pub picker: Picker,
    /// The rank of the primary that was last found in service, under `primary_backup`.
    pub witness: usize,
    pub fresh: VecDeque<Ticket>,
    /// Tried before and free to go again.
    pub retries: VecDeque<Ticket>,
    /// Waiting items of this class that are not loaded yet.
    pub backlog: u64,
    /// The scheduler's version at which nothing of this class could go.
    pub stuck_at: Option<u64>,
}

const ABSENT: u32 = u32::MAX;

impl Class {
    pub fn new(routing: Routing, candidates: Candidates, routes: usize) -> Self {
        let mut class = Self {
            routing,
            candidates: Vec::new(),
            rank_of: Vec::new(),
            ready: BitSet::default(),
            picker: candidates.picker,
            witness: 0,
            fresh: VecDeque::new(),
            retries: VecDeque::new(),
            backlog: 0,
            stuck_at: None,
        };
        class.all_ready(candidates.routes, routes);
        class
    }

    pub fn set_candidates(&mut self, candidates: Candidates, routes: usize) {
        self.picker = candidates.picker;
        self.all_ready(candidates.routes, routes);
    }

    fn all_ready(&mut self, candidates: Vec<RouteId>, routes: usize) {
        self.rank_of = vec![ABSENT; routes];
        for (rank, route) in candidates.iter().enumerate() {
            self.rank_of[route.index()] = rank as u32;
        }
        self.ready = BitSet::full(candidates.len());
        self.candidates = candidates;
        self.stuck_at = None;
    }

    pub fn rank(&self, route: RouteId) -> Option<usize> {
        let rank = self.rank_of[route.index()];
        (rank != ABSENT).then_some(rank as usize)
    }

    pub fn park(&mut self, route: RouteId) {
        if let Some(rank) = self.rank(route) {
            self.ready.remove(rank);
            self.picker.park(rank);
        }
    }

    pub fn unpark(&mut self, route: RouteId) {
        if let Some(rank) = self.rank(route) {
            self.ready.insert(rank);
            self.picker.unpark(rank);
        }
    }

    pub fn loaded(&self) -> usize {
        self.fresh.len() + self.retries.len()
    }
}

/// What an attempt took and from where.
#[derive(Clone, Debug)]
pub struct Flight {
    pub class: usize,
    pub ticket: Ticket,
    pub route: RouteId,
    pub reserved_at: crate::domain::Now,
    /// When its request left the process; when it was reserved, until that is told.
    pub sent_at: crate::domain::Now,
    pub taken: Need,
    pub cost: Money,
}
