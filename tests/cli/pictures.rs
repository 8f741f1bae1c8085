//! Pictures as a provider receives them: every valid one, no broken one, each only where it is accepted, read by few
//! threads.

use std::{collections::BTreeMap, fs, io::Cursor, num::NonZero, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ImageFormat, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request, Response},
    png,
};

/// Small pictures from cameras and other programs, in variants that the encoders used here don't write.
const PICTURE_FILES: [(&str, &[u8]); 21] = [
    ("animated.gif", include_bytes!("pictures/animated.gif")),
    ("animated.png", include_bytes!("pictures/animated.png")),
    ("animated.webp", include_bytes!("pictures/animated.webp")),
    ("baseline.jpg", include_bytes!("pictures/baseline.jpg")),
    ("cmyk.jpg", include_bytes!("pictures/cmyk.jpg")),
    ("exif.jpg", include_bytes!("pictures/exif.jpg")),
    ("grey-16-bit.png", include_bytes!("pictures/grey-16-bit.png")),
    ("grey.jpg", include_bytes!("pictures/grey.jpg")),
    ("icc-profile.jpg", include_bytes!("pictures/icc-profile.jpg")),
    ("interlaced.gif", include_bytes!("pictures/interlaced.gif")),
    ("lossless.webp", include_bytes!("pictures/lossless.webp")),
    ("lossy-alpha.webp", include_bytes!("pictures/lossy-alpha.webp")),
    ("lossy.webp", include_bytes!("pictures/lossy.webp")),
    ("one-bit.png", include_bytes!("pictures/one-bit.png")),
    ("palette.png", include_bytes!("pictures/palette.png")),
    ("progressive.jpg", include_bytes!("pictures/progressive.jpg")),
    ("restart-markers.jpg", include_bytes!("pictures/restart-markers.jpg")),
    ("subsampled-420.jpg", include_bytes!("pictures/subsampled-420.jpg")),
    ("subsampled-422.jpg", include_bytes!("pictures/subsampled-422.jpg")),
    ("transparent.png", include_bytes!("pictures/transparent.png")),
    // Two JPEGs in one file, as stereo cameras and phones write them.
    ("two-pictures.jpg", include_bytes!("pictures/two-pictures.mpo")),
];

fn fixture(name: &str) -> Vec<u8> {
    PICTURE_FILES.iter().find(|(known, _)| *known == name).unwrap().1.to_vec()
}

fn encode_picture(format: ImageFormat) -> Vec<u8> {
    let pixels = RgbaImage::from_fn(40, 30, |x, y| Rgba([(x * 6) as u8, (y * 8) as u8, (x * y) as u8, 255]));
    let picture = image::DynamicImage::from(pixels);
    let mut bytes = Cursor::new(Vec::new());
    let has_alpha = matches!(format, ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP);
    let picture = if has_alpha { picture } else { picture.into_rgb8().into() };
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn with_trailing(bytes: &[u8], trailing: &[u8]) -> Vec<u8> {
    [bytes, trailing].concat()
}

/// A JPEG whose EXIF block holds another JPEG, end marker included, as camera thumbnails do.
fn with_thumbnail(jpeg: &[u8], thumbnail: &[u8]) -> Vec<u8> {
    let length = u16::try_from(thumbnail.len() + 8).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, b"Exif\0\0", thumbnail, &jpeg[2..]].concat()
}

fn valid_pictures() -> BTreeMap<String, Vec<u8>> {
    let mut pictures: BTreeMap<String, Vec<u8>> =
        PICTURE_FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    let jpeg = encode_picture(ImageFormat::Jpeg);
    let more = [
        ("written.png", encode_picture(ImageFormat::Png)),
        ("written.gif", encode_picture(ImageFormat::Gif)),
        ("written.webp", encode_picture(ImageFormat::WebP)),
        ("uncompressed.png", png(60, 40)),
        ("thumbnail.jpg", with_thumbnail(&jpeg, &fixture("baseline.jpg"))),
        ("trailing.jpg", with_trailing(&jpeg, b"a film may follow")),
        ("trailing-zeros.jpg", with_trailing(&fixture("progressive.jpg"), &[0; 4_096])),
        ("trailing.png", with_trailing(&encode_picture(ImageFormat::Png), b"metadata of a screenshot")),
        ("trailing.gif", with_trailing(&fixture("animated.gif"), b"\0\0\0")),
        ("no-trailer.gif", fixture("interlaced.gif").strip_suffix(b";").unwrap().to_vec()),
        ("trailing.webp", with_trailing(&fixture("lossy.webp"), b"more")),
        ("named-otherwise.png", jpeg),
    ];
    pictures.extend(more.map(|(name, bytes)| (name.to_owned(), bytes)));
    pictures
}

fn overwrite_at(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

fn find_bytes(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// A PNG that claims these dimensions, with a correct checksum for them.
fn with_claimed_size(png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    let png = overwrite_at(png, 16, &[width.to_be_bytes(), height.to_be_bytes()].concat());
    let checksum = crc32(&png[12..29]).to_be_bytes();
    overwrite_at(png, 29, &checksum)
}

fn broken_pictures() -> BTreeMap<String, Vec<u8>> {
    let mut broken = BTreeMap::new();
    let mut add = |name: String, bytes: Vec<u8>| assert!(broken.insert(name, bytes).is_none());
    let formats = [
        ("png", encode_picture(ImageFormat::Png)),
        ("jpeg", encode_picture(ImageFormat::Jpeg)),
        ("gif", encode_picture(ImageFormat::Gif)),
        ("webp", encode_picture(ImageFormat::WebP)),
        ("bmp", encode_picture(ImageFormat::Bmp)),
        ("tiff", encode_picture(ImageFormat::Tiff)),
        ("progressive-jpeg", fixture("progressive.jpg")),
        ("cmyk-jpeg", fixture("cmyk.jpg")),
        ("animated-gif", fixture("animated.gif")),
        ("lossy-webp", fixture("lossy.webp")),
        ("animated-webp", fixture("animated.webp")),
        ("palette-png", fixture("palette.png")),
        ("thumbnail-jpeg", with_thumbnail(&encode_picture(ImageFormat::Jpeg), &fixture("baseline.jpg"))),
    ];
    for (format, whole) in &formats {
        let length = whole.len();
        for (cut, kept) in [("last byte", length - 1), ("tail", length - 14), ("tenth", length * 9 / 10)]
            .into_iter()
            .chain([("half", length / 2), ("most", length / 8), ("but magic", 16)])
        {
            // A GIF without its last byte still has all of its blocks.
            if !(format.ends_with("gif") && cut == "last byte") {
                add(format!("{format} without {cut}"), whole[..kept].to_vec());
            }
        }
    }
    // Flipped bits that a checksum detects.
    let png = encode_picture(ImageFormat::Png);
    for chunk in [b"IHDR", b"IDAT", b"IEND"] {
        let at = find_bytes(&png, chunk);
        let length = u32::from_be_bytes(png[at - 4..at].try_into().unwrap()) as usize;
        let checksum = at + 4 + length;
        add(
            format!("bad checksum of {}", chunk.escape_ascii()),
            overwrite_at(png.clone(), checksum, &[!png[checksum]]),
        );
    }
    let middle = find_bytes(&png, b"IDAT") + 60;
    add("bad byte in IDAT".to_owned(), overwrite_at(png.clone(), middle, &[png[middle] ^ 4]));
    let palette = fixture("palette.png");
    let colour = find_bytes(&palette, b"PLTE") + 9;
    add("bad byte in PLTE".to_owned(), overwrite_at(palette.clone(), colour, &[palette[colour] ^ 1]));
    // Decompression bombs: small files that claim gigabytes of pixels.
    let jpeg = encode_picture(ImageFormat::Jpeg);
    let frame = find_bytes(&jpeg, b"\xff\xc0") + 5;
    let gif = encode_picture(ImageFormat::Gif);
    let lossy = fixture("lossy.webp");
    let lossless = fixture("lossless.webp");
    add("png bomb".to_owned(), with_claimed_size(png.clone(), 60_000, 60_000));
    add("long png bomb".to_owned(), with_claimed_size(png.clone(), 1 << 30, 3));
    add("jpeg bomb".to_owned(), overwrite_at(jpeg.clone(), frame, &[0xff; 4]));
    add("gif bomb".to_owned(), overwrite_at(gif.clone(), 6, &[0xff; 4]));
    add("lossy webp bomb".to_owned(), overwrite_at(lossy.clone(), find_bytes(&lossy, b"\x9d\x01\x2a") + 3, &[0xff; 4]));
    let dimensions = find_bytes(&lossless, b"VP8L") + 9;
    add("lossless webp bomb".to_owned(), overwrite_at(lossless.clone(), dimensions, &[0xff, 0xff, 0xff]));
    // Files that are no pictures.
    add("png of no pixels".to_owned(), with_claimed_size(png.clone(), 0, 7));
    add("nothing".to_owned(), Vec::new());
    add("one byte".to_owned(), vec![0xff]);
    add("zeros".to_owned(), vec![0; 5_000]);
    add("text".to_owned(), b"no picture at all".to_vec());
    add("web page".to_owned(), b"<!DOCTYPE html><title>404</title>".to_vec());
    add("vector drawing".to_owned(), b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec());
    for (format, whole) in formats.into_iter().take(6) {
        add(format!("{format} with another beginning"), overwrite_at(whole.clone(), 0, &[0; 4]));
        if matches!(format, "png" | "jpeg") {
            let half = whole.len() / 2;
            let zeros = vec![0; whole.len() - half];
            add(format!("{format} whose second half is zeros"), overwrite_at(whole, half, &zeros));
        }
    }
    broken
}

/// The base64 data of the pictures in an OpenAI request.
fn request_pictures(request: &Request) -> Vec<String> {
    let body = request.json();
    let parts = body["messages"][0]["content"].as_array().unwrap();
    let urls = parts.iter().filter_map(|part| part["image_url"]["url"].as_str());
    urls.map(|url| url.split_once(";base64,").unwrap().1.to_owned()).collect()
}

fn model_list_response(names: &[&str]) -> Response {
    let models: Vec<Value> = names.iter().map(|name| json!({"id": name, "object": "model"})).collect();
    Response::json(200, &json!({"object": "list", "data": models}))
}

#[test]
fn a_broken_picture_is_never_sent_and_stops_nothing() {
    let (whole, broken) = (valid_pictures(), broken_pictures());
    assert_eq!((whole.len(), broken.len()), (33, 102), "as docs/reliability.md says");
    let server = LoggingServer::start(move |request| {
        if !request.is_completion() {
            return model_list_response(&["m"]);
        }
        let mut pictures = request_pictures(request).into_iter().map(|picture| STANDARD.decode(picture).unwrap());
        if pictures.all(|picture| image::load_from_memory(&picture).is_ok()) {
            return Response::openai("A picture.");
        }
        let message = "You uploaded an unsupported image. Please make sure your image is valid.";
        let error = json!({"message": message, "type": "invalid_request_error", "code": "image_parse_error"});
        Response::json(400, &json!({"error": error}))
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml(""));
    let mut rows = String::new();
    // The broken ones come first.
    for (name, bytes) in broken.iter().chain(&whole) {
        // The extension promises a picture, because names are not trusted.
        let file = if whole.contains_key(name) { name.clone() } else { format!("{name}.jpg") };
        machine.write(&file, bytes);
        rows += &json!({"id": name, "prompt": name, "images": [file]}).to_string();
        rows.push('\n');
    }
    machine.write("rows.jsonl", rows);
    let ended = machine.cascadeck(&["run", "rows.jsonl"]);
    let arrived: Vec<String> = server
        .completions()
        .iter()
        .map(|request| {
            let body = request.json();
            let parts = body["messages"][0]["content"].as_array().unwrap();
            parts.iter().find_map(|part| part["text"].as_str()).unwrap().to_owned()
        })
        .collect();
    let wrong: Vec<_> = arrived.iter().filter(|name| broken.contains_key(*name)).collect();
    assert_eq!(wrong, [""; 0], "broken pictures were sent");
    let refused: Vec<_> = whole.keys().filter(|name| !arrived.contains(name)).collect();
    assert_eq!(refused, [""; 0], "whole pictures were held back");
    assert_eq!(arrived.len(), whole.len(), "one was sent twice");
    ended.expect_status(3);
    for line in machine.results("runs/rows") {
        let error = line.error.map(|error| (error.outcome.name(), error.message));
        if whole.contains_key(&line.id) {
            assert_eq!(error, None, "{}", line.id);
            continue;
        }
        let (outcome, message) = error.unwrap();
        assert_eq!(outcome, "unreadable_input", "{}: {message}", line.id);
        assert!(message.contains(&format!("{}.jpg: ", line.id)), "{message}");
    }
}

#[test]
fn pictures_that_a_provider_refuses_fail_alone_and_stop_nothing() {
    let recorded = |text: &str| serde_json::from_str::<Value>(text).unwrap()["body"].clone();
    let gone = json!({"error": {"message": "Error while downloading", "type": "invalid_request_error", "param": null,
        "code": "invalid_image_url"}});
    for refusal in [
        gone,
        recorded(include_str!("../wire/examples/openai_400_image_format.json")),
        recorded(include_str!("../wire/examples/gemini_400_unable_to_process_image.json")),
        recorded(include_str!("../wire/examples/gemini_400_image_not_valid.json")),
    ] {
        let body = refusal.clone();
        let server = LoggingServer::start(move |request| {
            if !request.is_completion() {
                model_list_response(&["m"])
            } else if request.json().to_string().contains("https://gone.example/") {
                Response::json(400, &body)
            } else {
                Response::openai("A picture.")
            }
        });
        let machine = TestMachine::new();
        machine.write_keys_toml(&server.keys_toml(""));
        let rows: String = (0..38)
            .map(|number| {
                let host = if number < 8 { "gone" } else { "here" };
                let image = format!("https://{host}.example/{number}.png");
                json!({"id": number.to_string(), "prompt": "What is this?", "image_url": image}).to_string() + "\n"
            })
            .collect();
        machine.write("rows.jsonl", rows);
        machine.cascadeck(&["run", "rows.jsonl"]).expect_status(3);
        let results = machine.results("runs/rows");
        assert_eq!(results.len(), 38, "{refusal}");
        for line in results {
            let refused = line.id.parse::<u32>().unwrap() < 8;
            assert_eq!(line.error.is_some(), refused, "{}: {refusal}", line.id);
        }
        assert_eq!(server.completions().len(), 38, "each is asked once");
    }
}

#[test]
fn a_picture_that_one_api_does_not_take_goes_to_the_next() {
    const MIB: usize = 1024 * 1024;
    let server = LoggingServer::start(|request| {
        if !request.is_completion() {
            return model_list_response(&["claude", "gpt"]);
        }
        if request.path.ends_with("/chat/completions") {
            return Response::openai("by gpt");
        }
        let body = request.json();
        let base64 = body["messages"][0]["content"][0]["source"]["data"].as_str().unwrap();
        // A relay that leads to Amazon Bedrock, which takes half of what Anthropic does itself.
        if base64.len() > 5 * MIB {
            let recorded = include_str!("../wire/examples/anthropic_400_image_5mb.json");
            return Response::json(400, &serde_json::from_str::<Value>(recorded).unwrap()["body"]);
        }
        Response::json(
            200,
            &json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "by claude"}], "usage": {"input_tokens": 9, "output_tokens": 2},
            }),
        )
    });
    let address = server.address();
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!(
        "[[provider]]\nname = \"a\"\napi = \"anthropic\"\nbase_url = \"http://{address}\"\n\
         [[provider]]\nname = \"o\"\napi = \"openai\"\nbase_url = \"http://{address}/v1\"\n\
         [[model]]\nname = \"claude\"\nprovider = \"a\"\nvision = true\n\
         [[model]]\nname = \"gpt\"\nprovider = \"o\"\nvision = true\n\
         [[key]]\nname = \"anton\"\nprovider = \"a\"\nsecret = \"sk-ant-anton-0123456789\"\n\
         [[key]]\nname = \"olga\"\nprovider = \"o\"\nsecret = \"sk-olga-0123456789\"\n",
    ));
    let small = png(60, 40);
    // More than 5 MiB as base64, and less than 10.
    let noise = |width, height| {
        let mut seed = 1_u32;
        let picture = image::RgbImage::from_fn(width, height, |_, _| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(seed >> 24) as u8, (seed >> 16) as u8, (seed >> 8) as u8])
        });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let large = noise(1_500, 1_400);
    assert!((5 * MIB..10 * MIB).contains(&(large.len() / 3 * 4)), "{}", large.len());
    machine.write("album/small.png", small);
    machine.write("album/large.png", large);
    // More than Anthropic accepts, so they are made smaller.
    let gradient = image::RgbImage::from_fn(1_700, 1_700, |x, y| image::Rgb([(x / 7) as u8, (y / 7) as u8, 9]));
    let mut huge = Cursor::new(Vec::new());
    gradient.write_to(&mut huge, ImageFormat::Bmp).unwrap();
    machine.write("album/huge.bmp", huge.into_inner());
    machine.write("album/wide.png", png(8_001, 1));
    machine.cascadeck(&["run", "album", "--captions", "captions", "--in-flight", "1"]).expect_status(0);
    assert_eq!(machine.read("captions/small.txt"), "by claude\n");
    assert_eq!(machine.read("captions/large.txt"), "by gpt\n");
    assert_eq!(machine.read("captions/huge.txt"), "by claude\n");
    assert_eq!(machine.read("captions/wide.txt"), "by claude\n");
    let asked = |path: &str| server.completions().iter().filter(|request| request.path.ends_with(path)).count();
    assert_eq!(
        (asked("/messages"), asked("/chat/completions")),
        (4, 1),
        "only the relay's own limit is found by asking"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn few_threads_read_many_pictures() {
    const PICTURES: usize = 100;
    const BYTES: usize = 200_000;
    let server = LoggingServer::start(|request| {
        if !request.is_completion() {
            return model_list_response(&["m"]);
        }
        thread::sleep(Duration::from_millis(10));
        Response::openai("A picture.")
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml(""));
    let picture = encode_picture(ImageFormat::Png);
    for number in 0..PICTURES {
        // Bytes behind the end make each a different and a large file.
        let mut picture = with_trailing(&picture, number.to_string().as_bytes());
        picture.resize(BYTES, 0);
        machine.write(&format!("album/{number}.png"), picture);
    }
    let mut run = machine.start(&["run", "album", "--in-flight", "100"]);
    let tasks = format!("/proc/{}/task", run.process_id());
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    while !run.has_exited() {
        let mut now: BTreeMap<String, usize> = BTreeMap::new();
        // A thread, or the whole process, may have ended before it is read.
        for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            *now.entry(name.trim_end().to_owned()).or_default() += 1;
        }
        for (name, count) in now {
            let most = most.entry(name).or_default();
            *most = count.max(*most);
        }
        thread::sleep(Duration::from_millis(1));
    }
    run.wait().expect_status(0);
    assert_eq!(server.completions().len(), PICTURES);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // The runtime has one worker per core, and threads for blocking work: captions, host names, forecasts.
    assert!(most["tokio-rt-worker"] <= cores + 16, "{most:?}");
    assert_eq!(most.get("pictures"), Some(&cores.min(8)), "{most:?}");
}
