//! One request from its arrival to its last byte.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body as HttpBody, Bytes},
    http::{HeaderMap, Response},
};
use futures_util::stream;
use tokio::sync::watch;

use super::{
    answer::{Said, compose},
    ask::{Ask, Complaint},
    books::Books,
    faults::{Fault, Marker, marker},
    layout::{Layout, Seat},
    ledger::{Circumstances, Ledger, Place, Ruling, Served, Verdict},
    profile::{KeyState, Profile},
    sending::{broken, bytes_of, cut_off, respond, whole},
    window::Tokens,
    wire::{Dialect, Envelope, Nothing, Rejection, Reply, Subject, Trouble, dialect},
};
use crate::{
    clock::Clock,
    domain::{Api, Now},
};

/// Pieces that a slow body comes in.
const DRIBBLES: u32 = 8;

/// The running simulator, shared by all its connections.
#[derive(Debug)]
pub(super) struct Sim {
    layout: Layout,
    clock: Clock,
    began: Now,
    ledger: Mutex<Ledger>,
    /// Turns true once, when the simulator stops: whatever sleeps then wakes.
    stopping: watch::Sender<bool>,
}

/// A request as it arrived.
pub(super) struct Arrival {
    pub api: Api,
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub model_in_path: Option<String>,
    pub body: Bytes,
}

impl Arrival {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { headers: &self.headers, query: self.query.as_deref(), model_in_path: self.model_in_path.as_deref() }
    }
}

/// A request that passed everything that doesn't depend on the moment.
struct Sound {
    place: Place,
    ask: Ask,
    wished: Option<Fault>,
}

/// A turned-away request, and on whose account.
struct TurnedAway {
    why: Rejection,
    secret: String,
    seat: Option<Seat>,
    model: Option<usize>,
}

impl Sim {
    pub fn new(profile: Profile, clock: Clock) -> Result<Self, String> {
        profile.check()?;
        let layout = Layout::new(profile);
        let began = clock.now();
        let ledger = Mutex::new(Ledger::new(&layout, began));
        Ok(Self { layout, clock, began, ledger, stopping: watch::Sender::new(false) })
    }

    pub fn books(&self) -> Books {
        self.ledger().books(&self.layout, self.running(self.clock.now()))
    }

    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends when the simulator stops.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// A request for an answer.
    pub async fn generate(self: Arc<Self>, arrival: Arrival) -> Response<HttpBody> {
        match self.examine(&arrival) {
            Ok(sound) => self.decide(arrival.api, sound).await,
            Err(away) => self.turn_away(arrival.api, &away).await,
        }
    }

    /// Where the API streams at a path of its own.
    pub async fn refuse_to_stream(self: Arc<Self>, arrival: Arrival) -> Response<HttpBody> {
        let away = match self.examine(&arrival) {
            Ok(Sound { place: Place { seat, model }, .. }) => TurnedAway {
                why: Rejection::Bad(Complaint::Streaming),
                secret: String::new(),
                seat: Some(seat),
                model: Some(model),
            },
            Err(away) => away,
        };
        self.turn_away(arrival.api, &away).await
    }

    /// `GET` models; with `name`, one model.
    pub async fn models(self: Arc<Self>, arrival: Arrival, name: Option<String>) -> Response<HttpBody> {
        let (seat, secret) = match self.identify(&arrival) {
            Ok(known) => known,
            Err(away) => return self.turn_away_unbooked(arrival.api, &away.why, &away.secret).await,
        };
        let dialect = dialect(arrival.api);
        let Some(name) = name else {
            let list = self.layout.models_of(seat).map(|model| dialect.model(model)).collect();
            return self.other(dialect, Reply::json(200, dialect.model_list(list)));
        };
        match self.layout.model(seat, &name) {
            Some(model) => self.other(dialect, Reply::json(200, dialect.model(&self.layout.profile.models[model]))),
            None => self.turn_away_unbooked(arrival.api, &Rejection::NoSuchModel(name), &secret).await,
        }
    }

    /// Gemini's `countTokens`, which uses no quota.
    pub async fn count_tokens(self: Arc<Self>, arrival: Arrival) -> Response<HttpBody> {
        match self.examine(&arrival) {
            Ok(Sound { place, ask, .. }) => {
                let tokens = ask.input_tokens(&self.layout.profile.models[place.model]);
                self.other(dialect(arrival.api), Reply::json(200, serde_json::json!({ "totalTokens": tokens })))
            }
            Err(away) => self.turn_away_unbooked(arrival.api, &away.why, &away.secret).await,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing under the lock leaves the ledger half-written in a way that matters to a simulator.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, now: Now) -> Duration {
        now.mono.since(self.began.mono)
    }

    /// Sleeps on the simulator's clock, but not beyond its end.
    async fn pause(&self, span: Duration) {
        if !span.is_zero() {
            tokio::select! {
                () = self.clock.sleep(span) => {}
                () = self.stopped() => {}
            }
        }
    }

    fn identify(&self, arrival: &Arrival) -> Result<(Seat, String), TurnedAway> {
        let away = |why, secret, seat| TurnedAway { why, secret, seat, model: None };
        let secret = dialect(arrival.api)
            .credential(&arrival.envelope())
            .ok_or_else(|| away(Rejection::NoKey, String::new(), None))?;
        let Some(seat) = self.layout.seat(arrival.api, &secret) else {
            return Err(away(Rejection::UnknownKey, secret, None));
        };
        match self.layout.key_state(seat, self.running(self.clock.now())) {
            KeyState::Valid => Ok((seat, secret)),
            state => Err(away(Rejection::Key(state), secret, Some(seat))),
        }
    }

    /// Key, body, model and the body's fitness for it, in the order in which providers look.
    fn examine(&self, arrival: &Arrival) -> Result<Sound, TurnedAway> {
        let (seat, secret) = self.identify(arrival)?;
        let away = |why, model| TurnedAway { why, secret: secret.clone(), seat: Some(seat), model };
        let ask = dialect(arrival.api)
            .read(&arrival.envelope(), &arrival.body)
            .map_err(|complaint| away(Rejection::Bad(complaint), None))?;
        let Some(model) = self.layout.model(seat, &ask.model) else {
            return Err(away(Rejection::NoSuchModel(ask.model), None));
        };
        if self.layout.is_closed(seat, model) {
            return Err(away(Rejection::ClosedModel(ask.model), Some(model)));
        }
        let bad = |complaint| away(Rejection::Bad(complaint), Some(model));
        ask.check(&self.layout.profile.models[model]).map_err(bad)?;
        let wished = match marker(&ask.prompt) {
            Some(Marker::BadRequest) => return Err(bad(Complaint::OnRequest)),
            Some(Marker::Fault(fault)) => Some(fault),
            None => None,
        };
        Ok(Sound { place: Place { seat, model }, ask, wished })
    }

    async fn turn_away(&self, api: Api, away: &TurnedAway) -> Response<HttpBody> {
        self.ledger().reject(away.seat, away.model, &away.why);
        self.turn_away_unbooked(api, &away.why, &away.secret).await
    }

    async fn turn_away_unbooked(&self, api: Api, why: &Rejection, secret: &str) -> Response<HttpBody> {
        let serial = self.ledger().next_serial();
        self.pause(Duration::from_millis(self.layout.profile.refusal_ms)).await;
        let mut reply = dialect(api).rejection(why, secret);
        dialect(api).stamp(&mut reply, serial);
        whole(&reply)
    }

    fn other(&self, dialect: &dyn Dialect, mut reply: Reply) -> Response<HttpBody> {
        let mut ledger = self.ledger();
        ledger.note_other();
        dialect.stamp(&mut reply, ledger.next_serial());
        drop(ledger);
        whole(&reply)
    }

    async fn decide(self: Arc<Self>, api: Api, Sound { place, ask, wished }: Sound) -> Response<HttpBody> {
        let dialect = dialect(api);
        let model = &self.layout.profile.models[place.model];
        let said = compose(&ask, model);
        let cost = Tokens { input: ask.input_tokens(model), output: said.output_tokens() };

        let (ruling, serial, now) = self.rule(api, place, cost, wished);
        let subject = Subject {
            model,
            project: &self.layout.projects[place.seat.project].1,
            serial,
            wall: now.wall,
            input_tokens: cost.input,
            picture_tokens: ask.tokens_of_pictures(model),
        };
        let finished = |mut reply: Reply| {
            reply.headers.extend(dialect.rate_headers(&ruling.standing, now.wall));
            dialect.stamp(&mut reply, serial);
            reply
        };
        let slot = |holds| Slot { sim: Arc::clone(&self), place, holds };
        match ruling.verdict {
            Verdict::Refused { refusal, advice } => {
                self.pause(Duration::from_millis(self.layout.profile.refusal_ms)).await;
                whole(&finished(dialect.refusal(&refusal, advice, &subject)))
            }
            Verdict::Fault { fault, counted } => {
                let slot = slot(if counted { Holds::Fault } else { Holds::Nothing });
                let reply = |kind: Fault| finished(faulty(kind, dialect, &said, &subject));
                self.misbehave(fault, ruling.latency, reply, slot).await
            }
            Verdict::Answer { slowly } => {
                let slot = slot(Holds::Answer);
                let reply = finished(Reply::json(200, dialect.answer(&said, &subject)));
                let item = ask.item().map(str::to_owned);
                let served = Served { tokens: cost, prompt: ask.hash(), item };
                self.pause(ruling.latency).await;
                if slowly { self.dribble(&reply, slot, served) } else { slot.serve(whole(&reply), &served) }
            }
        }
    }

    fn rule(&self, api: Api, place: Place, cost: Tokens, wished: Option<Fault>) -> (Ruling, u64, Now) {
        let mut ledger = self.ledger();
        // Read under the lock, so that no request is booked before one that came earlier.
        let now = self.clock.now();
        let about = Circumstances {
            now,
            api,
            cost,
            outage: self.layout.outage(place.seat, place.model, self.running(now)),
            wished,
            faults: self.layout.faults(place.model),
            latency: self.layout.latency(place.model),
        };
        (ledger.rule(place, &about), ledger.next_serial(), now)
    }

    async fn misbehave(
        &self,
        fault: Fault,
        latency: Duration,
        reply: impl FnOnce(Fault) -> Reply,
        slot: Slot,
    ) -> Response<HttpBody> {
        if fault == Fault::Stall {
            self.stopped().await;
            drop(slot);
            return broken(&[], 1);
        }
        self.pause(latency).await;
        drop(slot);
        let reply = reply(fault);
        match fault {
            Fault::Reset => {
                let bytes = bytes_of(&reply.body);
                broken(&bytes[..bytes.len() / 2], bytes.len())
            }
            Fault::Truncated => cut_off(&reply),
            _ => whole(&reply),
        }
    }

    /// Sends the body piece by piece; the answer is served with the last one.
    fn dribble(self: &Arc<Self>, reply: &Reply, slot: Slot, served: Served) -> Response<HttpBody> {
        let bytes = bytes_of(&reply.body);
        let gap = Duration::from_secs_f64(self.layout.profile.slow_body_s) / DRIBBLES;
        let piece = bytes.len().div_ceil(DRIBBLES as usize).max(1);
        let sim = Arc::clone(self);
        let body = stream::unfold((sim, bytes, Some((slot, served))), move |(sim, mut rest, mut held)| async move {
            if rest.is_empty() {
                return None;
            }
            sim.pause(gap).await;
            let next = rest.split_to(piece.min(rest.len()));
            if rest.is_empty()
                && let Some((slot, served)) = held.take()
            {
                slot.close(&served);
            }
            Some((Ok::<_, Infallible>(next), (sim, rest, held)))
        });
        respond(reply, HttpBody::from_stream(body))
    }
}

/// A request's place in its pool's concurrency, given back when it is dropped, whoever drops it: the connection's task
/// does, the moment the client is gone.
struct Slot {
    sim: Arc<Sim>,
    place: Place,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    Fault,
    Answer,
}

impl Slot {
    fn serve(self, response: Response<HttpBody>, served: &Served) -> Response<HttpBody> {
        self.close(served);
        response
    }

    fn close(mut self, served: &Served) {
        self.holds = Holds::Nothing;
        self.sim.ledger().served(self.place, served);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.holds {
            Holds::Nothing => {}
            Holds::Fault => self.sim.ledger().fault_over(self.place),
            Holds::Answer => self.sim.ledger().abandoned(self.place),
        }
    }
}

/// The complete body of a faulty answer; cutting it off is for later.
fn faulty(fault: Fault, dialect: &dyn Dialect, said: &Said, subject: &Subject<'_>) -> Reply {
    match fault {
        Fault::ServerError => dialect.trouble(Trouble::ServerError),
        Fault::Overloaded => dialect.trouble(Trouble::Overloaded),
        Fault::Html => Reply::bad_gateway(),
        Fault::Empty => Reply::json(200, dialect.nothing(Nothing::Empty, subject)),
        Fault::Blocked => Reply::json(200, dialect.nothing(Nothing::Blocked, subject)),
        Fault::Stall | Fault::Reset | Fault::Truncated => Reply::json(200, dialect.answer(said, subject)),
    }
}
