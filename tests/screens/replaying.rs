//! Failed items: looked at in groups, and sent again after a preview.

use cascadeck::{
    domain::{Command, Page, Query, ReplayFilter},
    tui::{Effect, UiEvent, action::Action},
};

use crate::{
    fixture,
    stage::{Stage, sent},
};

#[test]
fn what_costs_asks_first_and_names_the_count() {
    let mut asked = Stage::storm();
    asked.press("R");
    assert!(asked.text().contains("7 failed items are sent again"), "{}", asked.text());
    for no in ["n", "\x1b", "q"] {
        let mut stage = Stage::storm();
        stage.press("R").press(no);
        assert!(stage.effects.is_empty() && stage.state.overlay.is_none(), "{no:?}");
    }
    for yes in ["y", "\n"] {
        let mut stage = Stage::storm();
        stage.press("R").press(yes);
        assert_eq!(stage.effects, sent(Command::Replay { filter: ReplayFilter::default(), target: None }), "{yes:?}");
    }
}

#[test]
fn targets_that_would_not_take_it_now_say_why() {
    let mut stage = Stage::storm();
    stage.press("R\x1b").press("R");
    for _ in 0..30 {
        let text = stage.text();
        if text.contains("gemini-3.8-flash@dave alone  ✗ disabled: invalid key") {
            return;
        }
        stage.press("j");
    }
    panic!("{}", stage.text());
}

#[test]
fn a_replay_shows_what_it_sends_where_and_what_that_may_cost() {
    let mut asked = Stage::storm();
    asked.press("5 j t");
    let text = asked.text();
    for words in [
        "[2 marked]",
        "2 failed items are sent again",
        "blocked on gemini-3.8-flash",
        "unreadable",
        "About $0.0",
        "the cascade",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    asked.press("l");
    assert!(asked.text().contains("[item #0901]"), "{}", asked.text());
    asked.press("h\x1b");
    assert!(asked.effects.is_empty(), "Esc sends nothing");
    assert!(asked.text().contains("2 marked"), "and the marks stay");
    asked.press("\x1b");
    assert!(!asked.text().contains("2 marked"), "until Esc takes them away");
}

#[test]
fn nothing_is_replayed_before_its_preview_is_there() {
    let mut stage = Stage::storm();
    stage.send(UiEvent::Action(Action::ReplayAll));
    stage.send(UiEvent::Action(Action::Yes));
    assert!(stage.effects.is_empty());
    assert!(stage.text().contains("still looking"), "{}", stage.text());
    stage.answer();
    stage.press("y");
    assert_eq!(stage.effects, sent(Command::Replay { filter: ReplayFilter::default(), target: None }));
}

#[test]
fn what_a_replay_sends_is_told_on_every_screen() {
    for (width, height) in [(200, 50), (120, 36), (80, 24), (60, 15)] {
        let mut stage = Stage::new(width, height, fixture::storm());
        stage.press("Rjjjjjjj");
        let text = stage.text();
        for words in ["[all failed]", "7 failed items are sent again", "About $0.0", "●", "y send"] {
            assert!(text.contains(words), "{words} at {width}x{height}: {text}");
        }
    }
    let mut tiny = Stage::new(40, 8, fixture::storm());
    tiny.press("Ry");
    let sent = tiny.effects.iter().any(|effect| matches!(effect, Effect::SendCommand(_)));
    assert!(!sent, "and not done where it can't be: {:?}", tiny.effects);
}

#[test]
fn a_question_counts_what_is_there_now() {
    let mut replay = Stage::storm();
    replay.press("R").another_fails();
    assert!(replay.text().contains("about 7 failed items are sent again"), "{}", replay.text());
    let page = Page::Failures { groups: fixture::failures(), matching: 8, outdated: false };
    replay.answer_with(Ok(page));
    assert!(replay.text().contains(" 8 failed items are sent again"), "{}", replay.text());
    assert!(!replay.text().contains("about 8"), "{}", replay.text());

    let mut pause = Stage::storm();
    pause.press("P");
    let mut snapshot = fixture::storm();
    snapshot.totals.in_flight = 3;
    pause.publish(snapshot);
    assert!(pause.text().contains("Pause and abort 3 in flight?"), "{}", pause.text());
    assert_eq!(pause.press("y").effects, sent(Command::HardPause));
}

#[test]
fn a_group_of_failures_is_opened_and_exported() {
    let group = fixture::failures()[0].clone();
    let mut stage = Stage::storm();
    stage.press("9x");
    assert_eq!(stage.effects, [Effect::RunExport(Query::ExportFailures { filter: group.replay_filter() })]);
    stage.send(UiEvent::ExportDone(Ok(Page::Exported { path: "runs/spring/failed-1.jsonl".to_owned(), rows: 2 })));
    assert!(stage.text().contains("2 lines written to runs/spring/failed-1.jsonl"));
    stage.press("\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(group.first_seq));
}
