//! Every input format that is detected, and what is read from it.

use std::path::Path;

use cascadeck::{
    domain::{Image, ItemSpec, JsonMode, MessageRole, Money, Params, Part, Thinking},
    input::{InputKind, InputOptions},
};
use tempfile::TempDir;

use super::{all, ids, open, prompt, read, speakers, write};

fn sample(name: &str) -> (InputKind, Vec<ItemSpec>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input").join(name);
    let input = open(&path, InputOptions::default()).unwrap();
    let items = all(&input);
    (input.kind(), items)
}

#[test]
fn jsonl_rows() {
    let (kind, items) = sample("rows.jsonl");
    assert_eq!(kind, InputKind::Jsonl);
    assert_eq!(ids(&items)[..2], ["one", "2"]);
    assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(items[0].request.params, Params::default());

    let full = &items[1];
    assert_eq!(full.request.system.as_deref(), Some("Be brief."));
    assert_eq!(full.preferred_model.as_deref(), Some("m-1"));
    assert_eq!(full.tier.as_deref(), Some("gold"));
    assert_eq!(full.max_usd, Money::from_usd(0.01));
    assert_eq!(
        full.request.params,
        Params {
            temperature: Some(0.0),
            top_p: Some(1.0),
            max_output_tokens: Some(64),
            stop: vec!["END".to_owned()],
            seed: Some(-1),
            thinking: Some(Thinking::Level("low".to_owned())),
            json: Some(JsonMode::Object),
            ..Params::default()
        }
    );

    let chat = &items[2];
    assert_eq!(chat.id, &chat.request_hash[..16], "a made-up id is the beginning of the hash");
    assert_eq!(chat.request.system.as_deref(), Some("Be brief."));
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/cat.png");
    assert_eq!(
        chat.request.messages[0].parts,
        [
            Part::Image(Image::File(here)),
            Part::Image(Image::File("/abs/dog.jpg".into())),
            Part::Image(Image::Url("https://pictures.example/cat.jpg".to_owned())),
            Part::Text("Hi".to_owned()),
        ]
    );
    assert_eq!(chat.request.params.thinking, Some(Thinking::Budget(256)));
}

#[test]
fn openai_batch_lines() {
    let (kind, items) = sample("openai_batch.jsonl");
    assert_eq!(kind, InputKind::OpenAiBatch);
    assert_eq!(ids(&items), ["r1", "r2", "r3"]);
    assert_eq!(items[0].preferred_model.as_deref(), Some("gpt-5-mini"));
    assert_eq!(items[0].request.system.as_deref(), Some("Be brief."));
    assert_eq!(
        items[0].request.params,
        Params {
            temperature: Some(0.2),
            top_p: Some(0.9),
            max_output_tokens: Some(200),
            stop: vec!["\n\n".to_owned()],
            seed: Some(7),
            thinking: Some(Thinking::Level("low".to_owned())),
            json: None,
            ..Params::default()
        }
    );
    assert_eq!(
        items[1].request.messages[0].parts,
        [
            Part::Text("What is this?".to_owned()),
            Part::Image(Image::Inline { mime: "image/png".to_owned(), data: "iVBORw0KGgo=".to_owned() }),
            Part::Image(Image::Url("https://pictures.example/cat.jpg".to_owned())),
        ]
    );
    let schema = serde_json::json!({"type": "object", "properties": {"name": {"type": "string"}}});
    assert_eq!(items[1].request.params.json, Some(JsonMode::Schema(schema)));
    assert_eq!(items[2].request.system.as_deref(), Some("One word."));
    assert_eq!(speakers(&items[2]), [MessageRole::User, MessageRole::Assistant, MessageRole::User]);
    assert_eq!(items[2].request.params.json, Some(JsonMode::Object));
}

#[test]
fn anthropic_batch_lines() {
    let (kind, items) = sample("anthropic_batch.jsonl");
    assert_eq!(kind, InputKind::AnthropicBatch);
    assert_eq!(ids(&items), ["a1", "a2"]);
    assert_eq!(items[0].preferred_model.as_deref(), Some("claude-haiku-5"));
    assert_eq!(items[0].request.system.as_deref(), Some("Be brief."));
    assert_eq!(
        items[0].request.params,
        Params {
            temperature: Some(0.5),
            top_p: Some(0.8),
            max_output_tokens: Some(1024),
            stop: vec!["END".to_owned()],
            thinking: Some(Thinking::Budget(512)),
            ..Params::default()
        }
    );
    assert_eq!(items[1].request.system.as_deref(), Some("Look well."));
    assert_eq!(
        items[1].request.messages[0].parts,
        [
            Part::Image(Image::Inline { mime: "image/jpeg".to_owned(), data: "/9j/4AAQ".to_owned() }),
            Part::Text("What is this?".to_owned()),
        ]
    );
    assert_eq!(items[1].request.params.thinking, Some(Thinking::Budget(0)));
    assert_eq!(items[1].request.params.json, Some(JsonMode::Schema(serde_json::json!({"type": "object"}))));
}

#[test]
fn gemini_batch_lines_in_both_cases() {
    let (kind, items) = sample("gemini_batch.jsonl");
    assert_eq!(kind, InputKind::GeminiBatch);
    assert_eq!(ids(&items), ["g1", "g2"]);
    assert_eq!(items[0].preferred_model.as_deref(), Some("gemini-3.5-flash-lite"));
    assert_eq!(items[0].request.system.as_deref(), Some("Be brief."));
    let schema = serde_json::json!({"type": "object", "properties": {"why": {"type": ["string", "null"]}}});
    assert_eq!(
        items[0].request.params,
        Params {
            temperature: Some(0.3),
            top_p: Some(0.7),
            max_output_tokens: Some(100),
            stop: vec!["END".to_owned()],
            seed: Some(3),
            thinking: Some(Thinking::Level("low".to_owned())),
            json: Some(JsonMode::Schema(schema)),
            ..Params::default()
        }
    );
    assert_eq!(items[1].request.system.as_deref(), Some("Look well."));
    assert_eq!(speakers(&items[1]), [MessageRole::User, MessageRole::Assistant, MessageRole::User]);
    assert_eq!(
        items[1].request.messages[0].parts[0],
        Part::Image(Image::Inline { mime: "image/png".to_owned(), data: "iVBORw0KGgo=".to_owned() })
    );
    assert_eq!(
        items[1].request.params,
        Params {
            top_p: Some(0.7),
            max_output_tokens: Some(100),
            thinking: Some(Thinking::Budget(0)),
            json: Some(JsonMode::Object),
            ..Params::default()
        }
    );
}

#[test]
fn csv_with_a_header_a_byte_order_mark_and_crlf() {
    let (kind, items) = sample("rows.csv");
    assert_eq!(kind, InputKind::Csv);
    assert_eq!(ids(&items), ["1", "2"]);
    assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(items[0].preferred_model.as_deref(), Some("m-1"));
    assert_eq!(
        items[0].request.params,
        Params {
            temperature: Some(0.5),
            max_output_tokens: Some(64),
            json: Some(JsonMode::Object),
            ..Params::default()
        }
    );
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/a.png");
    assert_eq!(
        items[0].request.messages[0].parts,
        [Part::Image(Image::File(picture)), Part::Text("Why, oh why?".to_owned())]
    );
    assert_eq!(prompt(&items[1]), "two\nlines, \"quoted\"");
    assert_eq!(items[1].preferred_model, None);
}

#[test]
fn plain_text_is_a_prompt_a_line() {
    let (kind, items) = read("notes.txt", b"\xEF\xBB\xBFfirst\r\n\r\n   \n  second {x}\n", &InputOptions::default());
    assert_eq!(kind, InputKind::Text);
    assert_eq!(items.iter().map(prompt).collect::<Vec<_>>(), ["first", "  second {x}"]);
    assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn the_first_row_and_the_extension_decide() {
    for (name, content, want) in [
        ("a.jsonl", r#"{"prompt":"x"}"#, InputKind::Jsonl),
        ("a.ndjson", "\n\n{\"prompt\":\"x\"}", InputKind::Jsonl),
        ("a.json", r#"{"prompt":"x"}"#, InputKind::Jsonl),
        ("a", r#"{"prompt":"x"}"#, InputKind::Jsonl),
        ("a.txt", r#"{"prompt":"x"}"#, InputKind::Jsonl),
        ("a.txt", r"{curly} prose", InputKind::Text),
        ("a.txt", "[1] a footnote", InputKind::Text),
        ("a.txt", "[\"quoted\"]", InputKind::Text),
        ("a", "[INST] hello", InputKind::Text),
        ("a", "id,prompt\n1,x", InputKind::Csv),
        ("a", "Well, that is a prompt", InputKind::Text),
        ("a.csv", "prompt\nx", InputKind::Csv),
        ("a.csv", "id;prompt\n1;x", InputKind::Csv),
        ("a.tsv", "id\tprompt\n1\tx, y", InputKind::Csv),
        ("a.jsonl", "{broken\n{\"custom_id\":\"1\",\"body\":{}}", InputKind::OpenAiBatch),
        ("a.jsonl", r#"{"custom_id":"1","params":{}}"#, InputKind::AnthropicBatch),
        ("a.jsonl", r#"{"key":"1","request":{}}"#, InputKind::GeminiBatch),
        ("a.jsonl", r#"{"request":{"contents":[]}}"#, InputKind::GeminiBatch),
        // A row with fields named `key` and `request`, for a template.
        ("a.jsonl", r#"{"key":"C major","request":"a song"}"#, InputKind::Jsonl),
    ] {
        let folder = TempDir::new().unwrap();
        let input = open(&write(&folder, name, content.as_bytes()), InputOptions::default()).unwrap();
        assert_eq!(input.kind(), want, "{name}: {content}");
    }
}

#[test]
fn what_is_no_input_is_refused_with_a_way_out() {
    for (name, content, want) in [
        ("a.json", &b"[\n  {\"prompt\": \"x\"}\n]"[..], "jq -c '.[]'"),
        ("a.jsonl", b"[{\"prompt\":\"x\"}]", "jq -c '.[]'"),
        ("a.json", b"{\n  \"prompt\": \"x\"\n}", "jq -c ."),
        ("a.jsonl.gz", b"\x1f\x8b\x08\0\0\0", "zcat"),
        ("a.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("a.parquet", b"PAR1\x15\x04", "is Parquet"),
        ("a.txt", b"\xFF\xFEh\0i\0", "iconv -f utf-16"),
        ("my table.csv", b"\xFF\xFEi\0d\0", "my table.csv' > '"),
        ("my table.csv", b"\xFF\xFEi\0d\0", "my table-utf8.csv'`"),
        ("rows.jsonl", b"\xFF\xFE{\0}\0", "rows-utf8.jsonl`"),
        ("a", b"\xFE\xFF\0a", "a-utf8`"),
        // The suggested command must not overwrite its own input.
        ("rows.jsonl", b"[{\"prompt\":\"x\"}]", "rows-lines.jsonl`"),
        ("a.json", b"[{\"prompt\":\"x\"}]", "a.jsonl`"),
        ("rows.jsonl", b"{\n  \"prompt\": \"x\"\n}", "rows-lines.jsonl`"),
        // A table through a pipe would not be detected as a table.
        ("my table.csv.gz", b"\x1f\x8b\x08\0\0\0", "my table.csv'`"),
        ("table.csv.zst", b"\x28\xb5\x2f\xfd\0\0", "table.csv`"),
        ("rows.parquet", b"PAR1\x15\x04", "rows.jsonl' (format json)"),
        ("a.db", b"SQLite format 3\0", "zero bytes"),
        ("a.jsonl", b"", "contains no rows"),
        ("a.jsonl", b"\n \n\xEF\xBB\xBF", "contains no rows"),
    ] {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, name, content);
        match open(&path, InputOptions::default()) {
            Err(words) => assert!(words.contains(want) && words.contains(name), "{name}: {words}"),
            Ok(input) => {
                let words = input.validate().unwrap_err().to_string();
                assert!(want == "contains no rows", "{name}: {words}");
            }
        }
    }
    let missing = open(Path::new("/nowhere/rows.jsonl"), InputOptions::default()).unwrap_err();
    assert!(missing.starts_with("/nowhere/rows.jsonl does not exist"), "{missing}");
}
