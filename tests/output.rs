//! Output for people and other programs: captions that survive crashes, and exports that scripts can read.

use std::{fs, path::Path};

use cascadeck::{
    domain::{AnswerParts, CostByKindUsd, FinalState, Outcome, ResultError, ResultLine, Usage},
    output::{
        ExistingCaptionPolicy, ExportFormat, ExportOptions, Exporter, captions::has_caption, export, write_caption,
    },
};
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
             cost_cached_input_usd,cost_cache_write_usd,cost_output_usd,cost_images_usd\n\
             42,done,\"=SUM(A1), \"\"so to say\"\"\nand more\",,,,max_tokens,alice,gemini,gemini-3.5-flash-lite,,\
             120,45,5,0.000148,812,2,2026-11-21T09:00:00.000Z,2026-11-21T09:00:01.000Z,00ff,0,0,0,0.000048,0,0,0.0001,0\n\
             43,failed,,server_error,500,oops,,alice,gemini,gemini-3.5-flash-lite,,\
             0,0,0,0,812,2,2026-11-21T09:00:00.000Z,2026-11-21T09:00:01.000Z,00ff,0,0,0,0,0,0,0,0\n"
        );
    }

    #[test]
    fn formulas_are_neutralised_where_asked() {
        let options = ExportOptions { escape_formulas: true };
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
            let text = exported(ExportFormat::Csv, options, vec![line]);
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
        let got: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let want = [
            serde_json::json!({
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
            serde_json::json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": {"status_code": 400, "request_id": "00ff", "body": {"error": {
                    "message": "context too long", "type": "bad_request", "param": null, "code": "bad_request",
                }}},
                "error": null,
            }),
            serde_json::json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": null,
                "error": {"code": "content_blocked", "message": "blockReason: SAFETY"},
            }),
            serde_json::json!({
                "id": "batch_req_00ff",
                "custom_id": "43",
                "response": null,
                "error": {"code": "unreadable_input", "message": "a.png is no picture"},
            }),
        ];
        assert_eq!(got, want);
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
