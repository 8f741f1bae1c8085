//! The process is killed, or the disk is full, both for real.
//!
//! The killed process is this test binary, started again with one ignored test that drives a run.

use std::{
    collections::{BTreeSet, VecDeque},
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use cascadeck::{
    domain::Outcome,
    store::{Op, RunDir, Store},
};

use crate::{
    harness::is_full_test_run,
    store::harness::{
        FakeEngine, TestRun, answered_op, assert_audit, complete_op, failed_op, intent_op, item_spec, result_line,
        settings,
    },
};

/// The number of items and of kills.
fn run_size() -> (u64, u32) {
    if is_full_test_run() { (8_000, 20) } else { (4_000, 8) }
}

const CHILD_RUN_DIR_ENV: &str = "CASCADECK_TEST_RUN_DIR";

fn child_command(home: &TestRun, test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_RUN_DIR_ENV, home.dir.path()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Prints what is acknowledged. Nothing of it may ever be lost.
fn print_line(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").and_then(|()| out.flush()).expect("the parent listens");
}

#[test]
#[ignore = "run by the test below, which kills it"]
fn drives_a_run_as_fast_as_it_can() {
    let Ok(dir) = env::var(CHILD_RUN_DIR_ENV) else { return };
    // The test harness has already written the start of a line.
    print_line("");
    let (store, opened) = Store::open(&RunDir::new(dir), &settings()).unwrap();
    let mut queue = VecDeque::new();
    store.for_each_waiting(|item| queue.push_back(item.seq.0)).unwrap();
    let mut engine = FakeEngine::new(store);
    let mut attempt = opened.next_attempt.0;
    let mut read = opened.ingest.rows;
    let mut sent: Vec<(u64, u64)> = Vec::new();
    let (items, _) = run_size();
    while read < items || !queue.is_empty() || !sent.is_empty() {
        let mut group = Vec::new();
        let mut ended = Vec::new();
        for (attempt, seq) in sent.drain(..) {
            match attempt % 7 {
                0 => queue.push_back(seq),
                1 => ended.push((seq, failed_op(attempt, seq, Outcome::ContentBlocked))),
                _ => ended.push((seq, answered_op(attempt, seq))),
            }
            if attempt % 7 == 0 {
                group.push(complete_op(attempt, Outcome::ServerError, None));
            }
        }
        let ids: Vec<_> = ended.iter().map(|(seq, _)| format!("item-{seq}")).collect();
        group.extend(ended.into_iter().map(|(_, op)| op));
        if read < items {
            let batch: Vec<_> = (read + 1..=items.min(read + 50)).collect();
            read += batch.len() as u64;
            queue.extend(&batch);
            group.push(Op::IngestItems(batch.into_iter().map(item_spec).collect()));
            // Commits the rows before any of them is sent.
            engine.commit(std::mem::take(&mut group));
        }
        for seq in queue.drain(..queue.len().min(8)) {
            sent.push((attempt, seq));
            group.push(intent_op(attempt, seq, (attempt % 3) as u32));
            attempt += 1;
        }
        engine.commit(group);
        print_line(&format!("ended {}", ids.join(" ")));
    }
    drop(engine.close());
    print_line("complete");
}

/// The lines that a child printed before its end.
fn read_output(child: &mut Child, kill_after: Option<usize>) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut heard: Vec<_> = lines.by_ref().take(kill_after.unwrap_or(usize::MAX)).collect();
    if kill_after.is_some() {
        child.kill().unwrap();
    }
    // Also the lines between the last expected one and the end.
    heard.extend(lines);
    child.wait().unwrap();
    heard
}

#[test]
fn a_run_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    const TEST: &str = "store::crash::drives_a_run_as_fast_as_it_can";
    let home = TestRun::new();
    let mut random = fastrand::Rng::with_seed(20);
    let mut ended: BTreeSet<String> = BTreeSet::new();
    let mut lost = 0;
    let (items, kills) = run_size();
    for round in 1..=kills {
        let mut child = child_command(&home, TEST).spawn().unwrap();
        let lines = read_output(&mut child, Some(random.usize(5..60)));
        ended.extend(lines.iter().filter_map(|line| line.strip_prefix("ended ")).flat_map(ids_of));

        let (store, opened) = home.open();
        lost += opened.lost_attempts.len();
        assert!(
            opened.lost_attempts.len() <= 8,
            "round {round}: only what was in flight is lost: {:?}",
            opened.lost_attempts
        );
        let totals = opened.totals;
        assert_eq!(totals.total, totals.waiting + totals.done + totals.failed, "round {round}");
        drop(store);
        let states = assert_audit(&home.dir);
        for id in &ended {
            assert_ne!(states[id], 0, "round {round}: {id} was acknowledged as ended");
        }
        let shown = home.results();
        let unique: BTreeSet<_> = shown.iter().map(|line| line.id.as_str()).collect();
        assert_eq!(unique.len(), shown.len(), "round {round}: no id twice");
    }
    assert!(lost > 0, "some of the kills hit calls in flight");
    assert!(ended.len() > 500, "the victims got somewhere: {}", ended.len());

    let mut child = child_command(&home, TEST).spawn().unwrap();
    assert!(read_output(&mut child, None).iter().any(|line| line == "complete"));
    let states = assert_audit(&home.dir);
    assert_eq!(states.len() as u64, items);
    assert!(states.values().all(|state| *state != 0));
    assert_eq!(home.results().len() as u64, items);
}

fn ids_of(words: &str) -> impl Iterator<Item = String> {
    words.split_whitespace().map(str::to_owned)
}

#[test]
#[ignore = "run by the test below, with little room"]
fn drives_a_run_until_there_is_no_room() {
    let Ok(dir) = env::var(CHILD_RUN_DIR_ENV) else { return };
    // The test harness has already written the start of a line.
    print_line("");
    let (store, _) = Store::open(&RunDir::new(dir), &settings()).unwrap();
    let mut engine = FakeEngine::new(store);
    let mut number = 0;
    let long = "An answer. ".repeat(100);
    loop {
        number += 1;
        let item = || vec![Op::IngestItems(vec![item_spec(number)]), intent_op(number, number, 0)];
        let done = || {
            let line = result_line(number, cascadeck::domain::FinalState::Done, Outcome::Ok, &long);
            vec![complete_op(number, Outcome::Ok, Some(line))]
        };
        for group in [item(), done()] {
            let length = group.len();
            engine.submit(group);
            let ack = engine.wait_for_ack();
            let behind = ack.after_commit_error.is_some();
            if let Err(rejected) = ack.result {
                assert!(rejected.error.is_disk_fault(), "{:?}", rejected.error);
                // The writer thread still runs and returns the whole group. Submitting it again fails the same way
                // while there is no room.
                let again = engine.submit_rejected(rejected.ops);
                assert!(again.error.is_disk_fault(), "{:?}", again.error);
                assert_eq!(again.ops.len(), length);
                print_line(&format!("no room: {}", again.error));
                return;
            }
            if behind {
                print_line("behind");
            }
        }
        print_line(&format!("ended item-{number}"));
    }
}

#[test]
fn a_disk_without_room_refuses_groups_whole_and_the_run_goes_on_when_there_is() {
    let home = TestRun::new();
    let direct = child_command(&home, "store::crash::drives_a_run_until_there_is_no_room");
    // Limits the file size, in units of 512 bytes, and ignores the signal for exceeding it.
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"trap "" XFSZ; ulimit -f 2000; exec "$0" "$@""#]).arg(direct.get_program());
    limited.args(direct.get_args()).envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = limited.stdout(Stdio::piped()).spawn().unwrap();
    let lines = read_output(&mut child, None);
    assert!(lines.iter().any(|line| line.starts_with("no room: ")), "{:?}", lines.last());
    let ended: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("ended ")).collect();
    assert!(ended.len() > 10, "{}", ended.len());

    let mut engine = home.start_engine();
    let states = assert_audit(&home.dir);
    for id in &ended {
        assert_eq!(states[*id], 1, "{id} was acknowledged");
    }
    let next = ended.len() as u64 + 2;
    engine.commit(vec![Op::IngestItems(vec![item_spec(next)])]);
    let store = engine.close();
    assert!(!crate::store::harness::waiting_seqs(&store).is_empty());
    assert!(store.dir().has_run());
}
