//! What waits: tickets by class, in input order, with those that were tried before ahead of the fresh ones.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::domain::{Api, ModelId, Money, MonoTime, Outcome, RouteId, Seq};

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
    pub since: MonoTime,
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
    /// The model it was last sent to.
    model: Option<ModelId>,
    /// By model: an item that spills to and fro must run out of tries nevertheless.
    tries: SmallVec<[(ModelId, Tries); 1]>,
    /// The one retry with a larger output limit has been used.
    pub enlarged: bool,
    pub last: Option<Outcome>,
    pub charges: Charges,
}

/// What went wrong on one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    /// Provider faults charged to the item.
    pub charged: u32,
    /// Provider faults that nobody else's success has confirmed as the item's.
    pub uncharged: u32,
    pub empties: u32,
    pub timeouts: u32,
}

impl Tries {
    pub const fn faults(self) -> u32 {
        self.charged + self.uncharged
    }
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

    /// How often it has failed on a model in a way that may yet be its own fault.
    pub fn faults_on(&self, model: ModelId) -> u32 {
        let tries = self.course.as_ref().and_then(|course| course.tries.iter().find(|(other, _)| *other == model));
        tries.map_or(0, |(_, tries)| tries.faults())
    }

    /// What went wrong on the model that it was last sent to.
    pub fn tries(&self) -> Tries {
        self.course.as_ref().map_or_else(Tries::default, |course| course.tries())
    }
}

impl Course {
    /// Counts are per model.
    pub fn on_model(&mut self, model: ModelId) -> &mut Tries {
        self.model = Some(model);
        let known = self.tries.iter().position(|(other, _)| *other == model);
        let place = known.unwrap_or_else(|| {
            self.tries.push((model, Tries::default()));
            self.tries.len() - 1
        });
        &mut self.tries[place].1
    }

    fn tries(&self) -> Tries {
        let here = self.tries.iter().find(|(model, _)| Some(*model) == self.model);
        here.map_or_else(Tries::default, |(_, tries)| *tries)
    }
}

/// What decides where an untried ticket fits.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shape {
    input: u64,
    max_output: Option<u32>,
    max_usd: Option<Money>,
    inexpressible: SmallVec<[Api; 2]>,
}

impl Shape {
    fn of(ticket: &Ticket) -> Option<Self> {
        ticket.course.is_none().then(|| Self {
            input: ticket.input,
            max_output: ticket.max_output,
            max_usd: ticket.max_usd,
            inexpressible: ticket.inexpressible.clone(),
        })
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
    /// Blocked when they were looked at, and not to be looked at again before something changes: retries, and fresh
    /// tickets that nothing but their own needs kept from a ready route, so that others may pass.
    aside: VecDeque<Ticket>,
    /// The scheduler's version at which `aside` was looked at.
    aside_since: u64,
    /// The smallest untried ticket that was set aside since the last change: whoever is like it and no smaller is
    /// kept from the same routes.
    least_aside: Option<Shape>,
    /// Routes that a ticket which has waited long for token room keeps its place on: no other of the class takes them.
    pub held: SmallVec<[(RouteId, Seq); 4]>,
    /// A suspect left a trial to others.
    pub left_a_trial: bool,
    /// Waiting items of this class that are not loaded yet.
    pub backlog: u64,
    /// The scheduler's version at which nothing of this class could go.
    pub stuck_at: Option<u64>,
}

const ABSENT: u32 = u32::MAX;

/// Fresh tickets that may be set aside in a class.
const ASIDE: usize = 1_024;

/// Items that were tried, or set aside, are in memory whole: so many of a class, and no more are loaded.
const TRIED: usize = 16_384;

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
            aside: VecDeque::new(),
            aside_since: 0,
            least_aside: None,
            held: SmallVec::new(),
            left_a_trial: false,
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
        self.fresh.len() + self.retries.len() + self.aside.len()
    }

    /// The ticket to be looked at first.
    pub fn head(&self) -> Option<&Ticket> {
        self.retries.front().or(self.aside.front()).or(self.fresh.front())
    }

    pub fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.fresh.iter().chain(self.tried())
    }

    /// Those that were looked at before, or sent.
    pub fn tried(&self) -> impl Iterator<Item = &Ticket> {
        self.retries.iter().chain(&self.aside)
    }

    /// Something has changed since `version`, perhaps: what was set aside before gets another look.
    pub fn look_again_at_aside(&mut self, version: u64) {
        if self.aside_since != version {
            self.aside_since = version;
            self.look_again();
        }
    }

    /// What was set aside is looked at again, after what has not been looked at yet: so each gets its turn, however
    /// often something changes.
    pub fn look_again(&mut self) {
        self.held.clear();
        self.least_aside = None;
        self.retries.append(&mut self.aside);
    }

    /// Lets go of waiting tickets.
    pub fn retain(&mut self, mut stays: impl FnMut(&Ticket) -> bool) {
        self.held.clear();
        for queue in [&mut self.fresh, &mut self.retries, &mut self.aside] {
            queue.retain(&mut stays);
        }
    }

    pub fn set_aside(&mut self, ticket: Ticket) {
        self.aside.push_back(ticket);
    }

    /// Nothing but the ticket's own needs kept it from every ready route.
    pub fn note_own_needs(&mut self, ticket: &Ticket) {
        let shape = Shape::of(ticket);
        if shape.is_some() {
            self.least_aside = shape;
        }
    }

    /// Whether looking would find the same as for the one noted last: what a request costs, and the room it takes,
    /// only grow with its input.
    pub fn is_known_to_be_kept(&self, ticket: &Ticket) -> bool {
        let (Some(kept), Some(shape)) = (&self.least_aside, Shape::of(ticket)) else { return false };
        shape.input >= kept.input && Shape { input: kept.input, ..shape } == *kept
    }

    /// Whether more should be loaded behind those that were tried and can't go on.
    pub fn takes_more(&self) -> bool {
        self.retries.len() + self.aside.len() < TRIED
    }

    /// Others may pass so many that only their own needs keep from going, and no more: what waits is in memory.
    pub fn has_room_aside(&self) -> bool {
        self.aside.len() < ASIDE
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
