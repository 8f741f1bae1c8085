//! Valid and invalid rows: fields, parameters, and errors that name their line.

use cascadeck::{
    domain::{JsonMode, Params, Thinking},
    input::InputOptions,
};
use tempfile::TempDir;

use super::{all, faults, no_options, open, read, write};

/// One invalid row each, and a part of its error message.
#[test]
fn faults_name_the_line_the_field_and_what_to_do() {
    let raw_base64 = format!(r#"{{"prompt":"x","image":"iVBORw0KGgo{}"}}"#, "A".repeat(100));
    let big_id = format!(r#"{{"id":"{}","prompt":"x"}}"#, "i".repeat(513));
    let jsonl: &[(&str, &str)] = &[
        (r#"{"prompt": "x""#, "is not valid JSON: EOF while parsing an object (column 14)"),
        (r#"{"prompt": "x"} {}"#, "is not valid JSON: trailing characters"),
        (r#""just a string""#, "is a string; a row must be a JSON object {…}"),
        (r#"{"prompt": 3}"#, "`prompt` must be a string, not a number"),
        (r#"{"prompt": "  "}"#, "`prompt` is empty"),
        (r#"{"prompt": "x", "messages": []}"#, "has both `prompt` and `messages`"),
        (r#"{"messages": []}"#, "`messages` contains no user message"),
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
        (
            r#"{"prompt":"x","id":1e3}"#,
            "`id` must be a string or a whole number, not one with a fraction or an exponent",
        ),
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
            r#"{"prompt":"x","image":5}"#,
            "`image` must be a path, a URL or a data: URL, or a list of them, not a number",
        ),
        (r#"{"prompt":"x","image":{"bytes":[1,2]}}"#, "`image` must be a path"),
        (r#"{"prompt":"x","image_url":{"url":7}}"#, "`image_url.url` must be a string"),
        (r#"{"prompt":"x","image_path":["a.png",7]}"#, "`image_path[1]` must be a string"),
        (r#"{"prompt":"x","image":""}"#, "`image` is empty"),
        (&raw_base64, "`image` is base64 without a media type"),
        (r#"{"prompt":"x","file_name":"a.svg"}"#, "`file_name` has a format that can't be sent (svg)"),
        (
            r#"{"prompt":"x","image":"a.png","image_path":"b.png"}"#,
            "`image_path` names different pictures than `image`; keep one of them",
        ),
        (
            r#"{"prompt":"x","images":["a.png","b.png"],"file":"c.png"}"#,
            "`file` names different pictures than `images`",
        ),
        (r#"{"prompt":"x","img":"a.png"}"#, "`img` looks like a picture, but is not read: name it `image`"),
        (r#"{"prompt":"x","Image":"https://x.example/a"}"#, "`Image` looks like a picture"),
        (r#"{"prompt":"x","photoUrls":["a.webp"]}"#, "`photoUrls` looks like a picture"),
        (r#"{"prompt":"x","filename":"a.png"}"#, "`filename` looks like a picture"),
        (r#"{"prompt":"x","image_data":"data:image/png;base64,AAAA"}"#, "`image_data` looks like a picture"),
        (r#"{"prompt":"x","img":{"url":"a.png"}}"#, "`img` looks like a picture, but is not read: name it `image`"),
        (r#"{"prompt":"x","picture":{"path":"a.png"}}"#, "`picture` looks like a picture"),
        (r#"{"prompt":"x","picture":{"bytes":"iVBORw","path":null}}"#, "`picture` looks like a picture"),
        (r#"{"prompt":"x","picture":{"bytes":[137,80]}}"#, "`picture` looks like a picture"),
        (r#"{"prompt":"x","photos":[{"url":"https://x.example/1"}]}"#, "`photos` looks like a picture"),
        (r#"{"prompt":"x","photo":{"source":{"data":"data:image/png;base64,AAAA"}}}"#, "`photo` looks like a picture"),
        (r#"{"prompt":"x","photo":"drawing.svg"}"#, "`photo` looks like a picture"),
        (
            r#"{"prompt":"x","image":"a.png","image_2":"b.png"}"#,
            "`image_2` looks like a picture in addition to the one that is sent, but is not read: list all pictures in `images`",
        ),
        (r#"{"prompt":"x","image":"a.png","image_2":"[b].png"}"#, "`image_2` looks like a picture in addition"),
        (r#"{"prompt":"x","image":"a.png","image2":"b.png"}"#, "`image2` looks like a picture in addition"),
        (r#"{"prompt":"x","image":"a.png","mask_image":"b.png"}"#, "`mask_image` looks like a picture in addition"),
        (
            r#"{"prompt":"x","image":"a.png","img":"other.png","file_name":null}"#,
            "`img` looks like a picture in addition",
        ),
        (r#"{"prompt":"x","image":"a.png","img":["a.png","b.png"]}"#, "`img` looks like a picture in addition"),
        (r#"{"prompt":"x","image":"a/x.png","image_2":"x.png"}"#, "`image_2` looks like a picture in addition"),
        (r#"{"prompt":"x","image":"a.png","image_2":{"url":"https://x.example/b"}}"#, "`image_2` looks like a picture"),
        (r#"{"prompt":"x","image":"a.png","images_2":["b.png"]}"#, "`images_2` looks like a picture in addition"),
        (r#"{"prompt":"x","image":"a.png","image_url_2":"https://x.example/b"}"#, "`image_url_2` looks like a picture"),
        (r#"{"prompt":"x","image":"a.png","photos":["https://x.example/b.jpg?w=9"]}"#, "`photos` looks like a picture"),
        (r#"{"prompt":"x","image":"a.png","img":{"url":"b.png"}}"#, "`img` looks like a picture in addition"),
        (r#"{"prompt":"x","image_id":"000001.jpg"}"#, "`image_id` looks like a picture, but is not read"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"data:image/png;base64,AAAA"}]}],"img":"b.png"}"#,
            "`img` looks like a picture in addition",
        ),
        (r#"{"prompt":"x","prompt":"y"}"#, "`prompt` occurs twice in one object; keep only one of them"),
        (
            r#"{"messages":[{"role":"user","content":"x","content":"y"}]}"#,
            "`messages[0].content` occurs twice in one object",
        ),
        (r#"{"prompt":"x","meta":{"a":{"b":1,"b":1}}}"#, "`meta.a.b` occurs twice in one object"),
        (r#"{"prompt":null}"#, "`prompt` is null, so there is nothing to ask"),
        (r#"{"messages":null,"id":"1"}"#, "`messages` is null, so there is nothing to ask"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]}"#,
            "`messages[0].content[0].cache_control` is not supported here: it would not reach the model",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"a.png","detail":"low"}}]}]}"#,
            "`messages[0].content[0].image_url.detail` is not supported here",
        ),
        (r#"{"messages":[{"role":"user","name":"anna","content":"x"}]}"#, "`messages[0].name` is not supported here"),
        (
            r#"{"prompt":"x","thinking":{"type":"adaptive","display":"summarized"}}"#,
            "`thinking.display` is not supported here",
        ),
        (
            r#"{"prompt":"x","response_format":{"type":"json_schema","json_schema":{"description":"d","schema":{}}}}"#,
            "`response_format.json_schema.description` is not supported here",
        ),
        (r#"{"prompt":"x","extra_body":{"model":"m"}}"#, "`extra_body.model` can't be set here; the route's model"),
        (r#"{"prompt":"x","extra_body":{"max_tokens":9}}"#, "`extra_body.max_tokens` can't be set here; it limits"),
        (
            r#"{"prompt":"x","extra_body":{"generationConfig":{"maxOutputTokens":9}}}"#,
            "`extra_body.generationConfig.maxOutputTokens` can't be set here",
        ),
        (
            r#"{"prompt":"x","id":1e3}"#,
            "`id` must be a string or a whole number, not one with a fraction or an exponent",
        ),
        (r#"{"prompt":"x","seed":123456789012345678901234567890}"#, "`seed` is too large; at most 9223372036854775807"),
        (r#"{"prompt":"x","seed":18446744073709551615}"#, "`seed` is too large; at most 9223372036854775807"),
        (r#"{"prompt":"x","seed":1.5}"#, "`seed` must be a whole number, not one with a fraction"),
        (
            r#"{"question":"x","n":1}"#,
            r#"(it has question, n); give a template over its fields, as in --prompt "{{ question }}""#,
        ),
    ];
    let openai = |body: &str| format!(r#"{{"custom_id":"x","url":"/v1/chat/completions","body":{body}}}"#);
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let seen = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]}"#;
    let batch = [
        (openai("{}"), "`body.messages` is missing"),
        (openai(r#"{"messages":null}"#), "`body.messages` is null"),
        (r#"{"custom_id":"x","body":null}"#.to_owned(), "`body` is null"),
        (openai(&format!(r#"{{{hi},"seed":1,"seed":2}}"#)), "`body.seed` occurs twice in one object"),
        (format!(r#"{{"custom_id":"x","custom_id":"y","body":{{{hi}}}}}"#), "`custom_id` occurs twice in one object"),
        (
            openai(
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","image_url":{"url":"a.png"}}]}]}"#,
            ),
            "`body.messages[0].content[0].image_url` is not supported",
        ),
        (
            format!(r#"{{"custom_id":"x","body":{{{hi}}},"image":"a.png"}}"#),
            "`image` is outside `body`, so it would not be sent",
        ),
        (format!(r#"{{"custom_id":"x","body":{{{hi}}},"photo":"a.png"}}"#), "`photo` looks like a picture"),
        (
            format!(r#"{{"custom_id":"x","body":{seen},"image":"b.png"}}"#),
            "`image` is outside `body`, so it would not be sent",
        ),
        (format!(r#"{{"custom_id":"x","body":{seen},"photo":"b.png"}}"#), "`photo` looks like a picture in addition"),
        (openai(&format!(r#"{{{hi},"image":"a.png"}}"#)), "`body.image` is not supported"),
        (r#"{"custom_id":"x","url":"/v1/responses","body":{}}"#.to_owned(), "`url` is `/v1/responses`; only lines for"),
        (r#"{"custom_id":"x","url":"/v1/embeddings","body":{}}"#.to_owned(), "`body.input` is missing"),
        (r#"{"custom_id":"x","url":"/v1/embeddings","body":{"input":[]}}"#.to_owned(), "`body.input` is empty"),
        (
            openai(&format!(r#"{{{hi},"max_tokens":5,"max_completion_tokens":6}}"#)),
            "`body.max_tokens` stands beside `max_completion_tokens`",
        ),
        (
            format!(r#"{{"custom_id":"x","body":{{{hi}}},"extra_body":{{"stream":true}}}}"#),
            "`extra_body.stream` can't be set here; answers are never streamed",
        ),
        (r#"{"custom_id":"x","method":"POST"}"#.to_owned(), "`body` is missing"),
    ];
    let anthropic = [
        (format!(r#"{{"custom_id":"x","params":{{{hi},"system":"a","system":"b"}}}}"#), "`params.system` occurs twice"),
        (
            format!(r#"{{"custom_id":"x","params":{{{hi}}},"images":["a.png"]}}"#),
            "`images` is outside `params`, so it would not be sent",
        ),
        (
            r#"{"custom_id":"x","params":{"messages":[{"role":"user","content":"hi","images":["a.png"]}]}}"#.to_owned(),
            "`params.messages[0].images` is not supported",
        ),
        (
            format!(
                r#"{{"custom_id":"x","params":{{{hi},"system":[{{"type":"image","source":{{"type":"url","url":"https://x/y.png"}}}}]}}}}"#
            ),
            "`params.system` contains a picture",
        ),
    ];
    let hi = r#""contents":[{"parts":[{"text":"hi"}]}]"#;
    let gemini = [
        (r#"{"key":"x","request":{"contents":[]}}"#.to_owned(), "`request.contents` is missing or empty"),
        (format!(r#"{{"key":"x","request":{{{hi},{hi}}}}}"#), "`request.contents` occurs twice in one object"),
        (
            r#"{"key":"x","request":{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"},"text":"hi"}]}]}}"#
                .to_owned(),
            "`request.contents[0].parts[0].text` is in the same part as other content",
        ),
        (
            r#"{"key":"x","request":{"contents":[{"parts":[{"text":"hi"}],"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}"#
                .to_owned(),
            "`request.contents[0].inlineData` is not supported",
        ),
        (
            r#"{"key":"x","request":{"contents":[{"parts":[{"fileData":{"fileUri":"gs://b/x"}}]}]}}"#.to_owned(),
            "`request.contents[0].parts[0].fileData.fileUri` is `gs://b/x`, a file that belongs to one project",
        ),
        (
            r#"{"key":"x","request":{"contents":[{"role":"model","parts":[{"text":"hi"}]}]}}"#.to_owned(),
            "contains no user message",
        ),
    ];
    // The first row determines the format; the second is the one under test.
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
    for (first, cases) in firsts.into_iter().zip([owned(&jsonl), batch.to_vec(), anthropic.to_vec(), gemini.to_vec()]) {
        for (row, want) in cases {
            let faults = faults("rows.jsonl", format!("{first}\n\n{row}\n").as_bytes(), &InputOptions::default());
            assert_eq!(faults.total, 1, "{row}: {faults}");
            let words = faults.reported[0].error.to_string();
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
        ("id,prompt\r\n1,a\r\n\r\n2,b,c\r\n", 4, "has 3 cells, but the header has 2"),
        ("id,prompt\n1,\"two\nlines\"\n2,\n", 4, "`prompt` is empty"),
        ("id,prompt\n1,a\n2,\"never closed\n3,b\n", 3, "opens a quote (\") that is never closed"),
        ("prompt,prompt\na,b\n", 1, "has two columns named `prompt`"),
        ("prompt,temperature\na,warm\n", 2, "`temperature` must be a number, not a string"),
        ("question,answer\na,b\n", 2, "has neither `prompt` nor `messages` (it has question, answer)"),
        ("id,prompt\n1,a\n1,b\n", 3, "the id `1` is already used in line 2"),
        ("prompt\n", 1, "there are no rows"),
    ] {
        let faults = faults("rows.csv", content.as_bytes(), &InputOptions::default());
        let fault = &faults.reported[0].error;
        assert_eq!((fault.line, faults.total), (line, 1), "{content}: {faults}");
        assert!(fault.message.contains(want), "{content}: {faults}");
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
        assert_eq!(faults.reported[0].error.line, if name == "a.csv" { 3 } else { 2 });
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
    assert_eq!(faults.reported[0].duplicates, 248, "what is wrong alike is said once");
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
        InputOptions { default_params: defaults.clone(), system: Some("From the options.".to_owned()), ..no_options() };
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
    let input = open(&path, InputOptions { max_rows: Some(2), ..no_options() }).unwrap();
    let trial = input.validate().unwrap();
    assert_eq!((whole.items, trial.items), (3, 2));
    assert_eq!(whole.fingerprint, trial.fingerprint);
    assert_eq!(all(&input).len(), 2);
    write(&folder, "rows.txt", b"one\ntwo\nfour!\n");
    assert_ne!(open(&path, no_options()).unwrap().validate().unwrap().fingerprint, whole.fingerprint);
}

/// A field that only describes is no picture, and a field that a template inserts belongs to the template.
#[test]
fn fields_that_name_no_picture_are_left_to_templates() {
    let folder = TempDir::new().unwrap();
    write(&folder, "scan", &super::png(2, 2));
    let named = |row: &str, prompt: Option<&str>| {
        let path = write(&folder, "rows.jsonl", row.as_bytes());
        let items = all(&open(&path, InputOptions { prompt: prompt.map(str::to_owned), ..no_options() }).unwrap());
        items[0].request.images().count()
    };
    for (row, count) in [
        (r#"{"prompt":"x","file":"notes.txt","path":"src/main.rs","file_name":"a.wav"}"#, 0),
        (r#"{"prompt":"x","file":{"name":"a.png"},"path":["a.png",1]}"#, 0),
        (r#"{"prompt":"x","image_width":640,"image_id":"000017","photo_credit":"J. Doe","num_images":0}"#, 0),
        (r#"{"prompt":"x","image_caption":"a.png, taken from the pier.\nIt is late."}"#, 0),
        (r#"{"prompt":"x","path":"https://x.example/a.JPG?size=2#top"}"#, 1),
        (r#"{"prompt":"x","file":["a.png","b.jpg"]}"#, 2),
        (r#"{"prompt":"x","file_name":"scan"}"#, 1),
        (r#"{"prompt":"x","file_name":"no such file"}"#, 0),
        (r#"{"prompt":"x","file_name":["a.txt","b.txt"]}"#, 0),
        (r#"{"prompt":"x","file_name":["a.png","b.jpg"]}"#, 2),
        // Beside a picture that is sent, these fields describe it.
        (r#"{"prompt":"x","image":"a.png","img":"./a.png","picture":{"path":"a.png"},"photos":[{"url":"a.png"}]}"#, 1),
        (r#"{"prompt":"x","images":["a/x.png","b.png"],"image_names":["x.png","b.png"],"filename":"x.png"}"#, 2),
        (r#"{"prompt":"x","image":"a.png","photo_licence":"https://x.example/by/4.0/","image_id":"a"}"#, 1),
        (r#"{"prompt":"x","image":"a.png","img":{"height":3,"caption":"b.png"},"photo":null,"img2":""}"#, 1),
        (r#"{"prompt":"x","image":"https://x.example/a","img_url":"https://x.example/a"}"#, 1),
        (r#"{"prompt":"x","image":"https://x.example/a.png?s=1","image_name":"a.png"}"#, 1),
        (r#"{"prompt":"x","images":["a.png","b.png"],"image":"./a.png"}"#, 2),
        (
            r#"{"prompt":"x","image":"a.png","image_info":{"url":"https://x.example/a.html"},"img":"https://x.example/a"}"#,
            1,
        ),
        (r#"{"prompt":"x","image":"a.png","image_caption":"Screenshot of logo.svg","photo":"How to open a.pdf"}"#, 1),
        (r#"{"prompt":"x","image":"a.png","img_alt":"logo.png","image_text":"see a.png","image_source":"b.png"}"#, 1),
        (r#"{"prompt":"x","photo_credit":"https://x.example/j","photo_url":"https://x.example/photos/1"}"#, 0),
        (r#"{"prompt":"x","image_caption":"Screenshot of logo.svg","image_alt":"logo.png"}"#, 0),
        (r#"{"prompt":"x","image":"a.png","images":["a.png","b.png"]}"#, 2),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"data:image/png;base64,AAAA"}]}],"file_name":"a.png","path":"b.png"}"#,
            1,
        ),
    ] {
        assert_eq!(named(row, None), count, "{row}");
    }
    for (row, prompt, count) in [
        (r#"{"path":"a.png"}"#, "{{ path }}", 0),
        (r#"{"path":"a.png"}"#, "Describe it.", 1),
        (r#"{"image":"A cat on a mat"}"#, "Draw: {{ image }}", 0),
        (r#"{"image":{"caption":"A cat"}}"#, "Draw: {{ image.caption }}", 0),
        (r#"{"image":"a.png"}"#, "{{ image }}", 1),
        (r#"{"img":"a.png"}"#, "{{ img }}", 0),
    ] {
        assert_eq!(named(row, Some(prompt)), count, "{row} {prompt}");
    }
}

#[test]
fn rows_of_well_known_data_sets_are_taken() {
    for row in [
        // CelebA.
        r#"{"prompt":"x","image":"imgs/000001.jpg","image_id":"000001.jpg","image_file":"000001.jpg","img_file":"000001.jpg"}"#,
        // Unsplash.
        r#"{"prompt":"x","image":"https://images.unsplash.com/a","photo_id":"a","photo_url":"https://unsplash.com/photos/a","photo_image_url":"https://images.unsplash.com/b","photographer_username":"j"}"#,
        // COCO.
        r#"{"prompt":"x","image":"val2017/000000397133.jpg","file_name":"val2017/000000397133.jpg","coco_url":"http://images.cocodataset.org/val2017/000000397133.jpg","flickr_url":"http://farm7.staticflickr.com/6116/1_z.jpg"}"#,
        // LAION.
        r#"{"prompt":"x","image":"https://x.example/a.jpg","URL":"https://x.example/a.jpg","TEXT":"Logo - logo.png","WIDTH":640,"SIMILARITY":0.3}"#,
        // Flickr30k.
        r#"{"prompt":"x","image":"flickr30k-images/1000092795.jpg","filename":"1000092795.jpg","img_id":"0","image_name":"1000092795.jpg","sentids":[0,1]}"#,
    ] {
        let (_, items) = read("rows.jsonl", row.as_bytes(), &no_options());
        assert_eq!(items[0].request.images().count(), 1, "{row}");
    }
}

#[test]
fn a_batch_line_may_say_where_the_picture_is_from_that_it_holds() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#;
    let row = format!(r#"{{"custom_id":"x","body":{body},"image_path":"a.png"}}"#);
    let (_, items) = read("rows.jsonl", row.as_bytes(), &no_options());
    assert_eq!(items[0].request.images().count(), 1);
    let row = format!(r#"{{"custom_id":"x","body":{body},"images":["a.png","b.png"]}}"#);
    let refused = faults("rows.jsonl", row.as_bytes(), &no_options()).to_string();
    assert!(refused.contains("`images` is outside `body`"), "{refused}");
}

#[test]
fn a_batch_line_may_name_what_it_sends_beside_its_request() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]}"#;
    let beside = r#""image_url":"https://x.example/a.png","photo":{"url":"https://x.example/a.png"},"images":[]"#;
    let (_, items) =
        read("rows.jsonl", format!(r#"{{"custom_id":"x","body":{body},{beside}}}"#).as_bytes(), &no_options());
    assert_eq!(items[0].request.images().count(), 1);
}

#[test]
fn fields_that_only_the_api_of_a_batch_line_knows_keep_the_line_there() {
    for (fields, want) in [
        (r#""body":{"messages":[{"role":"user","content":"x"}],"web_search_options":{}}"#, "web_search_options"),
        (r#""body":{"messages":[{"role":"user","content":"x"}],"enable_thinking":false}"#, "enable_thinking"),
        (
            r#""body":{"messages":[{"role":"user","content":"x"}]},"extra_body":{"chat_template_kwargs":{}}"#,
            "extra_body.chat_template_kwargs",
        ),
    ] {
        let row = format!(r#"{{"custom_id":"x","url":"/v1/chat/completions",{fields}}}"#);
        let (_, items) = read("rows.jsonl", row.as_bytes(), &no_options());
        let native = items[0].request.native.as_ref().unwrap();
        assert!(native.first_native_only_field().is_some_and(|field| field.ends_with(want)), "{row}: {native:?}");
    }
}

#[test]
fn columns_of_a_table_are_refused_like_fields() {
    for (content, want) in [
        ("prompt,image,image_path\nx,a.png,b.png\n", "`image_path` names different pictures than `image`"),
        ("prompt,photo\nx,a.png\n", "`photo` looks like a picture"),
        ("prompt,image,image_2\nx,a.png,b.png\n", "`image_2` looks like a picture in addition"),
        ("prompt,photos\nx,\"[{\"\"url\"\":\"\"a.png\"\"}]\"\n", "`photos` looks like a picture"),
        ("prompt,seed\nx,99999999999999999999\n", "`seed` is too large"),
        (
            "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"x\"\"}]\"\n",
            "`messages[0].role` occurs twice",
        ),
    ] {
        let faults = faults("rows.csv", content.as_bytes(), &InputOptions::default());
        assert!(faults.to_string().contains(want), "{content}: {faults}");
        assert_eq!(faults.reported[0].error.line, 2, "{content}");
    }
}

#[test]
fn an_empty_text_does_not_take_the_place_of_a_picture() {
    let row = br#"{"key":"x","request":{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"AAAA"},"text":""},{"text":"hi"}]}]}}"#;
    let (_, items) = read("rows.jsonl", row, &no_options());
    assert_eq!(items[0].request.images().count(), 1);
}
