//! Columns and models that don't fit are named with the key that shows them, and that key works.

use cascadeck::{domain::Snapshot, tui::pane::Pane};

use crate::{fixture, tui_harness::TuiHarness};

/// The lower border of the pane titled `title` at the left edge.
fn lower_border<'t>(text: &'t str, title: &str) -> &'t str {
    let border = text.lines().skip_while(|line| !line.contains(title)).find(|line| line.starts_with('╰'));
    border.unwrap().split('╯').next().unwrap()
}

#[test]
fn hidden_columns_are_named_with_the_key_that_shows_them() {
    let cases = [
        (
            120,
            36,
            "Keys",
            "hidden: in flight, tokens, project (z)",
            "z",
            &["in flight", "tokens", "project", "vision-lab"][..],
        ),
        (80, 24, "Keys", "hidden: tokens, project (w)", "w", &["project vision-lab"]),
        (
            60,
            15,
            "Keys",
            "hidden: in flight, $, tokens, project (w)",
            "w",
            &["6 in flight", "$0.20, 377,580 tokens", "vision-lab"],
        ),
        (
            80,
            24,
            "3 Models",
            "hidden: in flight, p50, tokens (w)",
            "3w",
            &["3 in flight", "p50 0.9s", "665,950 tokens"],
        ),
    ];
    for (width, height, title, said, keys, shown) in cases {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        let text = stage.screen_text();
        let border = lower_border(&text, title);
        assert!(border.contains(said), "{title} at {width}x{height}: {border}");
        let text = stage.press(keys).screen_text();
        for words in shown {
            assert!(text.contains(words), "{words} at {width}x{height}: {text}");
        }
    }
}

#[test]
fn with_every_column_visible_no_hint_is_shown() {
    let text = TuiHarness::new(200, 50, fixture::busy()).screen_text();
    assert!(!text.contains(" hidden: "), "{text}");
}

#[test]
fn the_route_matrix_says_which_models_are_visible_and_arrows_scroll_it() {
    let mut stage = TuiHarness::new(80, 24, fixture::busy());
    let text = stage.press("6").screen_text();
    assert!(text.contains("Left/Right: models 1-3/4"), "{text}");
    assert!(!text.contains("local-llava"), "{text}");
    let text = stage.press("lll").screen_text();
    assert!(text.contains("Left/Right: models 2-4/4") && text.contains("local-llava"), "{text}");
    assert!(!TuiHarness::new(200, 50, fixture::busy()).press("6").screen_text().contains("Left/Right"));
}

#[test]
fn the_provider_column_is_shown_when_there_are_several() {
    let one = fixture::busy();
    let mut two: Snapshot = fixture::busy();
    two.keys[6].provider = "openrouter".to_owned();
    two.models[3].provider = "openrouter".to_owned();
    for keys in ["z", "3z"] {
        assert!(!TuiHarness::new(200, 50, one.clone()).press(keys).screen_text().contains("provider"), "{keys}");
        let text = TuiHarness::new(200, 50, two.clone()).press(keys).screen_text();
        assert!(text.contains("provider") && text.contains("openrouter"), "{keys}: {text}");
    }
}

#[test]
fn what_is_counted_on_a_project_names_its_keys() {
    let mut shared = fixture::busy();
    for key in &mut shared.keys[..2] {
        key.project = "spring".to_owned();
    }
    let text = TuiHarness::new(120, 36, shared).press("2jw").screen_text();
    assert!(text.contains("gemini-3.8-flash@spring is unavailable  (project of alice and bob)"), "{text}");
}

#[test]
fn answers_that_failed_a_check_are_shown_with_their_model_once_there_are_any() {
    let heading = |text: &str| text.lines().find(|line| line.contains("ok%")).unwrap().to_owned();
    let text = TuiHarness::new(200, 50, fixture::busy()).screen_text();
    assert!(!heading(&text).contains(" invalid "), "{text}");
    let mut snapshot = fixture::busy();
    (snapshot.models[0].ok, snapshot.models[0].invalid_outputs) = (300, 100);
    let mut stage = TuiHarness::new(200, 50, snapshot);
    let text = stage.focus(Pane::Models).screen_text();
    assert!(heading(&text).contains(" invalid "), "{text}");
    let text = stage.press("w").screen_text();
    assert!(text.contains("100 of 400 answers failed (25%)"), "{text}");
}
