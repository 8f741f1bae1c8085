//! Navigation: panes, selections, filters, the mouse, and which layer gets the keys.

use std::sync::Arc;

use cascadeck::{
    domain::{Command, Event, EventKind},
    tui::{
        Effect, UiEvent,
        action::Action,
        keymap::{KeyContext, KeyOverride, Keymap},
        pane::Pane,
        state::{InspectSubject, Overlay},
    },
};
use crossterm::event::{KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use crate::{
    fixture::{self, NOW},
    tui_harness::{TuiHarness, send_effect},
};

#[test]
fn letters_are_text_while_typing() {
    let mut stage = TuiHarness::busy();
    stage.press("/qps");
    assert!(stage.effects.is_empty());
    assert_eq!(stage.state.items.text_filter, "qps");
    stage.press("\x08\x08");
    stage.update(UiEvent::Paste("a\nb\x1b".to_owned()));
    assert_eq!(stage.state.items.text_filter, "qa b␛");
    stage.press_ctrl('u');
    assert_eq!(stage.state.items.text_filter, "");
    stage.press("x\x1b");
    assert_eq!(stage.state.items.text_filter, "", "Esc brings the old filter back");
    assert!(stage.state.overlay.is_none());
    stage.press("/x\n");
    assert_eq!(stage.state.items.text_filter, "x", "Enter keeps it");
}

#[test]
fn escape_goes_back_one_step_at_a_time_and_never_quits() {
    let mut stage = TuiHarness::busy();
    stage.press("5/0342\nz\n");
    assert!(stage.state.detail.is_some());
    stage.press("\x1b");
    assert!(stage.state.detail.is_none() && stage.state.is_zoomed);
    stage.press("\x1b");
    assert_eq!(stage.state.items.text_filter, "");
    stage.press("\x1b");
    assert!(!stage.state.is_zoomed);
    for _ in 0..5 {
        stage.press("\x1b");
    }
    assert!(stage.effects.is_empty());
}

#[test]
fn tab_walks_the_panes_that_are_there() {
    let walk = |width, height, presses: usize| {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        (0..presses)
            .map(|_| {
                stage.press("\t");
                assert!(stage.state.layout(&stage.snapshot).area_of(stage.state.focus).is_some());
                stage.state.focus
            })
            .collect::<Vec<_>>()
    };
    let medium = [Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items, Pane::Keys];
    assert_eq!(walk(120, 36, 5), medium);
    assert_eq!(walk(80, 24, 5), medium);
    assert_eq!(walk(60, 15, 5), medium);
    assert_eq!(walk(200, 50, 6)[4..], [Pane::Routes, Pane::Keys]);
    let mut stage = TuiHarness::busy();
    stage.press_code(KeyCode::BackTab);
    assert_eq!(stage.state.focus, Pane::Items);
}

#[test]
fn selections_stay_inside_their_lists() {
    for pane in Pane::ALL {
        let mut stage = TuiHarness::busy();
        stage.focus(pane);
        for action in [Action::PageDown, Action::Bottom, Action::Down, Action::Right, Action::Top, Action::Up] {
            stage.perform(action);
            let (at, length) =
                (stage.state.selected_row(pane, &stage.snapshot), stage.state.row_count(pane, &stage.snapshot));
            assert!(at < length.max(1), "{pane:?} {action:?}");
            let _ = stage.screen_text();
        }
        stage.perform(Action::Bottom).publish(fixture::not_started());
        let _ = stage.screen_text();
    }
}

#[test]
fn events_follow_the_newest_until_one_is_selected_and_then_stay_on_it() {
    let publish = |stage: &mut TuiHarness, number: u64| {
        let mut snapshot = stage.snapshot.clone();
        let kind = EventKind::Operator { message: format!("event {number}") };
        snapshot.events.push(Arc::new(Event { number, at: NOW, kind }));
        stage.publish(snapshot);
    };
    let mut stage = TuiHarness::busy();
    stage.focus(Pane::Events);
    publish(&mut stage, 9);
    assert_eq!(stage.state.selected_row(Pane::Events, &stage.snapshot), 0);
    stage.press("j");
    publish(&mut stage, 10);
    publish(&mut stage, 11);
    assert_eq!(stage.state.selected_row(Pane::Events, &stage.snapshot), 3);
    stage.press("g");
    publish(&mut stage, 12);
    assert_eq!(stage.state.selected_row(Pane::Events, &stage.snapshot), 0);
}

#[test]
fn an_event_opens_the_item_it_is_about() {
    let mut stage = TuiHarness::busy();
    stage.press("4\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(3_213));
    stage.press("\x1bj\n");
    assert!(stage.screen_text().contains("this event is not about a single item"));
}

fn mouse_event(kind: MouseEventKind, column: u16, row: u16) -> UiEvent {
    UiEvent::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
}

#[test]
fn a_click_focuses_and_selects_and_the_wheel_scrolls() {
    let mut stage = TuiHarness::busy();
    // The heading is row 5, alice 6, bob 7.
    stage.update(mouse_event(MouseEventKind::Down(MouseButton::Left), 5, 7));
    assert_eq!((stage.state.focus, stage.state.selected_row(Pane::Keys, &stage.snapshot)), (Pane::Keys, 1));
    stage.update(mouse_event(MouseEventKind::Down(MouseButton::Left), 100, 6));
    assert_eq!((stage.state.focus, stage.state.selected_row(Pane::Cooldowns, &stage.snapshot)), (Pane::Cooldowns, 1));
    stage.update(mouse_event(MouseEventKind::ScrollDown, 5, 25));
    assert_eq!((stage.state.focus, stage.state.selected_row(Pane::Events, &stage.snapshot)), (Pane::Events, 3));
    stage.update(mouse_event(MouseEventKind::Down(MouseButton::Left), 5, 0));
    assert_eq!(stage.state.focus, Pane::Events, "the header selects nothing");
    stage.press("?");
    stage.update(mouse_event(MouseEventKind::ScrollDown, 5, 6));
    assert!(matches!(stage.state.overlay, Some(Overlay::Help(reading)) if reading.line == 3));
}

#[test]
fn a_click_on_a_route_selects_that_route() {
    let mut stage = TuiHarness::new(200, 50, fixture::busy());
    stage.press("6z");
    let text = stage.screen_text();
    let (top, heading) = text.lines().enumerate().find(|(_, line)| line.contains("local-llava")).unwrap();
    let column = heading[..heading.find("local-llava").unwrap()].chars().count() as u16;
    let row = top as u16 + 2;
    stage.update(mouse_event(MouseEventKind::Down(MouseButton::Left), column + 1, row));
    let cell = |key: &str, model: &str| Some(InspectSubject::Route { key: key.to_owned(), model: model.to_owned() });
    assert_eq!(stage.state.selected_subject(&stage.snapshot), cell("bob", "local-llava"));
    stage.update(mouse_event(MouseEventKind::Down(MouseButton::Left), 2, row - 1));
    assert_eq!(stage.state.selected_subject(&stage.snapshot), cell("alice", "local-llava"), "a key's name is its row");
}

#[test]
fn the_wheel_scrolls_only_the_topmost_layer() {
    for (keys, moves) in [("", true), ("t", false), ("P", false), ("q", false), (":", false)] {
        let mut stage = TuiHarness::new(80, 24, fixture::busy());
        stage
            .press(
                "5j
",
            )
            .press(keys);
        let overlay = stage.state.overlay.clone();
        stage.update(mouse_event(MouseEventKind::ScrollDown, 5, 10));
        let line = stage.state.detail.as_ref().map(|detail| detail.scroll.line);
        assert_eq!((line, stage.state.overlay == overlay), (Some(if moves { 3 } else { 0 }), true), "{keys:?}");
    }
}

#[test]
fn a_full_screen_pane_does_not_leave_zoom_on() {
    for keys in [
        "8
1", "7
1", "8z1", "9z1",
    ] {
        let mut stage = TuiHarness::busy();
        stage.press(keys);
        assert_eq!(stage.state.fullscreen_pane(), None, "{keys:?}");
    }
}

#[test]
fn the_topmost_layer_gets_the_keys() {
    let mut stage = TuiHarness::busy();
    assert_eq!(stage.state.key_contexts()[0], KeyContext::Pane(Pane::Keys));
    stage.press("5\n");
    assert_eq!(stage.state.key_contexts()[0], KeyContext::ItemDetail);
    stage.press("?");
    assert_eq!(stage.state.key_contexts(), [KeyContext::TextOverlay, KeyContext::Always]);
}

#[test]
fn the_selected_row_is_copied() {
    let cases = [
        ("jy", "bob"),
        ("3y", "gemini-3.8-flash"),
        ("6y", "gemini-3.8-flash@alice"),
        ("5jy", "0342"),
        ("5j\ny", "internal error"),
        ("9y", "blockReason: SAFETY"),
    ];
    for (keys, text) in cases {
        assert_eq!(TuiHarness::busy().press(keys).effects, [Effect::CopyToClipboard(text.to_owned())], "{keys:?}");
    }
    let mut done = TuiHarness::busy();
    done.open_answered_item().press("y");
    assert!(matches!(&done.effects[..], [Effect::CopyToClipboard(answer)] if answer.starts_with("Two herons")));
    assert!(done.screen_text().contains("sent to the clipboard"));
}

#[test]
fn rebound_keys_work_and_show_everywhere() {
    let rebinding = |action: &str, key: &str| KeyOverride {
        action: action.to_owned(),
        keys: vec![key.to_owned()],
        location: "keys.toml:1".to_owned(),
    };
    let mut stage = TuiHarness::busy();
    stage.state.keymap = Keymap::with_overrides(&[rebinding("pause", "F5"), rebinding("quit", "ctrl-q")]).unwrap();
    let footer = stage.screen_text().lines().last().unwrap().to_owned();
    assert!(footer.contains("F5 pause") && footer.contains("^Q quit"), "{footer}");
    assert!(stage.press("pq").effects.is_empty() && stage.state.overlay.is_none());
    assert_eq!(stage.press_code(KeyCode::F(5)).effects, send_effect(Command::Pause));
    stage.press("?");
    assert!(stage.screen_text().contains("F5 "), "{}", stage.screen_text());
}
