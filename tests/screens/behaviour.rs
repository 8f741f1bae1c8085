//! What keys and the mouse do, without a loop.

use std::{sync::Arc, time::Duration};

use cascadeck::{
    domain::{
        CascadeOrder, Command, Event, EventKind, Money, Outcome, Page, Provenance, Query, ReplayFilter, Snapshot,
        Strategy, Target,
        snapshot::{Condition, RunState},
    },
    tui::{
        Effect, Message,
        action::Action,
        keymap::{Context, Keymap, Rebinding},
        pane::Pane,
        state::Overlay,
    },
};
use crossterm::event::{KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use crate::{
    fixture::{self, NOW, seconds},
    stage::Stage,
};

fn stage() -> Stage {
    Stage::new(120, 36, fixture::storm())
}

fn replay(ids: &[&str], to: Option<Target>) -> Command {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Command::Replay { filter: ReplayFilter { ids, ..ReplayFilter::default() }, to }
}

fn sent(command: Command) -> Vec<Effect> {
    vec![Effect::Send(command)]
}

#[test]
fn every_steering_key_sends_its_command() {
    let key = |key: &str, on| Command::SetKey { key: key.to_owned(), on };
    let model = |model: &str, on| Command::SetModel { model: model.to_owned(), on };
    // The orders stand below the strategies.
    let model_first = format!("s{}\n", "j".repeat(Strategy::ALL.len() + 1));
    let cases: Vec<(&str, Command)> = vec![
        (" ", key("alice", false)),
        ("jjjj ", key("erin", true)),
        ("jjj ", key("dave", true)),
        ("jd", key("bob", false)),
        ("Gge", key("alice", true)),
        ("jc", Command::ClearCooldowns { key: "bob".to_owned() }),
        ("2jc", Command::ClearCooldowns { key: "bob".to_owned() }),
        ("3 ", model("gemini-3.8-flash", false)),
        ("3G ", model("local-llava", true)),
        ("6jl ", Command::SetRoute { key: "bob".to_owned(), model: "gemini-3.5-flash-lite".to_owned(), on: false }),
        ("p", Command::Pause),
        ("+", Command::SetInFlight { in_flight: 17 }),
        ("-", Command::SetInFlight { in_flight: 15 }),
        ("5jr", replay(&["0342"], None)),
        ("5j\nr", replay(&["0342"], None)),
        ("Ry", Command::Replay { filter: ReplayFilter::default(), to: None }),
        ("Py", Command::HardPause),
        ("jt", Command::Probe { key: "bob".to_owned() }),
        ("6jt", Command::Probe { key: "bob".to_owned() }),
        ("5jty", replay(&["0342"], None)),
        ("5j\nty", replay(&["0342"], None)),
        ("5 j ry", replay(&["0117", "0788"], None)),
        ("5jtjy", replay(&["0342"], Some(Target { model: "gemini-3.8-flash".to_owned(), key: None }))),
        (
            "5jtjjjjjy",
            replay(&["0342"], Some(Target { model: "gemini-3.8-flash".to_owned(), key: Some("alice".to_owned()) })),
        ),
        ("5jtly", Command::Replay { filter: ReplayFilter::default(), to: None }),
        (
            "5/safe\nty",
            Command::Replay {
                filter: ReplayFilter { ids: vec!["0117".to_owned()], ..ReplayFilter::default() },
                to: None,
            },
        ),
        (
            "5/safe\ntly",
            Command::Replay { filter: ReplayFilter { text: "safe".to_owned(), ..ReplayFilter::default() }, to: None },
        ),
        ("9ry", Command::Replay { filter: fixture::failures()[0].filter(), to: None }),
        (&model_first, Command::SetOrder { order: CascadeOrder::ModelFirst }),
        ("qd", Command::Drain),
        ("qs", Command::Stop),
    ];
    for (keys, command) in cases {
        assert_eq!(stage().press(keys).effects, sent(command), "{keys:?}");
    }
}

#[test]
fn every_line_of_the_command_line_does_what_it_says() {
    let cases: Vec<(&str, Command)> = vec![
        ("pause", Command::Pause),
        ("in-flight 32", Command::SetInFlight { in_flight: 32 }),
        ("budget $2.50", Command::SetBudget { max_usd: Money::from_usd(2.5) }),
        ("budget none", Command::SetBudget { max_usd: None }),
        ("order model-first", Command::SetOrder { order: CascadeOrder::ModelFirst }),
        ("key bob off", Command::SetKey { key: "bob".to_owned(), on: false }),
        ("model local-llava on", Command::SetModel { model: "local-llava".to_owned(), on: true }),
        (
            "route gemini-3.8-flash@bob off",
            Command::SetRoute { key: "bob".to_owned(), model: "gemini-3.8-flash".to_owned(), on: false },
        ),
        (
            "replay-outcome server_error",
            Command::Replay {
                filter: ReplayFilter { outcomes: vec![Outcome::ServerError], ..ReplayFilter::default() },
                to: None,
            },
        ),
        ("drain", Command::Drain),
    ];
    for (line, command) in cases {
        assert_eq!(stage().press(&format!(":{line}\n")).effects, sent(command), "{line}");
    }
}

#[test]
fn a_line_that_is_not_understood_stays_and_says_why() {
    for (line, complaint) in [
        ("fly", "there is no command fly"),
        ("in-flight none", "usage: in-flight N"),
        ("key zoe off", "there is no key zoe"),
    ] {
        let mut stage = stage();
        stage.press(&format!(":{line}\n"));
        assert!(stage.effects.is_empty());
        assert!(stage.text().contains(complaint), "{line}: {}", stage.text());
    }
}

#[test]
fn tab_completes_names_and_what_follows_them() {
    let mut stage = stage();
    stage.press(":in-f\t");
    assert!(stage.text().contains(":in-flight _"));
    stage.press("\x1b:key car\t\n");
    assert_eq!(stage.effects, sent(Command::SetKey { key: "carol".to_owned(), on: false }));
}

#[test]
fn find_shows_items_of_any_state() {
    let mut stage = stage();
    stage.press(":find timeout\n");
    assert_eq!(stage.state.focus, Pane::Items);
    assert_eq!((stage.state.items.show, stage.state.items.text.as_str()), (None, "timeout"));
}

#[test]
fn what_costs_asks_first_and_names_the_count() {
    let mut asked = stage();
    asked.press("R");
    assert!(asked.text().contains("7 failed items are sent again"), "{}", asked.text());
    for no in ["n", "\x1b", "\n", "q"] {
        let mut stage = stage();
        stage.press("R").press(no);
        assert!(stage.effects.is_empty() && stage.state.overlay.is_none(), "{no:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let mut snapshot = fixture::storm();
    snapshot.totals.failed = 0;
    snapshot.in_flight_cap = 1;
    let cases = [
        ("R", "no item has failed"),
        ("-", "one in flight is the least"),
        (":replay\n", "select a failed item first"),
        ("4:probe\n", "select the key that is to be tested"),
        ("u", "nothing of yours is left to undo"),
        ("8y", "nothing is selected that could be copied"),
        ("6lll ", "there is no route local-llava@alice"),
    ];
    for (keys, words) in cases {
        let mut stage = Stage::new(120, 36, snapshot.clone());
        stage.press(keys);
        assert!(stage.effects.is_empty(), "{keys}");
        assert!(stage.text().contains(words), "{keys}: {}", stage.text());
    }
    let mut over = Stage::new(120, 36, fixture::finished());
    assert!(over.press("p").effects.is_empty());
    assert!(over.text().contains("the run is over"));
}

#[test]
fn pausing_is_shown_until_the_snapshot_confirms_it() {
    let mut stage = stage();
    stage.press("p");
    assert!(stage.text().contains("PAUSING…"));
    stage.send(Message::Replied { command: Command::Pause, reply: Ok("paused".to_owned()) });
    assert!(stage.text().contains("PAUSING…"), "an acknowledgement is not yet the fact");
    let mut snapshot = fixture::storm();
    snapshot.state = RunState::Paused;
    stage.publish(snapshot);
    assert!(stage.text().contains("‖ PAUSED"));
    assert_eq!(stage.press("p").effects.last(), Some(&Effect::Send(Command::Resume)));
}

#[test]
fn a_refused_command_is_taken_back_and_its_reason_stays() {
    let mut stage = stage();
    stage.press("p");
    stage.send(Message::Replied { command: Command::Pause, reply: Err("the disk is full".to_owned()) });
    stage.state.ui += Duration::from_mins(1);
    stage.send(Message::Tick);
    let text = stage.text();
    assert!(text.contains("● RUNNING") && text.contains("the disk is full"), "{text}");
    stage.press("\x1b");
    assert!(!stage.text().contains("the disk is full"));
}

#[test]
fn a_key_on_its_way_off_says_so_and_a_second_press_takes_it_back() {
    let mut stage = stage();
    stage.press(" ");
    assert!(stage.text().contains("switching off"));
    stage.press(" ");
    assert_eq!(stage.effects.last(), Some(&Effect::Send(Command::SetKey { key: "alice".to_owned(), on: true })));
}

#[test]
fn presses_add_up_before_the_engine_has_answered() {
    let mut stage = stage();
    stage.press("+++");
    assert_eq!(stage.effects.last(), Some(&Effect::Send(Command::SetInFlight { in_flight: 19 })));
}

#[test]
fn letters_are_text_while_typing() {
    let mut stage = stage();
    stage.press("/qps");
    assert!(stage.effects.is_empty());
    assert_eq!(stage.state.items.text, "qps");
    stage.press("\x08\x08");
    stage.send(Message::Pasted("a\nb\x1b".to_owned()));
    assert_eq!(stage.state.items.text, "qa b␛");
    stage.ctrl('u');
    assert_eq!(stage.state.items.text, "");
    stage.press("x\x1b");
    assert_eq!(stage.state.items.text, "", "Esc brings the old filter back");
    assert!(stage.state.overlay.is_none());
    stage.press("/x\n");
    assert_eq!(stage.state.items.text, "x", "Enter keeps it");
}

#[test]
fn escape_goes_back_one_step_at_a_time_and_never_quits() {
    let mut stage = stage();
    stage.press("5/0342\nz\n");
    assert!(stage.state.detail.is_some());
    stage.press("\x1b");
    assert!(stage.state.detail.is_none() && stage.state.zoomed);
    stage.press("\x1b");
    assert_eq!(stage.state.items.text, "");
    stage.press("\x1b");
    assert!(!stage.state.zoomed);
    for _ in 0..5 {
        stage.press("\x1b");
    }
    assert!(stage.effects.is_empty());
}

#[test]
fn tab_walks_the_panes_that_are_there() {
    let walk = |width, height, presses: usize| {
        let mut stage = Stage::new(width, height, fixture::storm());
        (0..presses)
            .map(|_| {
                stage.press("\t");
                assert!(stage.state.arrangement(&stage.snapshot).place(stage.state.focus).is_some());
                stage.state.focus
            })
            .collect::<Vec<_>>()
    };
    let medium = [Pane::Cooldowns, Pane::Models, Pane::Events, Pane::Items, Pane::Keys];
    assert_eq!(walk(120, 36, 5), medium);
    assert_eq!(walk(80, 24, 5), medium);
    assert_eq!(walk(60, 15, 5), medium);
    assert_eq!(walk(200, 50, 6)[4..], [Pane::Routes, Pane::Keys]);
    let mut stage = stage();
    stage.code(KeyCode::BackTab);
    assert_eq!(stage.state.focus, Pane::Items);
}

#[test]
fn selections_stay_inside_their_lists() {
    for pane in Pane::ALL {
        let mut stage = stage();
        stage.focus(pane);
        for action in [Action::PageDown, Action::Bottom, Action::Down, Action::Right, Action::Top, Action::Up] {
            stage.act(action);
            let (at, length) = (stage.state.selected(pane, &stage.snapshot), stage.state.length(pane, &stage.snapshot));
            assert!(at < length.max(1), "{pane:?} {action:?}");
            let _ = stage.text();
        }
        stage.act(Action::Bottom).publish(fixture::empty());
        let _ = stage.text();
    }
}

#[test]
fn events_follow_the_newest_until_one_is_selected_and_then_stay_on_it() {
    let publish = |stage: &mut Stage, number: u64| {
        let mut snapshot = stage.snapshot.clone();
        let kind = EventKind::Operator { words: format!("event {number}") };
        snapshot.events.push(Arc::new(Event { number, at: NOW, kind }));
        stage.publish(snapshot);
    };
    let mut stage = stage();
    stage.focus(Pane::Events);
    publish(&mut stage, 9);
    assert_eq!(stage.state.selected(Pane::Events, &stage.snapshot), 0);
    stage.press("j");
    publish(&mut stage, 10);
    publish(&mut stage, 11);
    assert_eq!(stage.state.selected(Pane::Events, &stage.snapshot), 3);
    stage.press("g");
    publish(&mut stage, 12);
    assert_eq!(stage.state.selected(Pane::Events, &stage.snapshot), 0);
}

#[test]
fn an_event_opens_the_item_it_is_about() {
    let mut stage = stage();
    stage.press("4\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(3_213));
    stage.press("\x1bj\n");
    assert!(stage.text().contains("this event is about no single item"));
}

#[test]
fn a_read_only_screen_sends_nothing() {
    for keys in [
        " ",
        "p",
        "P",
        "R",
        "+",
        "-",
        "jc",
        "3 ",
        "5r",
        "5t",
        "9r",
        "t",
        "u",
        "s",
        ":key bob off\n",
        ":pause\n",
        ":drain\n",
        "6 ",
    ] {
        let mut stage = stage();
        stage.state.read_only = true;
        stage.press(keys);
        assert!(stage.effects.is_empty(), "{keys:?}: {:?}", stage.effects);
        assert!(stage.text().contains("read-only"), "{keys:?}");
    }
    let mut stage = stage();
    stage.state.read_only = true;
    let footer = stage.text().lines().last().unwrap().to_owned();
    assert!(!footer.contains("pause") && footer.contains("why"), "{footer}");
    stage.press("?");
    assert!(!stage.text().contains("one more in flight"));
}

#[test]
fn a_click_focuses_and_selects_and_the_wheel_scrolls() {
    let mouse = |kind, column, row| Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    let mut stage = stage();
    // The heading is row 5, alice 6, bob 7.
    stage.send(mouse(MouseEventKind::Down(MouseButton::Left), 5, 7));
    assert_eq!((stage.state.focus, stage.state.selected(Pane::Keys, &stage.snapshot)), (Pane::Keys, 1));
    stage.send(mouse(MouseEventKind::Down(MouseButton::Left), 100, 6));
    assert_eq!((stage.state.focus, stage.state.selected(Pane::Cooldowns, &stage.snapshot)), (Pane::Cooldowns, 1));
    stage.send(mouse(MouseEventKind::ScrollDown, 5, 25));
    assert_eq!((stage.state.focus, stage.state.selected(Pane::Events, &stage.snapshot)), (Pane::Events, 3));
    stage.send(mouse(MouseEventKind::Down(MouseButton::Left), 5, 0));
    assert_eq!(stage.state.focus, Pane::Events, "the header selects nothing");
    stage.press("?");
    stage.send(mouse(MouseEventKind::ScrollDown, 5, 6));
    assert!(matches!(stage.state.overlay, Some(Overlay::Help(reading)) if reading.line == 3));
}

#[test]
fn an_alarm_rings_once_and_old_ones_do_not() {
    let mut stage = stage();
    assert!(stage.effects.is_empty(), "dave died before the screen was opened");
    let mut snapshot = fixture::storm();
    let kind = EventKind::Disabled {
        what: "bob".to_owned(),
        outcome: Outcome::InvalidKey,
        words: "API key not valid\u{7}".to_owned(),
    };
    snapshot.events.push(Arc::new(Event { number: 9, at: NOW, kind }));
    stage.publish(snapshot.clone());
    let bell = "captions-spring: bob is off, invalid_key: API key not valid␇".to_owned();
    assert_eq!(stage.effects, [Effect::Notify(bell)]);
    stage.publish(snapshot);
    assert_eq!(stage.effects.len(), 1);
}

#[test]
fn countdowns_run_between_snapshots() {
    let mut stage = stage();
    assert!(stage.text().contains("cooling 0:37"));
    stage.state.now = NOW + seconds(7);
    assert!(stage.text().contains("cooling 0:30"));
    assert!(stage.text().contains("00:42:24"), "the clock goes with it");
    stage.state.now = NOW + seconds(120);
    assert!(stage.text().contains("cooling 0:00"), "only the engine says that it is over");
}

#[test]
fn the_why_of_every_key_and_route_is_told() {
    for (at, key) in fixture::storm().keys.iter().enumerate() {
        let mut stage = stage();
        stage.press(&"j".repeat(at)).press("w");
        let text = stage.text();
        assert!(text.contains(&format!("key {}", key.name)), "{text}");
        let since = match &key.condition {
            Condition::Ready => "health",
            Condition::Full { .. } => "our own counters (measured)",
            Condition::Off { .. } => "yours",
            Condition::Broken { .. } => "nobody's: a ladder or backoff (guessed)",
            _ => "the provider's (stated)",
        };
        assert!(text.contains(since), "{text}");
        assert!(!stage.press("\x1b").text().contains("its words"));
    }
    assert!(stage().press("6jw").text().contains("route gemini-3.8-flash@bob"));
    assert!(stage().press("2w").text().contains("internal error"));
    assert!(stage().press("3w").text().contains("day resets"));
}

#[test]
fn a_limit_that_was_not_configured_says_where_it_comes_from() {
    let words = [
        (None, None),
        (Some(Provenance::Configured), None),
        (Some(Provenance::Stated), Some("the limit is the provider's word")),
        (Some(Provenance::Learned), Some("the limit was learned from refusals")),
    ];
    for (provenance, told) in words {
        let mut snapshot = fixture::storm();
        snapshot.models[0].rpm.provenance = provenance;
        let mut stage = Stage::new(160, 50, snapshot);
        let text = stage.press("3w").text();
        assert_eq!(text.contains("the limit "), told.is_some(), "{text}");
        assert!(told.is_none_or(|told| text.contains(told)), "{text}");
    }
}

#[test]
fn the_nearest_thing_has_the_keyboard() {
    let mut stage = stage();
    assert_eq!(stage.state.contexts()[0], Context::Pane(Pane::Keys));
    stage.press("5\n");
    assert_eq!(stage.state.contexts()[0], Context::Detail);
    stage.press("?");
    assert_eq!(stage.state.contexts(), [Context::Reading, Context::Always]);
}

#[test]
fn a_run_without_anything_is_drawn_in_every_view() {
    let mut snapshots: Vec<Snapshot> = vec![fixture::empty(), fixture::finished(), fixture::tomorrow()];
    snapshots.push(Snapshot { state: RunState::Held { why: "the disk is full".to_owned() }, ..fixture::storm() });
    for snapshot in snapshots {
        for (width, height) in [(1, 1), (20, 3), (59, 14), (60, 15), (80, 24), (120, 36), (300, 90)] {
            for keys in
                ["", "z", "2z", "3z", "4z", "5z", "6", "7", "8", "9", "W", "?", "w", "q", "s", ":", "R", "5\n", "4\n"]
            {
                let mut stage = Stage::new(width, height, snapshot.clone());
                stage.press(keys);
                let _ = stage.text();
            }
        }
    }
}

#[test]
fn a_replay_shows_what_it_sends_where_and_what_that_may_cost() {
    let mut asked = stage();
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
    let mut stage = stage();
    stage.send(Message::Act(Action::ReplayAll));
    stage.send(Message::Act(Action::Yes));
    assert!(stage.effects.is_empty());
    assert!(stage.text().contains("still looking"), "{}", stage.text());
    stage.answer();
    stage.press("y");
    assert_eq!(stage.effects, sent(Command::Replay { filter: ReplayFilter::default(), to: None }));
}

#[test]
fn every_change_that_can_be_taken_back_is_newest_first() {
    let key = |on| Command::SetKey { key: "alice".to_owned(), on };
    let cases: Vec<(&str, Vec<Command>)> = vec![
        (" ", vec![key(true)]),
        ("p", vec![Command::Resume]),
        ("++", vec![Command::SetInFlight { in_flight: 17 }, Command::SetInFlight { in_flight: 16 }]),
        (" p", vec![Command::Resume, key(true)]),
        (":budget 5\n", vec![Command::SetBudget { max_usd: None }]),
        ("sj\n", vec![Command::SetStrategy { strategy: Strategy::Cascade }]),
        ("3 ", vec![Command::SetModel { model: "gemini-3.8-flash".to_owned(), on: true }]),
    ];
    for (keys, back) in cases {
        let mut stage = stage();
        stage.press(keys);
        for effect in std::mem::take(&mut stage.effects) {
            let Effect::Send(command) = effect else { panic!("{effect:?}") };
            stage.send(Message::Replied { command, reply: Ok("done".to_owned()) });
        }
        for command in back {
            stage.press("u");
            assert_eq!(std::mem::take(&mut stage.effects), sent(command), "{keys:?}");
        }
        stage.press("u");
        assert!(stage.effects.is_empty() && stage.text().contains("nothing of yours is left to undo"), "{keys:?}");
    }
    let mut refused = stage();
    refused.press("p");
    refused.send(Message::Replied { command: Command::Pause, reply: Err("no".to_owned()) });
    refused.effects.clear();
    assert!(refused.press("u").effects.is_empty(), "what was refused is not undone");
}

#[test]
fn what_is_selected_is_copied() {
    let cases = [
        ("jy", "bob"),
        ("3y", "gemini-3.8-flash"),
        ("6y", "gemini-3.8-flash@alice"),
        ("5jy", "0342"),
        ("5j\ny", "internal error"),
        ("9y", "blockReason: SAFETY"),
    ];
    for (keys, text) in cases {
        assert_eq!(stage().press(keys).effects, [Effect::Copy(text.to_owned())], "{keys:?}");
    }
    let mut done = stage();
    done.answered_item().press("y");
    assert!(matches!(&done.effects[..], [Effect::Copy(answer)] if answer.starts_with("Two herons")));
    assert!(done.text().contains("sent to the clipboard"));
}

#[test]
fn a_group_of_failures_is_opened_and_exported() {
    let group = fixture::failures()[0].clone();
    let mut stage = stage();
    stage.press("9x");
    assert_eq!(stage.effects, [Effect::Ask(Query::ExportFailures { filter: group.filter() })]);
    stage.send(Message::Told(Ok(Page::Exported { path: "runs/spring/failed-1.jsonl".to_owned(), rows: 2 })));
    assert!(stage.text().contains("2 lines written to runs/spring/failed-1.jsonl"));
    stage.press("\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(group.seq));
}

#[test]
fn rebound_keys_work_and_show_everywhere() {
    let rebinding = |action: &str, key: &str| Rebinding {
        action: action.to_owned(),
        keys: vec![key.to_owned()],
        place: "keys.toml:1".to_owned(),
    };
    let mut stage = stage();
    stage.state.keymap = Keymap::rebound(&[rebinding("pause", "F5"), rebinding("quit", "ctrl-q")]).unwrap();
    let footer = stage.text().lines().last().unwrap().to_owned();
    assert!(footer.contains("F5 pause") && footer.contains("^Q quit"), "{footer}");
    assert!(stage.press("pq").effects.is_empty() && stage.state.overlay.is_none());
    assert_eq!(stage.code(KeyCode::F(5)).effects, sent(Command::Pause));
    stage.press("?");
    assert!(stage.text().contains("F5 "), "{}", stage.text());
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
    let sent = tiny.effects.iter().any(|effect| matches!(effect, Effect::Send(_)));
    assert!(!sent, "and not done where it can't be: {:?}", tiny.effects);
}
