//! Inputs as people bring them: every format, good and bad, read from real files.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use cascadeck::{
    domain::{Image, ItemSpec, JsonMode, Money, Params, Part, Speaker, Thinking},
    input::{CaptionOptions, Checked, Existing, Input, InputFaults, InputOptions, Kind},
};
use tempfile::TempDir;

mod formats {
    use super::*;

    fn sample(name: &str) -> (Kind, Vec<ItemSpec>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input").join(name);
        let input = open(&path, InputOptions::default()).unwrap();
        let items = all(&input);
        (input.kind(), items)
    }

    #[test]
    fn jsonl_rows() {
        let (kind, items) = sample("rows.jsonl");
        assert_eq!(kind, Kind::Jsonl);
        assert_eq!(ids(&items)[..2], ["one", "2"]);
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(items[0].request.params, Params::default());

        let full = &items[1];
        assert_eq!(full.request.system.as_deref(), Some("Be brief."));
        assert_eq!(full.model.as_deref(), Some("m-1"));
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
            }
        );

        let chat = &items[2];
        assert_eq!(chat.id, &chat.hash[..16], "a made-up id is the beginning of the hash");
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
        assert_eq!(kind, Kind::OpenAiBatch);
        assert_eq!(ids(&items), ["r1", "r2", "r3"]);
        assert_eq!(items[0].model.as_deref(), Some("gpt-5-mini"));
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
        assert_eq!(speakers(&items[2]), [Speaker::User, Speaker::Assistant, Speaker::User]);
        assert_eq!(items[2].request.params.json, Some(JsonMode::Object));
    }

    #[test]
    fn anthropic_batch_lines() {
        let (kind, items) = sample("anthropic_batch.jsonl");
        assert_eq!(kind, Kind::AnthropicBatch);
        assert_eq!(ids(&items), ["a1", "a2"]);
        assert_eq!(items[0].model.as_deref(), Some("claude-haiku-5"));
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
        assert_eq!(kind, Kind::GeminiBatch);
        assert_eq!(ids(&items), ["g1", "g2"]);
        assert_eq!(items[0].model.as_deref(), Some("gemini-3.5-flash-lite"));
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
            }
        );
        assert_eq!(items[1].request.system.as_deref(), Some("Look well."));
        assert_eq!(speakers(&items[1]), [Speaker::User, Speaker::Assistant, Speaker::User]);
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
        assert_eq!(kind, Kind::Csv);
        assert_eq!(ids(&items), ["1", "2"]);
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(items[0].model.as_deref(), Some("m-1"));
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
        assert_eq!(items[1].model, None);
    }

    #[test]
    fn plain_text_is_a_prompt_a_line() {
        let (kind, items) =
            read("notes.txt", b"\xEF\xBB\xBFfirst\r\n\r\n   \n  second {x}\n", &InputOptions::default());
        assert_eq!(kind, Kind::Text);
        assert_eq!(items.iter().map(prompt).collect::<Vec<_>>(), ["first", "  second {x}"]);
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn the_first_row_and_the_extension_decide() {
        for (name, content, want) in [
            ("a.jsonl", r#"{"prompt":"x"}"#, Kind::Jsonl),
            ("a.ndjson", "\n\n{\"prompt\":\"x\"}", Kind::Jsonl),
            ("a.json", r#"{"prompt":"x"}"#, Kind::Jsonl),
            ("a", r#"{"prompt":"x"}"#, Kind::Jsonl),
            ("a.txt", r#"{"prompt":"x"}"#, Kind::Jsonl),
            ("a.txt", r"{curly} prose", Kind::Text),
            ("a.txt", "[1] a footnote", Kind::Text),
            ("a.txt", "[\"quoted\"]", Kind::Text),
            ("a", "[INST] hello", Kind::Text),
            ("a", "id,prompt\n1,x", Kind::Csv),
            ("a", "Well, that is a prompt", Kind::Text),
            ("a.csv", "prompt\nx", Kind::Csv),
            ("a.csv", "id;prompt\n1;x", Kind::Csv),
            ("a.tsv", "id\tprompt\n1\tx, y", Kind::Csv),
            ("a.jsonl", "{broken\n{\"custom_id\":\"1\",\"body\":{}}", Kind::OpenAiBatch),
            ("a.jsonl", r#"{"custom_id":"1","params":{}}"#, Kind::AnthropicBatch),
            ("a.jsonl", r#"{"key":"1","request":{}}"#, Kind::GeminiBatch),
            ("a.jsonl", r#"{"request":{"contents":[]}}"#, Kind::GeminiBatch),
            // A row about keys and requests, for a template.
            ("a.jsonl", r#"{"key":"C major","request":"a song"}"#, Kind::Jsonl),
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
            ("a.db", b"SQLite format 3\0", "zero bytes"),
            ("a.jsonl", b"", "holds no rows"),
            ("a.jsonl", b"\n \n\xEF\xBB\xBF", "holds no rows"),
        ] {
            let folder = TempDir::new().unwrap();
            let path = write(&folder, name, content);
            match open(&path, InputOptions::default()) {
                Err(words) => assert!(words.contains(want) && words.contains(name), "{name}: {words}"),
                Ok(input) => {
                    let words = input.validate().unwrap_err().to_string();
                    assert!(want == "holds no rows", "{name}: {words}");
                }
            }
        }
        let missing = open(Path::new("/nowhere/rows.jsonl"), InputOptions::default()).unwrap_err();
        assert!(missing.starts_with("/nowhere/rows.jsonl is not there"), "{missing}");
    }
}

mod rows {
    use super::*;

    /// One bad row each, and what must be said of it.
    #[test]
    fn faults_name_the_line_the_field_and_what_to_do() {
        let big_id = format!(r#"{{"id":"{}","prompt":"x"}}"#, "i".repeat(513));
        let jsonl: &[(&str, &str)] = &[
            (r#"{"prompt": "x""#, "is not valid JSON: EOF while parsing an object (column 14)"),
            (r#"{"prompt": "x"} {}"#, "is not valid JSON: trailing characters"),
            (r#""just a string""#, "is a string; a row is a JSON object {…}"),
            (r#"{"prompt": 3}"#, "`prompt` must be a string, not a number"),
            (r#"{"prompt": "  "}"#, "`prompt` is empty"),
            (r#"{"prompt": "x", "messages": []}"#, "has both `prompt` and `messages`"),
            (r#"{"messages": []}"#, "`messages` holds no user message"),
            (r#"{"messages": "hi"}"#, "`messages` must be a list, not a string"),
            (r#"{"messages": [{"role":"user"}]}"#, "`messages[0].content` is missing"),
            (r#"{"messages": [{"role":"user","content":""}]}"#, "`messages[0].content` is empty"),
            (r#"{"messages": [{"role":"tool","content":"x"}]}"#, "`messages[0].role` is `tool`"),
            (
                r#"{"messages": [{"role":"user","content":"x"},{"role":"system","content":"y"}]}"#,
                "`messages[1].role` is a system message after the conversation began",
            ),
            (
                r#"{"system":"a","messages": [{"role":"system","content":"y"},{"role":"user","content":"x"}]}"#,
                "has both `system` and a system message",
            ),
            (
                r#"{"messages": [{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]}"#,
                "`messages[0].content[0].type` is `input_audio`; only text and pictures",
            ),
            (
                r#"{"messages": [{"role":"user","content":[{"type":"image_url","image_url":{"url":"ftp://x/y"}}]}]}"#,
                "`messages[0].content[0].image_url.url` is a ftp URL",
            ),
            (r#"{"prompt":"x","id":""}"#, "`id` is empty"),
            (r#"{"prompt":"x","id":1.5}"#, "`id` must be a string or a whole number"),
            (&big_id, "`id` is 513 bytes long"),
            (r#"{"prompt":"x","temperature":"hot"}"#, "`temperature` must be a number, not a string"),
            (r#"{"prompt":"x","temperature":-1}"#, "`temperature` must be from 0 to 2"),
            (r#"{"prompt":"x","top_p":1.5}"#, "`top_p` must be from 0 to 1"),
            (r#"{"prompt":"x","max_tokens":0}"#, "`max_tokens` must be a positive number of tokens"),
            (r#"{"prompt":"x","max_output_tokens":1.5}"#, "`max_output_tokens` must be a whole number"),
            (r#"{"prompt":"x","stop":["a",1]}"#, "`stop[1]` must be a string"),
            (r#"{"prompt":"x","seed":"a"}"#, "`seed` must be a whole number"),
            (r#"{"prompt":"x","thinking":"deep"}"#, "`thinking` is `deep`; levels are"),
            (r#"{"prompt":"x","thinking":{"type":"enabled"}}"#, "`thinking.budget_tokens` is missing"),
            (r#"{"prompt":"x","json":"yes"}"#, "`json` must be true, false or a JSON schema"),
            (r#"{"prompt":"x","response_format":{"type":"grammar"}}"#, "`response_format.type` is `grammar`"),
            (r#"{"prompt":"x","max_usd":-0.1}"#, "`max_usd` must be an amount of dollars"),
            (r#"{"prompt":"x","images":{"a":1}}"#, "`images` must be a list"),
            (r#"{"prompt":"x","images":["data:image/png;base64,!"]}"#, "`images[0]` is not base64"),
            (
                r#"{"question":"x","n":1}"#,
                r#"(it has question, n); give a template over its fields, as in --prompt "{{ question }}""#,
            ),
        ];
        let openai = |body: &str| format!(r#"{{"custom_id":"x","url":"/v1/chat/completions","body":{body}}}"#);
        let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
        let batch = [
            (openai(&format!(r#"{{{hi},"tools":[{{"type":"function"}}]}}"#)), "`body.tools` is not supported"),
            (openai(&format!(r#"{{{hi},"n":2}}"#)), "`body.n` asks for several answers"),
            (openai(&format!(r#"{{{hi},"frequency_penalty":0.5}}"#)), "`body.frequency_penalty` is not supported"),
            (
                openai(r#"{"messages":[{"role":"assistant","content":"x","tool_calls":[{}]}]}"#),
                "`body.messages[0].tool_calls`",
            ),
            (openai("{}"), "`body.messages` is missing"),
            (
                r#"{"custom_id":"x","url":"/v1/embeddings","body":{}}"#.to_owned(),
                "`url` is `/v1/embeddings`; only lines for",
            ),
            (r#"{"custom_id":"x","method":"POST"}"#.to_owned(), "`body` is missing"),
        ];
        let anthropic = [
            (format!(r#"{{"custom_id":"x","params":{{{hi},"top_k":5}}}}"#), "`params.top_k` is not supported"),
            (format!(r#"{{"custom_id":"x","params":{{{hi},"system":[{{"type":"image","source":{{"type":"url","url":"https://x/y.png"}}}}]}}}}"#), "`params.system` holds a picture"),
            (r#"{"custom_id":"x","params":{"messages":[{"role":"user","content":[{"type":"document","source":{}}]}]}}"#.to_owned(), "`params.messages[0].content[0].type` is `document`"),
        ];
        let hi = r#""contents":[{"parts":[{"text":"hi"}]}]"#;
        let gemini = [
            (
                format!(r#"{{"key":"x","request":{{{hi},"tools":[{{"googleSearch":{{}}}}]}}}}"#),
                "`request.tools` is not supported",
            ),
            (
                format!(r#"{{"key":"x","request":{{{hi},"generationConfig":{{"topK":40}}}}}}"#),
                "`request.generationConfig.topK` is not supported",
            ),
            (
                format!(r#"{{"key":"x","request":{{{hi},"generation_config":{{"candidate_count":2}}}}}}"#),
                "`request.generationConfig.candidate_count` is not supported",
            ),
            (r#"{"key":"x","request":{"contents":[]}}"#.to_owned(), "`request.contents` is missing or empty"),
            (
                r#"{"key":"x","request":{"contents":[{"parts":[{"fileData":{"fileUri":"gs://b/x"}}]}]}}"#.to_owned(),
                "`request.contents[0].parts[0].fileData.fileUri` is `gs://b/x`, a file of one project",
            ),
            (
                r#"{"key":"x","request":{"contents":[{"parts":[{"functionCall":{"name":"f"}}]}]}}"#.to_owned(),
                "`request.contents[0].parts[0].functionCall` is not supported",
            ),
            (
                r#"{"key":"x","request":{"contents":[{"role":"model","parts":[{"text":"hi"}]}]}}"#.to_owned(),
                "holds no user message",
            ),
        ];
        // The first row makes the format known; the second is the one tried.
        let firsts = [
            r#"{"prompt":"good"}"#,
            r#"{"custom_id":"good","body":{"messages":[{"role":"user","content":"x"}]}}"#,
            r#"{"custom_id":"good","params":{"messages":[{"role":"user","content":"x"}]}}"#,
            r#"{"key":"good","request":{"contents":[{"parts":[{"text":"x"}]}]}}"#,
        ];
        let owned = |rows: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
            rows.iter().map(|(row, want)| ((*row).to_owned(), *want)).collect()
        };
        let jsonl: Vec<(&str, &'static str)> = jsonl.iter().map(|(row, want)| (*row, leak(want))).collect();
        for (first, cases) in
            firsts.into_iter().zip([owned(&jsonl), batch.to_vec(), anthropic.to_vec(), gemini.to_vec()])
        {
            for (row, want) in cases {
                let faults = faults("rows.jsonl", format!("{first}\n\n{row}\n").as_bytes(), &InputOptions::default());
                assert_eq!(faults.total, 1, "{row}: {faults}");
                let words = faults.reported[0].fault.to_string();
                assert!(words.contains("rows.jsonl:3: "), "{row}: {words}");
                assert!(words.contains(want), "{row}: {words}\n  should say: {want}");
            }
        }
    }

    fn leak(text: &str) -> &'static str {
        Box::leak(text.to_owned().into_boxed_str())
    }

    #[test]
    fn csv_faults_name_the_line_an_editor_shows() {
        for (content, line, want) in [
            ("id,prompt\r\n1,a\r\n\r\n2,b,c\r\n", 4, "has 3 cells where the header has 2"),
            ("id,prompt\n1,\"two\nlines\"\n2,\n", 4, "`prompt` is empty"),
            ("id,prompt\n1,a\n2,\"never closed\n3,b\n", 3, "opens a quote (\") that is never closed"),
            ("prompt,prompt\na,b\n", 1, "has two columns named `prompt`"),
            ("prompt,temperature\na,warm\n", 2, "`temperature` must be a number, not a string"),
            ("question,answer\na,b\n", 2, "has neither `prompt` nor `messages` (it has question, answer)"),
            ("id,prompt\n1,a\n1,b\n", 3, "the id `1` stands already in line 2"),
            ("prompt\n", 1, "there are no rows"),
        ] {
            let faults = faults("rows.csv", content.as_bytes(), &InputOptions::default());
            let fault = &faults.reported[0].fault;
            assert_eq!((fault.line, faults.total), (line, 1), "{content}: {faults}");
            assert!(fault.words.contains(want), "{content}: {faults}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_a_fault_with_its_line() {
        for (name, content) in [
            ("a.jsonl", &b"{\"prompt\":\"ok\"}\n{\"prompt\":\"caf\xE9\"}\n{\"prompt\":\"ok too\"}"[..]),
            ("a.csv", b"prompt\nok\ncaf\xE9\n"),
            ("a.txt", b"ok\ncaf\xE9\nok"),
        ] {
            let faults = faults(name, content, &InputOptions::default());
            assert_eq!(faults.total, 1);
            assert_eq!(faults.reported[0].fault.line, if name == "a.csv" { 3 } else { 2 });
            assert!(faults.to_string().contains("is not UTF-8: byte 0xe9"), "{faults}");
        }
    }

    #[test]
    fn all_faults_are_reported_at_once_and_the_rest_is_counted() {
        let mut rows = "{\"prompt\":\"x\",\"temperature\":3}\n".repeat(249);
        rows.push_str("{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"prompt\":\"y\"}\n");
        let distinct: Vec<_> =
            (0..150).map(|n| format!("{{\"id\":\"a\",\"prompt\":\"x\",\"images\":[\"s{n}://\"]}}\n")).collect();
        let faults = faults("rows.jsonl", (rows + &distinct.concat()).as_bytes(), &InputOptions::default());
        assert_eq!(faults.total, 249 + 1 + 150);
        assert_eq!(faults.reported.len(), 100);
        assert_eq!(faults.reported[0].more_alike, 248, "what is wrong alike is said once");
        let words = faults.to_string();
        assert!(words.starts_with(&format!("{} has 400 bad rows; nothing was sent\n", faults.input)), "{words}");
        assert!(words.contains("(and 248 more like this)"));
        assert!(words.ends_with("… and 52 more"), "{words}");
    }

    #[test]
    fn rows_without_prompts_are_told_so_once_even_where_their_fields_differ() {
        let rows = b"{\"question\":\"a\"}\n{\"question\":\"b\",\"answer\":1}\n{\"q\":1}\n";
        let faults = faults("rows.jsonl", rows, &InputOptions::default());
        assert_eq!((faults.reported.len(), faults.total), (1, 3));
    }

    #[test]
    fn items_go_on_after_a_bad_row() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "rows.jsonl", b"{\"prompt\":\"a\"}\n{\n{\"prompt\":\"b\"}\n");
        let input = open(&path, InputOptions::default()).unwrap();
        let lines: Vec<_> = input.items().map(|item| item.map(|item| item.line).map_err(|fault| fault.line)).collect();
        assert_eq!(lines, [Ok(1), Err(2), Ok(3)]);
    }

    #[test]
    fn configured_defaults_yield_to_what_a_row_says() {
        let defaults = Params {
            temperature: Some(0.1),
            max_output_tokens: Some(10),
            stop: vec!["default".to_owned()],
            json: Some(JsonMode::Object),
            thinking: Some(Thinking::Level("high".to_owned())),
            ..Params::default()
        };
        let options =
            InputOptions { defaults: defaults.clone(), system: Some("From the options.".to_owned()), ..no_options() };
        let rows = br#"{"prompt":"a"}
{"prompt":"b","temperature":0.9,"max_tokens":20,"stop":[],"json":false,"thinking":false,"system":"From the row."}"#;
        let (_, items) = read("rows.jsonl", rows, &options);
        assert_eq!(items[0].request.params, defaults);
        assert_eq!(items[0].request.system.as_deref(), Some("From the options."));
        assert_eq!(
            items[1].request.params,
            Params {
                temperature: Some(0.9),
                max_output_tokens: Some(20),
                thinking: Some(Thinking::Budget(0)),
                ..Params::default()
            }
        );
        assert_eq!(items[1].request.system.as_deref(), Some("From the row."));

        let batch = br#"{"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"max_tokens":20}}"#;
        let (_, items) = read("batch.jsonl", batch, &options);
        assert_eq!(items[0].request.params.max_output_tokens, Some(20));
        assert_eq!(items[0].request.params.temperature, Some(0.1));
        assert_eq!(items[0].request.system.as_deref(), Some("From the options."));
    }

    #[test]
    fn a_limit_takes_the_first_rows_but_the_fingerprint_is_of_the_whole_file() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "rows.txt", b"one\ntwo\nthree\n");
        let whole = open(&path, no_options()).unwrap().validate().unwrap();
        let input = open(&path, InputOptions { limit: Some(2), ..no_options() }).unwrap();
        let trial = input.validate().unwrap();
        assert_eq!((whole.rows, trial.rows), (3, 2));
        assert_eq!(whole.fingerprint, trial.fingerprint);
        assert_eq!(all(&input).len(), 2);
        write(&folder, "rows.txt", b"one\ntwo\nfour!\n");
        assert_ne!(open(&path, no_options()).unwrap().validate().unwrap().fingerprint, whole.fingerprint);
    }
}

mod ids {
    use super::*;

    #[test]
    fn only_the_fields_that_rules_look_at_are_kept() {
        let kept = |name: &str, content: &str, fields: &[&str]| {
            let options = InputOptions { kept: fields.iter().map(ToString::to_string).collect(), ..no_options() };
            let fields = read(name, content.as_bytes(), &options).1[0].fields.clone();
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
        let options = InputOptions { kept: vec!["lang".to_owned()], ..no_options() };
        assert_eq!(read("a.jsonl", row, &options).1[0].hash, read("a.jsonl", row, &no_options()).1[0].hash);
    }

    #[test]
    fn rows_alike_get_ids_apart_that_are_the_same_in_every_pass() {
        let (_, items) = read("a.txt", b"same\nother\nsame\nsame\n", &no_options());
        let base = &items[0].id;
        assert_eq!(base.len(), 16);
        assert_eq!(items[2].id, format!("{base}-2"));
        assert_eq!(items[3].id, format!("{base}-3"));
        assert_eq!(items[0].hash, items[3].hash);
        assert_eq!(items[0].hash.len(), 32);
    }

    #[test]
    fn a_hash_is_of_what_is_asked_and_not_of_how_it_was_written() {
        let of = |name: &str, content: &str| read(name, content.as_bytes(), &no_options()).1[0].hash.clone();
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
    fn a_folder_that_moves_keeps_its_hashes() {
        let row = br#"{"prompt":"x","images":["a.png"]}"#;
        let [here, there] = [(); 2].map(|()| read("a.jsonl", row, &no_options()).1.remove(0));
        assert_ne!(here.request, there.request, "paths are absolute");
        assert_eq!(here.hash, there.hash);
    }

    #[test]
    fn duplicates_are_refused_with_both_lines() {
        let rows = b"{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":7,\"prompt\":\"x\"}\n\n{\"id\":\"7\",\"prompt\":\"y\"}\n";
        let faults = faults("rows.jsonl", rows, &no_options());
        assert_eq!(faults.total, 1);
        assert_eq!(faults.reported[0].fault.line, 4);
        assert_eq!(faults.reported[0].fault.words, "the id `7` stands already in line 2; ids must differ");
    }
}

mod templates {
    use super::*;

    fn with_prompt(template: &str) -> InputOptions {
        InputOptions { prompt: Some(template.to_owned()), ..no_options() }
    }

    #[test]
    fn a_template_is_filled_from_each_row() {
        let options = InputOptions {
            system: Some("You grade {{ subject }}.".to_owned()),
            ..with_prompt("Q: {{ question }}\nA:")
        };
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
            faults.reported[0].fault.words,
            "the prompt template uses `qestion`, which this row does not have; it has question"
        );
    }

    #[test]
    fn whole_requests_leave_no_place_for_a_prompt() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "a.jsonl", br#"{"custom_id":"a","body":{"messages":[]}}"#);
        let words = open(&path, with_prompt("x")).unwrap_err();
        assert!(words.contains("OpenAI batch lines, which are whole requests: leave out --prompt"), "{words}");
    }

    #[test]
    fn text_from_a_row_is_never_taken_for_a_template() {
        let (_, items) = read("a.jsonl", br#"{"q":"{{ 1 + 1 }}","prompt":"unused"}"#, &with_prompt("{{ q }}"));
        assert_eq!(prompt(&items[0]), "{{ 1 + 1 }}");
        let (_, items) = read("a.jsonl", br#"{"prompt":"{{ 1 + 1 }}"}"#, &no_options());
        assert_eq!(prompt(&items[0]), "{{ 1 + 1 }}");
    }
}

mod pictures {
    use super::*;

    fn beside() -> InputOptions {
        InputOptions { captions: Some(CaptionOptions::default()), ..no_options() }
    }

    fn captions(change: impl FnOnce(&mut CaptionOptions)) -> InputOptions {
        let mut captions = CaptionOptions::default();
        change(&mut captions);
        InputOptions { captions: Some(captions), ..no_options() }
    }

    #[test]
    fn a_folder_is_read_in_natural_order_and_hidden_files_are_not() {
        let folder = TempDir::new().unwrap();
        for name in
            ["img10.png", "img2.png", "sub/a.png", "sub/deep/b.png", ".hidden.png", ".cache/c.png", "no-extension"]
        {
            write(&folder, name, &png(3, 2));
        }
        write(&folder, "broken.JPG", b"not a picture");
        write(&folder, "readme", b"not a picture");
        write(&folder, "notes.txt", b"not a picture");
        let input = open(folder.path(), beside()).unwrap();
        let items = all(&input);
        let want = ["broken.JPG", "img2.png", "img10.png", "no-extension", "sub/a.png", "sub/deep/b.png"];
        assert_eq!(ids(&items), want);
        assert_eq!(input.kind(), Kind::Pictures);
        assert!(input.validate().unwrap().pictures);
        assert_eq!(items[4].caption.as_deref(), Some(&*folder.path().join("sub/a.txt")));
        assert_eq!(items[4].request.images().collect::<Vec<_>>(), [&Image::File(folder.path().join("sub/a.png"))]);
        assert!(prompt(&items[0]).starts_with("Describe this picture"));
    }

    #[test]
    fn globs_lists_and_single_pictures_are_albums_too() {
        let folder = TempDir::new().unwrap();
        for name in ["a1.png", "a2.png", "b.png", "sub/c.png"] {
            write(&folder, name, &png(1, 1));
        }
        let glob = open(&folder.path().join("a*.png"), beside()).unwrap();
        assert!(glob.name().ends_with("-a-png"), "{}", glob.name());
        assert_eq!(ids(&all(&glob)), ["a1.png", "a2.png"]);
        let deep = open(&folder.path().join("**/*.png"), beside()).unwrap();
        assert_eq!(ids(&all(&deep)), ["a1.png", "a2.png", "b.png", "sub/c.png"]);

        let list = write(&folder, "list.txt", b"./sub/c.png\r\n\r\na1.png\r\nlost.png\r\n");
        let list = open(&list, beside()).unwrap();
        assert_eq!(list.kind(), Kind::Pictures);
        assert_eq!(ids(&all(&list)), ["sub/c.png", "a1.png", "lost.png"], "in the list's own order");
        assert_eq!(all(&list).iter().map(|item| item.line).collect::<Vec<_>>(), [1, 3, 4]);

        let single = open(&folder.path().join("b.png"), beside()).unwrap();
        assert_eq!(ids(&all(&single)), ["b.png"]);
        assert_eq!(single.name(), "b");
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf8_is_a_fault_rather_than_a_lost_picture() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let folder = TempDir::new().unwrap();
        write(&folder, "a.png", &png(1, 1));
        fs::write(folder.path().join(OsStr::from_bytes(b"caf\xE9.png")), png(1, 1)).unwrap();
        let faults = open(folder.path(), beside()).unwrap().validate().unwrap_err();
        assert_eq!((faults.total, faults.reported[0].fault.line), (1, 0));
        assert!(faults.to_string().contains(".png has a name that is not UTF-8; rename it"), "{faults}");
    }

    #[test]
    fn no_pictures_at_all_is_an_error() {
        let folder = TempDir::new().unwrap();
        write(&folder, "rows.jsonl", b"{}");
        let words = open(folder.path(), beside()).unwrap_err();
        assert!(words.contains("holds no pictures"), "{words}");
        let words = open(&folder.path().join("*.jsonl"), beside()).unwrap_err();
        assert!(words.contains("rows are given as one file"), "{words}");
    }

    #[test]
    fn prompts_speak_of_a_pictures_name_place_and_size() {
        let folder = TempDir::new().unwrap();
        write(&folder, "cats/Tom.PNG", &png(640, 480));
        write(&folder, "cats/broken.png", b"");
        let template = "{{ name }} {{ stem }} {{ extension }} {{ directory }} {{ path }} {{ width }}x{{ height }}";
        let input = open(folder.path(), InputOptions { prompt: Some(template.to_owned()), ..beside() }).unwrap();
        let items = all(&input);
        assert_eq!(prompt(&items[0]), "Tom.PNG Tom png cats cats/Tom.PNG 640x480");
        assert_eq!(prompt(&items[1]), "broken.png broken png cats cats/broken.png 0x0");
    }

    #[test]
    fn captions_mirror_their_pictures_folders() {
        let folder = TempDir::new().unwrap();
        write(&folder, "in/sub/a.png", &png(1, 1));
        let out = folder.path().join("out");
        let input = open(&folder.path().join("in"), captions(|captions| captions.dir = Some(out.clone()))).unwrap();
        assert_eq!(all(&input)[0].caption, Some(out.join("sub/a.txt")));
    }

    #[test]
    fn what_is_captioned_is_skipped_unless_asked_otherwise() {
        let folder = TempDir::new().unwrap();
        for name in ["done.png", "empty.png", "new.png"] {
            write(&folder, name, &png(1, 1));
        }
        write(&folder, "done.txt", b"a cat\n");
        write(&folder, "empty.txt", b"\n");
        for (existing, want, skipped) in [
            (Existing::Skip, vec!["empty.png", "new.png"], 1),
            (Existing::Overwrite, vec!["done.png", "empty.png", "new.png"], 0),
            (Existing::Append, vec!["done.png", "empty.png", "new.png"], 0),
            (Existing::Prepend, vec!["done.png", "empty.png", "new.png"], 0),
        ] {
            let input = open(folder.path(), captions(|captions| captions.existing = existing)).unwrap();
            let checked = input.validate().unwrap();
            assert_eq!((checked.rows, checked.skipped), (want.len() as u64, skipped), "{existing:?}");
            assert_eq!(ids(&all(&input)), want, "{existing:?}");
        }
    }

    #[test]
    fn a_resumed_run_does_not_skip_what_it_has_captioned_itself() {
        let folder = TempDir::new().unwrap();
        for name in ["mine.png", "theirs.png", "new.png"] {
            write(&folder, name, &png(1, 1));
        }
        write(&folder, "mine.txt", b"a cat\n");
        write(&folder, "theirs.txt", b"a dog\n");
        let input = open(folder.path(), beside()).unwrap();
        let items: Vec<_> = input.items().keeping(|id| id == "mine.png").map(|item| item.unwrap()).collect();
        assert_eq!(ids(&items), ["mine.png", "new.png"]);
        assert_eq!(input.items().keeping(|id| id == "mine.png").check().unwrap().skipped, 1);
    }

    /// A resumed run must recognise its input although it has written captions into it.
    #[test]
    fn captions_do_not_change_the_fingerprint_but_pictures_do() {
        let folder = TempDir::new().unwrap();
        write(&folder, "a.png", &png(1, 1));
        write(&folder, "b.png", &png(1, 1));
        let fingerprint = || open(folder.path(), beside()).unwrap().validate().unwrap().fingerprint;
        let before = fingerprint();
        write(&folder, "a.txt", b"captioned");
        assert_eq!(fingerprint(), before);
        write(&folder, "b.png", &[png(1, 1), vec![0]].concat());
        assert_ne!(fingerprint(), before);
    }

    #[test]
    fn pictures_that_would_share_a_caption_are_refused_naming_both() {
        let folder = TempDir::new().unwrap();
        for name in ["a.jpg", "a.png", "sub/a.png"] {
            write(&folder, name, &png(1, 1));
        }
        let faults = open(folder.path(), beside()).unwrap().validate().unwrap_err();
        assert_eq!(faults.total, 1);
        assert_eq!(
            faults.reported[0].fault.words,
            "a.png and a.jpg would share the caption a.txt; rename one, or ask for full names with --full-caption-names (a.png.txt)"
        );
        let full = open(folder.path(), captions(|captions| captions.full_name = true)).unwrap();
        assert_eq!(all(&full)[1].caption, Some(folder.path().join("a.png.txt")));
        let none = open(folder.path(), no_options()).unwrap();
        assert!(all(&none).iter().all(|item| item.caption.is_none()), "without captions nothing can clash");
    }

    #[test]
    fn a_picture_listed_twice_is_refused_with_both_lines() {
        let folder = TempDir::new().unwrap();
        write(&folder, "a.png", &png(1, 1));
        let list = write(&folder, "list.txt", b"a.png\n./a.png\n");
        let faults = open(&list, beside()).unwrap().validate().unwrap_err();
        assert_eq!(faults.reported[0].fault.words, "the id `a.png` stands already in line 1; ids must differ");
    }

    #[cfg(unix)]
    #[test]
    fn captions_can_not_leave_their_folder() {
        use std::os::unix::fs::symlink;
        let folder = TempDir::new().unwrap();
        write(&folder, "in/sub/a.png", &png(1, 1));
        write(&folder, "in/b.png", &png(1, 1));
        fs::create_dir_all(folder.path().join("out")).unwrap();
        fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), folder.path().join("out/sub")).unwrap();
        let out = folder.path().join("out");
        let input = open(&folder.path().join("in"), captions(|captions| captions.dir = Some(out))).unwrap();
        let faults = input.validate().unwrap_err();
        assert_eq!(faults.total, 1);
        assert!(faults.reported[0].fault.words.contains("would be written outside"), "{faults}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_read_but_not_walked_and_not_added_to() {
        use std::os::unix::fs::symlink;
        let folder = TempDir::new().unwrap();
        write(&folder, "real/a.png", &png(1, 1));
        symlink(folder.path().join("real/a.png"), folder.path().join("real/b.png")).unwrap();
        symlink(folder.path().join("real"), folder.path().join("real/loop")).unwrap();
        let input = open(&folder.path().join("real"), beside()).unwrap();
        assert_eq!(ids(&all(&input)), ["a.png", "b.png"]);

        write(&folder, "other.txt", b"somebody else's");
        symlink(folder.path().join("other.txt"), folder.path().join("real/a.txt")).unwrap();
        let append = captions(|captions| captions.existing = Existing::Append);
        let faults = open(&folder.path().join("real"), append).unwrap().validate().unwrap_err();
        assert!(faults.to_string().contains("is a link to another file"), "{faults}");
    }

    #[test]
    fn captions_are_for_pictures_only() {
        let folder = TempDir::new().unwrap();
        let rows = write(&folder, "rows.jsonl", br#"{"prompt":"x"}"#);
        let words = open(&rows, captions(|captions| captions.dir = Some("out".into()))).unwrap_err();
        assert!(words.contains("JSONL rows, not pictures: leave out --captions"), "{words}");
    }

    #[test]
    fn another_picture_under_the_same_name_is_another_job() {
        let folder = TempDir::new().unwrap();
        let hash = |bytes: &[u8]| {
            write(&folder, "a.png", bytes);
            all(&open(folder.path(), beside()).unwrap())[0].hash.clone()
        };
        assert_eq!(hash(&png(1, 1)), hash(&png(1, 1)));
        assert_ne!(hash(&png(1, 1)), hash(&[png(1, 1), vec![0]].concat()));
    }
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that get further into the readers than noise does.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\u",
            "\n",
            "\r\n",
            "\u{feff}",
            ";",
            "null",
            "1e999",
            "-1",
            "{{",
            "%}",
            r#""prompt":"x""#,
            r#""messages":["#,
            r#"{"role":"user","content":"#,
            r#"{"type":"image_url","image_url":"#,
            r#""data:image/png;base64,AAAA""#,
            r#"{"custom_id":"a","body":{"#,
            r#"{"custom_id":"a","params":{"#,
            r#"{"key":"a","request":{"contents":[{"parts":["#,
            r#""generationConfig":{"#,
            r#""thinking":"#,
            r#""id":"#,
            "id,prompt\n",
            "\"\"",
            "a.png",
        ];
        let word = prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
        let noise = prop::collection::vec(any::<u8>(), 0..6);
        prop::collection::vec(prop_oneof![4 => word, 1 => noise], 0..40).prop_map(|pieces| pieces.concat())
    }

    fn starts() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "",
            "{\"prompt\":\"x\"}\n",
            "{\"custom_id\":\"a\",\"body\":{}}\n",
            "{\"custom_id\":\"a\",\"params\":{}}\n",
            "{\"key\":\"a\",\"request\":{}}\n",
            "id,prompt,temperature,images\n",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_make_a_reader_panic(
            name in prop::sample::select(vec!["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a", "a.png"]),
            start in starts(),
            bytes in pieces(),
            template in prop::option::of(prop::sample::select(vec!["{{ prompt }}", "{{ id.x }}", "fixed"])),
        ) {
            let folder = TempDir::new().unwrap();
            let path = write(&folder, name, &[start.as_bytes(), &bytes].concat());
            let options = InputOptions { prompt: template.map(str::to_owned), ..no_options() };
            if let Ok(input) = open(&path, options) {
                let items: Vec<_> = input.items().collect();
                match input.validate() {
                    Ok(checked) => prop_assert_eq!(checked.rows as usize, items.len()),
                    Err(faults) => {
                        let bad = items.iter().filter(|item| item.is_err()).count() as u64;
                        prop_assert!(faults.total == bad || (items.is_empty() && faults.total == 1));
                        prop_assert!(!faults.to_string().is_empty());
                    }
                }
            }
        }
    }
}

fn no_options() -> InputOptions {
    InputOptions::default()
}

fn write(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn open(path: &Path, options: InputOptions) -> Result<Input, String> {
    let spool = Path::new("/nowhere/spool");
    Input::open(path.to_str().unwrap(), options, spool).map_err(|error| error.to_string())
}

/// All items of an input without faults; also that validation and a second pass agree with the first.
fn all(input: &Input) -> Vec<ItemSpec> {
    let Checked { rows, fingerprint, .. } = input.validate().unwrap_or_else(|faults| panic!("{faults}"));
    let items: Vec<_> = input.items().map(|item| item.unwrap()).collect();
    assert_eq!(items.len() as u64, rows);
    assert_eq!(fingerprint.len(), 32);
    let again: Vec<_> = input.items().map(|item| item.unwrap()).collect();
    assert_eq!(items, again);
    items
}

fn read(name: &str, content: &[u8], options: &InputOptions) -> (Kind, Vec<ItemSpec>) {
    let folder = TempDir::new().unwrap();
    let input = open(&write(&folder, name, content), options.clone()).unwrap();
    (input.kind(), all(&input))
}

fn faults(name: &str, content: &[u8], options: &InputOptions) -> InputFaults {
    let folder = TempDir::new().unwrap();
    open(&write(&folder, name, content), options.clone()).unwrap().validate().unwrap_err()
}

fn ids(items: &[ItemSpec]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

fn speakers(item: &ItemSpec) -> Vec<Speaker> {
    item.request.messages.iter().map(|message| message.speaker).collect()
}

fn prompt(item: &ItemSpec) -> &str {
    let text = item.request.messages[0].parts.iter().find_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Image(_) => None,
    });
    text.unwrap()
}

/// The signature and header of a PNG: enough to be recognised and measured.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}
