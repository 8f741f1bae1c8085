//! Ids: given, generated and duplicate ones; and which fields of a row are kept.

use cascadeck::{
    domain::{RowModelPolicy, Thinking},
    input::InputOptions,
};

use super::{faults, no_options, read};

#[test]
fn only_the_fields_that_rules_look_at_are_kept() {
    let kept = |name: &str, content: &str, fields: &[&str]| {
        let options = InputOptions { kept_fields: fields.iter().map(ToString::to_string).collect(), ..no_options() };
        let fields = read(name, content.as_bytes(), &options).1[0].kept_fields.clone();
        fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let row = r#"{"prompt":"p","lang":"de","level":3,"draft":true,"share":0.5,"none":null,"list":[1]}"#;
    assert_eq!(kept("a.jsonl", row, &[]), "");
    let all = ["lang", "level", "draft", "share", "none", "list", "absent"];
    assert_eq!(kept("a.jsonl", row, &all), "draft=true lang=de level=3 share=0.5");
    assert_eq!(kept("a.csv", "prompt,lang,level\np,de,3\n", &all), "lang=de level=3");
    let batch = r#"{"custom_id":"1","lang":"de","body":{"messages":[{"role":"user","content":"p"}]}}"#;
    assert_eq!(kept("a.jsonl", batch, &all), "lang=de");
}

#[test]
fn a_kept_field_changes_no_hash() {
    let row = br#"{"prompt":"p","lang":"de"}"#;
    let options = InputOptions { kept_fields: vec!["lang".to_owned()], ..no_options() };
    assert_eq!(read("a.jsonl", row, &options).1[0].request_hash, read("a.jsonl", row, &no_options()).1[0].request_hash);
}

#[test]
fn rows_alike_get_ids_apart_that_are_the_same_in_every_pass() {
    let (_, items) = read("a.txt", b"same\nother\nsame\nsame\n", &no_options());
    let base = &items[0].id;
    assert_eq!(base.len(), 16);
    assert_eq!(items[2].id, format!("{base}-2"));
    assert_eq!(items[3].id, format!("{base}-3"));
    assert_eq!(items[0].request_hash, items[3].request_hash);
    assert_eq!(items[0].request_hash.len(), 32);
}

#[test]
fn a_hash_is_of_what_is_asked_and_not_of_how_it_was_written() {
    let of = |name: &str, content: &str| read(name, content.as_bytes(), &no_options()).1[0].request_hash.clone();
    let plain = of("a.txt", "Why?");
    assert_eq!(plain, of("a.jsonl", r#"{"prompt":"Why?"}"#));
    assert_eq!(plain, of("a.jsonl", r#"{ "id":"7", "tier":"gold", "prompt":"\u0057hy?", "note":1 }"#));
    assert_eq!(plain, of("a.csv", "note,prompt\nx,Why?\n"));
    for different in [
        r#"{"prompt":"Why not?"}"#,
        r#"{"prompt":"Why?","model":"m"}"#,
        r#"{"prompt":"Why?","system":"s"}"#,
        r#"{"prompt":"Why?","temperature":0}"#,
        r#"{"prompt":"Why?","images":["a.png"]}"#,
    ] {
        assert_ne!(plain, of("a.jsonl", different), "{different}");
    }
}

#[test]
fn a_row_that_pins_its_model_is_another_one() {
    let of = |row: &str| read("a.jsonl", row.as_bytes(), &no_options()).1[0].request_hash.clone();
    let free = of(r#"{"prompt":"Why?","model":"m"}"#);
    assert_eq!(free, "3442318e1625275a7e93044fa6ab3483", "hashes of earlier versions stay");
    let pinned = of(r#"{"prompt":"Why?","model":"m","model_pinned":true}"#);
    let unpinned = of(r#"{"prompt":"Why?","model":"m","model_pinned":false}"#);
    assert!(free != pinned && pinned != unpinned && unpinned != free);
    // What keys.toml says about all rows changes none.
    let only = InputOptions { row_model: RowModelPolicy::Only, ..no_options() };
    let (_, items) = read("a.jsonl", br#"{"prompt":"Why?","model":"m"}"#, &only);
    assert!(items[0].model_pinned && items[0].request_hash == free);
}

#[test]
fn runs_of_earlier_versions_read_bodies_as_before() {
    let legacy = InputOptions { legacy_bodies: true, ..no_options() };
    let thinking = |first: &str, second: &str| {
        let row = format!(
            r#"{{"custom_id":"a","params":{{"max_tokens":9,{first},{second},"messages":[{{"role":"user","content":"x"}}]}}}}"#
        );
        let (_, items) = read("a.jsonl", row.as_bytes(), &legacy);
        let request = &items[0].request;
        assert!(request.native.is_none());
        request.params.thinking.clone()
    };
    let (budget, effort) =
        (r#""thinking":{"type":"enabled","budget_tokens":2000}"#, r#""output_config":{"effort":"low"}"#);
    assert_eq!(thinking(budget, effort), Some(Thinking::Level("low".to_owned())), "the last one counts");
    assert_eq!(thinking(effort, budget), Some(Thinking::Budget(2_000)));
    let row = r#"{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"topP":0.5},"generation_config":{"seed":1},"store":false}}"#;
    let (_, items) = read("a.jsonl", row.as_bytes(), &legacy);
    assert_eq!(serde_json::to_string(&items[0].request.params).unwrap(), r#"{"top_p":0.5,"seed":1}"#);
}

#[test]
fn a_folder_that_moves_keeps_its_hashes() {
    let row = br#"{"prompt":"x","images":["a.png"]}"#;
    let [here, there] = [(); 2].map(|()| read("a.jsonl", row, &no_options()).1.remove(0));
    assert_ne!(here.request, there.request, "paths are absolute");
    assert_eq!(here.request_hash, there.request_hash);
}

#[test]
fn duplicates_are_refused_with_both_lines() {
    let rows = b"{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":7,\"prompt\":\"x\"}\n\n{\"id\":\"7\",\"prompt\":\"y\"}\n";
    let faults = faults("rows.jsonl", rows, &no_options());
    assert_eq!(faults.total, 1);
    assert_eq!(faults.reported[0].error.line, 4);
    assert_eq!(faults.reported[0].error.message, "the id `7` is already used in line 2; ids must be unique");
}
