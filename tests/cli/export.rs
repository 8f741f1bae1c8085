//! Where an export may be written, and where it must not.

use std::os::unix::fs::symlink;

use crate::{
    cli::RUN_ARGS,
    harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, png},
};

#[test]
fn an_export_never_takes_the_place_of_what_the_run_lives_on() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    symlink("batch.jsonl", machine.path("link")).unwrap();
    std::fs::hard_link(machine.path("runs/batch/run.db"), machine.path("copy.db")).unwrap();
    let own = ["run.db", "results.jsonl", "cascadeck.log", "run.lock"];
    let own = own.map(|name| format!("runs/batch/{name}"));
    let before: Vec<Vec<u8>> = own.iter().map(|name| std::fs::read(machine.path(name)).unwrap()).collect();
    let absolute = machine.path("batch.jsonl").display().to_string();
    let input =
        [("batch.jsonl", "is the run's input"), ("link", "is the run's input"), (&absolute, "is the run's input")];
    let files = own.iter().map(|name| (name.as_str(), "is a file of the run in"));
    let hidden = [
        ("copy.db", "is a file of the run in"),
        ("runs/batch/run.db-wal", "is a file of the run in"),
        ("runs/../runs/batch/input", "is a file of the run in"),
    ];
    for (target, why) in input.into_iter().chain(files).chain(hidden) {
        let ended = machine.cascadeck(&["export", "runs/batch", "-o", target]).expect_status(2);
        ended.assert_stderr_contains(&[target, why, "nothing was written"]);
    }
    assert_eq!(machine.read("batch.jsonl"), addition_rows(3));
    for (name, before) in own.iter().zip(before) {
        assert_eq!(std::fs::read(machine.path(name)).unwrap(), before, "{name}");
    }
    assert!(!machine.path("runs/batch/input").exists());

    // An export may overwrite an earlier export, also in the run's directory.
    for target in ["out.jsonl", "runs/batch/out.jsonl"] {
        for _ in 0..2 {
            machine
                .cascadeck(&["export", "runs/batch", "-o", target])
                .expect_status(0)
                .assert_stderr_contains(&["3 results written"]);
            assert_eq!(machine.read(target).lines().count(), 3);
        }
    }
    machine.cascadeck(&["export", "runs/batch", "-o", "/dev/null"]).expect_status(0);
    // A run that can't be read leaves the target file as it is.
    machine.cascadeck(&["export", "runs/none", "-o", "out.jsonl"]).expect_status(2);
    assert_eq!(machine.read("out.jsonl").lines().count(), 3);
}

#[test]
fn a_dash_as_the_file_of_an_export_is_standard_output() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let ended = machine.cascadeck(&["export", "runs/batch", "-o", "-"]).expect_status(0);
    assert_eq!(ended.stdout.lines().count(), 3);
    assert!(!machine.path("-").exists());
}

#[test]
fn an_export_spares_the_input_also_where_its_folder_has_been_moved() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    for name in ["batch.jsonl", "runs", "keys.toml"] {
        std::fs::create_dir_all(machine.path("moved")).unwrap();
        std::fs::rename(machine.path(name), machine.path("moved").join(name)).unwrap();
    }
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_cascadeck"))
        .args(["export", "runs/batch", "-o", "batch.jsonl"])
        .current_dir(machine.path("moved"))
        .output()
        .unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && words.contains("is the run's input"), "{words}");
    assert_eq!(machine.read("moved/batch.jsonl"), addition_rows(3));
}

#[test]
fn an_export_of_captions_never_takes_the_place_of_a_picture() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("album/one.png", png(4, 4));
    machine.cascadeck(&["run", "album"]).expect_status(0);
    machine
        .cascadeck(&["export", "runs/album", "-o", "album/one.png"])
        .expect_status(2)
        .assert_stderr_contains(&["is a picture"]);
    assert_eq!(std::fs::read(machine.path("album/one.png")).unwrap(), png(4, 4));
    machine
        .cascadeck(&["export", "runs/album", "-o", "album/all.jsonl"])
        .expect_status(0)
        .assert_stderr_contains(&["1 result written"]);
}

#[test]
fn an_export_replaces_nothing_but_an_earlier_export() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    machine.write("other.jsonl", addition_rows(4));
    machine.cascadeck(&["run", "other.jsonl", "--prompt", "{{ question }}"]).expect_status(0);
    machine.write(".env", "GEMINI_API_KEYS=k1\n");
    machine.write("pics/one.txt", "A caption.\n");
    machine.write("table.csv", "id,question\n1,What?\n");
    // Lines of other programs, and a result line to which the user has added a field.
    machine.write("tickets.jsonl", "{\"id\":\"T-1\",\"status\":\"done\",\"title\":\"x\"}\n");
    let openai = r#"{"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":"r","body":{}},"error":null}"#;
    machine.write("openai.jsonl", openai);
    let result = machine.read("runs/batch/results.jsonl").lines().next().unwrap().to_owned();
    machine.write("graded.jsonl", result.replacen('{', "{\"grade\":1,", 1));
    machine.write("named.jsonl", result.replace("\"attempts\":", "\"tries\":"));
    symlink("runs/other/results.jsonl", machine.path("link.jsonl")).unwrap();
    for (target, why) in [
        ("keys.toml", "is not an earlier export"),
        (".env", "is not an earlier export"),
        ("pics/one.txt", "is not an earlier export"),
        ("table.csv", "is not an earlier export"),
        ("other.jsonl", "is not an earlier export"),
        ("tickets.jsonl", "is not an earlier export"),
        ("openai.jsonl", "is not an earlier export"),
        ("graded.jsonl", "is not an earlier export"),
        ("named.jsonl", "is not an earlier export"),
        ("runs/other/results.jsonl", "the run in"),
        ("runs/other/run.db", "the run in"),
        ("runs/other/run.lock", "the run in"),
        ("link.jsonl", "the run in"),
    ] {
        let before = std::fs::read(machine.path(target)).unwrap();
        for format in ["jsonl", "csv"] {
            let ended = machine.cascadeck(&["export", "runs/batch", "--format", format, "-o", target]).expect_status(2);
            ended.assert_stderr_contains(&[target, why, "nothing was written"]);
        }
        assert_eq!(std::fs::read(machine.path(target)).unwrap(), before, "{target}");
    }
    machine.cascadeck(&["audit", "runs/other"]).expect_status(0);

    machine.write("empty.jsonl", "");
    machine.cascadeck(&["export", "runs/batch", "-o", "empty.jsonl"]).expect_status(0);
    for (format, target) in
        [("jsonl", "out.jsonl"), ("csv", "out.csv"), ("openai-batch", "batch-out.jsonl"), ("jsonl", "results.jsonl")]
    {
        for run in ["runs/batch", "runs/other"] {
            machine.cascadeck(&["export", run, "--format", format, "-o", target]).expect_status(0);
        }
    }
    assert_eq!(machine.read("out.jsonl").lines().count(), 4);
}
