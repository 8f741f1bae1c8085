//! Which cooldown is meant: the one that was selected, also while the list moves under the operator's hand.

use std::time::Duration;

use cascadeck::{
    domain::{
        Command, Outcome,
        snapshot::{CauseSource, CooldownView},
    },
    tui::{UiEvent, pane::Pane},
};

use crate::{
    fixture::{self, NOW, seconds},
    stage::{Stage, sent},
};

fn cooldown(what: &str, ends: u64, outcome: Outcome, words: &str) -> CooldownView {
    CooldownView {
        subject: what.to_owned(),
        started_at: NOW,
        until: NOW + seconds(ends),
        cause: fixture::cause(outcome, CauseSource::Provider, words, 1),
    }
}

fn three() -> Vec<CooldownView> {
    vec![
        cooldown("m@alice", 10, Outcome::RateLimitedMinute, "a minute"),
        cooldown("m@alice", 900, Outcome::QuotaExhaustedDay, "a day"),
        cooldown("m@bob", 1_000, Outcome::RateLimitedMinute, "of bob"),
    ]
}

fn stage(cooldowns: Vec<CooldownView>) -> Stage {
    let mut snapshot = fixture::storm();
    snapshot.cooldowns = cooldowns;
    Stage::new(120, 36, snapshot)
}

fn publish(stage: &mut Stage, cooldowns: Vec<CooldownView>) {
    let mut snapshot = stage.snapshot.clone();
    snapshot.cooldowns = cooldowns;
    stage.publish(snapshot);
}

fn clear(key: &str) -> Command {
    Command::ClearCooldowns { key: key.to_owned() }
}

#[test]
fn two_of_one_name_are_two_rows() {
    let mut stage = stage(three());
    stage.press("2j");
    assert_eq!(stage.state.selected_row(Pane::Cooldowns, &stage.snapshot), 1);
    let text = stage.press("w").text();
    assert!(text.contains("a day") && text.contains("day quota"), "{text}");
    assert_eq!(stage.press("\x1bjc").effects, sent(clear("bob")), "nor is the third out of reach");
}

#[test]
fn the_selection_stays_with_its_cooldown_while_others_come_and_go() {
    for gone in [0, 1] {
        let mut stage = stage(three());
        stage.press("2G");
        let mut rest = three();
        rest.remove(gone);
        rest.push(cooldown("m@carol", 1, Outcome::ServerError, "sooner than all"));
        publish(&mut stage, rest);
        assert_eq!(stage.state.selected_row(Pane::Cooldowns, &stage.snapshot), 2);
        stage.press("c");
        assert_eq!(stage.effects, sent(clear("bob")));
    }
}

#[test]
fn what_has_just_ended_is_not_taken_for_its_neighbour() {
    // Also where the operator has chosen none, but looks at the first.
    for (keys, ends, next) in [("2", 0, "alice"), ("2jj", 2, "alice")] {
        let mut stage = stage(three());
        stage.press(keys);
        let mut rest = three();
        rest.remove(ends);
        publish(&mut stage, rest);
        stage.press("c");
        assert!(stage.effects.is_empty(), "{keys:?}: {:?}", stage.effects);
        assert!(stage.text().contains("that cooldown has just ended"), "{keys:?}");
        stage.press("c");
        assert_eq!(stage.effects, sent(clear(next)), "{keys:?}: the second time it is meant");
    }
}

#[test]
fn what_ended_long_ago_or_was_left_since_is_not_in_the_way() {
    let later = |stage: &mut Stage| {
        stage.state.ui_elapsed += Duration::from_secs(3);
        stage.send(UiEvent::Tick);
    };
    let moves = |stage: &mut Stage| {
        stage.press("j");
    };
    for (deed, key) in [(&later as &dyn Fn(&mut Stage), "alice"), (&moves, "bob")] {
        let mut stage = stage(three());
        stage.press("2");
        publish(&mut stage, three().split_off(1));
        deed(&mut stage);
        stage.press("c");
        assert_eq!(stage.effects, sent(clear(key)));
    }
}

#[test]
fn however_long_the_names_are_the_reason_stays() {
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        let mut snapshot = fixture::storm();
        for cooldown in &mut snapshot.cooldowns {
            cooldown.subject = format!("gemini-3.5-flash-lite-preview-09-2026-{}", cooldown.subject);
        }
        let mut stage = Stage::new(width, height, snapshot);
        let text = stage.press("2").text();
        assert!(text.contains("…@grace") && text.contains(" server error"), "{width}x{height}: {text}");
    }
}

#[test]
fn a_projects_cooldown_is_ended_by_a_key_of_it_that_works() {
    let mut snapshot = fixture::storm();
    let dead = snapshot.keys.iter().position(|key| key.name == "dave").unwrap();
    let works = snapshot.keys.iter().position(|key| key.name == "frank").unwrap();
    assert!(dead < works);
    for at in [dead, works] {
        snapshot.keys[at].project = "shared".to_owned();
    }
    snapshot.cooldowns = vec![cooldown("m@shared", 900, Outcome::QuotaExhaustedDay, "a day")];
    let mut stage = Stage::new(120, 36, snapshot);
    assert_eq!(stage.press("2c").effects, sent(clear("frank")));
}
