//! The selected cooldown stays selected while the list changes.

use std::time::Duration;

use cascadeck::{
    domain::{
        Command, Outcome,
        snapshot::{BackoffWait, CauseSource, CooldownView, RunState},
    },
    tui::{UiEvent, pane::Pane},
};

use crate::{
    fixture::{self, NOW, seconds},
    tui_harness::{TuiHarness, send_effect},
};

fn cooldown(what: &str, ends: u64, outcome: Outcome, words: &str) -> CooldownView {
    CooldownView {
        subject: what.to_owned(),
        started_at: NOW,
        until: NOW + seconds(ends),
        cause: fixture::cause(outcome, CauseSource::Provider, words, 1),
    }
}

fn three_cooldowns() -> Vec<CooldownView> {
    vec![
        cooldown("m@alice", 10, Outcome::RateLimitedMinute, "a minute"),
        cooldown("m@alice", 900, Outcome::QuotaExhaustedDay, "a day"),
        cooldown("m@bob", 1_000, Outcome::RateLimitedMinute, "of bob"),
    ]
}

fn harness_with(cooldowns: Vec<CooldownView>) -> TuiHarness {
    let mut snapshot = fixture::busy();
    snapshot.cooldowns = cooldowns;
    TuiHarness::new(120, 36, snapshot)
}

fn publish_cooldowns(stage: &mut TuiHarness, cooldowns: Vec<CooldownView>) {
    let mut snapshot = stage.snapshot.clone();
    snapshot.cooldowns = cooldowns;
    stage.publish(snapshot);
}

fn clear_command(key: &str) -> Command {
    Command::ClearCooldowns { key: key.to_owned() }
}

#[test]
fn two_cooldowns_with_one_name_are_two_rows() {
    let mut stage = harness_with(three_cooldowns());
    stage.press("2j");
    assert_eq!(stage.state.selected_row(Pane::Cooldowns, &stage.snapshot), 1);
    let text = stage.press("w").screen_text();
    assert!(text.contains("a day") && text.contains("day quota"), "{text}");
    assert_eq!(stage.press("\x1bjc").effects, send_effect(clear_command("bob")), "nor is the third out of reach");
}

#[test]
fn the_selection_stays_with_its_cooldown_while_others_come_and_go() {
    for gone in [0, 1] {
        let mut stage = harness_with(three_cooldowns());
        stage.press("2G");
        let mut rest = three_cooldowns();
        rest.remove(gone);
        rest.push(cooldown("m@carol", 1, Outcome::ServerError, "sooner than all"));
        publish_cooldowns(&mut stage, rest);
        assert_eq!(stage.state.selected_row(Pane::Cooldowns, &stage.snapshot), 2);
        stage.press("c");
        assert_eq!(stage.effects, send_effect(clear_command("bob")));
    }
}

#[test]
fn a_key_press_right_after_a_cooldown_ended_does_not_hit_its_neighbour() {
    // This also holds for the first row, which is selected by default.
    for (keys, ends, next) in [("2", 0, "alice"), ("2jj", 2, "alice")] {
        let mut stage = harness_with(three_cooldowns());
        stage.press(keys);
        let mut rest = three_cooldowns();
        rest.remove(ends);
        publish_cooldowns(&mut stage, rest);
        stage.press("c");
        assert!(stage.effects.is_empty(), "{keys:?}: {:?}", stage.effects);
        assert!(stage.screen_text().contains("that cooldown has just ended"), "{keys:?}");
        stage.press("c");
        assert_eq!(stage.effects, send_effect(clear_command(next)), "{keys:?}: the second time it is meant");
    }
}

#[test]
fn a_cooldown_that_ended_long_ago_or_was_left_does_not_block_the_next() {
    let later = |stage: &mut TuiHarness| {
        stage.state.ui_elapsed += Duration::from_secs(3);
        stage.update(UiEvent::Tick);
    };
    let moves = |stage: &mut TuiHarness| {
        stage.press("j");
    };
    for (action, key) in [(&later as &dyn Fn(&mut TuiHarness), "alice"), (&moves, "bob")] {
        let mut stage = harness_with(three_cooldowns());
        stage.press("2");
        publish_cooldowns(&mut stage, three_cooldowns().split_off(1));
        action(&mut stage);
        stage.press("c");
        assert_eq!(stage.effects, send_effect(clear_command(key)));
    }
}

#[test]
fn however_long_the_names_are_the_reason_stays() {
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        let mut snapshot = fixture::busy();
        for cooldown in &mut snapshot.cooldowns {
            cooldown.subject = format!("gemini-3.5-flash-lite-preview-09-2026-{}", cooldown.subject);
        }
        let mut stage = TuiHarness::new(width, height, snapshot);
        let text = stage.press("2").screen_text();
        assert!(text.contains("…@grace") && text.contains(" server error"), "{width}x{height}: {text}");
    }
}

#[test]
fn a_projects_cooldown_is_cleared_through_a_working_key_of_it() {
    let mut snapshot = fixture::busy();
    let dead = snapshot.keys.iter().position(|key| key.name == "dave").unwrap();
    let works = snapshot.keys.iter().position(|key| key.name == "frank").unwrap();
    assert!(dead < works);
    for at in [dead, works] {
        snapshot.keys[at].project = "shared".to_owned();
    }
    snapshot.cooldowns = vec![cooldown("m@shared", 900, Outcome::QuotaExhaustedDay, "a day")];
    let mut stage = TuiHarness::new(120, 36, snapshot);
    assert_eq!(stage.press("2c").effects, send_effect(clear_command("frank")));
}

#[test]
fn a_backoff_of_the_current_route_shows_its_step_how_long_and_why() {
    let until = NOW + seconds(10);
    let mut snapshot = fixture::busy();
    let route = snapshot.current_route.as_mut().unwrap();
    (route.retry_number, route.max_retries) = (2, 5);
    route.backoff = Some(BackoffWait { until, outcome: Outcome::RateLimitedMinute, status: Some(429) });
    let mut stage = TuiHarness::new(120, 36, snapshot.clone());
    let text = stage.screen_text();
    assert!(text.contains("model 1/4 · retry 2/5 in 0:10: 429"), "{text}");

    let reason = "gemini-3.8-flash@alice: cooling down".to_owned();
    snapshot.state = RunState::Waiting { reason, until: Some(until) };
    let text = stage.publish(snapshot).screen_text();
    assert!(text.contains("(0:10): gemini-3.8-flash@alice: cooling down · retry 2/5 in 0:10: 429"), "{text}");
}

#[test]
fn a_silent_provider_is_the_reason_in_the_header() {
    let mut snapshot = fixture::busy();
    snapshot.state = RunState::Running;
    snapshot.silence = Some("no answer from gemini for 30s (12 requests in flight)".to_owned());
    let text = TuiHarness::new(120, 36, snapshot).screen_text();
    assert!(text.contains("no answer from gemini for 30s (12 requests in flight)"), "{text}");
}
