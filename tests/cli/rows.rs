//! Rows whose fields change what is sent: the pictures that they name.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::lab::{Machine, logging_server::LoggingServer, png};

fn machine_with(server: &LoggingServer) -> Machine {
    let machine = Machine::new();
    machine.write_keys(&server.keys_toml(""));
    machine
}

/// The pictures of each request, with the text beside them.
fn sent(server: &LoggingServer) -> BTreeSet<(String, Vec<String>)> {
    let pictures_and_text = |body: &Value| {
        let content = &body["messages"][0]["content"];
        let parts = content.as_array().cloned().unwrap_or_default();
        let text = parts.iter().find_map(|part| part["text"].as_str()).or(content.as_str()).unwrap_or_default();
        let urls = parts.iter().filter_map(|part| part["image_url"]["url"].as_str()).map(str::to_owned);
        (text.to_owned(), urls.collect())
    };
    server.completions().iter().map(|request| pictures_and_text(&request.json())).collect()
}

/// A picture as it stands in an OpenAI request.
fn data_url(picture: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(picture))
}

#[test]
fn pictures_arrive_whichever_field_names_them() {
    let server = LoggingServer::openai("A picture.");
    let machine = machine_with(&server);
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
    machine.cascadeck(&["run", "album/rows.jsonl"]).with_status(0);
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
    assert_eq!(sent(&server), owned(want));

    // Columns of a table, with a template over one of them.
    let server = LoggingServer::openai("A picture.");
    machine.write_keys(&server.keys_toml(""));
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
        machine.cascadeck(&run).with_status(0);
        // The same command resumes.
        machine.cascadeck(&run).with_status(0);
        assert!(server.completions().len() <= before + 1, "{field}");
        assert!(sent(&server).contains(&(format!("See {field}"), urls)), "{field}: {:?}", sent(&server));
    }
    // A field that a template writes into the prompt is the template's.
    machine.write("album/paths.jsonl", r#"{"path":"a.png","image":"a red square"}"#);
    machine.cascadeck(&["run", "album/paths.jsonl", "--prompt", "{{ path }}: {{ image }}"]).with_status(0);
    assert!(sent(&server).contains(&("a.png: a red square".to_owned(), vec![])));
}
