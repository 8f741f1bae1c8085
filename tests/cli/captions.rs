//! Captions: where they are written, and that nobody else's caption is overwritten.

use crate::harness::{
    SimulatedProvider, TestMachine,
    logging_server::{LoggingServer, Response},
    png,
};

pub const EYES: &str = r#"
name = "eyes"
provider = [{ name = "g", api = "gemini" }, { name = "o", api = "openai" }, { name = "a", api = "anthropic" }]
model = [
    { name = "blind", provider = "o", vision = false },
    { name = "gm", provider = "g", rpd = 2 },
    { name = "om", provider = "o", rpd = 2 },
    { name = "am", provider = "a" },
]
key = [
    { name = "alice", provider = "g", project = "1", secret = "AIza-alice" },
    { name = "olga", provider = "o", project = "2", secret = "sk-olga" },
    { name = "anton", provider = "a", project = "3", secret = "sk-ant-anton" },
]
"#;

/// Writes an album of five pictures, one of them in a subfolder.
fn album(machine: &TestMachine) {
    for (name, width, height) in ALBUM {
        machine.write(&format!("album/{name}.png"), png(width, height));
    }
}

const ALBUM: [(&str, u32, u32); 5] =
    [("wide", 40, 30), ("tall", 20, 50), ("square", 32, 32), ("dot", 2, 3), ("more/strip", 90, 4)];

#[test]
fn every_picture_gets_its_own_caption_beside_it_over_all_three_apis() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    let ended = machine.cascadeck(&["run", "album", "--prompt", "Describe {{ name }}."]).expect_status(0);
    ended.assert_stderr_contains(&["album: 5 pictures"]);
    for (name, width, height) in ALBUM {
        let caption = machine.read(&format!("album/{name}.txt"));
        assert!(caption.starts_with(&format!("A picture of {width}x{height} pixels")), "{name}: {caption}");
        assert!(caption.ends_with('\n') && caption.lines().count() == 1, "{name}: {caption:?}");
    }
    let books = provider.checked_stats();
    assert_eq!((books.total.ok, books.total.requests), (5, 5));
    let served = |name: &str| books.key(name).unwrap().counts.ok;
    assert_eq!([served("alice"), served("olga"), served("anton")], [2, 2, 1], "each API described some");
}

#[test]
fn captions_that_are_there_are_kept_replaced_or_added_to() {
    for (existing, wide, dot) in [
        ("skip", "Mine.\n", "A picture of 2x3"),
        ("overwrite", "A picture of 40x30", "A picture of 2x3"),
        ("append", "Mine.\nA picture of 40x30", "A picture of 2x3"),
        ("prepend", "A picture of 40x30", "A picture of 2x3"),
    ] {
        let provider = SimulatedProvider::from_toml(EYES);
        let machine = TestMachine::with_provider(&provider);
        album(&machine);
        machine.write("album/wide.txt", "Mine.\n");
        // An empty file doesn't count as a caption, nor one that a power cut has filled with zeros.
        machine.write("album/dot.txt", if existing == "skip" { "\0\0\0" } else { "" });
        machine.cascadeck(&["run", "album", "--existing", existing]).expect_status(0);
        let (now_wide, now_dot) = (machine.read("album/wide.txt"), machine.read("album/dot.txt"));
        assert!(now_wide.starts_with(wide), "{existing}: {now_wide}");
        assert!(now_dot.starts_with(dot), "{existing}: {now_dot}");
        assert_eq!(now_wide.contains("Mine."), existing != "overwrite", "{existing}: {now_wide}");
        let asked = if existing == "skip" { 4 } else { 5 };
        assert_eq!(provider.checked_stats().total.ok, asked, "{existing}");
        // The same command again sends nothing and adds nothing.
        machine.cascadeck(&["run", "album", "--existing", existing]).expect_status(0);
        assert_eq!(
            (machine.read("album/wide.txt"), provider.checked_stats().total.ok),
            (now_wide, asked),
            "{existing}"
        );
    }
}

#[test]
fn nothing_is_asked_where_the_answer_could_not_be_added_to_what_is_there() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    let latin: &[u8] = b"Un caf\xe9.\n";
    machine.write("album/wide.txt", latin);
    for existing in ["append", "prepend"] {
        let ended = machine.cascadeck(&["run", "album", "--existing", existing]).expect_status(2);
        ended.assert_stderr_contains(&["wide.txt is not UTF-8", "iconv", "or move it away"]);
        assert_eq!(std::fs::read(machine.path("album/wide.txt")).unwrap(), latin, "{existing}");
    }
    assert_eq!(provider.checked_stats().total.requests, 0);
    machine.cascadeck(&["run", "album", "--existing", "overwrite", "--run-dir", "anew"]).expect_status(0);
    assert!(machine.read("album/wide.txt").starts_with("A picture of 40x30"));
}

#[test]
fn a_caption_that_is_not_to_be_written_to_again_stops_no_run() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    let run = ["run", "album", "--existing", "append"];
    machine.cascadeck(&run).expect_status(0);
    let asked = provider.checked_stats().total.requests;
    let latin: &[u8] = b"Un caf\xe9.\n";
    machine.write("album/wide.txt", latin);
    machine.cascadeck(&run).expect_status(0);
    machine.cascadeck(&["plan", "album", "--existing", "append"]).expect_status(0);
    // Also where the input has changed.
    machine.write("album/new.png", png(7, 7));
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(std::fs::read(machine.path("album/wide.txt")).unwrap(), latin);
    assert_eq!(provider.checked_stats().total.requests, asked + 1);
    // One that is to be written to is still named before anything is sent, and what is advised goes on with the run.
    machine.write("album/newer.png", png(8, 8));
    machine.write("album/newer.txt", latin);
    let refused = machine.cascadeck(&run).expect_status(2);
    refused.assert_stderr_contains(&["newer.txt is not UTF-8", "or move it away", "1 bad row"]);
    std::fs::rename(machine.path("album/newer.txt"), machine.path("newer.txt")).unwrap();
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, asked + 2);
}

#[test]
fn captions_go_under_a_folder_that_mirrors_the_album() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.cascadeck(&["run", "album", "--captions", "words"]).expect_status(0);
    assert!(machine.read("words/more/strip.txt").starts_with("A picture of 90x4"));
    assert!(!machine.path("album/wide.txt").exists());
    // A glob works as an album too.
    machine.cascadeck(&["run", "album/[ws]*.png", "--captions", "chosen", "--run-dir", "chosen-run"]).expect_status(0);
    let mut chosen: Vec<_> =
        std::fs::read_dir(machine.path("chosen")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    chosen.sort();
    assert_eq!(chosen, ["square.txt", "wide.txt"]);
}

#[test]
fn a_folder_for_captions_is_the_same_however_it_is_spelt() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.cascadeck(&["run", "album", "--captions", "words/"]).expect_status(0);
    let whole = machine.path("words").display().to_string();
    for spelling in ["words", "./words", "album/../words", &whole] {
        machine.cascadeck(&["run", "album", "--captions", spelling]).expect_status(0);
    }
    machine
        .cascadeck(&["run", "album", "--captions", "other"])
        .expect_status(2)
        .assert_stderr_contains(&["the caption setting was"]);
    assert_eq!(provider.checked_stats().total.requests, 5);
}

#[test]
fn two_pictures_that_would_share_a_caption_stop_the_run_with_a_way_out() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    machine.write("album/a.png", png(3, 3));
    machine.write("album/a.jpg", png(4, 4));
    machine.cascadeck(&["run", "album"]).expect_status(2).assert_stderr_contains(&[
        "a.jpg",
        "a.png",
        "--full-caption-names",
    ]);
    assert_eq!(provider.checked_stats().total.requests, 0);
    machine.cascadeck(&["run", "album", "--full-caption-names"]).expect_status(0);
    assert!(machine.read("album/a.png.txt").starts_with("A picture of 3x3"));
    assert!(machine.read("album/a.jpg.txt").starts_with("A picture of 4x4"));
}

#[test]
fn errors_and_broken_pictures_are_never_captions() {
    let provider =
        SimulatedProvider::from_toml(&EYES.replace("name = \"eyes\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }"));
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.write("album/broken.png", "no picture at all");
    let ended = machine.cascadeck(&["run", "album"]).expect_status(3);
    ended.assert_stderr_contains(&["#broken.png failed, unreadable_input"]);
    for (name, ..) in ALBUM {
        assert!(!machine.path(format!("album/{name}.txt")).exists(), "{name}");
    }
    assert!(!machine.path("album/broken.txt").exists());
    let outcomes: Vec<_> =
        machine.results("runs/album").into_iter().map(|line| line.error.unwrap().outcome.name()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "content_blocked").count(), 5, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "unreadable_input").count(), 1, "{outcomes:?}");
    // What was never sent is no attempt of any key or model.
    let broken = machine.result("runs/album", "broken.png");
    assert_eq!((broken.attempts, broken.key, broken.model, broken.started_at), (0, None, None, None));
    let audit = machine.cascadeck(&["audit", "runs/album", "--json"]).expect_status(0).stdout_json();
    assert_eq!(audit["attempts"], provider.checked_stats().total.requests);
}

#[test]
fn a_row_may_carry_pictures() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.write(
        "rows.jsonl",
        "{\"id\":\"a\",\"prompt\":\"What is this?\",\"images\":[\"album/wide.png\",\"album/dot.png\"]}\n",
    );
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let line = machine.result("runs/rows", "a");
    let output = line.output.unwrap();
    assert!(output.contains("40x30") && output.contains("2x3"), "{output}");
    assert_ne!(line.model.as_deref(), Some("blind"), "a model without eyes is no candidate");
}

#[test]
fn a_caption_that_somebody_edited_stays_and_one_that_a_crash_left_unwritten_is_written() {
    for existing in ["overwrite", "append", "prepend"] {
        for resume in [&["run", "album", "--existing", existing][..], &["replay", "runs/album", "--failed", "--yes"]] {
            let provider = SimulatedProvider::from_toml(EYES);
            let machine = TestMachine::with_provider(&provider);
            album(&machine);
            machine.write("album/broken.png", "no picture at all");
            machine.cascadeck(&["run", "album", "--existing", existing]).expect_status(3);
            machine.write("album/wide.txt", "Edited.\n");
            machine.cascadeck(resume).expect_status(3);
            assert_eq!(machine.read("album/wide.txt"), "Edited.\n", "{existing}, {resume:?}");

            // The state that a kill between the record and the caption file leaves.
            std::fs::remove_file(machine.path("album/dot.txt")).unwrap();
            let record = rusqlite::Connection::open(machine.path("runs/album/run.db")).unwrap();
            let owed = "INSERT OR REPLACE INTO states SELECT 'captions_owed', json_array(seq) FROM items WHERE id = ?1";
            assert_eq!(record.execute(owed, ["dot.png"]).unwrap(), 1);
            drop(record);
            machine.cascadeck(resume).expect_status(3);
            assert!(machine.read("album/dot.txt").starts_with("A picture of 2x3"), "{existing}, {resume:?}");
            assert_eq!(machine.read("album/wide.txt"), "Edited.\n", "{existing}, {resume:?}");
            assert_eq!(provider.checked_stats().total.ok, 5, "nothing is asked again");
        }
    }
}

#[test]
fn a_replayed_picture_is_captioned_as_the_run_was_begun() {
    let gloomy =
        SimulatedProvider::from_toml(&EYES.replace("name = \"eyes\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }"));
    let machine = TestMachine::with_provider(&gloomy);
    album(&machine);
    machine.write("album/wide.txt", "Mine.\n");
    machine.cascadeck(&["run", "album", "--existing", "append"]).expect_status(3);
    let bright = SimulatedProvider::from_toml(EYES);
    machine.write_keys_toml(&bright.keys_toml());
    machine.cascadeck(&["replay", "runs/album", "--failed", "--yes"]).expect_status(0);
    assert!(
        machine.read("album/wide.txt").starts_with("Mine.\nA picture of 40x30"),
        "{}",
        machine.read("album/wide.txt")
    );
}

#[test]
fn pictures_that_no_model_takes_are_refused_as_a_whole() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.write_keys_toml(&provider.keys_toml().replace("vision = true", "vision = false"));
    for command in ["run", "plan"] {
        let ended = machine.cascadeck(&[command, "album"]).expect_status(2);
        ended.assert_stderr_contains(&[
            "no model in keys.toml accepts pictures",
            "set vision = true",
            "blind, gm, om, am",
        ]);
    }
    assert!(!machine.path("runs").exists(), "a run was begun");
}

#[test]
fn a_caption_of_ours_that_was_deleted_or_emptied_comes_back_from_the_record() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.cascadeck(&["run", "album"]).expect_status(0);
    let (wide, dot) = (machine.read("album/wide.txt"), machine.read("album/dot.txt"));
    std::fs::remove_file(machine.path("album/wide.txt")).unwrap();
    machine.write("album/dot.txt", "\n");
    machine.write("album/tall.txt", "Edited.\n");
    let ended = machine.cascadeck(&["run", "album"]).expect_status(0);
    ended.assert_stderr_contains(&[
        "2 captions rewritten from the record after being deleted or emptied",
        "wide.txt",
        "dot.txt",
    ]);
    assert_eq!((machine.read("album/wide.txt"), machine.read("album/dot.txt")), (wide, dot));
    assert_eq!(machine.read("album/tall.txt"), "Edited.\n");
    assert_eq!(provider.checked_stats().total.requests, 5, "nothing is paid for twice");
}

#[test]
fn a_mended_picture_that_had_no_answer_is_a_new_question() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.write("album/broken.png", "no picture at all");
    machine.cascadeck(&["run", "album"]).expect_status(3);
    machine.write("album/broken.png", png(7, 5));
    let ended = machine.cascadeck(&["run", "album"]).expect_status(0);
    ended.assert_stderr_contains(&["the input has changed", "1 is answered again (1 of them had no answer"]);
    assert!(machine.read("album/broken.txt").starts_with("A picture of 7x5"));
    assert_eq!(provider.checked_stats().total.requests, 6, "only the mended picture is asked about");
}

#[test]
fn the_answer_to_a_changed_picture_replaces_our_caption_and_no_edited_one() {
    for (existing, before) in [("skip", ""), ("append", "Mine.\n"), ("prepend", "Mine.\n"), ("overwrite", "")] {
        let provider = SimulatedProvider::from_toml(EYES);
        let machine = TestMachine::with_provider(&provider);
        album(&machine);
        machine.write("album/wide.txt", before);
        let run = ["run", "album", "--existing", existing];
        machine.cascadeck(&run).expect_status(0);
        machine.write("album/wide.png", png(41, 31));
        machine.write("album/tall.png", png(21, 51));
        machine.write("album/tall.txt", "Edited.\n");
        machine.cascadeck(&run).expect_status(2).assert_stderr_contains(&["wide.png", "tall.png", "--accept-changed"]);
        let ended = machine.cascadeck(&[&run[..], &["--accept-changed"]].concat()).expect_status(0);
        let (wide, tall) = (machine.read("album/wide.txt"), machine.read("album/tall.txt"));
        let above = if existing == "prepend" { "" } else { before };
        assert!(wide.starts_with(&format!("{above}A picture of 41x31")), "{existing}: {wide}");
        assert!(wide.contains(before), "{existing}: {wide}");
        assert!(!wide.contains("40x30"), "{existing}: {wide}");
        if existing == "skip" {
            assert_eq!(tall, "Edited.\n");
            ended.assert_stderr_contains(&["tall.txt was edited after it was written, so it is kept"]);
        } else {
            assert_eq!(tall.contains("Edited."), existing != "overwrite", "{existing}: {tall}");
            assert!(tall.contains("21x51"), "{existing}: {tall}");
        }
        assert_eq!(provider.checked_stats().total.requests, 7, "{existing}");
    }
}

#[test]
fn captions_that_could_not_be_written_are_refused_before_anything_is_sent() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    album(&machine);
    machine.write("file", "no folder");
    for command in ["run", "plan"] {
        let ended = machine.cascadeck(&[command, "album", "--captions", "file/words"]).expect_status(2);
        ended.assert_stderr_contains(&["captions can't be written to", "file/words", "--captions DIR"]);
    }
    let long = format!("long/{}.png", "x".repeat(250));
    machine.write(&long, png(3, 3));
    let ended = machine.cascadeck(&["run", "long", "--full-caption-names"]).expect_status(2);
    ended.assert_stderr_contains(&["would have 258 bytes, but the limit is 255"]);
    assert_eq!(server.completions().len(), 0);
    assert!(!machine.path("runs").exists(), "a run was begun");
    machine.cascadeck(&["run", "long"]).expect_status(0);
    let names: Vec<_> =
        std::fs::read_dir(machine.path("long")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing but the picture and its caption is left: {names:?}");
}

#[test]
fn captions_of_pictures_that_are_asked_anew_are_checked_before_anything_is_sent() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    machine.write("album/a.png", png(3, 3));
    machine.write("album/sub/b.png", "no picture at all");
    let run = ["run", "album", "--captions", "words"];
    machine.cascadeck(&run).expect_status(3);
    assert_eq!(server.completions().len(), 1);
    // The mended picture is asked about, and its caption's folder is a file now.
    machine.write("album/sub/b.png", png(7, 5));
    machine.write("words/sub", "no folder");
    machine.cascadeck(&run).expect_status(2).assert_stderr_contains(&[
        "captions can't be written to",
        "words/sub",
        "nothing was sent",
    ]);
    std::fs::remove_file(machine.path("words/sub")).unwrap();
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(server.completions().len(), 2);
    // So is a changed one that had an answer.
    machine.write("album/sub/b.png", png(8, 5));
    std::fs::remove_dir_all(machine.path("words/sub")).unwrap();
    machine.write("words/sub", "no folder");
    machine.cascadeck(&run).expect_status(2).assert_stderr_contains(&["--accept-changed"]);
    let accepting = [&run[..], &["--accept-changed"]].concat();
    machine.cascadeck(&accepting).expect_status(2).assert_stderr_contains(&["words/sub", "nothing was sent"]);
    assert_eq!(server.completions().len(), 2);
}

#[test]
fn a_caption_that_turns_out_unwritable_costs_no_other_and_is_written_later() {
    let machine = TestMachine::new();
    album(&machine);
    // While the requests are in flight, a folder appears where a caption is to be written.
    let obstacle = machine.path("album/dot.txt");
    let in_the_way = obstacle.clone();
    let server = LoggingServer::start(move |request| {
        if request.is_completion() {
            std::fs::create_dir_all(&in_the_way).unwrap();
        }
        Response::openai("A picture.")
    });
    machine.write_keys_toml(&server.keys_toml(""));
    let run = ["run", "album", "--no-check"];
    let ended = machine.cascadeck(&run).expect_status(1);
    ended.assert_stderr_contains(&[
        "dot.txt can't be written",
        "1 caption could not be written",
        "answers are recorded",
    ]);
    for (name, ..) in ALBUM.iter().filter(|(name, ..)| *name != "dot") {
        assert_eq!(machine.read(&format!("album/{name}.txt")), "A picture.\n", "{name}");
    }
    assert_eq!(machine.status("runs/album")["done"], 5);
    // With the folder still there it is named again, and nothing else happens.
    machine.cascadeck(&run).expect_status(2).assert_stderr_contains(&["dot.txt is a folder"]);
    std::fs::remove_dir(&obstacle).unwrap();
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(machine.read("album/dot.txt"), "A picture.\n");
    assert_eq!(server.completions().len(), 5, "nothing is paid for twice");
}

#[test]
fn captions_that_went_with_their_pictures_do_not_come_back() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.cascadeck(&["run", "album"]).expect_status(0);
    for file in ["dot.png", "dot.txt"] {
        std::fs::remove_file(machine.path("album").join(file)).unwrap();
    }
    machine.cascadeck(&["run", "album"]).expect_status(0);
    assert!(!machine.path("album/dot.txt").exists());
    std::fs::rename(machine.path("album"), machine.path("moved")).unwrap();
    machine.cascadeck(&["run", "moved", "--run-dir", "runs/moved"]);
    machine.cascadeck(&["replay", "runs/album", "--failed", "--yes"]);
    assert!(!machine.path("album").exists(), "captions are written where nothing is any more");
    assert_eq!(provider.checked_stats().total.requests, 5);
}

#[test]
fn a_mended_picture_that_was_replayed_is_not_taken_for_a_change() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    album(&machine);
    machine.write("album/broken.png", "no picture at all");
    machine.cascadeck(&["run", "album"]).expect_status(3);
    machine.write("album/broken.png", png(7, 5));
    machine.cascadeck(&["replay", "runs/album", "--failed", "--yes"]).expect_status(0);
    assert!(machine.read("album/broken.txt").starts_with("A picture of 7x5"));
    machine.cascadeck(&["run", "album"]).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, 6);
    // The picture now differs from the one that was read.
    machine.write("album/broken.png", png(5, 7));
    machine.cascadeck(&["run", "album"]).expect_status(2).assert_stderr_contains(&["broken.png"]);
}

#[test]
fn a_picture_of_an_earlier_version_of_the_record_is_told_by_its_size() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    album(&machine);
    machine.cascadeck(&["run", "album"]).expect_status(0);
    // An earlier version records no stamp, and the picture's size as part of the hash.
    let captions = Some(cascadeck::input::CaptionOptions::default());
    let options = cascadeck::input::InputOptions { captions, ..Default::default() };
    let input = cascadeck::input::Input::open(machine.path("album").to_str().unwrap(), options, &machine.path("x"));
    let record = rusqlite::Connection::open(machine.path("runs/album/run.db")).unwrap();
    for item in input.unwrap().items().map(Result::unwrap) {
        let body = "UPDATE payload SET body = json_set(json_remove(body, '$.picture'), '$.hash', ?2)
                    WHERE seq = (SELECT seq FROM items WHERE id = ?1)";
        assert_eq!(record.execute(body, [&item.id, &item.request_hash]).unwrap(), 1);
        record.execute("UPDATE items SET hash = unhex(?2) WHERE id = ?1", [&item.id, &item.request_hash]).unwrap();
    }
    record
        .execute("UPDATE meta SET value = json_set(value, '$.fingerprint', 'of old') WHERE key = 'pins'", [])
        .unwrap();
    drop(record);
    machine.cascadeck(&["run", "album"]).expect_status(0).assert_stderr_contains(&["nothing has changed"]);
    for _ in 0..2 {
        machine.write("album/dot.png", png(3, 3));
        machine
            .cascadeck(&["run", "album"])
            .expect_status(2)
            .assert_stderr_contains(&["1 row of the input is different", "dot.png"]);
        machine.cascadeck(&["run", "album", "--accept-changed"]).expect_status(0);
        machine.cascadeck(&["run", "album"]).expect_status(0);
        machine.write("album/dot.png", png(2, 3));
        machine.cascadeck(&["run", "album", "--accept-changed"]).expect_status(0);
    }
    assert_eq!(server.completions().len(), 5 + 4);
}

#[test]
fn a_changed_picture_is_known_by_its_content() {
    let server = LoggingServer::openai("A picture.");
    let machine = TestMachine::with_server(&server);
    album(&machine);
    // Bytes behind a picture's end are ignored by decoders: the size in pixels is the same, the content is not.
    let ending = |tail: &[u8]| [&png(40, 30)[..], tail].concat();
    machine.write("album/wide.png", ending(b"one"));
    let modified = machine.path("album/wide.png").metadata().unwrap().modified().unwrap();
    machine.cascadeck(&["run", "album"]).expect_status(0);
    machine.write("album/wide.png", ending(b"two"));
    // Sets the old time of modification, as a copy does that preserves times.
    let preserved = std::fs::File::options().append(true).open(machine.path("album/wide.png")).unwrap();
    preserved.set_modified(modified).unwrap();
    // Rewrites the file with the same content.
    machine.write("album/dot.png", png(2, 3));
    let ended = machine.cascadeck(&["run", "album"]).expect_status(2);
    ended.assert_stderr_contains(&["1 row of the input is different from when this run started", "wide.png"]);
    assert_eq!(server.completions().len(), 5);
    machine.cascadeck(&["run", "album", "--accept-changed"]).expect_status(0);
    assert_eq!(server.completions().len(), 6, "only the changed picture is asked about");
    machine.cascadeck(&["run", "album"]).expect_status(0);
    assert_eq!(server.completions().len(), 6);
}
