//! What the operator sees, and what happens when a key is pressed.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "screens/behaviour.rs"]
mod behaviour;
#[path = "screens/engine.rs"]
mod engine;
#[path = "screens/event_loop.rs"]
mod event_loop;
#[path = "screens/fixture.rs"]
mod fixture;
#[path = "screens/log.rs"]
mod log;
#[path = "screens/look.rs"]
mod look;
#[path = "screens/stage.rs"]
mod stage;
#[path = "screens/style.rs"]
mod style;
#[path = "screens/terminal.rs"]
mod terminal;

use cascadeck::{
    domain::Money,
    tui::{pane::Pane, theme::Depth},
};
use insta::assert_snapshot;
use stage::Stage;

#[test]
fn first_screen() {
    for (name, width, height) in
        [("120x36", 120, 36), ("80x24", 80, 24), ("200x50", 200, 50), ("60x15", 60, 15), ("59x14", 59, 14)]
    {
        assert_snapshot!(format!("first_screen_{name}"), Stage::new(width, height, fixture::storm()).picture());
    }
}

#[test]
fn states_of_the_run() {
    assert_snapshot!("waiting_for_tomorrow", Stage::new(120, 36, fixture::tomorrow()).picture());
    assert_snapshot!("finished", Stage::new(120, 36, fixture::finished()).picture());
    assert_snapshot!("nothing_yet", Stage::new(100, 30, fixture::empty()).picture());
}

#[test]
fn overlays() {
    let stage = || Stage::new(120, 36, fixture::storm());
    assert_snapshot!("help", stage().press("?").picture());
    assert_snapshot!("why_key", stage().press("jw").picture());
    assert_snapshot!("quit", stage().press("q").picture());
    assert_snapshot!("replay_all", stage().press("R").picture());
    assert_snapshot!("strategy", stage().press("s").picture());
    assert_snapshot!("command_line", stage().press(":rep").picture());
    assert_snapshot!("filter", stage().press("/SAFE").picture());
}

#[test]
fn ascii() {
    assert_snapshot!("ascii", Stage::with(120, 36, fixture::storm(), Depth::Mono, true).picture());
}

#[test]
fn charts() {
    let mut stage = Stage::new(100, 30, fixture::storm());
    for second in 1..60_u64 {
        let mut snapshot = fixture::storm();
        snapshot.at = fixture::NOW + fixture::seconds(second);
        snapshot.pace.items_per_second = 0.2 + (second % 17) as f64 / 8.0;
        snapshot.totals.rate_limited = 96 + second.saturating_sub(30) * (second % 3);
        snapshot.spend.cost = Money::from_usd(0.84 + second as f64 / 100.0).unwrap();
        stage.publish(snapshot);
    }
    assert_snapshot!("charts", stage.focus(Pane::Charts).picture());
}

#[test]
fn whole_views() {
    let stage = || Stage::new(120, 36, fixture::storm());
    assert_snapshot!("detail_failed", stage().press("5j\n").picture());
    assert_snapshot!("detail_done", stage().answered_item().picture());
    assert_snapshot!("routes", stage().focus(Pane::Routes).picture());
    assert_snapshot!("items_zoomed", stage().press("5z").picture());
    assert_snapshot!("cooldowns_zoomed", stage().press("2z").picture());
    assert_snapshot!("keys_zoomed", stage().press("z").picture());
}
