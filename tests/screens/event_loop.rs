//! The real event loop, with scripted keys, a screen in memory and a fake engine.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cascadeck::{
    domain::{Command, Query, Snapshot, snapshot::RunState},
    engine::PageRequest,
    tui::{
        ExitReason, State, draw,
        event_loop::run_event_loop,
        picture::ImageMode,
        screen::{Screen, Signal},
        theme::{ColourDepth, Theme},
    },
};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use futures_util::{Stream, StreamExt as _, stream};
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    fake_engine::{FakeEngine, fake_engine, fixture_page},
    fixture,
};

/// Draws into memory and publishes every frame to the test.
struct MemoryScreen {
    terminal: Terminal<TestBackend>,
    frames: watch::Sender<String>,
    calls: mpsc::UnboundedSender<String>,
    /// The terminal is gone: drawing fails.
    fails: bool,
    frame_count: Arc<AtomicUsize>,
}

impl Screen for MemoryScreen {
    fn draw(&mut self, state: &State, snapshot: &Snapshot) -> io::Result<()> {
        if self.fails {
            return Err(io::Error::other("EIO"));
        }
        self.terminal.draw(|frame| draw(frame, state, snapshot)).map_err(io::Error::other)?;
        self.frame_count.fetch_add(1, Ordering::Relaxed);
        self.frames.send_replace(self.terminal.backend().to_string());
        Ok(())
    }
    fn repaint(&mut self) -> io::Result<()> {
        self.terminal.clear().map_err(io::Error::other)
    }
    fn suspend(&mut self) -> io::Result<()> {
        let _ = self.calls.send("suspended".to_owned());
        Ok(())
    }
    fn capture_mouse(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }
    fn set_title(&mut self, title: &str) -> io::Result<()> {
        let _ = self.calls.send(format!("title: {title}"));
        Ok(())
    }
    fn copy(&mut self, text: &str) -> io::Result<()> {
        let _ = self.calls.send(format!("clipboard: {text}"));
        Ok(())
    }
    fn notify(&mut self, words: &str) -> io::Result<()> {
        let _ = self.calls.send(format!("bell: {words}"));
        Ok(())
    }
}

/// A running dashboard.
struct RunningDashboard {
    engine: FakeEngine,
    keys: Option<mpsc::UnboundedSender<io::Result<Event>>>,
    signals: mpsc::UnboundedSender<Signal>,
    frames: watch::Receiver<String>,
    /// Number of frames so far.
    frame_count: Arc<AtomicUsize>,
    calls: mpsc::UnboundedReceiver<String>,
    exit: JoinHandle<ExitReason>,
}

fn receiver_stream<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

impl RunningDashboard {
    fn start(snapshot: &Snapshot) -> Self {
        Self::start_on(snapshot, false)
    }

    fn start_on(snapshot: &Snapshot, fails: bool) -> Self {
        let (engine, handle) = fake_engine(snapshot.clone());
        let theme = Theme::load(None, ColourDepth::True).unwrap();
        let mut state = State::new(theme, false, TimeZone::UTC, (120, 36).into(), snapshot);
        state.images.caps = ImageMode::Blocks.image_caps(ColourDepth::True, false, false, |_| None);
        let (frames, watching) = watch::channel(String::new());
        let (calls, hearing) = mpsc::unbounded_channel();
        let frame_count = Arc::default();
        let terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
        let mut screen = MemoryScreen { terminal, frames, calls, fails, frame_count: Arc::clone(&frame_count) };
        let (keys, pressed) = mpsc::unbounded_channel();
        let (signals, raised) = mpsc::unbounded_channel();
        let exit = tokio::spawn(async move {
            let (input, signals) = (receiver_stream(pressed).boxed(), receiver_stream(raised).boxed());
            run_event_loop(&mut screen, input, signals, handle, state, Duration::from_millis(1)).await
        });
        Self { engine, keys: Some(keys), signals, frames: watching, frame_count, calls: hearing, exit }
    }

    fn press(&self, keys: &str) {
        for key in keys.chars() {
            let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
            self.send_key(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    fn press_ctrl(&self, letter: char) {
        self.send_key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
    }

    fn send_key(&self, key: KeyEvent) {
        self.keys.as_ref().unwrap().send(Ok(Event::Key(key))).unwrap();
    }

    /// Waits for a frame that shows `text`.
    async fn wait_for_text(&mut self, text: &str) {
        let seen = self.frames.wait_for(|frame| frame.contains(text));
        let seen = tokio::time::timeout(Duration::from_secs(20), seen).await;
        assert!(seen.is_ok(), "`{text}` was not seen");
    }

    async fn wait_for_call(&mut self, words: &str) {
        loop {
            let said = tokio::time::timeout(Duration::from_secs(20), self.calls.recv()).await;
            let said = said.unwrap_or_else(|_| panic!("`{words}` was not heard")).expect("the dashboard still runs");
            if said.contains(words) {
                return;
            }
        }
    }

    async fn wait_for_exit(self) -> ExitReason {
        let Self { engine, keys, exit, .. } = self;
        let exit = tokio::time::timeout(Duration::from_secs(20), exit).await;
        drop((engine, keys));
        exit.expect("the dashboard leaves").unwrap()
    }
}

#[tokio::test]
async fn space_on_a_key_switches_it_off() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.press(" ");
    let command = show.engine.acknowledge_command().await;
    assert_eq!(command, Command::SetKey { key: "alice".to_owned(), on: false });
    show.wait_for_text("done").await;
}

#[tokio::test]
async fn a_command_the_engine_never_answers_does_not_hold_up_the_keyboard() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.press("p");
    let unanswered = show.engine.commands.recv().await.unwrap();
    assert_eq!(unanswered.command, Command::Pause);
    show.wait_for_text("PAUSING…").await;
    show.press("?");
    show.wait_for_text("Help").await;
}

#[tokio::test]
async fn items_are_queried_one_query_at_a_time() {
    let mut show = RunningDashboard::start(&fixture::busy());
    let first = show.engine.queries.recv().await.unwrap();
    assert!(matches!(first.query, Query::Items { .. }));
    // More queries become pending while the first is in flight; only the newest is sent, and only after it.
    show.press("5ff");
    show.wait_for_text("▾in flight").await;
    assert!(show.engine.queries.try_recv().is_err());
    drop(first);
    let Query::Items { filter, .. } = show.engine.answer_query().await else { panic!("rows are wanted") };
    assert_eq!(filter.state, Some(cascadeck::domain::ItemState::InFlight));
}

#[tokio::test]
async fn an_item_is_opened_and_shown() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.engine.answer_query().await;
    show.wait_for_text("✗ #0342").await;
    show.press("5j\n");
    assert_eq!(show.engine.answer_query().await, Query::Item { seq: 342 });
    show.wait_for_text("Name every animal").await;
    // The item comes first; its picture is a second query.
    show.wait_for_text("reading the picture").await;
    assert_eq!(show.engine.answer_query().await, Query::Picture { seq: 342, index: 0 });
    show.wait_for_text("▀▀▀▀▀▀▀▀").await;
    show.wait_for_text("120 x 80 PNG").await;
}

#[tokio::test]
async fn an_item_that_goes_on_changing_does_not_keep_its_list_waiting() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.engine.answer_query().await;
    show.wait_for_text("✗ #0342").await;
    show.press("5j\n");
    let PageRequest { query, reply } = show.engine.queries.recv().await.unwrap();
    assert_eq!(query, Query::Item { seq: 342 });
    // Now both the item and the list are outdated.
    let mut snapshot = fixture::busy();
    snapshot.totals.failed = 8;
    show.engine.snapshots.send_replace(Arc::new(snapshot));
    show.wait_for_text("8 failed").await;
    reply.send(Ok(fixture_page(&query))).unwrap();
    let mut next = show.engine.answer_query().await;
    if matches!(next, Query::Picture { .. }) {
        next = show.engine.answer_query().await;
    }
    assert!(matches!(next, Query::Items { .. }), "{next:?}");
}

#[tokio::test]
async fn quitting_a_finished_run_needs_no_confirmation() {
    let show = RunningDashboard::start(&fixture::finished());
    show.press("q");
    assert_eq!(show.wait_for_exit().await, ExitReason::RunEnded);
}

#[tokio::test]
async fn quitting_to_plain_progress_detaches() {
    let show = RunningDashboard::start(&fixture::busy());
    show.press("qp");
    assert_eq!(show.wait_for_exit().await, ExitReason::Detached);
}

#[tokio::test]
async fn draining_stays_until_the_run_is_over() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.press("qd");
    assert_eq!(show.engine.acknowledge_command().await, Command::Drain);
    let mut snapshot = fixture::busy();
    snapshot.state = RunState::Draining;
    show.engine.snapshots.send_replace(Arc::new(snapshot.clone()));
    show.wait_for_text("DRAINING").await;
    assert!(!show.exit.is_finished());
    snapshot.state = RunState::Stopped { reason: "drained".to_owned() };
    show.engine.snapshots.send_replace(Arc::new(snapshot));
    assert_eq!(show.wait_for_exit().await, ExitReason::Drained);
}

#[tokio::test]
async fn ctrl_c_asks_and_ctrl_c_again_stops() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.press_ctrl('c');
    show.wait_for_text("The run is under way").await;
    show.press_ctrl('c');
    assert_eq!(show.engine.acknowledge_command().await, Command::Stop);
    assert_eq!(show.wait_for_exit().await, ExitReason::Stopped);
}

#[tokio::test]
async fn a_third_ctrl_c_does_not_wait_for_the_engine() {
    let mut show = RunningDashboard::start(&fixture::busy());
    for _ in 0..3 {
        show.press_ctrl('c');
    }
    assert_eq!(show.engine.commands.recv().await.unwrap().command, Command::Stop);
    assert_eq!(show.wait_for_exit().await, ExitReason::Stopped);
}

#[tokio::test]
async fn terminate_drains_and_terminate_again_stops() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.signals.send(Signal::Terminate).unwrap();
    assert_eq!(show.engine.acknowledge_command().await, Command::Drain);
    show.signals.send(Signal::Terminate).unwrap();
    assert_eq!(show.engine.acknowledge_command().await, Command::Stop);
    assert_eq!(show.wait_for_exit().await, ExitReason::Stopped);
}

#[tokio::test]
async fn a_terminal_that_is_gone_leaves_the_run_alone() {
    let show = RunningDashboard::start(&fixture::busy());
    show.signals.send(Signal::HangUp).unwrap();
    assert_eq!(show.wait_for_exit().await, ExitReason::Detached);

    let mut show = RunningDashboard::start(&fixture::busy());
    show.keys = None;
    assert_eq!(show.wait_for_exit().await, ExitReason::Detached);

    let show = RunningDashboard::start(&fixture::busy());
    show.keys.as_ref().unwrap().send(Err(io::Error::other("EIO"))).unwrap();
    assert_eq!(show.wait_for_exit().await, ExitReason::Detached);

    assert_eq!(RunningDashboard::start_on(&fixture::busy(), true).wait_for_exit().await, ExitReason::Detached);
}

#[tokio::test]
async fn a_lost_engine_is_shown_and_q_quits() {
    let mut show = RunningDashboard::start(&fixture::busy());
    let (snapshots, _) = watch::channel(Arc::new(fixture::busy()));
    drop(std::mem::replace(&mut show.engine.snapshots, snapshots));
    show.wait_for_text("ENGINE GONE").await;
    show.press("q");
    assert_eq!(show.wait_for_exit().await, ExitReason::RunEnded);
}

#[tokio::test]
async fn mouse_moves_draw_no_frame() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.engine.answer_query().await;
    // Without an engine no clock ticks, so only the operator's input causes frames.
    let (snapshots, _) = watch::channel(Arc::new(fixture::busy()));
    drop(std::mem::replace(&mut show.engine.snapshots, snapshots));
    show.wait_for_text("ENGINE GONE").await;
    show.press("?");
    show.wait_for_text("Help").await;
    let before = show.frame_count.load(Ordering::Relaxed);
    // More events than the loop reads before a frame.
    for step in 0..10_000_u16 {
        let kind = if step % 2 == 0 { MouseEventKind::Moved } else { MouseEventKind::Drag(MouseButton::Left) };
        let event = MouseEvent { kind, column: step % 120, row: step % 36, modifiers: KeyModifiers::NONE };
        show.keys.as_ref().unwrap().send(Ok(Event::Mouse(event))).unwrap();
    }
    show.press("?");
    show.frames.wait_for(|frame| !frame.contains("Help")).await.unwrap();
    assert_eq!(show.frame_count.load(Ordering::Relaxed), before + 1);
}

#[tokio::test]
async fn the_title_follows_the_run_and_the_bell_rings_at_its_end() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.wait_for_call("title: captions-spring: running 64%").await;
    show.engine.snapshots.send_replace(Arc::new(fixture::finished()));
    show.wait_for_call("title: captions-spring: finished 100%").await;
    show.wait_for_call("bell: captions-spring is finished: 4993 done, 7 failed").await;
}

#[tokio::test]
async fn ctrl_z_suspends_and_the_dashboard_comes_back() {
    let mut show = RunningDashboard::start(&fixture::busy());
    show.press_ctrl('z');
    show.wait_for_call("suspended").await;
    show.press("?");
    show.wait_for_text("Help").await;
}

#[tokio::test]
async fn the_clock_runs_between_snapshots_at_the_engines_speed() {
    let mut snapshot = fixture::busy();
    snapshot.clock_speed = 3_600.0;
    let mut show = RunningDashboard::start(&snapshot);
    show.wait_for_text("simulated time ×3600").await;
    // No snapshot is published any more, and bob's 37 seconds still pass, within a hundredth of a second.
    show.wait_for_text("0:00 RPM limit").await;
}
