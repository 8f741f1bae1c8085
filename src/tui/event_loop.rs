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
    Effect, Exit, Message,
    action::Action,
    engine_time::EngineTime,
    pane::Pane,
    picture::{self, Ask, CellPixels},
    state::{State, Wanted},
    update,
};
use crate::{
    domain::{Command, Page, Query, Snapshot},
    engine::EngineHandle,
};

/// Questions to the run's database: at most four a second.
const QUESTION_PAUSE: Duration = Duration::from_millis(250);
/// The log view, which nobody announces changes of, is drawn anew this often while it is open.
const LOG_PAUSE: Duration = Duration::from_millis(250);
/// Toasts and patience are looked at this often while there are any.
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// Input handled before the next frame, so that a flood of it can't keep the screen from being drawn.
const MOST_EVENTS: usize = 256;
/// Commands under way at once; a key held down can't pile up more.
const MOST_ORDERS: usize = 32;

/// What the loop draws on and speaks through.
pub trait Screen {
    fn draw(&mut self, state: &State, snapshot: &Snapshot) -> io::Result<()>;
    /// Forgets what is on the terminal; the next frame is drawn whole.
    fn repaint(&mut self) -> io::Result<()>;
    /// Gives the terminal back, stops the process until it is continued, and takes the terminal again.
    fn suspend(&mut self) -> io::Result<()>;
    fn capture_mouse(&mut self, on: bool) -> io::Result<()>;
    fn set_title(&mut self, title: &str) -> io::Result<()>;
    fn notify(&mut self, words: &str) -> io::Result<()>;
    /// How large a cell is, where the terminal says so.
    fn cell(&self) -> Option<CellPixels> {
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

type Reply = BoxFuture<'static, Message>;

/// Shows the run until the operator leaves or the terminal is gone.
pub async fn drive<S, I, G>(
    screen: &mut S,
    input: I,
    signals: G,
    handle: EngineHandle,
    state: State,
    frame_time: Duration,
) -> Exit
where
    S: Screen,
    I: Stream<Item = io::Result<Event>>,
    G: Stream<Item = Signal>,
{
    let mut input = pin!(input.fuse());
    let mut signals = pin!(signals.fuse());
    let mut dashboard = Dashboard::new(screen, handle, state, frame_time);
    let cell = dashboard.screen.cell();
    for message in [Message::Cell(cell), Message::Published] {
        if let Some(exit) = dashboard.handle(message) {
            return exit;
        }
    }
    loop {
        if let Some(exit) = dashboard.draw_if_due() {
            return exit;
        }
        let (wake_at, listening) = (dashboard.wake_at(), !dashboard.state.gone);
        let happened = tokio::select! {
            biased;
            events = next_events(&mut input) => Happened::Input(events),
            Some(signal) = signals.next() => Happened::Signal(signal),
            Some(message) = dashboard.replies.next(), if !dashboard.replies.is_empty() => Happened::Message(Box::new(message)),
            changed = dashboard.handle.snapshots.changed(), if listening => {
                if changed.is_ok() { Happened::Snapshot } else { Happened::Message(Box::new(Message::Gone)) }
            }
            () = sleep_until(wake_at.into()) => Happened::Time,
        };
        if let Some(exit) = dashboard.happened(happened) {
            return exit;
        }
    }
}

enum Happened {
    /// `None`: there will be no more.
    Input(Option<Vec<io::Result<Event>>>),
    Signal(Signal),
    Message(Box<Message>),
    Snapshot,
    Time,
}

/// All input that is there, or waits for some.
async fn next_events<I>(input: &mut std::pin::Pin<&mut futures_util::stream::Fuse<I>>) -> Option<Vec<io::Result<Event>>>
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
                    if broken || events.len() >= MOST_EVENTS {
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
    clock: EngineTime,
    began: Instant,
    frame_time: Duration,
    /// Something has changed since the last frame.
    dirty: bool,
    /// No frame before this.
    next_frame: Instant,
    /// No question before this.
    next_question: Instant,
    /// A question is under way.
    asking: bool,
    /// The question that was asked last.
    asked: Option<Query>,
    /// Commands under way.
    ordering: usize,
    replies: FuturesUnordered<Reply>,
}

impl<'s, S: Screen> Dashboard<'s, S> {
    fn new(screen: &'s mut S, handle: EngineHandle, state: State, frame_time: Duration) -> Self {
        let now = Instant::now();
        let snapshot = handle.snapshot();
        let clock = EngineTime::of(&snapshot, now);
        Self {
            screen,
            handle,
            state,
            snapshot,
            clock,
            began: now,
            frame_time,
            dirty: true,
            next_frame: now,
            next_question: now,
            asking: false,
            asked: None,
            ordering: 0,
            replies: FuturesUnordered::new(),
        }
    }

    fn happened(&mut self, happened: Happened) -> Option<Exit> {
        match happened {
            Happened::Input(None) | Happened::Signal(Signal::HangUp) => return Some(Exit::Detach),
            Happened::Input(Some(events)) => return self.take_input(events),
            Happened::Signal(Signal::Interrupt) => return self.handle(Message::Act(Action::Interrupt)),
            Happened::Signal(Signal::Terminate) => return self.handle(Message::Terminate),
            Happened::Message(message) => {
                match &*message {
                    Message::Gone => self.clock.stop(Instant::now()),
                    Message::Answered { .. } => self.asking = false,
                    Message::Replied { .. } => self.ordering -= 1,
                    _ => {}
                }
                return self.handle(*message);
            }
            Happened::Snapshot => {
                self.snapshot = Arc::clone(&self.handle.snapshots.borrow_and_update());
                self.clock = EngineTime::of(&self.snapshot, Instant::now());
                return self.handle(Message::Published);
            }
            Happened::Time => {}
        }
        self.ask_if_due();
        self.handle(Message::Tick)
    }

    fn take_input(&mut self, events: Vec<io::Result<Event>>) -> Option<Exit> {
        for event in events {
            let message = match event {
                // Reading from a terminal fails when it is gone, and for no reason a user could act on.
                Err(error) => {
                    tracing::warn!("the terminal can't be read any more: {error}");
                    return Some(Exit::Detach);
                }
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Release => continue,
                Ok(Event::Key(key)) => Message::Key(key),
                // Means nothing, and would have the screen drawn anew all the time.
                Ok(Event::Mouse(event)) if matches!(event.kind, MouseEventKind::Moved | MouseEventKind::Drag(_)) => {
                    continue;
                }
                Ok(Event::Mouse(event)) => Message::Mouse(event),
                Ok(Event::Paste(text)) => Message::Pasted(text),
                Ok(Event::Resize(width, height)) => {
                    // Another size of the letters is a resize too.
                    let cell = self.screen.cell();
                    if let Some(exit) = self.handle(Message::Cell(cell)) {
                        return Some(exit);
                    }
                    Message::Resized((width, height).into())
                }
                Ok(Event::FocusGained | Event::FocusLost) => continue,
            };
            if let Some(exit) = self.handle(message) {
                return Some(exit);
            }
        }
        None
    }

    /// One message through `update`, and its effects into the world.
    fn handle(&mut self, message: Message) -> Option<Exit> {
        let now = Instant::now();
        self.state.now = self.clock.now(now);
        self.state.ui = now.saturating_duration_since(self.began);
        self.dirty = true;
        for effect in update(&mut self.state, &self.snapshot, message) {
            let done = match effect {
                Effect::Leave(exit) => return Some(exit),
                Effect::Send(command) => {
                    self.send(command);
                    Ok(())
                }
                Effect::Ask(query) => {
                    let handle = self.handle.clone();
                    self.replies.push(async move { Message::Told(handle.query(query).await) }.boxed());
                    Ok(())
                }
                Effect::Depict { ask, number } => {
                    self.replies.push(depicted(self.handle.clone(), ask, number).boxed());
                    Ok(())
                }
                Effect::Copy(text) => self.screen.copy(&text),
                Effect::Suspend => self.screen.suspend().and_then(|()| self.screen.repaint()).map(|()| {
                    // A stopped program is not told of a new size.
                    if let Ok(size) = crossterm::terminal::size() {
                        update(&mut self.state, &self.snapshot, Message::Resized(size.into()));
                    }
                }),
                Effect::Repaint => self.screen.repaint(),
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on),
                Effect::SetTitle(title) => self.screen.set_title(&title),
                Effect::Notify(words) => self.screen.notify(&words),
            };
            if let Err(error) = done {
                return Some(gone(&error));
            }
        }
        self.ask_if_due();
        None
    }

    /// On its way as a task of its own: it is delivered although the dashboard may be left before the answer.
    fn send(&mut self, command: Command) {
        let reply = if self.ordering < MOST_ORDERS {
            let (handle, order) = (self.handle.clone(), command.clone());
            let mut sent = Box::pin(async move { handle.command(order).await });
            // Its place in the engine's queue is taken here: tasks of their own would overtake each other.
            let at_once = (&mut sent).now_or_never();
            let task = tokio::spawn(async move {
                match at_once {
                    Some(reply) => reply,
                    None => sent.await,
                }
            });
            // The task only waits on channels; it fails only where the runtime is shut down.
            async move { task.await.unwrap_or_else(|_| Err("the program is ending".to_owned())) }.boxed()
        } else {
            ready(Err("the engine has not answered yet; try again".to_owned())).boxed()
        };
        self.ordering += 1;
        self.replies.push(reply.map(|reply| Message::Replied { command, reply }).boxed());
    }

    /// One question at a time, for what is wanted when it is asked.
    fn ask_if_due(&mut self) {
        let now = Instant::now();
        if self.asking || now < self.next_question {
            return;
        }
        // By turns: what changes all the time doesn't keep the rest waiting.
        let is_last = |wanted: &Wanted| self.asked.as_ref() == Some(&wanted.query);
        let (again, others): (Vec<_>, Vec<_>) = self.state.wanted(&self.snapshot).partition(is_last);
        let Some(wanted) = others.into_iter().chain(again).next() else { return };
        self.asking = true;
        self.asked = Some(wanted.query.clone());
        self.next_question = now + QUESTION_PAUSE;
        let handle = self.handle.clone();
        self.replies.push(
            async move {
                let Wanted { query, .. } = wanted.clone();
                let page = handle.query(query).await;
                Message::Answered { wanted, page }
            }
            .boxed(),
        );
    }

    /// When to look again although nothing has happened.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let frame = self.dirty.then_some(self.next_frame);
        let clock = self.clock.next_tick(now);
        let question =
            (!self.asking && self.state.wanted(&self.snapshot).next().is_some()).then_some(self.next_question);
        let log = (self.state.focus == Pane::Log).then_some(now + LOG_PAUSE);
        let busy = !self.state.toasts.is_empty() || !self.state.pending.is_empty() || self.state.leaving.is_some();
        let housekeeping = busy.then_some(now + HOUSEKEEPING);
        let idle = now + Duration::from_mins(1);
        [frame, clock, question, log, housekeeping].into_iter().flatten().fold(idle, Instant::min)
    }

    fn draw_if_due(&mut self) -> Option<Exit> {
        let now = Instant::now();
        if !self.dirty || now < self.next_frame {
            return None;
        }
        self.state.now = self.clock.now(now);
        self.dirty = false;
        self.next_frame = now + self.frame_time;
        match self.screen.draw(&self.state, &self.snapshot) {
            Ok(()) => None,
            Err(error) => Some(gone(&error)),
        }
    }
}

/// The picture from the run's record, drawn on a thread of its own.
async fn depicted(handle: EngineHandle, ask: Ask, number: u32) -> Message {
    let seen = match handle.query(Query::Picture { seq: ask.seq, index: ask.index }).await {
        Ok(Page::Picture(image)) => picture::depict(image, ask, number).await,
        Ok(_) => Err("the run has no such picture".to_owned()),
        Err(words) => Err(format!("can't read the picture: {words}")),
    };
    Message::Depicted { ask, seen }
}

/// Writing to a terminal fails when it is gone; the run goes on without it.
fn gone(error: &io::Error) -> Exit {
    tracing::warn!("the terminal can't be written any more: {error}");
    Exit::Detach
}
