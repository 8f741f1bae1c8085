//! The loop: input first, then signals, answers, snapshots and time; one frame for all that has happened.
//!
//! Generic over the screen and the input, so that a test drives the real loop with scripted keys and a fake
//! engine. Nothing is awaited in here but the next thing to happen: commands and questions are futures of
//! their own, whose answers come back as messages.

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
    Effect, ExitReason, UiEvent,
    action::Action,
    engine_clock::EngineClock,
    pane::Pane,
    picture::{self, CellPixels, ImageRequest},
    state::{PendingQuery, State},
    update,
};
use crate::{
    domain::{Command, Page, Query, Snapshot},
    engine::EngineHandle,
};

/// Questions to the run's database: at most four a second.
const QUERY_INTERVAL: Duration = Duration::from_millis(250);
/// The log view, which nobody announces changes of, is drawn anew this often while it is open.
const LOG_REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Toasts and patience are looked at this often while there are any.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);
/// Input handled before the next frame, so that a flood of it can't keep the screen from being drawn.
const MAX_EVENTS_PER_BATCH: usize = 256;
/// Commands under way at once; a key held down can't pile up more.
const MAX_UNANSWERED_COMMANDS: usize = 32;

/// What the loop draws on and speaks through.
pub trait Screen {
    fn draw(&mut self, state: &State, snapshot: &Snapshot) -> io::Result<()>;
    /// Forgets what is on the terminal; the next frame is drawn whole.
    fn repaint(&mut self) -> io::Result<()>;
    /// Gives the terminal back, stops the process until it is continued, and takes the terminal again.
    fn suspend(&mut self) -> io::Result<()>;
    fn capture_mouse(&mut self, on: bool) -> io::Result<()>;
    fn set_title(&mut self, title: &str) -> io::Result<()>;
    fn notify(&mut self, message: &str) -> io::Result<()>;
    /// How large a cell is, where the terminal says so.
    fn cell_size(&self) -> Option<CellPixels> {
        None
    }
    /// Hands text to the terminal's clipboard; there is no answer to that.
    fn copy(&mut self, text: &str) -> io::Result<()>;
}

/// What came from outside the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Finish cleanly (SIGTERM); the second time at once.
    Terminate,
    /// As Ctrl-C (SIGINT from elsewhere).
    Interrupt,
    /// The terminal is gone (SIGHUP).
    HangUp,
}

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
    for message in [UiEvent::CellSize(cell_size), UiEvent::NewSnapshot] {
        if let Some(exit) = dashboard.process(message) {
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

enum LoopEvent {
    /// `None`: there will be no more.
    Input(Option<Vec<io::Result<Event>>>),
    Signal(Signal),
    Ui(Box<UiEvent>),
    Snapshot,
    Timeout,
}

/// All input that is there, or waits for some.
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
                    let broken = event.is_err();
                    events.push(event);
                    if broken || events.len() >= MAX_EVENTS_PER_BATCH {
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
    /// Something has changed since the last frame.
    is_dirty: bool,
    /// No frame before this.
    next_frame_at: Instant,
    /// No question before this.
    next_query_at: Instant,
    /// A question is under way.
    has_query_in_flight: bool,
    /// The question that was asked last.
    last_query: Option<Query>,
    /// Commands under way.
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
            LoopEvent::Ui(message) => {
                match &*message {
                    UiEvent::EngineGone => self.clock.stop(Instant::now()),
                    UiEvent::QueryAnswer { .. } => self.has_query_in_flight = false,
                    UiEvent::CommandReply { .. } => self.unanswered_commands -= 1,
                    _ => {}
                }
                return self.process(*message);
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
            let message = match event {
                // Reading from a terminal fails when it is gone, and for no reason a user could act on.
                Err(error) => {
                    tracing::warn!("the terminal can't be read any more: {error}");
                    return Some(ExitReason::Detached);
                }
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Release => continue,
                Ok(Event::Key(key)) => UiEvent::Key(key),
                // Means nothing, and would have the screen drawn anew all the time.
                Ok(Event::Mouse(event)) if matches!(event.kind, MouseEventKind::Moved | MouseEventKind::Drag(_)) => {
                    continue;
                }
                Ok(Event::Mouse(event)) => UiEvent::Mouse(event),
                Ok(Event::Paste(text)) => UiEvent::Paste(text),
                Ok(Event::Resize(width, height)) => {
                    // Another size of the letters is a resize too.
                    let cell = self.screen.cell_size();
                    if let Some(exit) = self.process(UiEvent::CellSize(cell)) {
                        return Some(exit);
                    }
                    UiEvent::Resize((width, height).into())
                }
                Ok(Event::FocusGained | Event::FocusLost) => continue,
            };
            if let Some(exit) = self.process(message) {
                return Some(exit);
            }
        }
        None
    }

    /// One message through `update`, and its effects into the world.
    fn process(&mut self, message: UiEvent) -> Option<ExitReason> {
        let now = Instant::now();
        self.state.now = self.clock.now(now);
        self.state.ui_elapsed = now.saturating_duration_since(self.opened_at);
        self.is_dirty = true;
        for effect in update(&mut self.state, &self.snapshot, message) {
            let done = match effect {
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
                    // A stopped program is not told of a new size.
                    if let Ok(size) = crossterm::terminal::size() {
                        update(&mut self.state, &self.snapshot, UiEvent::Resize(size.into()));
                    }
                }),
                Effect::RedrawAll => self.screen.repaint(),
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on),
                Effect::SetTitle(title) => self.screen.set_title(&title),
                Effect::Notify(words) => self.screen.notify(&words),
            };
            if let Err(error) = done {
                return Some(on_terminal_lost(&error));
            }
        }
        self.query_if_due();
        None
    }

    /// On its way as a task of its own: it is delivered although the dashboard may be left before the answer.
    fn send_command(&mut self, command: Command) {
        let reply = if self.unanswered_commands < MAX_UNANSWERED_COMMANDS {
            let (handle, command_copy) = (self.handle.clone(), command.clone());
            let mut request = Box::pin(async move { handle.command(command_copy).await });
            // Its place in the engine's queue is taken here: tasks of their own would overtake each other.
            let early_reply = (&mut request).now_or_never();
            let task = tokio::spawn(async move {
                match early_reply {
                    Some(reply) => reply,
                    None => request.await,
                }
            });
            // The task only waits on channels; it fails only where the runtime is shut down.
            async move { task.await.unwrap_or_else(|_| Err("the program is ending".to_owned())) }.boxed()
        } else {
            ready(Err("the engine has not answered yet; try again".to_owned())).boxed()
        };
        self.unanswered_commands += 1;
        self.replies.push(reply.map(|reply| UiEvent::CommandReply { command, reply }).boxed());
    }

    /// One question at a time, for what is wanted when it is asked.
    fn query_if_due(&mut self) {
        let now = Instant::now();
        if self.has_query_in_flight || now < self.next_query_at {
            return;
        }
        // By turns: what changes all the time doesn't keep the rest waiting.
        let is_last = |wanted: &PendingQuery| self.last_query.as_ref() == Some(&wanted.query);
        let (again, others): (Vec<_>, Vec<_>) = self.state.pending_queries(&self.snapshot).partition(is_last);
        let Some(wanted) = others.into_iter().chain(again).next() else { return };
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

    /// When to look again although nothing has happened.
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

/// The picture from the run's record, drawn on a thread of its own.
async fn load_and_render(handle: EngineHandle, request: ImageRequest, image_number: u32) -> UiEvent {
    let rendered = match handle.query(Query::Picture { seq: request.seq, index: request.index }).await {
        Ok(Page::Picture(image)) => picture::render(image, request, image_number).await,
        Ok(_) => Err("the run has no such picture".to_owned()),
        Err(message) => Err(format!("can't read the picture: {message}")),
    };
    UiEvent::ImageRendered { request, result: rendered }
}

/// Writing to a terminal fails when it is gone; the run goes on without it.
fn on_terminal_lost(error: &io::Error) -> ExitReason {
    tracing::warn!("the terminal can't be written any more: {error}");
    ExitReason::Detached
}
