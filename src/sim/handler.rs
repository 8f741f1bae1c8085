//! Handles one request from its arrival to the last byte of the response.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::stream;
use hyper::{HeaderMap, Response, body::Bytes};
use tokio::sync::watch;

use super::{
    answer::{SimAnswer, compose_answer},
    faults::{InjectedFault, PromptMarker, parse_marker},
    profile::{Profile, ProfileContradiction, SimKeyState},
    profile_index::{KeyRef, ProfileIndex},
    request::{RequestError, SimRequest},
    responses::{
        HttpBody, body_bytes, build_response, complete_response, interrupted_response, streamed_body,
        truncated_response,
    },
    sliding_window::SimTokens,
    state::{RequestContext, ServedAnswer, SimDecision, SimOutcome, SimRoute, SimState},
    stats::ServerStats,
    wire::{Rejection, RequestHead, ResponseContext, SimResponse, WireApi, wire_api},
};
use crate::{
    clock::Clock,
    domain::{Api, Now},
};

/// Number of chunks in which a slow body is sent.
const SLOW_BODY_CHUNKS: u32 = 8;

/// The running simulator, shared by all connections.
#[derive(Debug)]
pub(super) struct SimService {
    profile_index: ProfileIndex,
    clock: Clock,
    started_at: Now,
    state: Mutex<SimState>,
    /// Becomes true when the simulator stops. This ends every sleep.
    stop_signal: watch::Sender<bool>,
}

/// A request as it arrived.
pub(super) struct IncomingRequest {
    pub api: Api,
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub model_in_path: Option<String>,
    pub body: Bytes,
}

impl IncomingRequest {
    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            headers: &self.headers,
            query: self.query.as_deref(),
            model_in_path: self.model_in_path.as_deref(),
        }
    }
}

/// A request that passed all checks that don't depend on the time.
struct ValidRequest {
    route: SimRoute,
    request: SimRequest,
    requested_fault: Option<InjectedFault>,
}

/// A rejected request, and the key and model it is counted for.
struct RejectedRequest {
    rejection: Rejection,
    secret: String,
    key: Option<KeyRef>,
    model: Option<usize>,
}

impl SimService {
    /// # Errors
    /// If the profile is inconsistent.
    pub fn new(profile: Profile, clock: Clock) -> Result<Self, ProfileContradiction> {
        profile.check()?;
        let profile_index = ProfileIndex::new(profile);
        let started_at = clock.now();
        let state = Mutex::new(SimState::new(&profile_index, started_at));
        Ok(Self { profile_index, clock, started_at, state, stop_signal: watch::Sender::new(false) })
    }

    pub fn stats(&self) -> ServerStats {
        self.state().stats(&self.profile_index, self.uptime(self.clock.now()))
    }

    pub fn stop(&self) {
        self.stop_signal.send_replace(true);
    }

    /// Waits until the simulator stops.
    pub async fn wait_for_stop(&self) {
        // Cannot fail, because `self` holds the sender.
        let _ = self.stop_signal.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Handles a request for an answer.
    pub async fn handle_generate(self: Arc<Self>, incoming: IncomingRequest) -> Response<HttpBody> {
        match self.validate(&incoming) {
            Ok(valid) => self.answer_valid(incoming.api, valid).await,
            Err(rejected) => self.reject(incoming.api, &rejected).await,
        }
    }

    /// Rejects a request to an API's separate streaming path.
    pub async fn reject_streaming(self: Arc<Self>, incoming: IncomingRequest) -> Response<HttpBody> {
        let rejected = match self.validate(&incoming) {
            Ok(ValidRequest { route: SimRoute { key, model }, .. }) => RejectedRequest {
                rejection: Rejection::InvalidRequest(RequestError::StreamingUnsupported),
                secret: String::new(),
                key: Some(key),
                model: Some(model),
            },
            Err(rejected) => rejected,
        };
        self.reject(incoming.api, &rejected).await
    }

    /// Handles `GET` models; with `name`, one model.
    pub async fn handle_models(self: Arc<Self>, incoming: IncomingRequest, name: Option<String>) -> Response<HttpBody> {
        let (key, secret) = match self.authenticate(&incoming) {
            Ok(known) => known,
            Err(rejected) => return self.send_rejection(incoming.api, &rejected.rejection, &rejected.secret).await,
        };
        let wire_api = wire_api(incoming.api);
        let Some(name) = name else {
            let list = self.profile_index.models_of(key).map(|model| wire_api.encode_model(model)).collect();
            return self.send_uncounted(wire_api, SimResponse::json(200, wire_api.encode_model_list(list)));
        };
        match self.profile_index.find_model(key, &name) {
            Some(model) => self.send_uncounted(
                wire_api,
                SimResponse::json(200, wire_api.encode_model(&self.profile_index.profile.models[model])),
            ),
            None => self.send_rejection(incoming.api, &Rejection::UnknownModel(name), &secret).await,
        }
    }

    /// Handles Gemini's `countTokens`, which uses no quota.
    pub async fn handle_count_tokens(self: Arc<Self>, incoming: IncomingRequest) -> Response<HttpBody> {
        match self.validate(&incoming) {
            Ok(ValidRequest { route, request, .. }) => {
                let tokens = request.input_tokens(&self.profile_index.profile.models[route.model]);
                self.send_uncounted(
                    wire_api(incoming.api),
                    SimResponse::json(200, serde_json::json!({ "totalTokens": tokens })),
                )
            }
            Err(rejected) => self.send_rejection(incoming.api, &rejected.rejection, &rejected.secret).await,
        }
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        // A panic under the lock may leave wrong counts, which a simulator can live with.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uptime(&self, now: Now) -> Duration {
        now.mono.since(self.started_at.mono)
    }

    /// Sleeps on the simulator's clock, at most until it stops.
    async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            tokio::select! {
                () = self.clock.sleep(duration) => {}
                () = self.wait_for_stop() => {}
            }
        }
    }

    fn authenticate(&self, incoming: &IncomingRequest) -> Result<(KeyRef, String), RejectedRequest> {
        let reject = |rejection, secret, key| RejectedRequest { rejection, secret, key, model: None };
        let secret = wire_api(incoming.api)
            .credential(&incoming.head())
            .ok_or_else(|| reject(Rejection::MissingKey, String::new(), None))?;
        let Some(key) = self.profile_index.find_key(incoming.api, &secret) else {
            return Err(reject(Rejection::UnknownKey, secret, None));
        };
        match self.profile_index.key_state(key, self.uptime(self.clock.now())) {
            SimKeyState::Valid => Ok((key, secret)),
            state => Err(reject(Rejection::UnusableKey(state), secret, Some(key))),
        }
    }

    /// Checks the key, the body, the model, and then the body against the model's limits, in the same order as the
    /// providers.
    fn validate(&self, incoming: &IncomingRequest) -> Result<ValidRequest, RejectedRequest> {
        let (key, secret) = self.authenticate(incoming)?;
        let reject = |rejection, model| RejectedRequest { rejection, secret: secret.clone(), key: Some(key), model };
        let request = wire_api(incoming.api)
            .decode_request(&incoming.head(), &incoming.body)
            .map_err(|request_error| reject(Rejection::InvalidRequest(request_error), None))?;
        let Some(model) = self.profile_index.find_model(key, &request.model) else {
            return Err(reject(Rejection::UnknownModel(request.model), None));
        };
        if self.profile_index.is_closed_to(key, model) {
            return Err(reject(Rejection::ClosedModel(request.model), Some(model)));
        }
        let invalid = |request_error| reject(Rejection::InvalidRequest(request_error), Some(model));
        request.check(&self.profile_index.profile.models[model]).map_err(invalid)?;
        let requested_fault = match parse_marker(&request.prompt) {
            Some(PromptMarker::BadRequest) => return Err(invalid(RequestError::RequestedByPrompt)),
            Some(PromptMarker::Fault(fault)) => Some(fault),
            None => None,
        };
        Ok(ValidRequest { route: SimRoute { key, model }, request, requested_fault })
    }

    async fn reject(&self, api: Api, rejected: &RejectedRequest) -> Response<HttpBody> {
        self.state().count_rejection(rejected.key, rejected.model, &rejected.rejection);
        self.send_rejection(api, &rejected.rejection, &rejected.secret).await
    }

    async fn send_rejection(&self, api: Api, rejection: &Rejection, secret: &str) -> Response<HttpBody> {
        let serial = self.state().next_serial();
        self.sleep(Duration::from_millis(self.profile_index.profile.refusal_ms)).await;
        let mut response = wire_api(api).encode_rejection(rejection, secret);
        wire_api(api).add_request_id(&mut response, serial);
        complete_response(&response)
    }

    fn send_uncounted(&self, wire_api: &dyn WireApi, mut response: SimResponse) -> Response<HttpBody> {
        let mut state = self.state();
        state.count_other();
        wire_api.add_request_id(&mut response, state.next_serial());
        drop(state);
        complete_response(&response)
    }

    async fn answer_valid(
        self: Arc<Self>,
        api: Api,
        ValidRequest { route, request, requested_fault }: ValidRequest,
    ) -> Response<HttpBody> {
        let wire_api = wire_api(api);
        let model = &self.profile_index.profile.models[route.model];
        let answer = compose_answer(&request, model);
        let tokens = SimTokens { input: request.input_tokens(model), output: answer.output_tokens() };

        let (decision, serial, now) = self.decide(api, route, tokens, requested_fault);
        let context = ResponseContext {
            model,
            project: &self.profile_index.projects[route.key.project].1,
            serial,
            wall: now.wall,
            input_tokens: tokens.input,
            picture_tokens: request.picture_tokens(model),
        };
        let finish = |mut response: SimResponse| {
            response.headers.extend(wire_api.rate_limit_headers(&decision.gauges, now.wall));
            wire_api.add_request_id(&mut response, serial);
            response
        };
        let slot = |hold| ConcurrencySlot { sim: Arc::clone(&self), route, hold };
        match decision.outcome {
            SimOutcome::Refused { refusal, retry_advice } => {
                self.sleep(Duration::from_millis(self.profile_index.profile.refusal_ms)).await;
                complete_response(&finish(wire_api.encode_refusal(&refusal, retry_advice, &context)))
            }
            SimOutcome::Fault { fault, is_counted } => {
                let slot = slot(if is_counted { SlotHold::Fault } else { SlotHold::Nothing });
                let response = |kind: InjectedFault| finish(faulty_response(kind, wire_api, &answer, &context));
                self.send_fault(fault, decision.latency, response, slot).await
            }
            SimOutcome::Answer { is_slow } => {
                let slot = slot(SlotHold::Answer);
                let response = finish(SimResponse::json(200, wire_api.encode_answer(&answer, &context)));
                let item = request.item_id().map(str::to_owned);
                let served = ServedAnswer { tokens, prompt_hash: request.prompt_hash(), item_id: item };
                self.sleep(decision.latency).await;
                if is_slow {
                    self.send_slowly(&response, slot, served)
                } else {
                    slot.complete_with(complete_response(&response), &served)
                }
            }
        }
    }

    fn decide(
        &self,
        api: Api,
        route: SimRoute,
        tokens: SimTokens,
        requested_fault: Option<InjectedFault>,
    ) -> (SimDecision, u64, Now) {
        let mut state = self.state();
        // Read under the lock, so that requests are counted in the order of their times.
        let now = self.clock.now();
        let context = RequestContext {
            now,
            api,
            tokens,
            outage: self.profile_index.active_outage(route.key, route.model, self.uptime(now)),
            requested_fault,
            fault_rates: self.profile_index.faults(route.model),
            latency: self.profile_index.latency(route.model),
        };
        (state.decide(route, &context), state.next_serial(), now)
    }

    async fn send_fault(
        &self,
        fault: InjectedFault,
        latency: Duration,
        response: impl FnOnce(InjectedFault) -> SimResponse,
        slot: ConcurrencySlot,
    ) -> Response<HttpBody> {
        if fault == InjectedFault::Stall {
            self.wait_for_stop().await;
            drop(slot);
            return interrupted_response(&[], 1);
        }
        self.sleep(latency).await;
        drop(slot);
        let response = response(fault);
        match fault {
            InjectedFault::Reset => {
                let bytes = body_bytes(&response.body);
                interrupted_response(&bytes[..bytes.len() / 2], bytes.len())
            }
            InjectedFault::Truncated => truncated_response(&response),
            _ => complete_response(&response),
        }
    }

    /// Sends the body in chunks. The answer counts as served with the last one.
    fn send_slowly(
        self: &Arc<Self>,
        response: &SimResponse,
        slot: ConcurrencySlot,
        answer: ServedAnswer,
    ) -> Response<HttpBody> {
        let bytes = body_bytes(&response.body);
        let pause = Duration::from_secs_f64(self.profile_index.profile.slow_body_s) / SLOW_BODY_CHUNKS;
        let chunk_bytes = bytes.len().div_ceil(SLOW_BODY_CHUNKS as usize).max(1);
        let sim = Arc::clone(self);
        let body = stream::unfold((sim, bytes, Some((slot, answer))), move |(sim, mut rest, mut held)| async move {
            if rest.is_empty() {
                return None;
            }
            sim.sleep(pause).await;
            let next = rest.split_to(chunk_bytes.min(rest.len()));
            if rest.is_empty()
                && let Some((slot, answer)) = held.take()
            {
                slot.complete(&answer);
            }
            Some((Ok(next), (sim, rest, held)))
        });
        build_response(response, streamed_body(body))
    }
}

/// A request's slot in its pool's concurrency limit, released when dropped. The connection's task drops it as soon as
/// the client disconnects.
struct ConcurrencySlot {
    sim: Arc<SimService>,
    route: SimRoute,
    hold: SlotHold,
}

/// The state of a slot, which decides how its request is counted when the slot is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotHold {
    /// No slot is taken, or it was released.
    Nothing,
    /// Taken by a request that gets a fault.
    Fault,
    /// Taken by a request whose answer is not sent yet. If it is dropped, the request counts as abandoned.
    Answer,
}

impl ConcurrencySlot {
    fn complete_with(self, response: Response<HttpBody>, answer: &ServedAnswer) -> Response<HttpBody> {
        self.complete(answer);
        response
    }

    fn complete(mut self, answer: &ServedAnswer) {
        self.hold = SlotHold::Nothing;
        self.sim.state().complete(self.route, answer);
    }
}

impl Drop for ConcurrencySlot {
    fn drop(&mut self) {
        match self.hold {
            SlotHold::Nothing => {}
            SlotHold::Fault => self.sim.state().end_fault(self.route),
            SlotHold::Answer => self.sim.state().abandon(self.route),
        }
    }
}

/// The complete response for a fault. For [`InjectedFault::Reset`] and [`InjectedFault::Truncated`], the caller cuts it
/// off.
fn faulty_response(
    fault: InjectedFault,
    wire_api: &dyn WireApi,
    answer: &SimAnswer,
    context: &ResponseContext<'_>,
) -> SimResponse {
    match fault {
        InjectedFault::ServerError => wire_api.encode_server_error(),
        InjectedFault::Overloaded => wire_api.encode_overloaded(),
        InjectedFault::Html => SimResponse::bad_gateway_page(),
        InjectedFault::Empty => SimResponse::json(200, wire_api.encode_empty_answer(context)),
        InjectedFault::Blocked => SimResponse::json(200, wire_api.encode_blocked_answer(context)),
        InjectedFault::Stall | InjectedFault::Reset | InjectedFault::Truncated => {
            SimResponse::json(200, wire_api.encode_answer(answer, context))
        }
    }
}
