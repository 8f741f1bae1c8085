//! Prompt templates over the columns of a row.

use cascadeck::input::InputOptions;
use tempfile::TempDir;

use super::{faults, no_options, open, prompt, read, write};

fn with_prompt(template: &str) -> InputOptions {
    InputOptions { prompt: Some(template.to_owned()), ..no_options() }
}

#[test]
fn a_template_is_filled_from_each_row() {
    let options =
        InputOptions { system: Some("You grade {{ subject }}.".to_owned()), ..with_prompt("Q: {{ question }}\nA:") };
    for (name, content) in [
        ("a.jsonl", "{\"question\":\"1+1?\",\"subject\":\"maths\",\"id\":\"q\"}\n"),
        ("a.csv", "id,subject,question\nq,maths,1+1?\n"),
    ] {
        let (_, items) = read(name, content.as_bytes(), &options);
        assert_eq!(prompt(&items[0]), "Q: 1+1?\nA:");
        assert_eq!(items[0].request.system.as_deref(), Some("You grade maths."));
        assert_eq!(items[0].id, "q");
    }
    let (_, items) = read("a.txt", b"cats\ndogs\n", &with_prompt("A poem about {{ prompt | upper }}"));
    assert_eq!(items.iter().map(prompt).collect::<Vec<_>>(), ["A poem about CATS", "A poem about DOGS"]);
}

#[test]
fn a_field_that_is_missing_everywhere_is_said_once() {
    let faults = faults("a.jsonl", &b"{\"question\":\"x\"}\n".repeat(1_000), &with_prompt("{{ qestion }}"));
    assert_eq!((faults.reported.len(), faults.total), (1, 1_000));
    assert_eq!(
        faults.reported[0].error.message,
        "the prompt template uses `qestion`, which this row does not have; it has question"
    );
}

#[test]
fn whole_requests_leave_no_place_for_a_prompt() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "a.jsonl", br#"{"custom_id":"a","body":{"messages":[]}}"#);
    let words = open(&path, with_prompt("x")).unwrap_err();
    assert!(words.contains("OpenAI batch lines, which are complete requests: leave out --prompt"), "{words}");
}

#[test]
fn text_from_a_row_is_never_taken_for_a_template() {
    let (_, items) = read("a.jsonl", br#"{"q":"{{ 1 + 1 }}","prompt":"unused"}"#, &with_prompt("{{ q }}"));
    assert_eq!(prompt(&items[0]), "{{ 1 + 1 }}");
    let (_, items) = read("a.jsonl", br#"{"prompt":"{{ 1 + 1 }}"}"#, &no_options());
    assert_eq!(prompt(&items[0]), "{{ 1 + 1 }}");
}
