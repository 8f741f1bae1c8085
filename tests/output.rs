//! Output for people and other programs: captions that survive crashes, and exports that scripts can read.

use std::{fs, path::Path};

use cascadeck::{
    domain::{AnswerParts, CostByKindUsd, FinalState, Outcome, ResultError, ResultLine, Usage},
    output::{
        ExistingCaptionPolicy, ExportFormat, ExportOptions, Exporter, captions::has_caption, export, write_caption,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

mod captions {
    use super::*;

    #[test]
    fn existing_captions_are_kept_replaced_or_added_to_as_configured() {
        for (existing, before, want) in [
            (ExistingCaptionPolicy::Skip, None, "a cat\n"),
            (ExistingCaptionPolicy::Skip, Some(""), "a cat\n"),
            (ExistingCaptionPolicy::Skip, Some(" \n"), "a cat\n"),
            (ExistingCaptionPolicy::Skip, Some("a dog"), "a dog"),
            (ExistingCaptionPolicy::Overwrite, None, "a cat\n"),
            (ExistingCaptionPolicy::Overwrite, Some("a dog\n"), "a cat\n"),
            (ExistingCaptionPolicy::Append, None, "a cat\n"),
            (ExistingCaptionPolicy::Append, Some("\n"), "a cat\n"),
            (ExistingCaptionPolicy::Append, Some("a dog"), "a dog\na cat\n"),
            (ExistingCaptionPolicy::Append, Some("a dog\n\n"), "a dog\na cat\n"),
            (ExistingCaptionPolicy::Append, Some("a dog\r\nor two\r\n"), "a dog\r\nor two\na cat\n"),
            (ExistingCaptionPolicy::Append, Some("not a cat"), "not a cat\na cat\n"),
            (ExistingCaptionPolicy::Append, Some("a cat\na dog"), "a cat\na dog\na cat\n"),
            (ExistingCaptionPolicy::Prepend, None, "a cat\n"),
            (ExistingCaptionPolicy::Prepend, Some("a dog\n"), "a cat\na dog\n"),
            (ExistingCaptionPolicy::Prepend, Some("\u{feff}a dog\n"), "a cat\na dog\n"),
            (ExistingCaptionPolicy::Prepend, Some("a cat nap"), "a cat\na cat nap\n"),
        ] {
            let folder = TempDir::new().unwrap();
            let target = folder.path().join("a.txt");
            if let Some(before) = before {
                fs::write(&target, before).unwrap();
            }
            // A crash may make it run several times.
            for _ in 0..3 {
                write_caption(&target, "  a cat\n", existing).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), want, "{existing:?} {before:?}");
            }
            assert_eq!(file_names(folder.path()), ["a.txt"], "nothing is left lying about");
        }
    }

    #[test]
    fn captions_of_several_lines_are_not_doubled_either() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("a.txt");
        fs::write(&target, "old\r\ntext").unwrap();
        for existing in [
            ExistingCaptionPolicy::Append,
            ExistingCaptionPolicy::Append,
            ExistingCaptionPolicy::Prepend,
            ExistingCaptionPolicy::Prepend,
        ] {
            write_caption(&target, "two\nlines", existing).unwrap();
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "two\nlines\nold\r\ntext\ntwo\nlines\n");
    }

    #[test]
    fn a_temporary_file_left_by_a_crash_is_replaced() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("a.txt");
        write_caption(&target, "first", ExistingCaptionPolicy::Overwrite).unwrap();
        // A crash between writing and renaming leaves a partly written temporary file.
        let temporary = write_partial_temp_file(folder.path(), &target);
        assert_eq!(fs::read_to_string(&target).unwrap(), "first\n");
        write_caption(&target, "second", ExistingCaptionPolicy::Overwrite).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "second\n");
        assert!(!temporary.exists());
    }

    /// Writes a partial temporary file, with the name that `write_caption` uses.
    fn write_partial_temp_file(folder: &Path, target: &Path) -> std::path::PathBuf {
        let name = format!(
            ".cascadeck-{:016x}.tmp",
            xxhash_rust::xxh3::xxh3_64(target.file_name().unwrap().as_encoded_bytes())
        );
        let path = folder.join(name);
        fs::write(&path, "half").unwrap();
        path
    }

    #[test]
    fn folders_are_made_and_long_names_fit() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("deep/er").join(format!("{}.txt", "n".repeat(250)));
        write_caption(&target, "text", ExistingCaptionPolicy::Skip).unwrap();
        assert_eq!(fs::read_to_string(target).unwrap(), "text\n");
    }

    #[test]
    fn an_empty_text_is_never_a_caption() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("a.txt");
        write_caption(&target, " \n", ExistingCaptionPolicy::Overwrite).unwrap_err();
        assert!(!target.exists());
    }

    #[test]
    fn a_file_that_can_not_be_added_to_stays_as_it_is() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("a.txt");
        fs::write(&target, b"caf\xE9").unwrap();
        let error = write_caption(&target, "text", ExistingCaptionPolicy::Append).unwrap_err();
        assert!(error.to_string().contains("a.txt: is not UTF-8"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"caf\xE9");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_but_never_followed() {
        use std::os::unix::fs::symlink;
        let folder = TempDir::new().unwrap();
        let (other, target) = (folder.path().join("other.txt"), folder.path().join("a.txt"));
        fs::write(&other, "somebody else's").unwrap();
        symlink(&other, &target).unwrap();
        write_caption(&target, "text", ExistingCaptionPolicy::Append).unwrap_err();
        write_caption(&target, "text", ExistingCaptionPolicy::Overwrite).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "text\n");
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody else's");
    }

    #[test]
    fn blank_files_are_no_captions() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("a.txt");
        assert!(!has_caption(&target).unwrap());
        for (content, want) in [("", false), (" \r\n\t", false), ("x", true), (&"x".repeat(9_000), true)] {
            fs::write(&target, content).unwrap();
            assert_eq!(has_caption(&target).unwrap(), want, "{content:?}");
        }
    }

    fn file_names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

mod exports {
    use super::*;

    fn done() -> ResultLine {
        ResultLine {
            id: "42".to_owned(),
            status: FinalState::Done,
            output: Some("=SUM(A1), \"so to say\"\nand more".to_owned()),
            error: None,
            finish_reason: Some("max_tokens".to_owned()),
            key: Some("alice".to_owned()),
            provider: Some("gemini".to_owned()),
            model: Some("gemini-3.5-flash-lite".to_owned()),
            model_version: None,
            usage: Usage { input_tokens: 120, output_tokens: 45, thinking_tokens: 5, ..Usage::default() },
            cost_usd: 0.000_148,
            cost_by_kind_usd: Some(CostByKindUsd { input: 0.000_048, output: 0.000_1, ..CostByKindUsd::default() }),
            latency_ms: 812,
            attempts: 2,
            started_at: Some("2026-11-21T09:00:00.000Z".to_owned()),
            finished_at: "2026-11-21T09:00:01.000Z".to_owned(),
            request_hash: "00ff".to_owned(),
            parts: AnswerParts::default(),
        }
    }

    fn failed(outcome: Outcome, status: Option<u16>, message: &str) -> ResultLine {
        ResultLine {
            id: "43".to_owned(),
            status: FinalState::Failed,
            output: None,
            error: Some(ResultError { outcome, status, message: message.to_owned(), check: None }),
            finish_reason: None,
            usage: Usage::default(),
            cost_usd: 0.0,
            cost_by_kind_usd: Some(CostByKindUsd::default()),
            ..done()
        }
    }

    fn exported(format: ExportFormat, options: ExportOptions, lines: Vec<ResultLine>) -> String {
        let mut out = Vec::new();
        let count = lines.len() as u64;
        assert_eq!(export(format, options, lines, &mut out).unwrap(), count);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn jsonl_is_what_results_jsonl_holds() {
        let lines = vec![done(), failed(Outcome::ContentBlocked, Some(200), "blockReason: SAFETY")];
        let text = exported(ExportFormat::Jsonl, ExportOptions::default(), lines.clone());
        let back: Vec<ResultLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, lines);
    }

    #[test]
    fn csv_has_a_header_and_keeps_texts_as_they_are() {
        let lines = vec![done(), failed(Outcome::ServerError, Some(500), "oops")];
        let text = exported(ExportFormat::Csv, ExportOptions::default(), lines);
        assert_eq!(
            text,
            "id,status,output,error_outcome,error_status,error_message,finish_reason,key,provider,model,model_version,\
             input_tokens,output_tokens,thinking_tokens,cost_usd,latency_ms,attempts,started_at,finished_at,\
             request_hash,cached_input_tokens,cache_write_tokens,cache_write_1h_tokens,cost_input_usd,\
             cost_cached_input_usd,cost_cache_write_usd,cost_output_usd,cost_images_usd,error_check,tool_calls,choices,\
             embedding,message\n\
             42,done,\"=SUM(A1), \"\"so to say\"\"\nand more\",,,,max_tokens,alice,gemini,gemini-3.5-flash-lite,,\
             120,45,5,0.000148,812,2,2026-11-21T09:00:00.000Z,2026-11-21T09:00:01.000Z,00ff,0,0,0,0.000048,0,0,0.0001,0,,,,,\n\
             43,failed,,server_error,500,oops,,alice,gemini,gemini-3.5-flash-lite,,\
             0,0,0,0,812,2,2026-11-21T09:00:00.000Z,2026-11-21T09:00:01.000Z,00ff,0,0,0,0,0,0,0,0,,,,,\n"
        );
    }

    #[test]
    fn formulas_are_neutralised_where_asked() {
        let options = ExportOptions { escape_formulas: true, ..ExportOptions::default() };
        for (output, want) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM", "'@SUM"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("1=1", "1=1"),
            ("", ""),
        ] {
            let line = ResultLine { output: Some(output.to_owned()), ..done() };
            let text = exported(ExportFormat::Csv, options.clone(), vec![line]);
            let record = csv::Reader::from_reader(text.as_bytes()).into_records().next().unwrap().unwrap();
            assert_eq!(&record[2], want);
        }
    }

    #[test]
    fn an_export_of_nothing_is_still_a_table() {
        assert!(exported(ExportFormat::Csv, ExportOptions::default(), vec![]).starts_with("id,status,output"));
        assert_eq!(exported(ExportFormat::Jsonl, ExportOptions::default(), vec![]), "");
    }

    #[test]
    fn batch_output_is_shaped_as_openai_shapes_it() {
        let lines = vec![
            done(),
            failed(Outcome::BadRequest, Some(400), "context too long"),
            failed(Outcome::ContentBlocked, Some(200), "blockReason: SAFETY"),
            failed(Outcome::UnreadableInput, None, "a.png is no picture"),
        ];
        let text = exported(ExportFormat::OpenaiBatch, ExportOptions::default(), lines);
        let got: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let want = [
            json!({
                "id": "batch_req_00ff",
                "custom_id": "42",
                "response": {"status_code": 200, "request_id": "00ff", "body": {
                    "id": "chatcmpl-00ff",
                    "object": "chat.completion",
                    "created": 1_795_251_601,
                    "model": "gemini-3.5-flash-lite",
                    "choices": [{
                        "index": 0,
                        "message": {
                            "role": "assistant", "content": "=SUM(A1), \"so to say\"\nand more", "refusal": null,
                        },
                        "logprobs": null,
                        "finish_reason": "length",
                    }],
                    "usage": {
                        "prompt_tokens": 120,
                        "completion_tokens": 50,
                        "total_tokens": 170,
                        "completion_tokens_details": {"reasoning_tokens": 5},
                        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    },
                }},
                "error": null,
            }),
            json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": {"status_code": 400, "request_id": "00ff", "body": {"error": {
                    "message": "context too long", "type": "bad_request", "param": null, "code": "bad_request",
                }}},
                "error": null,
            }),
            json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": null,
                "error": {"code": "content_blocked", "message": "blockReason: SAFETY"},
            }),
            json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": null,
                "error": {"code": "unreadable_input", "message": "a.png is no picture"},
            }),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn batch_output_keeps_an_answer_that_failed_a_check() {
        let message = "check shape: is not JSON";
        let failed = failed(Outcome::InvalidOutput, Some(200), message);
        let line = ResultLine { output: Some("Paris".to_owned()), usage: done().usage, ..failed };
        let text = exported(ExportFormat::OpenaiBatch, ExportOptions::default(), vec![line]);
        assert!(cascadeck::output::is_export_line(text.as_bytes()), "it may be replaced by a later export");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["error"], json!({"code": "invalid_output", "message": message}));
        let response = &line["response"];
        assert_eq!((&response["status_code"], &response["request_id"]), (&200.into(), &"00ff".into()));
        assert_eq!(response["body"]["choices"][0]["message"]["content"], "Paris");
        assert_eq!(response["body"]["usage"]["total_tokens"], 170);
    }

    /// The body of the response in OpenAI's batch format.
    fn batch_body(parts: Value, finish_reason: &str) -> Value {
        let parts: AnswerParts = serde_json::from_value(parts).unwrap();
        let line = ResultLine { output: None, finish_reason: Some(finish_reason.to_owned()), parts, ..done() };
        let text = exported(ExportFormat::OpenaiBatch, ExportOptions::default(), vec![line]);
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line["response"]["body"].take()
    }

    #[test]
    fn batch_output_has_calls_of_tools_in_openais_form() {
        let openai = json!({"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"a\":1}"}});
        let message = json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [openai]});
        let anthropic = json!({"type": "tool_use", "id": "c1", "name": "find", "input": {"a": 1}});
        let without_id = json!({"name": "find", "args": {"a": 1}});
        let new_id = json!({"id": "call_00ff_0_0", "type": "function", "function": openai["function"]});
        for (calls, finish_reason, want, want_reason) in [
            (&openai, "tool_calls", &openai, "tool_calls"),
            // OpenAI says so if the request prescribes the function.
            (&openai, "stop", &openai, "stop"),
            (&anthropic, "tool_use", &openai, "tool_calls"),
            (&without_id, "stop", &new_id, "tool_calls"),
            (
                &json!({"name": "find"}),
                "max_tokens",
                &json!({"id": "call_00ff_0_0", "type": "function",
                "function": {"name": "find", "arguments": "{}"}}),
                "length",
            ),
        ] {
            let body = batch_body(json!({"tool_calls": [calls]}), finish_reason);
            let choice = &body["choices"][0];
            let want_message = json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [want]});
            assert_eq!((&choice["message"], &choice["finish_reason"]), (&want_message, &want_reason.into()), "{calls}");
        }
        let old = json!({"name": "find", "arguments": "{}"});
        let choice = batch_body(json!({"tool_calls": [old]}), "function_call")["choices"][0].take();
        assert_eq!((&choice["message"]["function_call"], &choice["finish_reason"]), (&old, &"function_call".into()));
        let kept = json!({"role": "assistant", "content": "x", "reasoning_content": "y"});
        assert_eq!(batch_body(json!({"message": kept}), "stop")["choices"][0]["message"], kept, "the whole message");
        let blocks = json!({"type": "message", "role": "assistant", "content": []});
        let body = batch_body(json!({"tool_calls": [anthropic], "message": blocks}), "tool_use");
        assert_eq!(body["choices"][0]["message"], message, "another API's message");
    }

    #[test]
    fn batch_output_has_every_choice() {
        let choice =
            |index: u32| json!({"index": index, "message": {"role": "assistant", "content": "x"}, "logprobs": {}});
        let choices = json!([choice(0), choice(1)]);
        assert_eq!(batch_body(json!({"choices": choices}), "stop")["choices"], choices);
        let parts = json!([{"text": "hm", "thought": true}, {"text": "Os"}, {"text": "lo"}]);
        let candidates = json!([
            {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0},
            {"content": {"parts": [{"functionCall": {"id": "f", "name": "find", "args": {}}}]}, "finishReason": "STOP"},
        ]);
        let call = json!({"id": "f", "type": "function", "function": {"name": "find", "arguments": "{}"}});
        let want = json!([
            {"index": 0, "message": {"role": "assistant", "content": "Oslo", "refusal": null}, "logprobs": null,
             "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]},
             "logprobs": null, "finish_reason": "tool_calls"},
        ]);
        assert_eq!(batch_body(json!({"choices": candidates}), "stop")["choices"], want);
    }

    #[test]
    fn batch_output_has_embeddings() {
        for (embedding, want) in [
            (json!([0.5, 0.25]), vec![json!([0.5, 0.25])]),
            (json!([[0.5], [0.25]]), vec![json!([0.5]), json!([0.25])]),
            (json!("AAAA"), vec![json!("AAAA")]),
            (json!(["AAAA", "AAAB"]), vec![json!("AAAA"), json!("AAAB")]),
        ] {
            let data: Vec<Value> = want
                .iter()
                .enumerate()
                .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}))
                .collect();
            let want = json!({
                "object": "list", "data": data, "model": "gemini-3.5-flash-lite",
                "usage": {"prompt_tokens": 120, "total_tokens": 170},
            });
            assert_eq!(batch_body(json!({"embedding": embedding}), "stop"), want);
        }
    }

    #[test]
    fn csv_has_the_parts_of_an_answer_besides_its_text_as_json() {
        let parts =
            json!({"tool_calls": [{"name": "f"}], "choices": [{}, {}], "embedding": [0.5], "message": {"a": 1}});
        let error = ResultError {
            check: Some("shape".to_owned()),
            ..failed(Outcome::InvalidOutput, Some(200), "no").error.unwrap()
        };
        let line = ResultLine { parts: serde_json::from_value(parts).unwrap(), error: Some(error), ..done() };
        let text = exported(ExportFormat::Csv, ExportOptions::default(), vec![line]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = reader.headers().unwrap().clone();
        let record = reader.records().next().unwrap().unwrap();
        let cell = |name: &str| &record[columns.iter().position(|column| column == name).unwrap()];
        assert_eq!(
            ["error_check", "tool_calls", "choices", "embedding", "message"].map(cell),
            ["shape", r#"[{"name":"f"}]"#, "[{},{}]", "[0.5]", r#"{"a":1}"#]
        );
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_a_short_file() {
        struct FullDisk;
        impl std::io::Write for FullDisk {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for format in [ExportFormat::Jsonl, ExportFormat::Csv, ExportFormat::OpenaiBatch] {
            let written = Exporter::new(format, ExportOptions::default(), FullDisk)
                .and_then(|mut exporter| exporter.write(&done()).and_then(|()| exporter.finish()));
            assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull, "{format:?}");
        }
    }
}
