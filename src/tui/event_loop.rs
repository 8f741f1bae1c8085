//! The event loop. Each turn handles one kind of event: input if there is any, otherwise signals, replies, snapshots
//! and timeouts, in this order of precedence. A frame is drawn when something has changed, but at most once in a frame
//! interval.
//!
//! The loop is generic over the screen and the input, so that a test drives the real loop with scripted keys and a fake
//! engine. It awaits nothing but the next event: commands and queries run as separate futures, and their results come
//! back as [`UiEvent`]s.

use std::{
    future::{poll_fn, ready},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyEventKind, MouseEventKind};
use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::sleep_until;

use super::{
    action::Action,
    engine_clock::EngineClock,
    pane::Pane,
    picture::{self, ImageRequest},
    screen::{Screen, Signal},
    state::{ExitReason, PendingQuery, State},
    update::{Effect, UiEvent, update},
};
use crate::{
    domain::{Command, Page, Query, Snapshot},
    engine::EngineHandle,
};

/// Minimum time between two queries for data on the screen. Exports and pictures are not limited by it.
const QUERY_INTERVAL: Duration = Duration::from_millis(250);
/// Redraw interval of the log pane while it has the focus: tui-logger does not announce new lines.
const LOG_REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Interval at which toasts, pending commands and the timeout of leaving are checked while there are any.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum input events handled in one turn, so that a flood of input can't stop the screen from being drawn.
const MAX_EVENTS_PER_BATCH: usize = 256;
/// Maximum commands that wait for a reply at once, so that a key held down can't fill the engine's queue.
const MAX_UNANSWERED_COMMANDS: usize = 32;

type ReplyFuture = BoxFuture<'static, UiEvent>;

/// Shows the run until the operator leaves or the terminal is gone.
pub async fn run_event_loop<S, I, G>(
    screen: &mut S,
    input: I,
    signals: G,
    handle: EngineHandle,
    state: State,
    frame_interval: Duration,
) -> ExitReason
where
    S: Screen,
    I: Stream<Item = io::Result<Event>>,
    G: Stream<Item = Signal>,
{
    let mut input = pin!(input.fuse());
    let mut signals = pin!(signals.fuse());
    let mut dashboard = Dashboard::new(screen, handle, state, frame_interval);
    let cell_size = dashboard.screen.cell_size();
    for ui_event in [UiEvent::CellSize(cell_size), UiEvent::NewSnapshot] {
        if let Some(exit) = dashboard.process(ui_event) {
            return exit;
        }
    }
    loop {
        if let Some(exit) = dashboard.draw_if_due() {
            return exit;
        }
        let (wakeup_at, engine_is_running) = (dashboard.next_wakeup(), !dashboard.state.engine_gone);
        let event = tokio::select! {
            biased;
            events = read_available(&mut input) => LoopEvent::Input(events),
            Some(signal) = signals.next() => LoopEvent::Signal(signal),
            Some(message) = dashboard.replies.next(), if !dashboard.replies.is_empty() => LoopEvent::Ui(Box::new(message)),
            changed = dashboard.handle.snapshots.changed(), if engine_is_running => {
                if changed.is_ok() { LoopEvent::Snapshot } else { LoopEvent::Ui(Box::new(UiEvent::EngineGone)) }
            }
            () = sleep_until(wakeup_at.into()) => LoopEvent::Timeout,
        };
        if let Some(exit) = dashboard.on_loop_event(event) {
            return exit;
        }
    }
}

/// An event that ends the wait of the loop.
enum LoopEvent {
    /// Input events that have arrived; `None` if the input has ended.
    Input(Option<Vec<io::Result<Event>>>),
    Signal(Signal),
    Ui(Box<UiEvent>),
    Snapshot,
    Timeout,
}

/// Waits for input and returns all events that are available, at most [`MAX_EVENTS_PER_BATCH`]. An error is the last of
/// them. `None` if the input has ended.
async fn read_available<I>(
    input: &mut std::pin::Pin<&mut futures_util::stream::Fuse<I>>,
) -> Option<Vec<io::Result<Event>>>
where
    I: Stream<Item = io::Result<Event>>,
{
    poll_fn(|context| {
        let mut events = Vec::new();
        loop {
            match input.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => {
                    let is_error = event.is_err();
                    events.push(event);
                    if is_error || events.len() >= MAX_EVENTS_PER_BATCH {
                        return Poll::Ready(Some(events));
                    }
                }
                Poll::Ready(None) if events.is_empty() => return Poll::Ready(None),
                Poll::Pending if events.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(Some(events)),
            }
        }
    })
    .await
}

struct Dashboard<'s, S> {
    screen: &'s mut S,
    handle: EngineHandle,
    state: State,
    snapshot: Arc<Snapshot>,
    clock: EngineClock,
    opened_at: Instant,
    frame_interval: Duration,
    /// True if something has changed since the last frame.
    is_dirty: bool,
    /// Earliest time of the next frame.
    next_frame_at: Instant,
    /// Earliest time of the next query.
    next_query_at: Instant,
    has_query_in_flight: bool,
    /// The last query that was sent.
    last_query: Option<Query>,
    /// Number of commands without a reply.
    unanswered_commands: usize,
    replies: FuturesUnordered<ReplyFuture>,
}

impl<'s, S: Screen> Dashboard<'s, S> {
    fn new(screen: &'s mut S, handle: EngineHandle, state: State, frame_interval: Duration) -> Self {
        let now = Instant::now();
        let snapshot = handle.snapshot();
        let clock = EngineClock::from_snapshot(&snapshot, now);
        Self {
            screen,
            handle,
            state,
            snapshot,
            clock,
            opened_at: now,
            frame_interval,
            is_dirty: true,
            next_frame_at: now,
            next_query_at: now,
            has_query_in_flight: false,
            last_query: None,
            unanswered_commands: 0,
            replies: FuturesUnordered::new(),
        }
    }

    fn on_loop_event(&mut self, event: LoopEvent) -> Option<ExitReason> {
        match event {
            LoopEvent::Input(None) | LoopEvent::Signal(Signal::HangUp) => return Some(ExitReason::Detached),
            LoopEvent::Input(Some(events)) => return self.on_input(events),
            LoopEvent::Signal(Signal::Interrupt) => return self.process(UiEvent::Action(Action::Interrupt)),
            LoopEvent::Signal(Signal::Terminate) => return self.process(UiEvent::Terminate),
            LoopEvent::Ui(ui_event) => {
                match &*ui_event {
                    UiEvent::EngineGone => self.clock.stop(Instant::now()),
                    UiEvent::QueryAnswer { .. } => self.has_query_in_flight = false,
                    UiEvent::CommandReply { .. } => self.unanswered_commands -= 1,
                    _ => {}
                }
                return self.process(*ui_event);
            }
            LoopEvent::Snapshot => {
                self.snapshot = Arc::clone(&self.handle.snapshots.borrow_and_update());
                self.clock = EngineClock::from_snapshot(&self.snapshot, Instant::now());
                return self.process(UiEvent::NewSnapshot);
            }
            LoopEvent::Timeout => {}
        }
        self.query_if_due();
        self.process(UiEvent::Tick)
    }

    fn on_input(&mut self, events: Vec<io::Result<Event>>) -> Option<ExitReason> {
        for event in events {
            let ui_event = match event {
                // Reading fails only if the terminal is gone; the operator can do nothing about it.
                Err(error) => {
                    tracing::warn!("can't read from the terminal any more: {error}");
                    return Some(ExitReason::Detached);
                }
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Release => continue,
                Ok(Event::Key(key)) => UiEvent::Key(key),
                // Mouse movements have no effect here, and each would cause a redraw.
                Ok(Event::Mouse(event)) if matches!(event.kind, MouseEventKind::Moved | MouseEventKind::Drag(_)) => {
                    continue;
                }
                Ok(Event::Mouse(event)) => UiEvent::Mouse(event),
                Ok(Event::Paste(text)) => UiEvent::Paste(text),
                Ok(Event::Resize(width, height)) => {
                    // A change of the font size is reported as a resize too.
                    let cell = self.screen.cell_size();
                    if let Some(exit) = self.process(UiEvent::CellSize(cell)) {
                        return Some(exit);
                    }
                    UiEvent::Resize((width, height).into())
                }
                Ok(Event::FocusGained | Event::FocusLost) => continue,
            };
            if let Some(exit) = self.process(ui_event) {
                return Some(exit);
            }
        }
        None
    }

    /// Passes one event to `update` and carries out its effects.
    fn process(&mut self, event: UiEvent) -> Option<ExitReason> {
        let now = Instant::now();
        self.state.now = self.clock.now(now);
        self.state.ui_elapsed = now.saturating_duration_since(self.opened_at);
        self.is_dirty = true;
        for effect in update(&mut self.state, &self.snapshot, event) {
            let result = match effect {
                Effect::Leave(exit) => return Some(exit),
                Effect::SendCommand(command) => {
                    self.send_command(command);
                    Ok(())
                }
                Effect::RunExport(query) => {
                    let handle = self.handle.clone();
                    self.replies.push(async move { UiEvent::ExportDone(handle.query(query).await) }.boxed());
                    Ok(())
                }
                Effect::RenderImage { request, image_number } => {
                    self.replies.push(load_and_render(self.handle.clone(), request, image_number).boxed());
                    Ok(())
                }
                Effect::CopyToClipboard(text) => self.screen.copy(&text),
                Effect::Suspend => self.screen.suspend().and_then(|()| self.screen.repaint()).map(|()| {
                    // A stopped process gets no resize events.
                    if let Ok(size) = crossterm::terminal::size() {
                        update(&mut self.state, &self.snapshot, UiEvent::Resize(size.into()));
                    }
                }),
                Effect::RedrawAll => self.screen.repaint(),
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on),
                Effect::SetTitle(title) => self.screen.set_title(&title),
                Effect::Notify(text) => self.screen.notify(&text),
            };
            if let Err(error) = result {
                return Some(on_terminal_lost(&error));
            }
        }
        self.query_if_due();
        None
    }

    /// Sends a command to the engine in a separate task, so that it is delivered even if the dashboard closes before
    /// the reply.
    fn send_command(&mut self, command: Command) {
        let reply = if self.unanswered_commands < MAX_UNANSWERED_COMMANDS {
            let (handle, command_copy) = (self.handle.clone(), command.clone());
            let mut request = Box::pin(async move { handle.send_command(command_copy).await });
            // Polled once here, so that commands are queued at the engine in the order in which they were sent. The
            // spawned tasks could overtake each other.
            let early_reply = (&mut request).now_or_never();
            let task = tokio::spawn(async move {
                match early_reply {
                    Some(reply) => reply,
                    None => request.await,
                }
            });
            // The task only waits on channels; it fails only if the runtime shuts down.
            async move { task.await.unwrap_or_else(|_| Err("the program is shutting down".to_owned())) }.boxed()
        } else {
            ready(Err("the engine has not answered yet; try again".to_owned())).boxed()
        };
        self.unanswered_commands += 1;
        self.replies.push(reply.map(|reply| UiEvent::CommandReply { command, reply }).boxed());
    }

    /// Sends the next pending query if none is in flight and the interval has passed. Chosen only now, so that it is
    /// for what the screen shows now.
    fn query_if_due(&mut self) {
        let now = Instant::now();
        if self.has_query_in_flight || now < self.next_query_at {
            return;
        }
        // A repetition of the last query comes after all others, so that data that changes all the time can't keep them
        // from being sent.
        let is_last = |wanted: &PendingQuery| self.last_query.as_ref() == Some(&wanted.query);
        let (repeated, others): (Vec<_>, Vec<_>) = self.state.pending_queries(&self.snapshot).partition(is_last);
        let Some(wanted) = others.into_iter().chain(repeated).next() else { return };
        self.has_query_in_flight = true;
        self.last_query = Some(wanted.query.clone());
        self.next_query_at = now + QUERY_INTERVAL;
        let handle = self.handle.clone();
        self.replies.push(
            async move {
                let PendingQuery { query, .. } = wanted.clone();
                let page = handle.query(query).await;
                UiEvent::QueryAnswer { query: wanted, page }
            }
            .boxed(),
        );
    }

    /// When the loop must continue even if no event comes.
    fn next_wakeup(&self) -> Instant {
        let now = Instant::now();
        let frame = self.is_dirty.then_some(self.next_frame_at);
        let clock = self.clock.next_tick(now);
        let query = (!self.has_query_in_flight && self.state.pending_queries(&self.snapshot).next().is_some())
            .then_some(self.next_query_at);
        let log = (self.state.focus == Pane::Log).then_some(now + LOG_REDRAW_INTERVAL);
        let has_timers =
            !self.state.toasts.is_empty() || !self.state.pending_commands.is_empty() || self.state.leaving.is_some();
        let housekeeping = has_timers.then_some(now + HOUSEKEEPING_INTERVAL);
        let idle = now + Duration::from_mins(1);
        [frame, clock, query, log, housekeeping].into_iter().flatten().fold(idle, Instant::min)
    }

    fn draw_if_due(&mut self) -> Option<ExitReason> {
        let now = Instant::now();
        if !self.is_dirty || now < self.next_frame_at {
            return None;
        }
        self.state.now = self.clock.now(now);
        self.is_dirty = false;
        self.next_frame_at = now + self.frame_interval;
        match self.screen.draw(&self.state, &self.snapshot) {
            Ok(()) => None,
            Err(error) => Some(on_terminal_lost(&error)),
        }
    }
}

/// Loads the picture from the run's database and renders it on its own thread.
async fn load_and_render(handle: EngineHandle, request: ImageRequest, image_number: u32) -> UiEvent {
    let rendered = match handle.query(Query::Picture { seq: request.seq, index: request.index }).await {
        Ok(Page::Picture(image)) => picture::render(image, request, image_number).await,
        Ok(_) => Err("the run does not have that picture".to_owned()),
        Err(message) => Err(format!("can't read the picture: {message}")),
    };
    UiEvent::ImageRendered { request, result: rendered }
}

/// Logs that writing to the terminal failed, because it is gone. The run goes on without the dashboard.
fn on_terminal_lost(error: &io::Error) -> ExitReason {
    tracing::warn!("can't write to the terminal any more: {error}");
    ExitReason::Detached
}
