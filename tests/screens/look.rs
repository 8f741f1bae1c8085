//! The real dashboard over a fake engine with changing snapshots, for looking at it on a terminal: `cargo test --test
//! screens look -- --ignored --nocapture`. (After a minute the test harness writes a line over it; Ctrl-L draws the
//! screen again.)

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use cascadeck::{
    domain::{
        Command, Event, EventKind, Outcome, Snapshot,
        snapshot::{Condition, RunState},
    },
    tui::{DashboardOptions, run},
};

use crate::{
    fake_engine::{FakeEngine, fake_engine, fixture_page},
    fixture,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a terminal and a person"]
async fn look() {
    let directory = tempfile::tempdir().unwrap();
    let _log = cascadeck::telemetry::init(
        &directory.path().join("cascadeck.log"),
        tracing::level_filters::LevelFilter::DEBUG,
        true,
    )
    .unwrap();
    let (engine, handle) = fake_engine(fixture::busy());
    let FakeEngine { snapshots, mut commands, mut queries } = engine;
    let moving = tokio::spawn(async move {
        let mut snapshot = fixture::busy();
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = ticks.tick() => advance(&mut snapshot, began.elapsed()),
                order = commands.recv() => {
                    let Some(order) = order else { return };
                    if matches!(order.command, Command::SetStrategy { .. }) {
                        // An impossible count: the sum of ended items overflows while a frame is drawn.
                        (snapshot.totals.done, snapshot.totals.failed) = (u64::MAX, u64::MAX);
                    }
                    let words = if matches!(order.command, Command::ClearCooldowns { .. }) {
                        let worker = tokio::spawn(async { panic!("a worker's mistake") });
                        format!("the worker has panicked: {}", worker.await.is_err())
                    } else {
                        apply_command(&mut snapshot, &order.command)
                    };
                    let _ = order.reply.send(Ok(words));
                }
                Some(ask) = queries.recv() => {
                    let page = fixture_page(&ask.query);
                    let _ = ask.reply.send(Ok(page));
                }
            }
            snapshots.send_replace(Arc::new(snapshot.clone()));
        }
    });
    let exit = run(
        handle,
        DashboardOptions { ascii_only: std::env::var_os("ASCII").is_some(), ..DashboardOptions::default() },
    )
    .await;
    moving.abort();
    if let Some(path) = std::env::var_os("EXIT_TO") {
        let input = std::fs::read_link("/proc/self/fd/0").unwrap_or_default();
        let kind = input.display().to_string();
        std::fs::write(path, format!("{exit:?}, its input is a {}", kind.split(':').next().unwrap_or_default()))
            .unwrap();
    }
    let _ = writeln!(std::io::stdout(), "left with {exit:?}");
}

fn advance(snapshot: &mut Snapshot, elapsed: Duration) {
    if snapshot.state.is_over() || snapshot.state == RunState::Paused {
        return;
    }
    snapshot.at = fixture::NOW + elapsed;
    snapshot.elapsed = fixture::seconds(42 * 60 + 17) + elapsed;
    let totals = &mut snapshot.totals;
    if elapsed.subsec_millis() % 800 < 100 && totals.waiting > 0 {
        totals.waiting -= 1;
        totals.done += 1;
        totals.attempts += 1;
        snapshot.keys[0].ok += 1;
        snapshot.models[0].rpd.used += 1;
        tracing::info!(target: "cascadeck", item = totals.done, "done");
        let number = snapshot.events.last().map_or(1, |event| event.number + 1);
        let kind = EventKind::Fallback {
            seq: totals.done,
            item_id: totals.done.to_string(),
            from: "gemini-3.8-flash@bob".to_owned(),
            to: Some("gemini-3.8-flash@alice".to_owned()),
            outcome: Outcome::RateLimitedMinute,
            status: Some(429),
            wait: Some(fixture::seconds(37)),
            message: String::new(),
        };
        snapshot.events.push(Arc::new(Event { number, at: snapshot.at, kind }));
        if snapshot.events.len() > 256 {
            snapshot.events.remove(0);
        }
    }
}

fn apply_command(snapshot: &mut Snapshot, command: &Command) -> String {
    match command {
        Command::Pause | Command::HardPause => snapshot.state = RunState::Paused,
        Command::Resume => snapshot.state = RunState::Running,
        Command::Drain | Command::Stop => snapshot.state = RunState::Stopped { reason: "by you".to_owned() },
        Command::SetMaxInFlight { max_in_flight } => snapshot.max_in_flight = *max_in_flight,
        Command::SetKey { key, on } => {
            let at = snapshot.at;
            if let Some(view) = snapshot.keys.iter_mut().find(|view| view.name == *key) {
                view.condition = if *on { Condition::Ready } else { Condition::SwitchedOff { since: at } };
            }
        }
        _ => {}
    }
    format!("{command:?}")
}
