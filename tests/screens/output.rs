//! Output that the operator didn't ask for: alarms, countdowns and reasons.

use std::sync::Arc;

use cascadeck::{
    domain::{
        Event, EventKind, LimitSource, Money, Outcome, Snapshot,
        snapshot::{CauseSource, Condition, RouteView, RunState},
    },
    tui::Effect,
};

use crate::{
    fixture::{self, NOW, seconds},
    tui_harness::TuiHarness,
};

#[test]
fn an_alarm_rings_once_and_old_ones_do_not() {
    let mut stage = TuiHarness::busy();
    assert!(stage.effects.is_empty(), "dave died before the screen was opened");
    let mut snapshot = fixture::busy();
    let kind = EventKind::Disabled {
        subject: "bob".to_owned(),
        outcome: Outcome::InvalidKey,
        message: "API key not valid\u{7}".to_owned(),
    };
    snapshot.events.push(Arc::new(Event { number: 9, at: NOW, kind }));
    stage.publish(snapshot.clone());
    let bell = "captions-spring: bob disabled, invalid_key: API key not valid␇".to_owned();
    assert_eq!(stage.effects, [Effect::Notify(bell)]);
    stage.publish(snapshot);
    assert_eq!(stage.effects.len(), 1);
}

#[test]
fn gaps_without_snapshots_keep_their_length_in_the_charts() {
    let mut stage = TuiHarness::busy();
    for second in [1, 2, 60, 61, 3_600] {
        let mut snapshot = fixture::busy();
        snapshot.at = NOW + seconds(second);
        snapshot.spend.cost = Money::from_usd(second as f64).unwrap();
        stage.publish(snapshot);
    }
    let steps = stage.state.history.series(500).unwrap();
    assert!(steps.points.len() > 300, "an hour in steps of equal length, not one for each that was published");
    let at = |second| {
        let step = seconds(second).as_secs() / steps.step.as_secs() - 1;
        steps.points[step as usize].usd
    };
    assert!((at(50) - 2.0).abs() < 1e-9, "what was published last stood until the next: {}", at(50));
    assert!((at(3_000) - 61.0).abs() < 1e-9);
    assert!((steps.points.last().unwrap().usd - 3_600.0).abs() < 1e-9);
}

#[test]
fn a_replay_does_not_lower_the_charts() {
    let mut stage = TuiHarness::busy();
    for second in 0..=120 {
        let mut snapshot = fixture::busy();
        snapshot.at = NOW + seconds(second);
        // Two items a second; halfway, 400 failed items are requeued.
        snapshot.totals.failed = if second < 60 { 407 } else { 7 };
        snapshot.totals.done += 2 * second;
        stage.publish(snapshot);
    }
    let steps = stage.state.history.series(500).unwrap();
    let newest = steps.points.last().unwrap().items_per_second;
    assert!((newest - 2.0).abs() < 0.05, "{newest}");
}

#[test]
fn countdowns_run_between_snapshots() {
    let mut stage = TuiHarness::busy();
    assert!(stage.screen_text().contains("0:37 RPM limit"));
    stage.state.now = NOW + seconds(7);
    assert!(stage.screen_text().contains("0:30 RPM limit"));
    assert!(stage.screen_text().contains("00:42:24"), "the clock goes with it");
    stage.state.now = NOW + seconds(120);
    assert!(stage.screen_text().contains("0:00 RPM limit"), "only the engine says that it is over");
}

#[test]
fn an_end_that_was_foretold_and_has_passed_is_not_shown() {
    let mut stage = TuiHarness::busy();
    assert!(stage.screen_text().contains("ETA 14:33"));
    stage.state.now = NOW + seconds(2 * 3_600);
    let text = stage.screen_text();
    assert!(!text.contains("14:33") && text.contains("ETA -"), "{text}");
    let text = stage.press("W").screen_text();
    assert!(!text.contains("14:33") && !text.contains("15:10"), "{text}");
}

#[test]
fn every_key_and_route_can_be_inspected() {
    for (at, key) in fixture::busy().keys.iter().enumerate() {
        let mut stage = TuiHarness::busy();
        stage.press(&"j".repeat(at)).press("w");
        let text = stage.screen_text();
        assert!(text.contains(&format!("key {}", key.name)), "{text}");
        let since = match &key.condition {
            Condition::Ready => "health",
            Condition::Limited { .. } => "source         measured",
            Condition::SwitchedOff { .. } => "source         you",
            Condition::CircuitOpen { .. } => "source         our backoff",
            _ => "source         provider",
        };
        assert!(text.contains(since), "{text}");
        assert!(!stage.press("\x1b").screen_text().contains("source  "));
    }
    assert!(TuiHarness::busy().press("6jw").screen_text().contains("route gemini-3.8-flash@bob"));
    assert!(TuiHarness::busy().press("2w").screen_text().contains("internal error"));
    assert!(TuiHarness::busy().press("3w").screen_text().contains("day resets"));
}

#[test]
fn a_finished_screen_counts_truncated_answers_and_gives_a_hint_if_most_are() {
    let screen = |truncated| {
        let mut snapshot = fixture::finished();
        (snapshot.totals.done, snapshot.totals.failed, snapshot.totals.truncated) = (5_000, 0, truncated);
        TuiHarness::new(160, 50, snapshot).screen_text()
    };
    let few = screen(12);
    assert!(few.contains("every item was answered (12 truncated)") && !few.contains("most answers"), "{few}");
    let most = screen(4_000);
    assert!(most.contains("every item was answered (4,000 truncated)"), "{most}");
    assert!(most.contains("most answers are truncated: raise --max-output-tokens"), "{most}");
}

#[test]
fn a_disabled_route_says_what_enables_it_again() {
    for (outcome, back) in [
        (Outcome::InvalidKey, "when its secret changes, or you switch it on"),
        (Outcome::ModelNotFound, "at the next start, if the provider lists it, or you switch it on"),
        // The route needs an operator.
        (Outcome::ServerError, "at the next start, or you switch it on"),
    ] {
        let mut snapshot = fixture::busy();
        let bobs = |route: &&mut RouteView| route.key == "bob" && route.model == "gemini-3.8-flash";
        snapshot.routes.iter_mut().find(bobs).unwrap().condition =
            Condition::Disabled { since: NOW, cause: fixture::cause(outcome, CauseSource::Provider, "no", 3) };
        let text = TuiHarness::new(160, 50, snapshot).press("6jw").screen_text();
        assert!(text.contains(back), "{outcome}: {text}");
    }
}

#[test]
fn a_limit_that_was_not_configured_says_where_it_comes_from() {
    let words = [
        (None, None),
        (Some(LimitSource::Configured), None),
        (Some(LimitSource::Provider), Some("limit stated by the provider")),
        (Some(LimitSource::Learned), Some("limit learned from 429s")),
    ];
    for (provenance, told) in words {
        let mut snapshot = fixture::busy();
        snapshot.models[0].rpm.source = provenance;
        let mut stage = TuiHarness::new(160, 50, snapshot);
        let text = stage.press("3w").screen_text();
        assert_eq!(text.contains("; limit "), told.is_some(), "{text}");
        assert!(told.is_none_or(|told| text.contains(told)), "{text}");
    }
}

#[test]
fn every_view_draws_at_every_size_and_state() {
    let mut snapshots: Vec<Snapshot> = vec![fixture::not_started(), fixture::finished(), fixture::waiting_for_reset()];
    snapshots
        .push(Snapshot { state: RunState::NeedsOperator { reason: "the disk is full".to_owned() }, ..fixture::busy() });
    for snapshot in snapshots {
        for (width, height) in [(0, 0), (9, 0), (1, 1), (20, 3), (59, 14), (60, 15), (80, 24), (120, 36), (300, 90)] {
            for keys in
                ["", "z", "2z", "3z", "4z", "5z", "6", "7", "8", "9", "W", "?", "w", "q", "s", ":", "R", "5\n", "4\n"]
            {
                let mut stage = TuiHarness::new(width, height, snapshot.clone());
                stage.press(keys);
                let _ = stage.screen_text();
            }
        }
    }
}
