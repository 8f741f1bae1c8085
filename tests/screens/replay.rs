//! Failed items: shown in groups, and replayed after a preview.

use cascadeck::{
    domain::{Command, Page, Query, ReplayFilter},
    tui::{Effect, UiEvent, action::Action},
};

use crate::{
    fixture,
    tui_harness::{TuiHarness, send_effect},
};

#[test]
fn a_replay_asks_first_and_names_the_count() {
    let mut asked = TuiHarness::busy();
    asked.press("R");
    assert!(asked.screen_text().contains("7 failed items will be sent again"), "{}", asked.screen_text());
    for no in ["n", "\x1b", "q"] {
        let mut stage = TuiHarness::busy();
        stage.press("R").press(no);
        assert!(stage.effects.is_empty() && stage.state.overlay.is_none(), "{no:?}");
    }
    for yes in ["y", "\n"] {
        let mut stage = TuiHarness::busy();
        stage.press("R").press(yes);
        assert_eq!(
            stage.effects,
            send_effect(Command::Replay { filter: ReplayFilter::default(), target: None }),
            "{yes:?}"
        );
    }
}

#[test]
fn unavailable_replay_targets_say_why() {
    let mut stage = TuiHarness::busy();
    stage.press("R\x1b").press("R");
    for _ in 0..30 {
        let text = stage.screen_text();
        if text.contains("only to gemini-3.8-flash@dave  ✗ disabled: invalid key") {
            return;
        }
        stage.press("j");
    }
    panic!("{}", stage.screen_text());
}

#[test]
fn a_replay_shows_what_it_sends_where_and_what_that_may_cost() {
    let mut asked = TuiHarness::busy();
    asked.press("5 j t");
    let text = asked.screen_text();
    for words in [
        "[2 marked]",
        "2 failed items will be sent again",
        "blocked on gemini-3.8-flash",
        "unreadable",
        "cost: about $0.0",
        "the cascade",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    asked.press("l");
    assert!(asked.screen_text().contains("[item #0901]"), "{}", asked.screen_text());
    asked.press("h\x1b");
    assert!(asked.effects.is_empty(), "Esc sends nothing");
    assert!(asked.screen_text().contains("2 marked"), "and the marks stay");
    asked.press("\x1b");
    assert!(!asked.screen_text().contains("2 marked"), "until Esc takes them away");
}

#[test]
fn nothing_is_replayed_before_its_preview_is_there() {
    let mut stage = TuiHarness::busy();
    stage.update(UiEvent::Action(Action::ReplayAll));
    stage.update(UiEvent::Action(Action::Yes));
    assert!(stage.effects.is_empty());
    assert!(stage.screen_text().contains("still looking up"), "{}", stage.screen_text());
    stage.answer_queries();
    stage.press("y");
    assert_eq!(stage.effects, send_effect(Command::Replay { filter: ReplayFilter::default(), target: None }));
}

#[test]
fn a_replay_preview_is_complete_at_every_size() {
    for (width, height) in [(200, 50), (120, 36), (80, 24), (60, 15)] {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        stage.press("Rjjjjjjj");
        let text = stage.screen_text();
        for words in ["[all failed]", "7 failed items will be sent again", "cost: about $0.0", "●", "y send"] {
            assert!(text.contains(words), "{words} at {width}x{height}: {text}");
        }
    }
    let mut tiny = TuiHarness::new(40, 8, fixture::busy());
    tiny.press("Ry");
    let sent = tiny.effects.iter().any(|effect| matches!(effect, Effect::SendCommand(_)));
    assert!(!sent, "and not done where it can't be: {:?}", tiny.effects);
}

#[test]
fn a_confirmation_counts_the_current_items() {
    let mut replay = TuiHarness::busy();
    replay.press("R").fail_one_more_item();
    assert!(replay.screen_text().contains("about 7 failed items will be sent again"), "{}", replay.screen_text());
    let page = Page::Failures { groups: fixture::failure_groups(), matching: 8, outdated: false };
    replay.answer_query_with(Ok(page));
    assert!(replay.screen_text().contains(" 8 failed items will be sent again"), "{}", replay.screen_text());
    assert!(!replay.screen_text().contains("about 8"), "{}", replay.screen_text());

    let mut pause = TuiHarness::busy();
    pause.press("P");
    let mut snapshot = fixture::busy();
    snapshot.totals.in_flight = 3;
    pause.publish(snapshot);
    assert!(pause.screen_text().contains("Pause and abort 3 in flight?"), "{}", pause.screen_text());
    assert_eq!(pause.press("y").effects, send_effect(Command::HardPause));
}

#[test]
fn a_group_of_failures_is_opened_and_exported() {
    let group = fixture::failure_groups()[0].clone();
    let mut stage = TuiHarness::busy();
    stage.press("9x");
    assert_eq!(stage.effects, [Effect::RunExport(Query::ExportFailures { filter: group.replay_filter() })]);
    stage.update(UiEvent::ExportDone(Ok(Page::Exported { path: "runs/spring/failed-1.jsonl".to_owned(), rows: 2 })));
    assert!(stage.screen_text().contains("2 lines written to runs/spring/failed-1.jsonl"));
    stage.press("\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(group.first_seq));
}
