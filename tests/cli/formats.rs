//! Every input format, over each of the three APIs.

use std::collections::BTreeSet;

use cascadeck::domain::FinalState;

use crate::harness::{SimulatedProvider, TestMachine, addition_rows, expected_answer};

/// A provider of one API without limits.
fn unlimited_provider(api: &str) -> SimulatedProvider {
    SimulatedProvider::from_toml(&format!(
        "name = \"{api}\"\nprovider = [{{ name = \"p\", api = \"{api}\" }}]\nmodel = [{{ name = \"m\", provider = \"p\" }}]\n\
         key = [{{ name = \"k\", provider = \"p\", project = \"one\", secret = \"sk-one\" }}]\n"
    ))
}

const OPENAI_BATCH: &str = r#"{"custom_id":"q1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is 1 + 1000?"}],"temperature":0.2,"max_tokens":50}}
{"custom_id":"q2","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x","messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi"},{"role":"user","content":"What is 2 + 1000?"}]}}
"#;

const ANTHROPIC_BATCH: &str = r#"{"custom_id":"q1","params":{"model":"claude-x","max_tokens":50,"system":"Be brief.","messages":[{"role":"user","content":"What is 1 + 1000?"}]}}
{"custom_id":"q2","params":{"model":"claude-x","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"What is 2 + 1000?"}]}]}}
"#;

const GEMINI_BATCH: &str = r#"{"key":"q1","request":{"contents":[{"role":"user","parts":[{"text":"What is 1 + 1000?"}]}],"systemInstruction":{"parts":[{"text":"Be brief."}]},"generationConfig":{"maxOutputTokens":50}}}
{"key":"q2","request":{"contents":[{"role":"user","parts":[{"text":"What is 2 + 1000?"}]}]}}
"#;

#[test]
fn batch_lines_of_each_api_are_answered_over_each_api() {
    for api in ["gemini", "openai", "anthropic"] {
        let provider = unlimited_provider(api);
        let machine = TestMachine::with_provider(&provider);
        for (from, lines) in [("openai", OPENAI_BATCH), ("anthropic", ANTHROPIC_BATCH), ("gemini", GEMINI_BATCH)] {
            machine.write(&format!("{from}.jsonl"), lines);
            machine.cascadeck(&["run", &format!("{from}.jsonl")]).expect_status(0);
            let results = machine.results(&format!("runs/{from}"));
            let ids: BTreeSet<_> = results.iter().map(|line| line.id.as_str()).collect();
            assert_eq!(ids, BTreeSet::from(["q1", "q2"]), "{from} over {api}");
            for line in &results {
                assert_eq!(line.output, Some(expected_answer(&line.id)), "{from} over {api}");
                assert!(line.usage.input_tokens > 0 && line.usage.output_tokens > 0, "{from} over {api}");
                let word = if api == "anthropic" { "end_turn" } else { "stop" };
                assert_eq!(line.finish_reason.as_deref(), Some(word), "{from} over {api}");
            }
        }
        assert_eq!(provider.checked_stats().total.ok, 6);
    }
}

#[test]
fn csv_and_text_lines_and_rows_with_messages_are_read() {
    let provider = unlimited_provider("openai");
    let machine = TestMachine::with_provider(&provider);
    machine.write("table.csv", "id,left,note\nq1,1,\"a, b\"\nq2,2,\"two\nlines\"\n");
    machine.cascadeck(&["run", "table.csv", "--prompt", "What is {{ left }} + 1000?"]).expect_status(0);
    machine.write("lines.txt", "What is 3 + 1000?\n\nWhat is 4 + 1000?\n");
    machine.cascadeck(&["run", "lines.txt"]).expect_status(0);
    machine
        .write("rows.jsonl", "{\"id\":\"q5\",\"messages\":[{\"role\":\"user\",\"content\":\"What is 5 + 1000?\"}]}\n");
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    machine.write("ask.j2", "What is {{ left }} + 1000?");
    machine.cascadeck(&["run", "table.csv", "--prompt-file", "ask.j2", "--run-dir", "again"]).expect_status(0);

    let outputs =
        |run: &str| machine.results(run).into_iter().map(|line| line.output.unwrap()).collect::<BTreeSet<_>>();
    let wanted = |ids: &[&str]| ids.iter().map(|id| expected_answer(id)).collect::<BTreeSet<_>>();
    assert_eq!(outputs("runs/table"), wanted(&["q1", "q2"]));
    assert_eq!(outputs("runs/lines"), wanted(&["q3", "q4"]));
    assert_eq!(outputs("runs/rows"), wanted(&["q5"]));
    assert_eq!(outputs("again"), wanted(&["q1", "q2"]));
}

#[test]
fn standard_input_is_kept_so_that_the_run_can_be_resumed() {
    let provider = unlimited_provider("gemini");
    let machine = TestMachine::with_provider(&provider);
    let args = ["run", "-", "--prompt", "{{ question }}", "--run-dir", "piped"];
    machine.cascadeck_with_stdin(&args, &addition_rows(30)).expect_status(0);
    assert_eq!(machine.results("piped").len(), 30);
    // The same command with the same rows: all are known.
    machine.cascadeck_with_stdin(&args, &addition_rows(30)).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, 30);
    // More rows through the same pipe: only the new ones are sent.
    machine.cascadeck_with_stdin(&args, &addition_rows(33)).expect_status(0);
    assert_eq!((provider.checked_stats().total.requests, machine.results("piped").len()), (33, 33));
    let default = ["run", "-", "--prompt", "{{ question }}"];
    machine.cascadeck_with_stdin(&default, &addition_rows(1)).expect_status(0);
    assert_eq!(machine.results("runs/stdin").len(), 1);
    machine
        .cascadeck_with_stdin(&["run", "-", "--run-dir", "none"], "")
        .expect_status(2)
        .assert_stderr_contains(&["no rows"]);
}

#[test]
fn settings_of_rows_and_of_the_command_line_reach_the_provider() {
    let provider = unlimited_provider("openai");
    let machine = TestMachine::with_provider(&provider);
    machine.write("rows.jsonl", "{\"id\":\"own\",\"prompt\":\"Tell me of rivers.\",\"max_tokens\":3}\n{\"id\":\"all\",\"prompt\":\"Tell me of hills.\"}\n");
    machine.cascadeck(&["run", "rows.jsonl", "--max-output-tokens", "5", "--system", "Be brief."]).expect_status(0);
    for (id, most) in [("own", 3), ("all", 5)] {
        let line = machine.result("runs/rows", id);
        assert_eq!((line.status, line.usage.output_tokens), (FinalState::Done, most), "{id}");
        assert_eq!(line.finish_reason.as_deref(), Some("length"), "{id} was cut off, and says so");
    }
}
