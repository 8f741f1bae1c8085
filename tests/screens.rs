//! Snapshots of every screen and overlay at every size, and tests of every key.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "screens/commands.rs"]
mod commands;
#[path = "screens/cooldowns.rs"]
mod cooldowns;
#[path = "screens/event_loop.rs"]
mod event_loop;
#[path = "screens/fake_engine.rs"]
mod fake_engine;
#[path = "screens/fixture/mod.rs"]
mod fixture;
#[path = "screens/hidden_columns.rs"]
mod hidden_columns;
#[path = "screens/key_overrides.rs"]
mod key_overrides;
#[path = "screens/lists.rs"]
mod lists;
#[path = "screens/log.rs"]
mod log;
#[path = "screens/look.rs"]
mod look;
#[path = "screens/navigation.rs"]
mod navigation;
#[path = "screens/numbers.rs"]
mod numbers;
#[path = "screens/operator_questions.rs"]
mod operator_questions;
#[path = "screens/output.rs"]
mod output;
#[path = "screens/pictures.rs"]
mod pictures;
mod pty;
#[path = "screens/replay.rs"]
mod replay;
#[path = "screens/small_terminal.rs"]
mod small_terminal;
#[path = "screens/style.rs"]
mod style;
#[path = "screens/terminal.rs"]
mod terminal;
#[path = "screens/tui_harness.rs"]
mod tui_harness;

use cascadeck::{
    domain::{Money, Snapshot},
    tui::{pane::Pane, theme::ColourDepth},
};
use insta::assert_snapshot;
use tui_harness::TuiHarness;

/// The terminal sizes of all snapshots.
const SIZES: [(u16, u16); 4] = [(200, 50), (120, 36), (80, 24), (60, 15)];

/// The screen after the same keys, at every size.
fn render_at_every_size(snapshot: impl Fn() -> Snapshot, keys: &str) -> String {
    let pictures = SIZES.map(|(width, height)| {
        let picture = TuiHarness::new(width, height, snapshot()).press(keys).test_backend();
        format!("{width}x{height}\n{picture}")
    });
    pictures.join("\n")
}

#[test]
fn every_screen_and_overlay_at_every_size() {
    let cases = [
        ("first_screen", ""),
        ("keys_zoomed", "z"),
        ("cooldowns_zoomed", "2z"),
        ("models_zoomed", "3z"),
        ("events_zoomed", "4z"),
        ("items_zoomed", "5z"),
        ("items_marked", "5  "),
        ("routes", "6"),
        ("failures", "9"),
        ("detail_failed", "5j\n"),
        ("help", "?"),
        ("why_key", "jw"),
        ("why_model", "3w"),
        ("why_route", "6jw"),
        ("why_cooldown", "2w"),
        ("why_run", "W"),
        ("quit", "q"),
        ("hard_pause", "P"),
        ("replay_all", "R"),
        ("replay_marked", "5 j tj"),
        ("strategy", "s"),
        ("command_line", ":rep"),
        ("filter", "/SAFE"),
        ("toast", "2:probe\n"),
    ];
    for (name, keys) in cases {
        assert_snapshot!(name, render_at_every_size(fixture::busy, keys));
    }
    assert_snapshot!("too_small", TuiHarness::new(59, 14, fixture::busy()).test_backend());
}

#[test]
fn states_of_the_run() {
    assert_snapshot!("smooth", render_at_every_size(fixture::healthy, ""));
    assert_snapshot!("dead_key", render_at_every_size(fixture::disabled_key, ""));
    assert_snapshot!("outage", render_at_every_size(fixture::outage, ""));
    assert_snapshot!("waiting_for_tomorrow", render_at_every_size(fixture::waiting_for_reset, ""));
    assert_snapshot!("finished", render_at_every_size(fixture::finished, ""));
    assert_snapshot!("nothing_yet", render_at_every_size(fixture::not_started, ""));
}

#[test]
fn ascii() {
    assert_snapshot!("ascii", TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, true).test_backend());
}

#[test]
fn charts() {
    let pictures = SIZES.map(|(width, height)| {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        for second in (0..=300_u64).step_by(3) {
            let mut snapshot = fixture::busy();
            snapshot.at = fixture::NOW + fixture::seconds(second);
            snapshot.totals.done += second + 30 * (second / 40);
            snapshot.totals.rate_limited = 96 + second.saturating_sub(30) * second / 400;
            snapshot.spend.cost = Money::from_usd(0.84 + second as f64 / 100.0).unwrap();
            stage.publish(snapshot);
        }
        format!("{width}x{height}\n{}", stage.focus(Pane::Charts).test_backend())
    });
    assert_snapshot!("charts", pictures.join("\n"));
}

#[test]
fn an_item_that_was_answered() {
    let pictures = SIZES.map(|(width, height)| {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        format!("{width}x{height}\n{}", stage.open_answered_item().test_backend())
    });
    assert_snapshot!("detail_done", pictures.join("\n"));
}

#[test]
fn a_picture_without_colour_and_without_block_signs() {
    for (name, depth, ascii) in [
        ("picture_shades", ColourDepth::Mono, false),
        ("picture_ascii", ColourDepth::Mono, true),
        ("picture_ascii_in_colour", ColourDepth::True, true),
    ] {
        let pictures = SIZES.map(|(width, height)| {
            let mut stage = TuiHarness::with_depth(width, height, fixture::busy(), depth, ascii);
            format!("{width}x{height}\n{}", stage.open_answered_item().test_backend())
        });
        assert_snapshot!(name, pictures.join("\n"));
    }
}
