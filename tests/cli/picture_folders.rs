//! Folders of pictures of every kind: each good one arrives upright, within the limits and without metadata, and gets
//! its own caption; a broken one is named and never sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::harness::{
    SimulatedProvider, TestMachine, is_full_test_run,
    logging_server::{LoggingServer, Request, Response},
    picture_maker::{SECRET_PLACE, broken_file, good_file, read},
};

/// The bytes of the picture in an OpenAI request.
fn picture_of(request: &Request) -> Vec<u8> {
    let body = request.json();
    let parts = body["messages"][0]["content"].as_array().unwrap();
    let url = parts.iter().find_map(|part| part["image_url"]["url"].as_str()).unwrap();
    STANDARD.decode(url.split_once(";base64,").unwrap().1).unwrap()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// What a server finds in a picture.
fn describe(bytes: &[u8]) -> String {
    if contains(bytes, SECRET_PLACE) || contains(bytes, "Exif") || contains(bytes, "eXIf") {
        return "a picture with metadata".to_owned();
    }
    match image::load_from_memory(bytes) {
        Err(error) => format!("not a picture: {error}"),
        Ok(picture) if picture.width().max(picture.height()) > 2_048 => {
            format!("too large: {} x {}", picture.width(), picture.height())
        }
        Ok(picture) => {
            read(&picture.to_rgb8()).map_or_else(|| "turned".to_owned(), |number| format!("picture {number}, upright"))
        }
    }
}

fn openai_server() -> LoggingServer {
    LoggingServer::start(|request| {
        if request.is_completion() {
            Response::openai(&describe(&picture_of(request)))
        } else {
            Response::json(200, &serde_json::json!({"object": "list", "data": [{"id": "m"}]}))
        }
    })
}

/// Writes a folder of pictures. Every twentieth is broken.
fn write_folder(machine: &TestMachine, count: u32) -> (Vec<u32>, Vec<String>) {
    let (mut good, mut broken) = (Vec::new(), Vec::new());
    for number in 0..count {
        if number % 20 == 7 && number % 40 == 27 || number % 40 == 13 {
            let file = broken_file(broken.len() as u32);
            machine.write(&format!("folder/{}", file.name), file.bytes);
            broken.push(file.name);
        } else {
            let file = good_file(number);
            machine.write(&format!("folder/sub{}/{}", number % 3, file.name), file.bytes);
            good.push(number);
        }
    }
    (good, broken)
}

#[test]
fn every_good_picture_arrives_upright_small_and_without_metadata_and_gets_its_caption() {
    let count = if is_full_test_run() { 600 } else { 200 };
    let server = openai_server();
    let machine = TestMachine::with_server(&server);
    let (good, broken) = write_folder(&machine, count);
    machine.write("folder/holiday.mp4", "a film");
    machine.write("folder/notes.PDF", "a paper");
    machine.write("folder/phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    let ended = machine.cascadeck(&["run", "folder"]).expect_status(3);
    ended.assert_stderr_contains(&[
        "2 files are left out, not being pictures: 1 .mp4, 1 .pdf",
        "1 HEIC picture can't be sent and will fail",
        "convert it to PNG or JPEG",
    ]);
    let wrong: Vec<String> = good
        .iter()
        .filter_map(|number| {
            let path = machine.path(format!("folder/sub{}/img_{number}.txt", number % 3));
            let caption = std::fs::read_to_string(path).unwrap_or_default();
            (caption != format!("picture {number}, upright\n"))
                .then(|| format!("{}: {caption}", good_file(*number).name))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.completions().len(), good.len(), "each good picture once, and no broken one");
    let failed: Vec<String> = machine
        .results("runs/folder")
        .into_iter()
        .filter_map(|line| line.error.map(|error| format!("{}: {}", line.id, error.message)))
        .collect();
    assert_eq!(failed.len(), broken.len() + 1, "{failed:#?}");
    for name in &broken {
        assert!(failed.iter().any(|line| line.starts_with(&format!("{name}: ")) && line.len() > name.len() + 20));
    }
    // A second run sends nothing, also in a new run directory.
    machine.cascadeck(&["run", "folder"]);
    machine.cascadeck(&["run", "folder", "--run-dir", "anew"]);
    assert_eq!(server.completions().len(), good.len());
}

#[test]
fn the_longest_side_and_metadata_are_settings() {
    let server = LoggingServer::start(|request| {
        if !request.is_completion() {
            return Response::json(200, &serde_json::json!({"object": "list", "data": [{"id": "m"}]}));
        }
        let bytes = picture_of(request);
        let picture = image::load_from_memory(&bytes).unwrap();
        let metadata = if contains(&bytes, SECRET_PLACE) { "with" } else { "without" };
        Response::openai(&format!("{}x{} {metadata} metadata", picture.width(), picture.height()))
    });
    let machine = TestMachine::with_server(&server);
    // 300 x 2300, and 120 x 200 with EXIF.
    machine.write("folder/long.png", good_file(19).bytes);
    machine.write("folder/place.jpg", good_file(12).bytes);
    for (number, options, long, place) in [
        (0, &[][..], "267x2048 without", "120x200 without"),
        (1, &["--max-side", "100"], "13x100 without", "60x100 without"),
        (2, &["--max-side", "off", "--keep-metadata"], "300x2300 without", "120x200 with"),
    ] {
        let run_dir = format!("run{number}");
        let args = [&["run", "folder", "--existing", "overwrite", "--run-dir", &run_dir], options].concat();
        machine.cascadeck(&args).expect_status(0);
        assert_eq!(machine.read("folder/long.txt"), format!("{long} metadata\n"), "{options:?}");
        assert_eq!(machine.read("folder/place.txt"), format!("{place} metadata\n"), "{options:?}");
    }
    let keys = machine.read("keys.toml");
    machine.write_keys_toml(&format!("{keys}\n[pictures]\nmax_side = 200\nkeep_metadata = true\n"));
    machine.cascadeck(&["run", "folder", "--existing", "overwrite", "--run-dir", "set"]).expect_status(0);
    assert_eq!(machine.read("folder/long.txt"), "26x200 without metadata\n");
    assert_eq!(machine.read("folder/place.txt"), "120x200 with metadata\n");
    machine.write_keys_toml(&format!("{keys}\n[pictures]\nmax_side = \"large\"\n"));
    let refused = machine.cascadeck(&["run", "folder", "--run-dir", "refused"]).expect_status(2);
    refused.assert_stderr_contains(&["max_side must be a number of pixels from 16 to 65535, or \"off\""]);
}

#[test]
fn a_pattern_with_braces_finds_each_picture_once_in_natural_order() {
    let provider = SimulatedProvider::from_toml(super::captions::EYES);
    let machine = TestMachine::with_provider(&provider);
    for name in ["a/IMG10.png", "a/img2.PNG", "b/img3.png", "c/img4.png"] {
        machine.write(&format!("album/{name}"), crate::harness::png(9, 9));
    }
    let args = ["run", "album/{a,b,[ab]}/*.{png,PNG}", "--run-dir", "r", "--prompt", "{{ name }}", "--in-flight", "1"];
    machine.cascadeck(&args).expect_status(0).assert_stderr_contains(&["3 pictures"]);
    let ids: Vec<String> = machine.results("r").into_iter().map(|line| line.id).collect();
    assert_eq!(ids, ["a/img2.PNG", "a/IMG10.png", "b/img3.png"]);
}
