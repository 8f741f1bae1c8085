//! `cascadeck demo`: the whole program without a key or a network.

use crate::harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows};

#[test]
fn the_demo_shows_everything_that_can_happen_and_finishes() {
    let machine = TestMachine::new();
    let args = ["demo", "--headless", "--json", "--speed", "100", "--run-dir", "demo"];
    let ended = machine.cascadeck(&args).expect_status(0);
    let summary = ended.stdout_json();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((count("total"), count("done"), count("failed"), count("waiting")), (240, 240, 0, 0));
    assert_eq!(summary["state"], "finished");
    let ok = |list: &str, name: &str| {
        let all = summary[list].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["ok"].as_u64().unwrap()
    };
    for model in ["gemini-3.8-flash", "gemini-3.6-flash", "gemini-3.5-flash-lite", "gemini-3.1-flash-lite"] {
        assert!(ok("models", model) > 0, "{model} is used");
    }
    // Bruno shares alice's project and therefore her quota. Which of the two keys is used is random.
    let projects = [ok("keys", "alice") + ok("keys", "bruno"), ok("keys", "chiara"), ok("keys", "emeka")];
    assert!(projects.iter().all(|answered| *answered > 0), "every project is used: {projects:?}");
    assert_eq!(ok("keys", "dmitri"), 0, "a dead key answers nothing");

    let log = machine.read("demo/demo/cascadeck.log");
    for (what, words) in [
        ("a spent day", "quota_exhausted_day"),
        ("a dead key", "key dmitri disabled, invalid_key"),
        ("fallbacks", " → "),
        ("an overloaded model", "overloaded"),
        ("recovery", " recovered"),
    ] {
        assert!(log.contains(words), "{what} is not shown");
    }
    // Three projects together allow 120 requests a minute.
    assert!(summary["elapsed_s"].as_f64().unwrap() > 60.0, "minute limits held it up: {summary}");
    ended.assert_stderr_contains(&["the demo's run is in"]);
    assert_eq!(machine.results("demo/demo").len(), 240);
}

#[test]
fn without_a_folder_the_demo_leaves_nothing() {
    let machine = TestMachine::new();
    machine.cascadeck(&["demo", "--headless", "--speed", "400"]).expect_status(0);
    let left = |folder: &str| std::fs::read_dir(machine.root().join(folder)).unwrap().count();
    assert_eq!((left("work"), left("tmp")), (0, 0));
}

#[test]
fn a_demo_that_was_stopped_and_removed_is_not_said_to_be_resumable() {
    let machine = TestMachine::new();
    let mut live = machine.start(&["demo", "--headless", "--speed", "1"]);
    live.wait_for_line("in flight");
    live.send_signal(nix::sys::signal::Signal::SIGTERM);
    let ended = live.wait().expect_status(130);
    ended.assert_stderr_contains(&["stopped: stopped by SIGTERM; this run was temporary and can't be resumed"]);
    assert!(!ended.stderr.contains("resumes"), "{}", ended.stderr);
}

/// Every file under a folder and what is in it.
fn files_under(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_demo_takes_no_folder_that_holds_files_of_anybody_else() {
    let machine = TestMachine::new();
    let demo = ["demo", "--headless", "--speed", "1000", "--run-dir", "d"];
    for (file, content) in [
        ("d/keys.toml", "[[key]]\nname = 'mine'\n"),
        ("d/demo.jsonl", "mine\n"),
        ("d/demo/notes.txt", "x\n"),
        ("d/other.txt", ""),
    ] {
        machine.write(file, content);
        let before = files_under(&machine.path("d"));
        let ended = machine.cascadeck(&demo).expect_status(2);
        ended.assert_stderr_contains(&[file, "not part of a demo", "nothing was changed"]);
        assert_eq!(files_under(&machine.path("d")), before, "{file}");
        std::fs::remove_dir_all(machine.path("d")).unwrap();
    }

    // Empty, and then an earlier demo's.
    std::fs::create_dir(machine.path("d")).unwrap();
    for _ in 0..2 {
        machine.cascadeck(&demo).expect_status(0).assert_stderr_contains(&["the demo's run is in"]);
        assert_eq!(machine.results("d/demo").len(), 240);
    }
    // What the user has put or changed there since is not the demo's any more.
    for file in ["d/demo/out.csv", "d/keys.toml", "d/demo.jsonl"] {
        let had = std::fs::read(machine.path(file)).ok();
        machine.write(file, [had.clone().unwrap_or_default(), b"# mine\n".to_vec()].concat());
        let before = files_under(&machine.path("d"));
        machine.cascadeck(&demo).expect_status(2).assert_stderr_contains(&[file]);
        assert_eq!(files_under(&machine.path("d")), before, "{file}");
        match had {
            Some(had) => machine.write(file, had),
            None => std::fs::remove_file(machine.path(file)).unwrap(),
        }
    }
}

#[test]
fn the_demo_never_takes_a_real_run_of_its_name_for_its_own() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("demo.jsonl", addition_rows(3));
    machine.cascadeck(&["run", "demo.jsonl", "--prompt", "{{ question }}"]).expect_status(0);
    machine.cascadeck(&["demo", "--headless", "--speed", "1000", "--run-dir", "d"]).expect_status(0);
    // The run alone, then with one and with both of the files that a demo puts beside its run.
    for beside in ["", "keys.toml", "demo.jsonl"] {
        if !beside.is_empty() {
            machine.write(&format!("runs/{beside}"), machine.read(&format!("d/{beside}")));
        }
        // Readers of a run share these.
        let files = || {
            let mut files = files_under(&machine.path("runs"));
            files.retain(|file, content| {
                !(file.ends_with("run.db-shm") || content.is_empty() && file.ends_with("run.db-wal"))
            });
            files
        };
        let before = files();
        let ended = machine.cascadeck(&["demo", "--headless", "--run-dir", "runs"]).expect_status(2);
        ended.assert_stderr_contains(&["runs/demo,", "not part of a demo", "nothing was changed"]);
        let after = files();
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{beside}");
        let changed: Vec<_> =
            after.iter().filter(|(file, content)| before[*file] != **content).map(|(file, _)| file).collect();
        assert!(changed.is_empty(), "{beside}: {changed:?}");
    }
    assert_eq!(machine.results("runs/demo").len(), 3);
}
