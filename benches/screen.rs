//! The dashboard at its largest: a million items and 1,000 routes.
//!
//! `cargo bench --bench screen`. It prints the slowest of many frames beside the usual medians. The targets: a frame
//! takes under 5 ms at the 99th percentile, and a key press is on the screen within 50 ms.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on says so")]

#[path = "../tests/screens/fixture/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the benchmark uses a part of the tests' snapshots")]
mod fixture;

use std::time::{Duration, Instant};

use cascadeck::{
    domain::{Page, Query, Snapshot},
    tui::{
        State, UiEvent, draw,
        theme::{ColourDepth, Theme},
        update,
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use divan::{Bencher, black_box};
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend, layout::Size};

const KEYS: usize = 100;
const MODELS: usize = 10;
const ITEMS: u64 = 1_000_000;
const TERMINAL_SIZE: Size = Size { width: 200, height: 50 };

/// Name of each view, and the keys that open it.
const VIEWS: [(&str, &str); 7] = [
    ("first screen", ""),
    ("items", "5zG"),
    ("routes", "6"),
    ("charts", "8"),
    ("models", "3z"),
    ("help", "?"),
    ("why not faster", "W"),
];

fn main() {
    print_percentiles();
    divan::main();
}

fn large_snapshot() -> Snapshot {
    let mut snapshot = fixture::busy();
    snapshot.totals.total = ITEMS;
    (snapshot.totals.done, snapshot.totals.failed) = (ITEMS / 2, ITEMS / 4);
    let (keys, models, routes) = (snapshot.keys.clone(), snapshot.models.clone(), snapshot.routes.clone());
    let numbered = |name: &str, number: usize| format!("{name}-{number}");
    snapshot.keys = (0..KEYS).map(|n| keys[n % keys.len()].clone()).collect();
    for (number, key) in snapshot.keys.iter_mut().enumerate() {
        key.name = numbered(&key.name, number);
    }
    snapshot.models = (0..MODELS).map(|n| models[n % models.len()].clone()).collect();
    for (number, model) in snapshot.models.iter_mut().enumerate() {
        model.name = numbered(&model.name, number);
    }
    snapshot.routes = (0..KEYS * MODELS).map(|n| routes[n % routes.len()].clone()).collect();
    for (number, route) in snapshot.routes.iter_mut().enumerate() {
        route.key.clone_from(&snapshot.keys[number / MODELS].name);
        route.model.clone_from(&snapshot.models[number % MODELS].name);
    }
    let cooldowns = snapshot.cooldowns.clone();
    snapshot.cooldowns = (0..KEYS).map(|n| cooldowns[n % cooldowns.len()].clone()).collect();
    for (number, cooldown) in snapshot.cooldowns.iter_mut().enumerate() {
        cooldown.subject = numbered(&cooldown.subject, number);
    }
    let events = snapshot.events.clone();
    snapshot.events = (0..256).map(|n| events[n % events.len()].clone()).collect();
    snapshot
}

/// A dashboard on a terminal in memory.
struct BenchDashboard {
    state: State,
    snapshot: Snapshot,
    terminal: Terminal<TestBackend>,
}

impl BenchDashboard {
    fn with_view(keys: &str) -> Self {
        let snapshot = large_snapshot();
        let theme = Theme::load(None, ColourDepth::True).unwrap();
        let state = State::new(theme, false, TimeZone::UTC, TERMINAL_SIZE, &snapshot);
        let terminal = Terminal::new(TestBackend::new(TERMINAL_SIZE.width, TERMINAL_SIZE.height)).unwrap();
        let mut desk = Self { state, snapshot, terminal };
        // Publishes snapshots until the charts are full.
        for second in 0..600 {
            desk.publish_next_snapshot(second);
            desk.snapshot.at = desk.snapshot.at + Duration::from_secs(1);
        }
        desk.answer_query();
        for key in keys.chars() {
            desk.press(key);
        }
        desk
    }

    fn update(&mut self, message: UiEvent) {
        black_box(update(&mut self.state, &self.snapshot, message));
    }

    fn press(&mut self, key: char) {
        self.update(UiEvent::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE)));
        self.answer_query();
    }

    /// Answers the pending query as the run's database would: with the requested window of a million items.
    fn answer_query(&mut self) {
        let Some(query) = self.state.pending_queries(&self.snapshot).next() else { return };
        let Query::Items { offset, limit, .. } = query.query else { return };
        let template = fixture::failed_items();
        let rows = (offset..(offset + u64::from(limit)).min(ITEMS / 4)).map(|seq| {
            let mut row = template[seq as usize % template.len()].clone();
            (row.seq, row.id) = (seq, seq.to_string());
            row
        });
        let page = Page::Items { rows: rows.collect(), matching: ITEMS / 4, offset, outdated: false };
        self.update(UiEvent::QueryAnswer { query, page: Ok(page) });
    }

    fn frame(&mut self) {
        self.terminal.draw(|frame| draw(frame, &self.state, &self.snapshot)).unwrap();
    }

    /// Publishes a new snapshot in which every counter has moved a little.
    fn publish_next_snapshot(&mut self, number: u64) {
        self.snapshot.totals.done += 1;
        self.snapshot.totals.attempts += 1;
        self.snapshot.at = self.snapshot.at + Duration::from_millis(100);
        self.state.now = self.snapshot.at;
        let keys = self.snapshot.keys.len();
        self.snapshot.keys[number as usize % keys].ok += 1;
        self.update(UiEvent::NewSnapshot);
    }
}

#[divan::bench(args = VIEWS.map(|(name, _)| name))]
fn frame(bencher: Bencher<'_, '_>, view: &str) {
    let (_, keys) = VIEWS.iter().find(|(name, _)| *name == view).unwrap();
    let mut desk = BenchDashboard::with_view(keys);
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        desk.publish_next_snapshot(number);
        desk.frame();
    });
}

#[divan::bench]
fn key_press_to_screen(bencher: Bencher<'_, '_>) {
    let mut desk = BenchDashboard::with_view("5z");
    bencher.bench_local(|| {
        desk.press('j');
        desk.frame();
    });
}

/// Prints median, 99th percentile and worst time of each view.
fn print_percentiles() {
    const FRAMES: usize = 2_000;
    println!(
        "{ITEMS} items, {} routes, {}x{}; {FRAMES} of each:",
        KEYS * MODELS,
        TERMINAL_SIZE.width,
        TERMINAL_SIZE.height
    );
    let report = |name: &str, mut work: Box<dyn FnMut(u64)>| {
        let mut took: Vec<Duration> = (0..FRAMES as u64)
            .map(|number| {
                let began = Instant::now();
                work(number);
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        let at = |share: f64| took[((FRAMES as f64 * share) as usize).min(FRAMES - 1)].as_secs_f64() * 1_000.0;
        println!("  {name:<24} p50 {:.2} ms   p99 {:.2} ms   worst {:.2} ms", at(0.5), at(0.99), at(1.0));
    };
    for (name, keys) in VIEWS {
        let mut desk = BenchDashboard::with_view(keys);
        report(
            name,
            Box::new(move |number| {
                desk.publish_next_snapshot(number);
                desk.frame();
            }),
        );
    }
    let mut desk = BenchDashboard::with_view("5z");
    report(
        "key press to screen",
        Box::new(move |number| {
            desk.press(if number % 50 == 49 { 'g' } else { 'j' });
            desk.frame();
        }),
    );
}
