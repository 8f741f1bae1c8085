//! Fields of rows that change the request: pictures and models.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, logging_server::LoggingServer, png};

/// The pictures of each request, with the text beside them.
fn sent_pictures(server: &LoggingServer) -> BTreeSet<(String, Vec<String>)> {
    let pictures_and_text = |body: &Value| {
        let content = &body["messages"][0]["content"];
        let parts = content.as_array().cloned().unwrap_or_default();
        let text = parts.iter().find_map(|part| part["text"].as_str()).or(content.as_str()).unwrap_or_default();
        let urls = parts.iter().filter_map(|part| part["image_url"]["url"].as_str()).map(str::to_owned);
        (text.to_owned(), urls.collect())
    };
    server.completions().iter().map(|request| pictures_and_text(&request.json())).collect()
}

/// A picture as it is encoded in an OpenAI request.
fn data_url(picture: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(picture))
}

#[test]
fn pictures_arrive_whichever_field_names_them() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    let (a, b) = (png(2, 3), png(5, 4));
    machine.write("album/a.png", &a);
    machine.write("album/b.png", &b);
    let inline = data_url(&b);
    let rows = [
        r#"{"prompt":"image","image":"a.png"}"#.to_owned(),
        r#"{"prompt":"images","images":["a.png","b.png"]}"#.to_owned(),
        r#"{"prompt":"image_list","image":["a.png","b.png"]}"#.to_owned(),
        r#"{"prompt":"image_path","image_path":"./a.png"}"#.to_owned(),
        format!(r#"{{"prompt":"image_url","image_url":"{inline}"}}"#),
        format!(r#"{{"prompt":"openai","image_url":{{"url":"{inline}","detail":"low"}}}}"#),
        r#"{"prompt":"web","image_url":"https://pictures.example/cat"}"#.to_owned(),
        r#"{"prompt":"file_name","file_name":"a.png"}"#.to_owned(),
        r#"{"prompt":"file","file":"a.png"}"#.to_owned(),
        r#"{"prompt":"path","path":"b.png"}"#.to_owned(),
        r#"{"prompt":"twice","file_name":"a.png","path":"./a.png"}"#.to_owned(),
        r#"{"prompt":"none","image":null,"file":"notes.txt","path":"a/b","images":[]}"#.to_owned(),
        r#"{"messages":[{"role":"user","content":"messages"}],"image":"a.png"}"#.to_owned(),
    ];
    machine.write("album/rows.jsonl", rows.join("\n"));
    machine.cascadeck(&["run", "album/rows.jsonl"]).expect_status(0);
    let (a, b) = (data_url(&a), data_url(&b));
    let want: &[(&str, &[&str])] = &[
        ("image", &[&a]),
        ("images", &[&a, &b]),
        ("image_list", &[&a, &b]),
        ("image_path", &[&a]),
        ("image_url", &[&b]),
        ("openai", &[&b]),
        ("web", &["https://pictures.example/cat"]),
        ("file_name", &[&a]),
        ("file", &[&a]),
        ("path", &[&b]),
        ("twice", &[&a]),
        ("none", &[]),
        ("messages", &[&a]),
    ];
    let owned = |want: &[(&str, &[&str])]| -> BTreeSet<(String, Vec<String>)> {
        let of = |(text, urls): &(&str, &[&str])| ((*text).to_owned(), urls.iter().map(ToString::to_string).collect());
        want.iter().map(of).collect()
    };
    assert_eq!(sent_pictures(&server), owned(want));

    // Columns of a table, with a template over one of them.
    let server = LoggingServer::openai("A picture.");
    machine.write_keys_toml(&server.keys_toml(""));
    for (field, cell, urls) in [
        ("image", "a.png", vec![a.clone()]),
        ("images", "\"[\"\"a.png\"\",\"\"b.png\"\"]\"", vec![a.clone(), b.clone()]),
        ("image_path", "b.png", vec![b.clone()]),
        ("image_url", "https://pictures.example/cat", vec!["https://pictures.example/cat".to_owned()]),
        ("file_name", "a.png", vec![a.clone()]),
        ("file", "a.png", vec![a.clone()]),
        ("path", "notes.txt", vec![]),
        ("path", "", vec![]),
    ] {
        let before = server.completions().len();
        machine.write("album/table.csv", format!("id,what,{field}\n1,{field},{cell}\n"));
        let run_dir = format!("runs/{field}-{}", urls.len());
        let run = ["run", "album/table.csv", "--prompt", "See {{ what }}", "--run-dir", &run_dir];
        machine.cascadeck(&run).expect_status(0);
        // The same command resumes.
        machine.cascadeck(&run).expect_status(0);
        assert!(server.completions().len() <= before + 1, "{field}");
        assert!(
            sent_pictures(&server).contains(&(format!("See {field}"), urls)),
            "{field}: {:?}",
            sent_pictures(&server)
        );
    }
    // A field that a template inserts into the prompt belongs to the template.
    machine.write("album/paths.jsonl", r#"{"path":"a.png","image":"a red square"}"#);
    machine.cascadeck(&["run", "album/paths.jsonl", "--prompt", "{{ path }}: {{ image }}"]).expect_status(0);
    assert!(sent_pictures(&server).contains(&("a.png: a red square".to_owned(), vec![])));
}

#[test]
fn a_changed_picture_of_a_row_is_a_changed_row() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    for name in ["a", "b", "c"] {
        machine.write(&format!("{name}.png"), png(2, 3));
    }
    let rows = "{\"id\":\"one\",\"prompt\":\"x\",\"image\":\"a.png\"}\n{\"id\":\"two\",\"prompt\":\"x\",\"images\":[\"b.png\",\"c.png\"]}\n\
                {\"prompt\":\"x\",\"image\":\"late.png\"}\n{\"id\":\"none\",\"prompt\":\"x\"}\n";
    machine.write("rows.jsonl", rows);
    let run = |more: &[&str]| machine.cascadeck(&[&["run", "rows.jsonl"], more].concat());
    run(&[]).expect_status(3);
    assert_eq!(server.completions().len(), 3);
    // A file that is there at last, and was not: its item has no answer.
    machine.write("late.png", png(2, 3));
    run(&[]).expect_status(0).assert_stderr_contains(&["1 is answered again (1 of them had no answer"]);
    assert_eq!(server.completions().len(), 4);
    // Written again with what was in it, or gone: no other picture.
    machine.write("a.png", png(2, 3));
    std::fs::remove_file(machine.path("late.png")).unwrap();
    run(&[]).expect_status(0);

    machine.write("c.png", png(9, 9));
    let ended = run(&[]).expect_status(2);
    ended.assert_stderr_contains(&[
        "1 row of the input is different from when this run started",
        "two (line 2)",
        "--accept-changed",
    ]);
    run(&["--accept-changed"]).expect_status(0);
    run(&[]).expect_status(0);
    assert_eq!(server.completions().len(), 5, "only the changed row is asked again");
    let last = server.completions().pop().unwrap().json().to_string();
    assert!(last.contains(&data_url(&png(2, 3))) && last.contains(&data_url(&png(9, 9))), "{last}");

    // As earlier versions recorded them, without stamps: these rows keep their answers, and are known from then on.
    let record = rusqlite::Connection::open(machine.path("runs/rows/run.db")).unwrap();
    assert_eq!(record.execute("UPDATE payload SET body = json_remove(body, '$.picture')", []).unwrap(), 4);
    let pins = "UPDATE meta SET value = json_set(value, '$.fingerprint', 'of old') WHERE key = 'pins'";
    record.execute(pins, []).unwrap();
    drop(record);
    run(&[]).expect_status(0).assert_stderr_contains(&["nothing has changed"]);
    assert_eq!(server.completions().len(), 5);
    machine.write("a.png", png(8, 8));
    run(&[]).expect_status(2).assert_stderr_contains(&["1 row of the input is different", "one (line 1)"]);
    run(&["--accept-changed"]).expect_status(0);
    assert_eq!(server.completions().len(), 6);
}

const ROWS_WITH_UNKNOWN_MODEL: &str =
    "{\"id\":\"1\",\"prompt\":\"x\",\"model\":\"m\"}\n{\"id\":\"2\",\"prompt\":\"y\",\"model\":\"mm\"}\n";

#[test]
fn a_row_that_names_an_unknown_model_is_refused_with_its_line_and_what_is_near() {
    let server = LoggingServer::openai("An answer.");
    let machine = TestMachine::with_server(&server);
    let gemini = r#"{"key":"1","request":{"model":"models/mm","contents":[{"parts":[{"text":"x"}]}]}}"#;
    for (name, content, line) in [
        ("rows.jsonl", ROWS_WITH_UNKNOWN_MODEL, "rows.jsonl:2"),
        ("table.csv", "prompt,model\nx,m\ny,\nz,mm\n", "table.csv:4"),
        ("gemini.jsonl", gemini, "gemini.jsonl:1"),
    ] {
        machine.write(name, content);
        for command in ["run", "plan"] {
            let ended = machine.cascadeck(&[command, name]).expect_status(2);
            ended.assert_stderr_contains(&[
                &format!("{line}: "),
                "`mm`, which is not in keys.toml",
                "did you mean `m`?",
                "unknown_model = \"any\"",
            ]);
        }
        assert!(!machine.path("runs").exists(), "nothing is begun: {name}");
    }
    assert_eq!(server.requests().len(), 0);

    machine.write_keys_toml(&(server.keys_toml("") + "[input]\nunknown_model = \"any\"\n"));
    let ended = machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    assert!(!ended.stderr.contains("warning: "), "{}", ended.stderr);
    assert_eq!(server.completions().len(), 2);
}

#[test]
fn a_model_that_no_key_may_use_is_as_good_as_unknown() {
    let server = LoggingServer::openai("An answer.");
    let machine = TestMachine::new();
    let keys = server.keys_toml("") + "models = [\"m\"]\n[[model]]\nname = \"other\"\nprovider = \"p\"\n";
    machine.write_keys_toml(&keys);
    machine.write("rows.jsonl", "{\"prompt\":\"x\",\"model\":\"other\"}\n");
    machine
        .cascadeck(&["run", "rows.jsonl"])
        .expect_status(2)
        .assert_stderr_contains(&["rows.jsonl:1: `model` is `other`, which no key"]);
    assert_eq!(server.completions().len(), 0);
}

#[test]
fn batch_lines_that_must_name_a_model_are_answered_by_any_with_one_warning() {
    let server = LoggingServer::openai("An answer.");
    let machine = TestMachine::with_server(&server);
    let openai = |id: u32, model: &str| {
        format!(
            "{{\"custom_id\":\"{id}\",\"url\":\"/v1/chat/completions\",\"body\":{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\
             \"content\":\"x{id}\"}}]}}}}\n"
        )
    };
    let anthropic = |id: u32, model: &str| {
        format!(
            "{{\"custom_id\":\"{id}\",\"params\":{{\"model\":\"{model}\",\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\
             \"content\":\"y{id}\"}}]}}}}\n"
        )
    };
    let batch =
        |line: &dyn Fn(u32, &str) -> String| line(1, "far-1") + &line(2, "m") + &line(3, "far-1") + &line(4, "far-2");
    machine.write("openai.jsonl", batch(&openai));
    machine.write("anthropic.jsonl", batch(&anthropic));
    let warning = "3 rows name models that are not in keys.toml (`far-1`, `far-2`, first in line 1)";
    for (name, answered) in [("openai", 4), ("anthropic", 8)] {
        let input = format!("{name}.jsonl");
        machine.cascadeck(&["plan", &input]).expect_status(0).assert_stderr_contains(&[warning]);
        let ended = machine.cascadeck(&["run", &input]).expect_status(0);
        ended.assert_stderr_contains(&[warning, "unknown_model"]);
        assert_eq!(ended.stderr.matches("warning: ").count(), 1, "{}", ended.stderr);
        assert_eq!(server.completions().len(), answered);
    }

    machine.write_keys_toml(&(server.keys_toml("") + "[input]\nunknown_model = \"refuse\"\n"));
    let refused = machine.cascadeck(&["run", "openai.jsonl", "--run-dir", "other"]).expect_status(2);
    refused.assert_stderr_contains(&[
        "openai.jsonl:1: `body.model` is `far-1`",
        "(and 1 more like this)",
        "openai.jsonl:4: ",
    ]);
    machine.write_keys_toml(&(server.keys_toml("") + "[input]\nunknown_model = \"any\"\n"));
    let ended = machine.cascadeck(&["run", "openai.jsonl", "--run-dir", "other"]).expect_status(0);
    assert!(!ended.stderr.contains("warning: "), "{}", ended.stderr);
}

/// Changes the record as an earlier version left it, which read no picture field but `images` and accepted any model.
fn remove_strict_rows_setting(machine: &TestMachine, run: &str) {
    let record = rusqlite::Connection::open(machine.path(format!("{run}/run.db"))).unwrap();
    let forget = "UPDATE meta SET value = json_remove(value, '$.strict_rows') WHERE key = 'pins'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
}

#[test]
fn a_run_that_an_earlier_version_began_goes_on_with_its_rows_as_they_were_read() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    // The earlier version accepted both rows, and found no picture in either.
    let rows = "{\"id\":\"1\",\"prompt\":\"x\",\"model\":\"gone\",\"image\":\"a.png\"}\n{\"prompt\":\"y\",\"prompt\":\"z\",\"img\":\"a.png\"}\n";
    machine.write("rows.jsonl", rows);
    machine
        .cascadeck(&["run", "rows.jsonl"])
        .expect_status(2)
        .assert_stderr_contains(&["rows.jsonl:1: ", "rows.jsonl:2: "]);

    machine.write("rows.jsonl", "{\"prompt\":\"first\"}\n");
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    remove_strict_rows_setting(&machine, "runs/rows");
    let record = rusqlite::Connection::open(machine.path("runs/rows/run.db")).unwrap();
    machine.write("rows.jsonl", "{\"prompt\":\"first\"}\n".to_owned() + rows);
    // The rows behind the first were not read yet, and the file is still the one that the run was started with.
    let plan = machine.cascadeck(&["plan", "rows.jsonl", "--run-dir", "elsewhere"]).expect_status(2);
    plan.assert_stderr_contains(&["2 bad rows"]);
    let digest = xxhash_rust::xxh3::xxh3_128(machine.read("rows.jsonl").as_bytes());
    let rewrite = "UPDATE meta SET value = json_set(value, '$.fingerprint', ?1) WHERE key = 'pins'";
    assert_eq!(record.execute(rewrite, [format!("{digest:032x}")]).unwrap(), 1);
    let forget = "UPDATE meta SET value = json_set(value, '$.input_rows', NULL) WHERE key = 'tallies'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
    drop(record);

    let warning = "1 row names a model that is not in keys.toml (`gone`, first in line 2)";
    machine.cascadeck(&["plan", "rows.jsonl"]).expect_status(0).assert_stderr_contains(&[warning]);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0).assert_stderr_contains(&[warning]);
    assert_eq!((provider.checked_stats().total.requests, machine.results("runs/rows").len()), (3, 3));
}

#[test]
fn a_run_that_began_before_further_pictures_were_refused_goes_on() {
    let server = LoggingServer::openai("An answer.");
    let machine = TestMachine::with_server(&server);
    let row = "{\"id\":\"1\",\"prompt\":\"x\"}\n";
    machine.write("rows.jsonl", row);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let further = "{\"prompt\":\"y\",\"image\":\"https://x.example/a.png\",\"image_2\":\"https://x.example/b.png\"}\n";
    machine.write("rows.jsonl", row.to_owned() + further);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(2).assert_stderr_contains(&["`image_2` looks like"]);
    let record = rusqlite::Connection::open(machine.path("runs/rows/run.db")).unwrap();
    let forget = "UPDATE meta SET value = json_remove(value, '$.refuses_extra_pictures') WHERE key = 'pins'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
    drop(record);
    let plan = machine.cascadeck(&["plan", "rows.jsonl"]);
    assert!(!plan.stderr.contains("image_2"), "{}", plan.stderr);
    let ended = machine.cascadeck(&["run", "rows.jsonl"]);
    assert!(!ended.stderr.contains("image_2"), "{}", ended.stderr);
    assert_eq!(machine.results("runs/rows").len(), 2, "{}", ended.stderr);
}

#[test]
fn rows_that_come_to_a_run_later_must_name_known_models_too() {
    let server = LoggingServer::openai("An answer.");
    let machine = TestMachine::with_server(&server);
    machine.write("rows.jsonl", ROWS_WITH_UNKNOWN_MODEL);
    machine.cascadeck(&["run", "rows.jsonl", "--limit", "1"]).expect_status(0);
    for command in ["plan", "run"] {
        let refused = machine.cascadeck(&[command, "rows.jsonl"]).expect_status(2);
        refused
            .assert_stderr_contains(&["rows.jsonl:2: `model` is `mm`, which is not in keys.toml (did you mean `m`?)"]);
        assert!(!refused.stderr.contains("warning: "), "{}", refused.stderr);
    }
    assert_eq!(server.completions().len(), 1);
    // So must a row that the run has, and that is another one now.
    machine.write("rows.jsonl", ROWS_WITH_UNKNOWN_MODEL.replace("\"x\",\"model\":\"m\"", "\"z\",\"model\":\"mm\""));
    for command in ["plan", "run"] {
        let refused = machine.cascadeck(&[command, "rows.jsonl", "--limit", "1"]).expect_status(2);
        refused.assert_stderr_contains(&["rows.jsonl:1: `model` is `mm`, which is not in keys.toml"]);
    }
    machine.write("rows.jsonl", ROWS_WITH_UNKNOWN_MODEL);
    // A model that leaves the configuration leaves its rows in the run.
    machine.write_keys_toml(&server.keys_toml("").replace("name = \"m\"", "name = \"n\""));
    machine
        .cascadeck(&["run", "rows.jsonl", "--limit", "1"])
        .expect_status(0)
        .assert_stderr_contains(&["(`m`, first in line 1)"]);
}
