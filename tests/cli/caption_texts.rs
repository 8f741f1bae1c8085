//! What becomes of answers: they are cleaned, and refusals are no captions.

use serde_json::{Value, json};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request, Response},
    png,
};

fn prompt_of(request: &Request) -> String {
    let body = request.json();
    let parts = body["messages"][0]["content"].as_array().unwrap();
    parts.iter().find_map(|part| part["text"].as_str()).unwrap().to_owned()
}

/// A server that answers with a text that depends on the prompt.
fn server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> LoggingServer {
    LoggingServer::start(move |request| {
        if request.is_completion() {
            Response::openai(&answer(&prompt_of(request)))
        } else {
            Response::json(200, &json!({"object": "list", "data": [{"id": "m"}]}))
        }
    })
}

fn write_pictures(machine: &TestMachine, names: &[&str]) {
    for (number, name) in (1..).zip(names) {
        machine.write(&format!("album/{name}.png"), png(9, number));
    }
}

#[test]
fn captions_are_cleaned_refusals_fail_with_their_words_and_the_record_keeps_all_answers() {
    let server = server(|prompt| {
        match prompt {
            "a" => "Here is a caption:\r\n\r\n\"A  red\ncup.\"",
            "b" => "<think>A dog? No.</think>\n```\nA cat.\n```",
            "c" => "I'm sorry, but I can't describe people. Please try another picture.",
            _ => "Das Bild zeigt: nichts.",
        }
        .to_owned()
    });
    let machine = TestMachine::with_server(&server);
    let keys = machine.read("keys.toml");
    machine.write_keys_toml(&format!("{keys}\n[captions]\nrefusals = [\"Das Bild zeigt\"]\n"));
    write_pictures(&machine, &["a", "b", "c", "d"]);
    let args = ["run", "album", "--prompt", "{{ stem }}", "--caption-ext", "caption"];
    machine.cascadeck(&args).expect_status(3);
    assert_eq!(machine.read("album/a.caption"), "A red cup.\n");
    assert_eq!(machine.read("album/b.caption"), "A cat.\n");
    let results = machine.results("runs/album");
    let result = |id: &str| results.iter().find(|line| line.id == format!("{id}.png")).unwrap();
    assert_eq!(result("a").output.as_deref(), Some("Here is a caption:\r\n\r\n\"A  red\ncup.\""));
    for (id, words) in [("c", "is a refusal: I'm sorry, but I can't describe people"), ("d", "Das Bild zeigt: nichts.")]
    {
        assert!(!machine.path(format!("album/{id}.caption")).exists());
        let error = result(id).error.clone().unwrap();
        assert!(error.message.contains(words), "{}", error.message);
        assert_eq!(error.check.as_deref(), Some("refusal"));
    }
    assert_eq!(server.completions().len(), 4, "each is asked once");
    let export = machine.cascadeck(&["export", "runs/album", "--format", "image-folder"]).expect_status(0);
    let lines: Vec<Value> = export.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let want = [json!({"file_name": "a.png", "text": "A red cup."}), json!({"file_name": "b.png", "text": "A cat."})];
    assert_eq!(lines, want);
    // Captions that were deleted are written again as they were.
    std::fs::remove_file(machine.path("album/a.caption")).unwrap();
    machine.cascadeck(&args);
    assert_eq!(machine.read("album/a.caption"), "A red cup.\n");
    // As they came, if that is asked for.
    let raw =
        [&args[..], &["--no-clean", "preamble,quotes,whitespace", "--allow-refusals", "--run-dir", "raw"]].concat();
    std::fs::remove_file(machine.path("album/a.caption")).unwrap();
    machine.cascadeck(&raw).expect_status(0);
    assert_eq!(machine.read("album/a.caption"), "Here is a caption:\n\n\"A  red\ncup.\"\n");
    assert!(machine.read("album/c.caption").starts_with("I'm sorry"));
}

#[test]
fn a_trigger_is_asked_for_or_put_before() {
    let server =
        server(
            |prompt| {
                if prompt.contains("An earlier answer") { "An ohwx cup.".to_owned() } else { "A cup.".to_owned() }
            },
        );
    let machine = TestMachine::with_server(&server);
    write_pictures(&machine, &["a"]);
    machine.cascadeck(&["run", "album", "--style", "brief", "--trigger", "ohwx"]).expect_status(0);
    assert_eq!(machine.read("album/a.txt"), "An ohwx cup.\n");
    let prompts: Vec<String> = server.completions().iter().map(prompt_of).collect();
    assert!(
        prompts[0].contains("one short sentence") && prompts[0].contains("must contain the word ohwx"),
        "{prompts:?}"
    );
    assert!(prompts[1].contains("does not contain the word ohwx"), "{prompts:?}");
    let args = ["run", "album", "--existing", "overwrite", "--run-dir", "p", "--trigger", "ohwx", "--prepend-trigger"];
    machine.cascadeck(&args).expect_status(0);
    assert_eq!(machine.read("album/a.txt"), "ohwx, A cup.\n");
}

#[test]
fn a_prompt_may_use_the_caption_and_the_place_of_a_picture_and_a_resume_asks_nothing_again() {
    let server = server(|prompt| format!("new {prompt}"));
    let machine = TestMachine::with_server(&server);
    write_pictures(&machine, &["a", "b"]);
    machine.write("album/a.txt", "cup, red\n");
    let prompt = "{{ index }} [{{ caption }}] {{ tags | join('+') }} {{ width }}x{{ height }} {{ directory }}";
    let args = ["run", "album", "--existing", "overwrite", "--prompt", prompt];
    machine.cascadeck(&args).expect_status(0);
    assert_eq!(machine.read("album/a.txt"), "new 1 [cup, red] cup+red 9x1 album\n");
    assert_eq!(machine.read("album/b.txt"), "new 2 [] 9x2 album\n");
    machine.write("album/0.png", png(9, 3));
    machine.cascadeck(&args).expect_status(0);
    assert_eq!(machine.read("album/0.txt"), "new 1 [] 9x3 album\n");
    assert_eq!(server.completions().len(), 3);
}

#[test]
fn a_gallery_is_one_page_that_requests_nothing() {
    let server = server(|prompt| {
        if prompt == "a" {
            "<script>alert(\"1\")</script> & a cup".to_owned()
        } else {
            "I'm sorry, I can't.".to_owned()
        }
    });
    let machine = TestMachine::with_server(&server);
    write_pictures(&machine, &["a", "b"]);
    machine.cascadeck(&["run", "album", "--prompt", "{{ stem }}"]).expect_status(3);
    let ended = machine.cascadeck(&["gallery", "runs/album", "--html", "page.html"]).expect_status(0);
    ended.assert_stderr_contains(&["2 pictures written to page.html"]);
    let page = machine.read("page.html");
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; a cup"), "{page}");
    assert!(
        page.contains("default-src 'none'; img-src data:") && page.contains("is a refusal: I&#39;m sorry"),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");
    assert_eq!(page.matches("src=\"data:image/").count(), 2);
    // It is replaced, but nothing else is.
    machine.cascadeck(&["gallery", "runs/album", "--html", "page.html"]).expect_status(0);
    machine.cascadeck(&["gallery", "runs/album", "--html", "keys.toml"]).expect_status(2);
    let printed = machine.cascadeck(&["gallery", "runs/album", "--html", "-"]).expect_status(0);
    assert_eq!(printed.stdout, page);
}

#[test]
fn each_picture_gets_one_of_several_prompts_by_their_weights_and_keeps_it() {
    let server = server(|prompt| format!("{prompt}."));
    let machine = TestMachine::with_server(&server);
    let names: Vec<String> = (0..60).map(|number| format!("img{number}")).collect();
    write_pictures(&machine, &names.iter().map(String::as_str).collect::<Vec<_>>());
    machine.write("prompts.txt", "weight: 3\nOften {{ stem }}\n---\nSeldom {{ stem }}\n");
    machine.cascadeck(&["run", "album", "--prompts", "prompts.txt"]).expect_status(0);
    let captions = |machine: &TestMachine| -> Vec<String> {
        names.iter().map(|name| machine.read(&format!("album/{name}.txt"))).collect()
    };
    let first = captions(&machine);
    let often = first.iter().filter(|caption| caption.starts_with("Often img")).count();
    assert!((35..=55).contains(&often), "{often} of 60");
    let again = ["run", "album", "--prompts", "prompts.txt", "--existing", "overwrite", "--run-dir", "again"];
    machine.cascadeck(&again).expect_status(0);
    assert_eq!(captions(&machine), first);
    machine.write("prompts.txt", "---\n");
    let refused = machine.cascadeck(&["run", "album", "--prompts", "prompts.txt", "--run-dir", "r"]).expect_status(2);
    refused.assert_stderr_contains(&["--prompts prompts.txt: prompt 1 is empty"]);
}

#[test]
fn examples_come_before_each_picture() {
    let server = server(|_| "A cup.".to_owned());
    let machine = TestMachine::with_server(&server);
    write_pictures(&machine, &["a"]);
    machine.write("examples/x.png", png(5, 5));
    machine.write("examples/x.txt", "dog, brown\n");
    machine.write("examples/without.png", png(6, 6));
    machine.cascadeck(&["run", "album", "--style", "tags", "--examples", "examples"]).expect_status(0);
    let body = server.completions()[0].json();
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert!(messages[1].to_string().contains("dog, brown"));
    assert_eq!(messages.iter().filter(|message| message.to_string().contains("image_url")).count(), 2);
    let refused = machine.cascadeck(&["run", "album", "--examples", "album", "--run-dir", "r", "--caption-ext", "cap"]);
    refused.expect_status(2).assert_stderr_contains(&["album has no picture with a caption"]);
}
