//! Every key is rebound: no screen may name a default key any more.

use cascadeck::{
    domain::{Snapshot, bottleneck::Bottleneck, forecast::ConstraintShare, snapshot::RunState},
    tui::{
        UiEvent,
        action::Action,
        keymap::{BINDINGS, Chord, KeyOverride, Keymap},
        pane::Pane,
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::{fixture, tui_harness::TuiHarness};

/// A keymap with an unusual key for every action: function keys where they must work while typing, phonetic letters
/// elsewhere.
fn unusual_keymap() -> Keymap {
    let mut actions: Vec<Action> = Vec::new();
    for binding in BINDINGS.iter() {
        if !actions.contains(&binding.action) {
            actions.push(binding.action);
        }
    }
    let typing = [Action::Open, Action::Back, Action::NextPane, Action::PreviousPane, Action::Up, Action::Down];
    let letters = ('\u{250}'..='\u{2af}').map(|letter| letter.to_string());
    let mut letters = letters.into_iter();
    let rebindings: Vec<_> = actions
        .into_iter()
        .map(|action| {
            let key = match typing.iter().position(|typed| *typed == action) {
                Some(at) => format!("F{}", at + 2),
                None => letters.next().unwrap(),
            };
            KeyOverride {
                action: action.binding_name().to_owned(),
                keys: vec![key],
                location: "keys.toml:1".to_owned(),
            }
        })
        .collect();
    Keymap::with_overrides(&rebindings).unwrap()
}

/// The names of the default keys, except those that also occur in numbers and prompts.
fn default_key_names() -> Vec<String> {
    let mut names: Vec<_> = BINDINGS.iter().map(|binding| binding.chord.to_string()).collect();
    names.retain(|name| !name.starts_with(|sign: char| sign.is_ascii_digit() || "/:^-".contains(sign)));
    names
}

/// Performs the actions of the default keys, whatever is bound.
fn press_default_keys(stage: &mut TuiHarness, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            letter => KeyCode::Char(letter),
        };
        match Keymap::default().action_for(&stage.state.key_contexts(), Chord { code, ctrl: false }) {
            Some(action) => {
                stage.perform(action);
            }
            None => stage.update(UiEvent::Key(KeyEvent::new(code, KeyModifiers::NONE))),
        }
    }
}

fn snapshots_in_all_states() -> Vec<Snapshot> {
    let with = |state: RunState| Snapshot { state, ..fixture::busy() };
    let mut capped = fixture::busy();
    capped.forecast.as_mut().unwrap().constraints =
        vec![ConstraintShare { constraint: Bottleneck::MaxInFlight, pool: None, share: 1.0 }];
    capped.max_in_flight = 1;
    capped.totals.failed = 0;
    vec![fixture::busy(), with(RunState::Pausing), with(RunState::Paused), capped, fixture::finished()]
}

#[test]
fn no_screen_names_a_default_key_that_was_rebound() {
    let old = default_key_names();
    let mut named = Vec::new();
    for snapshot in snapshots_in_all_states() {
        for (width, height) in [(120, 36), (60, 15), (59, 14)] {
            for keys in [
                "",
                "z",
                "2z",
                "3z",
                "4z",
                "5z",
                "6",
                "7",
                "8",
                "9",
                "5\n",
                "5j\n",
                "?",
                "w",
                "jw",
                "jjjw",
                "jjjjw",
                "W",
                "q",
                "P",
                "R",
                "5 tj",
                "s",
                ":",
                ":fly\n",
                ":in-flight 0\n",
                ":strategy 1\n",
                "/SAFE",
                "-",
                "4:on\n",
                "4:clear-cooldowns\n",
                "4:probe\n",
                "4:replay\n",
                "4:export\n",
                "p",
            ] {
                let mut stage = TuiHarness::new(width, height, snapshot.clone());
                stage.state.keymap = unusual_keymap();
                press_default_keys(&mut stage, keys);
                if keys == "p" {
                    let reply = Err("the disk is full".to_owned());
                    stage.update(UiEvent::CommandReply { command: cascadeck::domain::Command::Pause, reply });
                }
                for line in stage.screen_text().lines() {
                    // A rate, a size and a sum are no keys; a pane's number is.
                    let line = ["/s ", "/s;", " x 80", " + 140"]
                        .iter()
                        .fold(line.to_owned(), |line, figure| line.replace(figure, " "));
                    let mut words = line.split(|sign: char| sign.is_whitespace() || "/();,".contains(sign));
                    let numbered = Pane::ALL
                        .iter()
                        .any(|pane| line.contains(&format!(" {} {}", pane.number(), pane.info().short_title)));
                    if numbered || words.any(|word| old.iter().any(|name| name == word)) {
                        named.push(format!("{keys:?} at {width}x{height}: {line}"));
                    }
                }
            }
        }
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn the_rebound_keys_are_named_instead() {
    let mut stage = TuiHarness::busy();
    let keymap = unusual_keymap();
    let keys = keymap.key_label(Action::Focus(Pane::Keys));
    let (why, yes) = (keymap.key_label(Action::InspectRun), keymap.key_label(Action::Yes));
    stage.state.keymap = keymap;
    let text = stage.screen_text();
    assert!(text.contains(&format!(" {keys} Keys")) && text.contains(&format!("({why} why)")), "{text}");
    press_default_keys(&mut stage, "P");
    assert!(stage.screen_text().contains(&format!("{yes} yes")), "{}", stage.screen_text());
}
