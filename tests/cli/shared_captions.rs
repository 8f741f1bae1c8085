//! Two runs with their own run directories over the same pictures: no caption is paid for twice.

use std::sync::{Arc, Condvar, Mutex};

use crate::harness::{
    RunningProcess, TestMachine,
    logging_server::{LoggingServer, Response},
    png, wait_until,
};

/// Blocks requests until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A machine with three pictures, whose provider answers once the gate is open.
fn setup() -> (TestMachine, LoggingServer, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let server = LoggingServer::start(move |request| {
        if request.is_completion() {
            waits.wait();
        }
        Response::openai("A picture.")
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml(""));
    for name in ["a", "b", "more/c"] {
        machine.write(&format!("album/{name}.png"), png(3, 3));
    }
    (machine, server, gate)
}

fn start_first_run(machine: &TestMachine, server: &LoggingServer) -> RunningProcess {
    let live = machine.start(&["run", "album", "--run-dir", "first", "--no-check"]);
    wait_until("it is under way", || !server.completions().is_empty());
    live
}

#[test]
fn a_second_run_over_the_same_captions_is_refused_and_told_of_the_first() {
    let (machine, server, gate) = setup();
    let first = start_first_run(&machine, &server);
    std::os::unix::fs::symlink(machine.path("album"), machine.path("link")).unwrap();
    let process = format!("process {}", first.process_id());
    for (input, shared) in [("album", "3 captions"), ("album/more", "1 caption"), ("link/*.png", "2 captions")] {
        let ended = machine.cascadeck(&["run", input, "--run-dir", "second", "--no-check"]).expect_status(2);
        ended.assert_stderr_contains(&[shared, "/first (", &process, "both would pay", "--captions DIR"]);
        assert!(!machine.path("second").exists(), "{input}: a run was begun");
    }
    machine
        .cascadeck(&["run", "album", "--run-dir", "first", "--no-check"])
        .expect_status(2)
        .assert_stderr_contains(&["is in use by process"]);
    assert!(server.completions().len() <= 3, "only the first has sent anything");

    // Captions in another folder, and other pictures, don't conflict.
    machine.write("album/d.png", png(4, 4));
    gate.open();
    machine.cascadeck(&["run", "album/d.png", "--run-dir", "third", "--no-check"]).expect_status(0);
    machine.cascadeck(&["run", "album", "--run-dir", "fourth", "--captions", "words", "--no-check"]).expect_status(0);
    first.wait().expect_status(0);
    assert_eq!(server.completions().len(), 3 + 1 + 4);
    // The first run is over; pictures that it captioned are skipped.
    machine.cascadeck(&["run", "album", "--run-dir", "second", "--no-check"]);
    assert_eq!(server.completions().len(), 8);
    let claims = std::fs::read_dir(machine.root().join("home/.state/cascadeck/captions")).unwrap();
    let claims: Vec<_> = claims.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(claims, ["lock"], "a claim is left behind");
}

#[test]
fn a_run_that_was_killed_claims_nothing() {
    let (machine, server, gate) = setup();
    assert!(start_first_run(&machine, &server).kill().was_killed());
    gate.open();
    machine.cascadeck(&["run", "album", "--run-dir", "second", "--no-check"]).expect_status(0);
    assert_eq!(machine.read("album/more/c.txt"), "A picture.\n");
}
