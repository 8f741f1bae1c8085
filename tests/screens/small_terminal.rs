//! A terminal too small for a dashboard: keys do nothing that isn't visible, and the text on the screen is true.

use cascadeck::{
    domain::{Command, snapshot::RunState},
    tui::{Effect, ExitReason, UiEvent, state::Overlay},
};
use ratatui::layout::Size;

use crate::{
    fixture,
    tui_harness::{TuiHarness, send_effect},
};

const SIZES: [(u16, u16); 4] = [(59, 14), (40, 6), (45, 2), (45, 1)];

fn small_harness(width: u16, height: u16) -> TuiHarness {
    TuiHarness::new(width, height, fixture::busy())
}

#[test]
fn nothing_opens_and_no_command_is_sent_on_a_small_screen() {
    let keys =
        ["?", "w", "W", ":", "/", "s", "P", "R", "t", "5r", "9r", "c", " ", "d", "e", "+", "-", "u", "z", "\n", "3 "];
    for (width, height) in SIZES {
        for keys in keys {
            let mut stage = small_harness(width, height);
            let focus = stage.state.focus;
            stage.press(keys);
            assert_eq!((&stage.state.overlay, &stage.effects[..]), (&None, &[][..]), "{keys:?} at {width}x{height}");
            assert_eq!(stage.state.focus, focus, "{keys:?}");
            let seen = stage.screen_text().contains("the screen is too small; q quits");
            assert_eq!(seen, height > 1, "{keys:?} at {width}x{height}: {}", stage.screen_text());
        }
    }
}

#[test]
fn a_pause_and_the_engines_reply_are_shown() {
    for (width, height) in [(59, 14), (40, 2)] {
        let mut stage = small_harness(width, height);
        assert_eq!(stage.press("p").effects, send_effect(Command::Pause));
        assert!(stage.screen_text().contains("PAUSING"), "{}", stage.screen_text());
        stage.update(UiEvent::CommandReply { command: Command::Pause, reply: Err("the disk is full".to_owned()) });
        let text = stage.screen_text();
        assert!(text.lines().nth(1).unwrap().contains("the disk is full"), "{text}");
        stage.press("\x1b");
        assert!(stage.screen_text().contains("too small"), "{}", stage.screen_text());
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
            let mut stage = small_harness(width, height);
            stage.press("q");
            let text = stage.screen_text();
            for word in ["p plain", "d drain", "s stop"] {
                assert!(text.contains(word), "{word} at {width}x{height}: {text}");
            }
            assert_eq!(stage.press(key).effects, [effect]);
        }
        let mut over = TuiHarness::new(width, height, fixture::finished());
        assert_eq!(over.press("q").effects, [Effect::Leave(ExitReason::RunEnded)]);
    }
}

#[test]
fn overlays_close_when_the_window_shrinks_but_the_quit_menu_stays() {
    for keys in ["?", "w", ":", "/", "s", "P", "R"] {
        let mut stage = TuiHarness::busy();
        stage.press(keys);
        assert!(stage.state.overlay.is_some());
        stage.update(UiEvent::Resize(Size { width: 59, height: 14 }));
        assert_eq!(stage.state.overlay, None, "{keys:?}");
        assert!(stage.press("y").effects.is_empty(), "{keys:?}");
    }
    let mut stage = TuiHarness::busy();
    stage.press("q");
    stage.update(UiEvent::Resize(Size { width: 59, height: 14 }));
    assert_eq!(stage.state.overlay, Some(Overlay::Quit));
    assert_eq!(stage.press("s").effects, send_effect(Command::Stop));
}

#[test]
fn a_read_only_screen_quits_at_once_and_pauses_nothing() {
    let mut stage = small_harness(40, 3);
    stage.state.read_only = true;
    assert!(stage.press("p").effects.is_empty());
    assert!(stage.screen_text().contains("read-only") && !matches!(stage.snapshot.state, RunState::Paused));
    assert_eq!(stage.press("q").effects, [Effect::Leave(ExitReason::Detached)]);
}
