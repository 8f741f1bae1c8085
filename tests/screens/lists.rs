//! The lists of items and failures, and the view of one item: they follow the run, and keep the operator's selection.

use std::sync::Arc;

use cascadeck::{
    domain::{Command, Event, EventKind, ItemState, Page, Query, ReplayFilter},
    tui::{Effect, UiEvent, action::Action, pane::Pane},
};
use crossterm::event::KeyCode;

use crate::{
    fixture::{self, NOW},
    tui_harness::{TuiHarness, replay_command},
};

fn open_item_seq(stage: &TuiHarness) -> Option<u64> {
    stage.state.detail.as_ref().map(|detail| detail.seq)
}

#[test]
fn an_outdated_list_is_queried_again_until_it_is_current() {
    for keys in ["5/safe\n", "9", "R"] {
        let mut stage = TuiHarness::busy();
        stage.press(keys).fail_one_more_item();
        let page = |outdated| match keys {
            "5/safe\n" => Page::Items { rows: fixture::failed_items(), matching: 7, offset: 0, outdated },
            _ => Page::Failures { groups: fixture::failure_groups(), matching: 7, outdated },
        };
        stage.answer_query_with(Ok(page(true)));
        let again = stage.pending_query().map(|wanted| wanted.query);
        let same = match keys {
            "5/safe\n" => matches!(again, Some(Query::Items { .. })),
            _ => matches!(again, Some(Query::Failures { .. })),
        };
        assert!(same, "{keys:?}: {again:?}");
        stage.answer_query_with(Ok(page(false)));
        assert_eq!(stage.pending_query(), None, "{keys:?}");
    }
}

#[test]
fn a_failed_query_keeps_the_selection() {
    for (keys, pane) in [("5jj", Pane::Items), ("9jj", Pane::Failures)] {
        let mut stage = TuiHarness::busy();
        stage.press(keys).fail_one_more_item().answer_query_with(Err("the disk is gone".to_owned()));
        assert!(stage.screen_text().contains("the disk is gone"));
        stage.update(UiEvent::Action(Action::Down));
        stage.fail_one_more_item().answer_queries();
        assert_eq!(stage.state.selected_row(pane, &stage.snapshot), 2, "{pane:?}");
    }
}

#[test]
fn left_and_right_walk_the_list_that_the_item_was_opened_from() {
    let cases: [(&str, [u64; 3]); 3] =
        [("5\n", [117, 342, 788]), ("9\n", [117, 342, 788]), ("4\n", [3_213, 117, 3_190])];
    for (keys, seqs) in cases {
        let mut stage = TuiHarness::busy();
        stage.press("5jjjj").press(keys);
        if keys == "5\n" {
            stage.press("\x1bg\n");
        }
        assert_eq!(open_item_seq(&stage), Some(seqs[0]), "{keys:?}");
        for (key, want) in
            [(KeyCode::Right, seqs[1]), (KeyCode::Right, seqs[2]), (KeyCode::Left, seqs[1]), (KeyCode::Left, seqs[0])]
        {
            stage.press_code(key);
            assert_eq!(open_item_seq(&stage), Some(want), "{keys:?} {key:?}");
        }
        stage.press_code(KeyCode::Left);
        assert_eq!(open_item_seq(&stage), Some(seqs[0]), "{keys:?}: there is none before the first");
    }
}

#[test]
fn left_and_right_start_from_the_opened_event() {
    let mut stage = TuiHarness::busy();
    stage.press("4\n");
    let mut snapshot = stage.snapshot.clone();
    let Some(newest) = snapshot.events.last() else { panic!("the storm has events") };
    let mut kind = newest.kind.clone();
    let EventKind::Fallback { seq, .. } = &mut kind else { panic!("{kind:?}") };
    *seq = 4_000;
    let number = newest.number + 1;
    snapshot.events.push(Arc::new(Event { number, at: NOW, kind }));
    stage.publish(snapshot).press_code(KeyCode::Left);
    assert_eq!(open_item_seq(&stage), Some(4_000), "the newer one");
    stage.press_code(KeyCode::Right);
    assert_eq!(open_item_seq(&stage), Some(3_213));
}

#[test]
fn the_list_under_an_open_item_is_refreshed() {
    let mut stage = TuiHarness::busy();
    stage.press("5\n").fail_one_more_item();
    let wanted: Vec<_> = stage.state.pending_queries(&stage.snapshot).map(|wanted| wanted.query).collect();
    assert!(matches!(wanted[..], [Query::Item { .. }, Query::Items { .. }]), "{wanted:?}");
}

#[test]
fn an_items_answer_is_as_old_as_its_query() {
    let mut waiting = fixture::failed_item();
    waiting.row.state = ItemState::Waiting;
    let mut stage = TuiHarness::busy();
    stage.press("5\n").fail_one_more_item();
    let asked = stage.pending_query().unwrap();
    assert_eq!(asked.query, Query::Item { seq: 117 });
    let mut later = stage.snapshot.clone();
    later.totals.attempts += 1;
    stage.publish(later);
    waiting.row.seq = 117;
    stage.update(UiEvent::QueryAnswer { query: asked, page: Ok(Page::Item(Box::new(waiting))) });
    let again = stage.pending_query().map(|wanted| wanted.query);
    assert_eq!(again, Some(Query::Item { seq: 117 }), "it may have been sent since");
}

#[test]
fn the_list_changes_by_itself_only_until_the_operator_has_chosen_a_row() {
    let cases = [
        ("", Some(ItemState::Failed)),
        ("5", Some(ItemState::Failed)),
        ("5/\x1b", Some(ItemState::Failed)),
        ("5/x\x1b", Some(ItemState::Failed)),
        ("5j", Some(ItemState::Done)),
        ("5 ", Some(ItemState::Done)),
        ("5\n", Some(ItemState::Done)),
        ("5\n\x1b", Some(ItemState::Done)),
        ("5f", None),
    ];
    for (keys, list) in cases {
        let mut stage = TuiHarness::new(120, 36, fixture::healthy());
        assert_eq!(stage.state.items.state_filter, Some(ItemState::Done));
        stage.press(keys).publish(fixture::busy());
        assert_eq!(stage.state.items.state_filter, list, "{keys:?}");
    }
}

#[test]
fn a_cancelled_filter_leaves_everything_as_it_was() {
    for keys in ["/\x1b", "/\n", "/0342\x1b"] {
        let mut stage = TuiHarness::busy();
        stage.press("5jj").press(keys);
        assert_eq!(stage.state.items.selected_row().map(|row| row.seq), Some(788), "{keys:?}");
    }
}

#[test]
fn a_replay_clears_the_marks_of_the_items_it_sent_only() {
    let everything = Command::Replay { filter: ReplayFilter::default(), target: None };
    let cases = [
        (replay_command(&["0788"], None), Ok("done"), vec![117, 342]),
        (replay_command(&["0117"], None), Ok("done"), vec![342]),
        (replay_command(&["0342", "0117"], None), Ok("done"), vec![]),
        (replay_command(&["0117"], None), Err("no"), vec![117, 342]),
        (everything, Ok("done"), vec![]),
    ];
    for (command, reply, left) in cases {
        let mut stage = TuiHarness::busy();
        stage.press("5  ");
        let reply = reply.map(str::to_owned).map_err(str::to_owned);
        stage.update(UiEvent::CommandReply { command: command.clone(), reply });
        assert_eq!(stage.state.items.marks.keys().copied().collect::<Vec<_>>(), left, "{command:?}");
    }
}

#[test]
fn an_export_that_is_under_way_is_not_begun_again() {
    let mut stage = TuiHarness::busy();
    stage.press("9xxx");
    assert_eq!(stage.effects.len(), 1, "{:?}", stage.effects);
    assert!(stage.screen_text().contains("still being written"), "{}", stage.screen_text());
    for end in [Ok(Page::Exported { path: "failed-1.jsonl".to_owned(), rows: 2 }), Err("the disk is full".to_owned())] {
        stage.effects.clear();
        stage.update(UiEvent::ExportDone(end));
        stage.press("x");
        assert!(matches!(stage.effects[..], [Effect::RunExport(Query::ExportFailures { .. })]), "{:?}", stage.effects);
    }
}

#[test]
fn an_empty_text_is_not_copied_and_a_long_one_is_cut_with_a_notice() {
    let mut waiting = fixture::failed_item();
    (waiting.row.state, waiting.row.preview) = (ItemState::Waiting, String::new());
    let mut stage = TuiHarness::busy();
    stage.press("5\n").fail_one_more_item().answer_query_with(Ok(Page::Item(Box::new(waiting)))).press("y");
    assert_eq!(stage.effects, []);
    assert!(stage.screen_text().contains("there is nothing to copy yet"), "{}", stage.screen_text());

    let mut long = fixture::done_item();
    long.output = Some("ä".repeat(100 * 1024));
    stage.fail_one_more_item().answer_query_with(Ok(Page::Item(Box::new(long)))).press("y");
    let [Effect::CopyToClipboard(text)] = &stage.effects[..] else { panic!("{:?}", stage.effects) };
    assert_eq!(text.len(), 64 * 1024);
    assert!(stage.screen_text().contains("the first 64 KiB of the answer"), "{}", stage.screen_text());
}
