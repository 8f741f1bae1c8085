//! Colours and symbols, which text snapshots don't contain.

use std::collections::HashSet;

use cascadeck::tui::{
    DashboardOptions,
    pane::Pane,
    state::ToastLevel,
    theme::{ColourDepth, StyleRole},
};
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

use crate::{fake_engine::fake_engine, fixture, tui_harness::TuiHarness};

/// The first cell of `text` on the screen.
fn cell_of<'b>(buffer: &'b Buffer, text: &str) -> &'b Cell {
    let area = buffer.area;
    for y in 0..area.height {
        let row: Vec<&str> = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
        for x in 0..area.width {
            if row[usize::from(x)..].concat().starts_with(text) {
                return &buffer[(x, y)];
            }
        }
    }
    panic!("`{text}` is not on the screen");
}

#[test]
fn without_colour_no_cell_has_one() {
    for keys in ["", "?", "w", "W", "q", "s", "R", ":", "/x", "5\n", "6", "8", "9", "5z", "5 ", "5j\n"] {
        let mut stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, false);
        stage.press(keys);
        for cell in stage.buffer().content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{keys:?}: {cell:?}");
        }
    }
}

#[test]
fn without_colour_the_selection_and_the_focus_still_show() {
    let stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, false);
    let buffer = stage.buffer();
    assert!(cell_of(&buffer, "alice     ").modifier.contains(Modifier::REVERSED));
    assert!(!cell_of(&buffer, "bob     ").modifier.contains(Modifier::REVERSED));
    assert!(cell_of(&buffer, "Keys").modifier.contains(Modifier::BOLD));
}

#[test]
fn a_terminal_with_sixteen_colours_gets_no_others() {
    let stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Ansi16, false);
    for cell in stage.buffer().content() {
        assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)), "{cell:?}");
    }
}

#[test]
fn every_state_of_a_key_has_a_sign_a_word_and_a_look_of_its_own() {
    let stage = TuiHarness::new(200, 50, fixture::busy());
    let buffer = stage.buffer();
    let words = ["● ready", "◌ cooling", "○ day quota", "✗ disabled", "– off", "◐ RPM", "▲ circuit open"];
    let signs: HashSet<_> = words.iter().map(|word| word.chars().next()).collect();
    assert_eq!(signs.len(), words.len());
    let mut looks = HashSet::new();
    for word in &words[1..] {
        looks.insert(cell_of(&buffer, word).fg);
    }
    // Full and cooling both mean "soon": they share a colour, and differ in symbol and word.
    assert_eq!(looks.len(), words.len() - 2);
    assert_eq!(cell_of(&buffer, "✗ disabled").fg, stage.state.theme.style(StyleRole::Bad).fg.unwrap());
}

#[test]
fn the_operators_own_events_stand_out() {
    let stage = TuiHarness::new(120, 36, fixture::busy());
    let buffer = stage.buffer();
    assert_eq!(cell_of(&buffer, "you  erin").fg, stage.state.theme.style(StyleRole::Operator).fg.unwrap());
}

#[test]
fn bars_of_the_selected_row_keep_their_colour() {
    let stage = TuiHarness::new(120, 36, fixture::busy());
    let buffer = stage.buffer();
    let bar = cell_of(&buffer, "━━━━ 100");
    assert!(!bar.modifier.contains(Modifier::REVERSED), "{bar:?}");
}

#[test]
fn ascii_screens_are_ascii() {
    for keys in ["", "?", "w", "W", "q", "s", "R", ":", "6", "8", "9", "4z", "2z", "5 "] {
        let mut stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::True, true);
        stage.press(keys);
        let buffer = stage.buffer();
        // Text from outside is shown as it is; the fixture's items and one event have such text.
        let outside = ["フ", "SAFETY", "owned"];
        for y in 0..36 {
            let row: String = (0..120).map(|x| buffer[(x, y)].symbol()).collect();
            if !outside.iter().any(|text| row.contains(text)) {
                assert!(row.is_ascii(), "{keys:?}: {row}");
            }
        }
    }
}

#[test]
fn in_ascii_the_whole_selected_row_is_reversed() {
    let mut stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, true);
    stage.press("5z");
    let buffer = stage.buffer();
    let first = cell_of(&buffer, "#0117");
    assert!(first.modifier.contains(Modifier::REVERSED), "{first:?}");
}

#[test]
fn quotation_marks_are_spelled_for_ascii_too() {
    let mut stage = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, true);
    stage.press("5/safe\nt");
    let words = "\u{201c}a\u{201d} isn\u{2019}t there";
    stage.state.toasts.push(words, ToastLevel::Success, stage.state.ui_elapsed);
    let text = stage.screen_text();
    assert!(text.contains("failed with \"safe\"") && text.contains("\"a\" isn't there"), "{text}");
}

#[test]
fn nothing_from_outside_reaches_the_terminal_as_a_control_character() {
    for keys in ["", "4z", "5z", "5jjjjj\n", "5j\n"] {
        let mut stage = TuiHarness::new(120, 36, fixture::busy());
        stage.press(keys);
        let text = stage.screen_text();
        let bad = |character: char| {
            (character.is_control() && character != '\n') || matches!(character, '\u{202a}'..='\u{202e}')
        };
        assert!(!text.contains(bad), "{keys:?}");
    }
    let mut stage = TuiHarness::new(120, 36, fixture::busy());
    assert!(stage.focus(Pane::Events).press("z").screen_text().contains("SAFETY ␛[31m<U+202E>"));
}

#[test]
fn wide_characters_do_not_break_columns() {
    let mut stage = TuiHarness::new(120, 36, fixture::busy());
    stage.press("5");
    let buffer = stage.buffer();
    for y in 5..35 {
        let edge = buffer[(119, y)].symbol();
        assert!(["│", "╮", "╯"].contains(&edge), "row {y} ends in {edge:?}");
    }
}

#[test]
fn names_in_any_script_keep_the_columns_straight() {
    let names = ["مفتاح الربيع", "chìa khóa số một", "密钥", "🔑🗝️ key", "कुंजी", "👩‍👩‍👧‍👦", "e\u{301}\u{301}"];
    let mut snapshot = fixture::busy();
    for (key, name) in snapshot.keys.iter_mut().zip(names) {
        name.clone_into(&mut key.name);
    }
    for route in &mut snapshot.routes {
        let at = fixture::busy().keys.iter().position(|key| key.name == route.key).unwrap();
        names[at].clone_into(&mut route.key);
    }
    for (width, height) in [(200, 50), (120, 36), (80, 24), (60, 15)] {
        for keys in ["", "z", "6", "jw"] {
            let mut stage = TuiHarness::new(width, height, snapshot.clone());
            stage.press(keys);
            let buffer = stage.buffer();
            let first = stage.state.layout(&stage.snapshot).body.y;
            for y in first..height - 1 {
                for x in [0, width - 1] {
                    let edge = buffer[(x, y)].symbol();
                    assert!("│╭╮╰╯".contains(edge), "{keys:?} at {width}x{height}: row {y} has {edge:?} at {x}");
                }
            }
        }
    }
}

#[test]
fn a_quota_is_shown_with_all_its_digits() {
    let mut snapshot = fixture::busy();
    snapshot.models[0].rpd = cascadeck::domain::snapshot::Gauge { used: 1_060, limit: Some(1_500), source: None };
    for width in [100, 120, 200] {
        let text = TuiHarness::new(width, 36, snapshot.clone()).screen_text();
        assert!(text.contains(" 1.06k/1.5k"), "{width} columns:\n{text}");
    }
}

#[test]
fn a_theme_without_colours_draws_pictures_without_colours_too() {
    let (_engine, handle) = fake_engine(fixture::busy());
    for (theme, depth) in [("mono", ColourDepth::Mono), ("light", ColourDepth::True)] {
        let options = DashboardOptions {
            theme: Some(theme.to_owned()),
            colour_depth: Some(ColourDepth::True),
            ..DashboardOptions::default()
        };
        let state = options.build_state(&handle, (120, 36).into()).unwrap();
        assert_eq!(state.images.caps.map(|canvas| canvas.colour_depth), Some(depth), "{theme}");
    }
}
