//! A terminal too small for a dashboard: nothing happens there that isn't seen, and what it says is true.

use cascadeck::{
    domain::{Command, snapshot::RunState},
    tui::{Effect, ExitReason, UiEvent, state::Overlay},
};
use ratatui::layout::Size;

use crate::{
    fixture,
    stage::{Stage, sent},
};

const SIZES: [(u16, u16); 4] = [(59, 14), (40, 6), (45, 2), (45, 1)];

fn small(width: u16, height: u16) -> Stage {
    Stage::new(width, height, fixture::storm())
}

#[test]
fn nothing_opens_and_nothing_is_steered_unseen() {
    let keys =
        ["?", "w", "W", ":", "/", "s", "P", "R", "t", "5r", "9r", "c", " ", "d", "e", "+", "-", "u", "z", "\n", "3 "];
    for (width, height) in SIZES {
        for keys in keys {
            let mut stage = small(width, height);
            let focus = stage.state.focus;
            stage.press(keys);
            assert_eq!((&stage.state.overlay, &stage.effects[..]), (&None, &[][..]), "{keys:?} at {width}x{height}");
            assert_eq!(stage.state.focus, focus, "{keys:?}");
            let seen = stage.text().contains("no room for that here; q quits");
            assert_eq!(seen, height > 1, "{keys:?} at {width}x{height}: {}", stage.text());
        }
    }
}

#[test]
fn a_pause_is_seen_and_what_the_engine_says_of_it() {
    for (width, height) in [(59, 14), (40, 2)] {
        let mut stage = small(width, height);
        assert_eq!(stage.press("p").effects, sent(Command::Pause));
        assert!(stage.text().contains("PAUSING"), "{}", stage.text());
        stage.send(UiEvent::CommandReply { command: Command::Pause, reply: Err("the disk is full".to_owned()) });
        let text = stage.text();
        assert!(text.lines().nth(1).unwrap().contains("the disk is full"), "{text}");
        stage.press("\x1b");
        assert!(stage.text().contains("too small"), "{}", stage.text());
    }
}

#[test]
fn q_quits_as_the_screen_says() {
    for (width, height) in SIZES {
        for (key, effect) in [
            ("p", Effect::Leave(ExitReason::Detached)),
            ("d", Effect::SendCommand(Command::Drain)),
            ("s", Effect::SendCommand(Command::Stop)),
        ] {
            let mut stage = small(width, height);
            stage.press("q");
            let text = stage.text();
            for word in ["p plain", "d drain", "s stop"] {
                assert!(text.contains(word), "{word} at {width}x{height}: {text}");
            }
            assert_eq!(stage.press(key).effects, [effect]);
        }
        let mut over = Stage::new(width, height, fixture::finished());
        assert_eq!(over.press("q").effects, [Effect::Leave(ExitReason::RunEnded)]);
    }
}

#[test]
fn what_was_open_closes_when_the_window_shrinks_and_the_question_how_to_leave_stays() {
    for keys in ["?", "w", ":", "/", "s", "P", "R"] {
        let mut stage = Stage::storm();
        stage.press(keys);
        assert!(stage.state.overlay.is_some());
        stage.send(UiEvent::Resize(Size { width: 59, height: 14 }));
        assert_eq!(stage.state.overlay, None, "{keys:?}");
        assert!(stage.press("y").effects.is_empty(), "{keys:?}");
    }
    let mut stage = Stage::storm();
    stage.press("q");
    stage.send(UiEvent::Resize(Size { width: 59, height: 14 }));
    assert_eq!(stage.state.overlay, Some(Overlay::Quit));
    assert_eq!(stage.press("s").effects, sent(Command::Stop));
}

#[test]
fn who_only_watches_leaves_at_once_and_pauses_nothing() {
    let mut stage = small(40, 3);
    stage.state.read_only = true;
    assert!(stage.press("p").effects.is_empty());
    assert!(stage.text().contains("read-only") && !matches!(stage.snapshot.state, RunState::Paused));
    assert_eq!(stage.press("q").effects, [Effect::Leave(ExitReason::Detached)]);
}
