//! Commands of the operator: what each key sends, and what the screen shows until the engine has confirmed it.

use std::time::Duration;

use crate::{
    fixture,
    tui_harness::{TuiHarness, replay_command, send_effect},
};
use cascadeck::{
    domain::{
        CascadeOrder, Command, Money, OnExhausted, Outcome, ReplayFilter, RouteTarget, Strategy, WhenLimited,
        snapshot::RunState,
    },
    tui::{Effect, UiEvent, pane::Pane, state::Overlay},
};

#[test]
fn every_steering_key_sends_its_command() {
    let key = |key: &str, on| Command::SetKey { key: key.to_owned(), on };
    let model = |model: &str, on| Command::SetModel { model: model.to_owned(), on };
    // In the menu the orders follow the strategies.
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
        ("+", Command::SetMaxInFlight { max_in_flight: 17 }),
        ("-", Command::SetMaxInFlight { max_in_flight: 15 }),
        ("5jr", replay_command(&["0342"], None)),
        ("5j\nr", replay_command(&["0342"], None)),
        ("Ry", Command::Replay { filter: ReplayFilter::default(), target: None }),
        ("Py", Command::HardPause),
        ("jt", Command::ProbeKey { key: "bob".to_owned() }),
        ("6jt", Command::ProbeKey { key: "bob".to_owned() }),
        ("5jty", replay_command(&["0342"], None)),
        ("5j\nty", replay_command(&["0342"], None)),
        ("5 j ry", replay_command(&["0117", "0788"], None)),
        ("5jtjy", replay_command(&["0342"], Some(RouteTarget { model: "gemini-3.8-flash".to_owned(), key: None }))),
        (
            "5jtjjjjjy",
            replay_command(
                &["0342"],
                Some(RouteTarget { model: "gemini-3.8-flash".to_owned(), key: Some("alice".to_owned()) }),
            ),
        ),
        ("5jtly", Command::Replay { filter: ReplayFilter::default(), target: None }),
        (
            "5/safe\nty",
            Command::Replay {
                filter: ReplayFilter { ids: vec!["0117".to_owned()], ..ReplayFilter::default() },
                target: None,
            },
        ),
        (
            "5/safe\ntly",
            Command::Replay {
                filter: ReplayFilter { text: "safe".to_owned(), ..ReplayFilter::default() },
                target: None,
            },
        ),
        ("9ry", Command::Replay { filter: fixture::failure_groups()[0].replay_filter(), target: None }),
        (&model_first, Command::SetCascadeOrder { order: CascadeOrder::ModelFirst }),
        ("qd", Command::Drain),
        ("qs", Command::Stop),
    ];
    for (keys, command) in cases {
        assert_eq!(TuiHarness::busy().press(keys).effects, send_effect(command), "{keys:?}");
    }
}

#[test]
fn every_line_of_the_command_line_does_what_it_says() {
    let cases: Vec<(&str, Command)> = vec![
        ("pause", Command::Pause),
        ("in-flight 32", Command::SetMaxInFlight { max_in_flight: 32 }),
        ("budget $2.50", Command::SetBudget { max_usd: Money::from_usd(2.5) }),
        ("budget none", Command::SetBudget { max_usd: None }),
        ("order model-first", Command::SetCascadeOrder { order: CascadeOrder::ModelFirst }),
        ("strategy Round_Robin", Command::SetStrategy { strategy: Strategy::RoundRobin }),
        ("when-limited Wait", Command::SetWhenLimited { when_limited: WhenLimited::Wait }),
        ("on-exhausted WAIT", Command::SetOnExhausted { on_exhausted: OnExhausted::Wait }),
        ("key bob off", Command::SetKey { key: "bob".to_owned(), on: false }),
        ("model local-llava on", Command::SetModel { model: "local-llava".to_owned(), on: true }),
        (
            "route gemini-3.8-flash@bob off",
            Command::SetRoute { key: "bob".to_owned(), model: "gemini-3.8-flash".to_owned(), on: false },
        ),
        ("drain", Command::Drain),
    ];
    for (line, command) in cases {
        assert_eq!(TuiHarness::busy().press(&format!(":{line}\n")).effects, send_effect(command), "{line}");
    }
}

#[test]
fn a_replay_from_the_command_line_is_shown_first_too() {
    let mut stage = TuiHarness::busy();
    assert_eq!(stage.press(":replay-outcome server_error\n").effects, []);
    let Some(Overlay::Replay(plan)) = &stage.state.overlay else { panic!("{:?}", stage.state.overlay) };
    assert_eq!(plan.filter().outcomes, [Outcome::ServerError]);
}

#[test]
fn an_invalid_line_stays_and_is_explained() {
    for (line, message) in [
        ("fly", "there is no command fly"),
        ("in-flight none", "in-flight expects a whole number, at least 1 (pause stops sending), not none"),
        ("in-flight 0", "in-flight expects a whole number, at least 1 (pause stops sending), not 0"),
        ("budget lots", "budget expects dollars, like 2.50, or none, not lots"),
        ("on-exhausted", "on-exhausted expects stop or wait"),
        ("strategy magic", "strategy expects a strategy's name, not magic"),
        ("key alice", "key expects a key's name, then on or off, not alice"),
        ("key zoe off", "there is no key zoe"),
    ] {
        let mut stage = TuiHarness::busy();
        stage.press(&format!(":{line}\n"));
        assert!(stage.effects.is_empty());
        assert!(stage.screen_text().contains(message), "{line}: {}", stage.screen_text());
    }
}

#[test]
fn the_footer_says_what_a_toggle_would_do_now() {
    let mut paused = fixture::busy();
    paused.state = RunState::Paused;
    let cases = [
        (fixture::busy(), "", "Space key off", "p pause"),
        (fixture::busy(), "jjjj", "Space key on", "p pause"),
        (fixture::busy(), "3", "Space model off", "p pause"),
        (fixture::busy(), "3G", "Space model on", "p pause"),
        (fixture::busy(), "6", "Space route off", "p pause"),
        (fixture::busy(), "p", "Space key off", "p resume"),
        (paused, "", "Space key off", "p resume"),
    ];
    for (snapshot, keys, space, p) in cases {
        let text = TuiHarness::new(120, 36, snapshot).press(keys).screen_text();
        let footer = text.lines().last().unwrap();
        assert!(footer.contains(&format!("{space}  ")) && footer.contains(&format!("{p}  ")), "{keys:?}: {footer}");
    }
}

#[test]
fn tab_completes_names_and_what_follows_them() {
    let mut stage = TuiHarness::busy();
    stage.press(":in-f\t");
    assert!(stage.screen_text().contains(":in-flight _"));
    stage.press("\x1b:key car\t");
    assert!(stage.screen_text().contains(":key carol o_"), "as far as on and off agree: Tab switches nothing off");
    stage.press("ff\n");
    assert_eq!(stage.effects, send_effect(Command::SetKey { key: "carol".to_owned(), on: false }));
}

#[test]
fn an_item_is_opened_by_its_number_in_the_input() {
    let mut stage = TuiHarness::busy();
    stage.press(":item 117\n");
    assert_eq!(stage.state.detail.as_ref().map(|detail| detail.seq), Some(117));
    for (line, words) in
        [(":item 5001\n", "there are 5000 items"), (":item one\n", "not one"), (":item 0\n", "at least 1")]
    {
        let mut stage = TuiHarness::busy();
        stage.press(line);
        assert!(stage.state.detail.is_none() && stage.screen_text().contains(words), "{line}: {}", stage.screen_text());
    }
}

#[test]
fn a_filter_searches_all_lists_until_one_was_chosen() {
    let mut stage = TuiHarness::busy();
    stage.press("/x");
    assert_eq!(stage.state.items.state_filter, None);
    let mut chosen = TuiHarness::busy();
    chosen.press("5f/x");
    assert!(chosen.state.items.state_filter.is_some());
}

#[test]
fn find_shows_items_of_any_state() {
    let mut stage = TuiHarness::busy();
    stage.press(":find timeout\n");
    assert_eq!(stage.state.focus, Pane::Items);
    assert_eq!((stage.state.items.state_filter, stage.state.items.text_filter.as_str()), (None, "timeout"));
}

#[test]
fn a_command_that_makes_no_sense_is_rejected_with_a_reason() {
    let mut snapshot = fixture::busy();
    snapshot.totals.failed = 0;
    snapshot.max_in_flight = 1;
    let cases = [
        ("R", "no item has failed"),
        ("-", "at least one must be in flight"),
        (":replay\n", "select a failed item first"),
        ("4:probe\n", "select the key to test"),
        ("u", "there is nothing left to undo"),
        ("8y", "nothing that can be copied is selected"),
        ("6lll ", "there is no route local-llava@alice"),
    ];
    for (keys, words) in cases {
        let mut stage = TuiHarness::new(120, 36, snapshot.clone());
        stage.press(keys);
        assert!(stage.effects.is_empty(), "{keys}");
        assert!(stage.screen_text().contains(words), "{keys}: {}", stage.screen_text());
    }
    let mut over = TuiHarness::new(120, 36, fixture::finished());
    assert!(over.press("p").effects.is_empty());
    assert!(over.screen_text().contains("the run is over"));
}

#[test]
fn pausing_is_shown_until_the_snapshot_confirms_it() {
    let mut stage = TuiHarness::busy();
    stage.press("p");
    assert!(stage.screen_text().contains("PAUSING…"));
    stage.update(UiEvent::CommandReply { command: Command::Pause, reply: Ok("paused".to_owned()) });
    assert!(stage.screen_text().contains("PAUSING…"), "an acknowledgement is not yet the fact");
    let mut snapshot = fixture::busy();
    snapshot.state = RunState::Paused;
    stage.publish(snapshot);
    assert!(stage.screen_text().contains("‖ PAUSED"));
    assert_eq!(stage.press("p").effects.last(), Some(&Effect::SendCommand(Command::Resume)));
}

#[test]
fn a_refused_command_is_taken_back_and_its_reason_stays() {
    let mut stage = TuiHarness::busy();
    stage.press("p");
    stage.update(UiEvent::CommandReply { command: Command::Pause, reply: Err("the disk is full".to_owned()) });
    stage.state.ui_elapsed += Duration::from_mins(1);
    stage.update(UiEvent::Tick);
    let text = stage.screen_text();
    assert!(text.contains("● RUNNING") && text.contains("the disk is full"), "{text}");
    stage.press("\x1b");
    assert!(!stage.screen_text().contains("the disk is full"));
}

#[test]
fn a_key_on_its_way_off_says_so_and_a_second_press_takes_it_back() {
    let mut stage = TuiHarness::busy();
    stage.press(" ");
    assert!(stage.screen_text().contains("switching off"));
    stage.press(" ");
    assert_eq!(stage.effects.last(), Some(&Effect::SendCommand(Command::SetKey { key: "alice".to_owned(), on: true })));
}

#[test]
fn pressed_twice_before_the_engine_has_answered_a_switch_is_as_it_was() {
    for keys in [" ", "3 ", "6 "] {
        let mut stage = TuiHarness::busy();
        stage.press(keys).press(" ");
        let switched = stage.effects.iter().map(|effect| match effect {
            Effect::SendCommand(
                Command::SetKey { on, .. } | Command::SetModel { on, .. } | Command::SetRoute { on, .. },
            ) => *on,
            other => panic!("{other:?}"),
        });
        assert_eq!(switched.collect::<Vec<_>>(), [false, true], "{keys:?}");
    }
}

#[test]
fn a_change_undone_before_a_snapshot_is_not_shown_as_pending() {
    let mut stage = TuiHarness::busy();
    stage.press(" ").press(" ").press("p").press("p");
    for effect in std::mem::take(&mut stage.effects) {
        let Effect::SendCommand(command) = effect else { panic!("{effect:?}") };
        stage.update(UiEvent::CommandReply { command, reply: Ok("done".to_owned()) });
    }
    stage.publish(fixture::busy());
    let text = stage.screen_text();
    assert!(!text.contains("switching off") && !text.contains("PAUSING"), "{text}");
    stage.effects.clear();
    stage.press(" ").press("p");
    let key = Command::SetKey { key: "alice".to_owned(), on: false };
    assert_eq!(stage.effects, [Effect::SendCommand(key), Effect::SendCommand(Command::Pause)]);
}

#[test]
fn repeated_presses_add_up_before_the_engine_replies() {
    let mut stage = TuiHarness::busy();
    stage.press("+++");
    assert_eq!(stage.effects.last(), Some(&Effect::SendCommand(Command::SetMaxInFlight { max_in_flight: 19 })));
}

#[test]
fn every_change_that_can_be_taken_back_is_newest_first() {
    let key = |on| Command::SetKey { key: "alice".to_owned(), on };
    let cases: Vec<(&str, Vec<Command>)> = vec![
        (" ", vec![key(true)]),
        ("p", vec![Command::Resume]),
        ("++", vec![Command::SetMaxInFlight { max_in_flight: 17 }, Command::SetMaxInFlight { max_in_flight: 16 }]),
        (" p", vec![Command::Resume, key(true)]),
        (":budget 5\n", vec![Command::SetBudget { max_usd: None }]),
        ("sj\n", vec![Command::SetStrategy { strategy: Strategy::Cascade }]),
        ("3 ", vec![Command::SetModel { model: "gemini-3.8-flash".to_owned(), on: true }]),
    ];
    for (keys, back) in cases {
        let mut stage = TuiHarness::busy();
        stage.press(keys);
        for effect in std::mem::take(&mut stage.effects) {
            let Effect::SendCommand(command) = effect else { panic!("{effect:?}") };
            stage.update(UiEvent::CommandReply { command, reply: Ok("done".to_owned()) });
        }
        for command in back {
            stage.press("u");
            assert_eq!(std::mem::take(&mut stage.effects), send_effect(command), "{keys:?}");
        }
        stage.press("u");
        assert!(stage.effects.is_empty() && stage.screen_text().contains("there is nothing left to undo"), "{keys:?}");
    }
    // A switch that was already off can't be undone.
    let mut off = TuiHarness::busy();
    off.press(":key erin off\n");
    let Some(Effect::SendCommand(command)) = off.effects.pop() else { panic!("{:?}", off.effects) };
    off.update(UiEvent::CommandReply { command, reply: Ok("done".to_owned()) });
    assert!(off.press("u").effects.is_empty(), "erin was off before");
    let mut refused = TuiHarness::busy();
    refused.press("p");
    refused.update(UiEvent::CommandReply { command: Command::Pause, reply: Err("no".to_owned()) });
    refused.effects.clear();
    assert!(refused.press("u").effects.is_empty(), "what was refused is not undone");
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
        let mut stage = TuiHarness::busy();
        stage.state.read_only = true;
        stage.press(keys);
        assert!(stage.effects.is_empty(), "{keys:?}: {:?}", stage.effects);
        assert!(stage.screen_text().contains("read-only"), "{keys:?}");
    }
    let mut stage = TuiHarness::busy();
    stage.state.read_only = true;
    assert!(stage.press_ctrl('z').effects.is_empty(), "the run would stand still too");
    for (typed, offered) in [(":pau", false), (":sto", false), (":key ", false), (":find", true), (":help", true)] {
        stage.press("\x1b").press(typed);
        assert_eq!(stage.screen_text().contains("Commands"), offered, "{typed}: {}", stage.screen_text());
    }
    let mut stage = TuiHarness::new(120, 36, fixture::finished());
    stage.state.read_only = true;
    let text = stage.screen_text();
    assert!(text.contains("shows why") && !text.contains("replays them"), "{text}");
    let mut paused = fixture::busy();
    paused.state = RunState::Paused;
    let mut stage = TuiHarness::new(120, 36, paused);
    stage.state.read_only = true;
    assert!(!stage.screen_text().contains("goes on"));
    let mut stage = TuiHarness::busy();
    stage.state.read_only = true;
    let footer = stage.screen_text().lines().last().unwrap().to_owned();
    assert!(!footer.contains("pause") && footer.contains("why"), "{footer}");
    stage.press("?");
    assert!(!stage.screen_text().contains("one more in flight"));
}
