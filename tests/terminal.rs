//! The real program in a pseudo-terminal, over the simulated provider, used like an operator would: what the screen
//! shows, what the provider's statistics say, and what is left behind.

#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

mod harness;
mod pty;

use cascadeck::sim::ServerStats;
use harness::{
    SimulatedProvider, TestMachine, addition_rows,
    webhook_server::{WebhookReply, WebhookServer},
};
use nix::sys::signal::Signal;
use portable_pty::CommandBuilder;
use pty::PtySession;

const TWO_KEY_PROFILE: &str = r#"
name = "slow"
latency = { median_ms = 60 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
]
"#;

const RUN_ARGS: [&str; 10] = [
    "run",
    "batch.jsonl",
    "--prompt",
    "{{ question }}",
    "--in-flight",
    "4",
    "--strategy",
    "round_robin",
    "--no-check",
    "--run-dir=run",
];

fn setup(profile: &str, rows: u64) -> (TestMachine, SimulatedProvider) {
    let provider = SimulatedProvider::from_toml(profile);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(rows));
    (machine, provider)
}

/// Opens a command on that machine, without this process's environment.
fn open_on(machine: &TestMachine, mut command: CommandBuilder, environment: &[(&str, &str)]) -> PtySession {
    command.env_clear();
    command.cwd(machine.path("."));
    command.env("HOME", machine.root().join("home"));
    command.env("TMPDIR", machine.root().join("tmp"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("LANG", "C.UTF-8");
    for (name, value) in environment {
        command.env(name, value);
    }
    PtySession::spawn(command)
}

/// The program with these arguments.
fn open_program(machine: &TestMachine, args: &[&str]) -> PtySession {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_cascadeck"));
    command.args(args);
    open_on(machine, command, &[])
}

/// A shell with job control, whose prompt is `ready$`.
fn open_shell(machine: &TestMachine) -> PtySession {
    let mut command = CommandBuilder::new("bash");
    command.args(["--norc", "--noprofile", "-i"]);
    open_on(machine, command, &[("PS1", "ready$ ")])
}

fn request_count(books: &ServerStats, key: &str) -> u64 {
    books.key(key).map_or(0, |books| books.counts.requests)
}

#[test]
fn on_a_terminal_the_provider_of_the_environments_keys_is_asked_for() {
    let machine = TestMachine::new();
    let open = |args: &[&str]| {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_cascadeck"));
        command.args(args);
        let keys = [("MISTRAL_API_KEY", "secret-of-mistral"), ("GROQ_API_KEYS", "secret-of-groq,another-of-groq")];
        open_on(&machine, command, &keys)
    };
    let mut session = open(&["check", "--offline"]);
    session.wait_for_text("1. groq: 2 keys in GROQ_API_KEYS");
    session.wait_for_text("2. mistral: 1 key in MISTRAL_API_KEY");
    session.wait_for_text("Which may get prompts and cost money?");
    session.type_keys("openai\n");
    session.wait_for_text("That is not one of them.");
    session.type_keys("2\n");
    session.wait_for_text("the environment (MISTRAL_API_KEY): 1 key, 1 model, 1 provider");
    assert!(!session.output_text().contains("-of-"), "a secret is shown");
    assert_eq!(session.wait_for_exit().exit_code(), 0);

    let mut session = open(&["check", "--offline"]);
    session.wait_for_text("Which may get prompts");
    session.type_keys("\n");
    session.wait_for_text("no provider was chosen, so nothing was sent");
    assert_eq!(session.wait_for_exit().exit_code(), 2);

    let mut session = open(&["run", "batch.jsonl", "--headless"]);
    session.wait_for_text("--provider groq,mistral");
    assert_eq!(session.wait_for_exit().exit_code(), 2, "a headless run does not ask");
}

#[test]
fn a_key_switched_off_gets_nothing_more_and_undo_brings_it_back() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("RUNNING");
    provider.wait_until("both keys are used", |books| {
        request_count(books, "alice") > 3 && request_count(books, "bruno") > 3
    });
    session.type_keys("j ");
    session.wait_for_text("– off (you)");
    // Attempts that were already decided may still be sent and end; after that nothing is sent.
    let alice = request_count(&provider.checked_stats(), "alice");
    provider.wait_until("what bruno had in flight has landed", |books| {
        request_count(books, "alice") > alice + 16
            && books.key("bruno").is_some_and(|books| books.counts.in_flight == 0)
    });
    let before = request_count(&provider.checked_stats(), "bruno");
    let alice = request_count(&provider.checked_stats(), "alice");
    let after = provider.wait_until("alice goes on alone", |books| request_count(books, "alice") > alice + 40);
    assert_eq!(request_count(&after, "bruno"), before, "a key that is off gets nothing");
    session.wait_for_text("you  key bruno switched off");
    session.type_keys("u");
    session.wait_for_text("you  key bruno switched on");
    provider.wait_until("bruno works again", |books| request_count(books, "bruno") > before + 3);
    session.quit_with("qs");
    let ended = machine.cascadeck(&["status", "run", "--json"]).expect_status(0).stdout_json();
    assert_eq!(ended["state"], "stopped");
}

#[test]
fn a_pause_lets_in_flight_requests_finish_and_sends_nothing_until_resumed() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut session = open_program(&machine, &RUN_ARGS);
    provider.wait_until("work goes out", |books| books.total.requests > 8);
    session.wait_for_text("RUNNING");
    session.type_keys("p");
    session.wait_for_text("‖ PAUSED");
    session.wait_for_text("in flight 0/4");
    let paused = provider.checked_stats().total.requests;
    assert_eq!(provider.checked_stats().total.in_flight, 0);
    // Opening other views sends nothing either.
    for (keys, text) in [("3", "3 Models"), ("6", "6 Routes"), ("8", "8 Charts"), ("?", "Help")] {
        session.type_keys(keys);
        session.wait_for_text(text);
    }
    assert_eq!(provider.checked_stats().total.requests, paused);
    session.type_keys("\x1b");
    session.wait_until("the help is closed", |screen| !screen.contents().contains("Help"));
    session.type_keys("p");
    session.wait_for_text("RUNNING");
    provider.wait_until("it goes on", |books| books.total.requests > paused + 8);
    session.quit_with("qs");
}

#[test]
fn failed_items_are_replayed_to_a_chosen_route_after_a_preview() {
    let profile = TWO_KEY_PROFILE.replace("name = \"slow\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }");
    let (machine, provider) = setup(&profile, 6);
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("✓ FINISHED");
    session.wait_for_text("6 failed");
    session.type_keys("9");
    session.wait_for_text("provider's message");
    session.wait_for_text("blocked");
    let bruno = request_count(&provider.checked_stats(), "bruno");
    session.type_keys("r");
    session.wait_for_text("6 failed items will be sent again");
    // The menu lists the cascade, the model, m@alice, m@bruno.
    session.type_keys("jjj");
    session.wait_for_text("● only to m@bruno");
    session.type_keys("y");
    session.type_keys("4");
    session.wait_for_text("replaying only to m@bruno");
    let books = provider.wait_until("all six went to bruno", |books| request_count(books, "bruno") == bruno + 6);
    assert_eq!(request_count(&books, "alice") + request_count(&books, "bruno"), 12);
    session.wait_for_text("✓ FINISHED");
    session.type_keys("9x");
    session.wait_for_text("6 lines written to");
    assert_eq!(machine.read("run/failed-1.jsonl").lines().count(), 6);
    session.quit_with("q");
}

#[test]
fn a_read_only_dashboard_sends_no_commands() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut args = RUN_ARGS.to_vec();
    args.push("--read-only");
    let mut session = open_program(&machine, &args);
    session.wait_for_text("read-only");
    provider.wait_until("work goes out", |books| books.total.requests > 4);
    session.type_keys("p");
    session.wait_for_text("this screen is read-only");
    let before = provider.checked_stats().total.requests;
    provider.wait_until("nothing has paused", |books| books.total.requests > before + 8);
    session.send_signal(Signal::SIGTERM);
    session.wait_for_exit();
}

#[test]
fn a_storm_of_resizes_leaves_one_whole_screen() {
    let (machine, _provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("RUNNING");
    for step in 0..60_u16 {
        session.resize(15 + step % 30, 60 + step * 2 % 100);
    }
    session.resize(3, 20);
    session.wait_for_text("20x3");
    session.resize(24, 80);
    session.wait_until("the last line", |screen| {
        screen.contents().lines().last().is_some_and(|row| row.contains("? help"))
    });
    let screen = session.parser.screen();
    let rows: Vec<String> = screen.rows(0, 80).collect();
    assert_eq!(rows.iter().filter(|row| row.contains("1 Keys")).count(), 1, "no debris: {rows:#?}");
    assert!(rows[23].contains("? help"), "{rows:#?}");
    session.quit_with("qs");
}

#[test]
fn sigterm_drains_and_restores_the_terminal() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("RUNNING");
    provider.wait_until("work goes out", |books| books.total.requests > 4);
    session.send_signal(Signal::SIGTERM);
    session.wait_for_exit();
    let books = provider.checked_stats();
    assert_eq!((books.total.abandoned, books.total.in_flight), (0, 0), "what was in flight was waited for");
    assert_eq!(machine.status("run")["done"], books.total.ok, "and is in the record");
}

#[test]
fn ctrl_z_gives_the_shell_its_terminal_and_fg_brings_the_dashboard_back() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 100_000);
    let mut session = open_shell(&machine);
    session.wait_for_text("ready$");
    let program =
        format!("'{}' {}\r", env!("CARGO_BIN_EXE_cascadeck"), RUN_ARGS.map(|arg| format!("'{arg}'")).join(" "));
    session.type_keys(&program);
    session.wait_for_text("RUNNING");
    for _ in 0..2 {
        session.type_keys("\x1a");
        session.wait_until("the shell's own screen and prompt", |screen| {
            !screen.alternate_screen() && !screen.hide_cursor() && screen.contents().trim_end().ends_with("ready$")
        });
        session.type_keys("echo $((6*7))th answer\r");
        session.wait_for_text("42th answer");
        session.type_keys("clear; fg\r");
        session.wait_until("the dashboard again", |screen| {
            screen.alternate_screen() && screen.contents().contains("1 Keys")
        });
    }
    let before = provider.checked_stats().total.requests;
    provider.wait_until("the run goes on", |books| books.total.requests > before + 4);
    session.type_keys("qs");
    session
        .wait_until("the shell's prompt", |screen| !screen.alternate_screen() && screen.contents().contains("ready$"));
    session.type_keys("exit\r");
    session.wait_for_exit();
}

#[test]
fn the_end_of_a_run_is_announced_and_the_clipboard_gets_what_is_copied() {
    let (machine, _provider) = setup(TWO_KEY_PROFILE, 8);
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("✓ FINISHED");
    session.wait_for_output("\x1b]9;run is finished: 8 done, 0 failed");
    session.wait_for_output("\x1b]0;run: finished 100%");
    session.type_keys("y");
    // "alice" in base64.
    session.wait_for_output("\x1b]52;c;YWxpY2U=\x1b\\");
    session.quit_with("q");

    let mut keys = machine.read("keys.toml");
    keys.push_str("\n[dashboard]\nnotify = false\nkeys = { quit = \"F10\" }\n");
    machine.write_keys_toml(&keys);
    machine.write("batch.jsonl", addition_rows(9));
    let mut quiet = RUN_ARGS.to_vec();
    quiet[9] = "--run-dir=quiet";
    let mut session = open_program(&machine, &quiet);
    session.wait_for_text("✓ FINISHED");
    session.wait_for_text("F10 quit");
    assert!(!session.output_text().contains("\x1b]9;"), "notifications are off");
    session.quit_with("\x1b[21~");
}

#[test]
fn webhooks_hear_of_the_end_while_the_dashboard_stays_and_trouble_with_them_is_said_when_it_is_left() {
    let (machine, _provider) = setup(TWO_KEY_PROFILE, 8);
    let (well, gone) = (WebhookServer::accepting_all(), WebhookServer::with_replies([WebhookReply::Status(410)]));
    machine.write_keys_toml(
        &(machine.read("keys.toml") + &well.webhook_toml("well", "") + &gone.webhook_toml("gone", "")),
    );
    let mut session = open_program(&machine, &RUN_ARGS);
    session.wait_for_text("✓ FINISHED");
    assert_eq!(well.wait_for_event("finished")["done"], 8);
    gone.wait_for_event("finished");
    session.type_keys("7");
    session.wait_for_text("webhook gone answered 410");
    session.type_keys("q");
    session
        .wait_for_output("warning: webhook gone answered 410; the message that the run is finished was not delivered");
    session.wait_for_exit();
    assert_eq!((well.events().len(), gone.events().len()), (1, 1), "leaving a run that is over ends it no second time");
}

#[test]
fn a_key_bound_twice_is_reported_with_its_line_before_anything_starts() {
    let (machine, provider) = setup(TWO_KEY_PROFILE, 8);
    let mut keys = machine.read("keys.toml");
    let line = keys.lines().count() + 3;
    keys.push_str("\n[dashboard]\nkeys = { pause = \"q\" }\n");
    machine.write_keys_toml(&keys);
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(2);
    ended.assert_stderr_contains(&[&format!("keys.toml:{line}: q can't mean both"), "give one of them another key"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
}
