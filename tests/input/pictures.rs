//! Pictures in rows, and folders of pictures.

use std::fs;

use cascadeck::{
    domain::Image,
    input::{CaptionOptions, ExistingCaptionPolicy, InputKind, InputOptions, run_name},
};
use tempfile::TempDir;

use super::{all, ids, no_options, open, png, prompt, write};

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
    for name in ["img10.png", "img2.png", "sub/a.png", "sub/deep/b.png", ".hidden.png", ".cache/c.png", "no-extension"]
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
    assert_eq!(input.kind(), InputKind::Pictures);
    assert!(input.validate().unwrap().has_pictures);
    assert_eq!(items[4].caption_path.as_deref(), Some(&*folder.path().join("sub/a.txt")));
    assert_eq!(items[4].request.images().collect::<Vec<_>>(), [&Image::File(folder.path().join("sub/a.png"))]);
    assert!(prompt(&items[0]).starts_with("Describe this picture"));
}

#[test]
fn globs_lists_and_single_pictures_are_albums_too() {
    let folder = TempDir::new().unwrap();
    for name in ["a1.png", "a2.png", "b.png", "sub/c.png"] {
        write(&folder, name, &png(1, 1));
    }
    let pattern = folder.path().join("a*.png");
    let glob = open(&pattern, beside()).unwrap();
    let name = run_name(&pattern.to_string_lossy());
    assert!(name.ends_with("-a-png"), "{name}");
    assert_eq!(ids(&all(&glob)), ["a1.png", "a2.png"]);
    let deep = open(&folder.path().join("**/*.png"), beside()).unwrap();
    assert_eq!(ids(&all(&deep)), ["a1.png", "a2.png", "b.png", "sub/c.png"]);

    let list = write(&folder, "list.txt", b"./sub/c.png\r\n\r\na1.png\r\nlost.png\r\n");
    let list = open(&list, beside()).unwrap();
    assert_eq!(list.kind(), InputKind::Pictures);
    assert_eq!(ids(&all(&list)), ["sub/c.png", "a1.png", "lost.png"], "in the list's own order");
    assert_eq!(all(&list).iter().map(|item| item.line).collect::<Vec<_>>(), [1, 3, 4]);

    let path = folder.path().join("b.png");
    let single = open(&path, beside()).unwrap();
    assert_eq!(ids(&all(&single)), ["b.png"]);
    assert_eq!(run_name(&path.to_string_lossy()), "b");
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf8_is_left_out_aloud() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = TempDir::new().unwrap();
    write(&folder, "a.png", &png(1, 1));
    fs::write(folder.path().join(OsStr::from_bytes(b"caf\xE9.png")), png(1, 1)).unwrap();
    let input = open(folder.path(), beside()).unwrap();
    assert_eq!(ids(&all(&input)), ["a.png"]);
    let warnings = input.warnings(|_| true);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("1 file or folder can't be used and is left out:\n"), "{warnings:?}");
    assert!(warnings[0].ends_with(".png has a name that is not UTF-8; rename it"), "{warnings:?}");
    // With no other file the folder still doesn't count as empty.
    fs::remove_file(folder.path().join("a.png")).unwrap();
    let words = open(folder.path(), beside()).unwrap_err();
    assert!(words.contains("contains no picture that can be used:\n") && words.contains("not UTF-8"), "{words}");
}

#[test]
fn a_bitmap_is_a_picture_also_when_it_is_given_by_itself() {
    let folder = TempDir::new().unwrap();
    let bitmap = write(&folder, "a.bmp", b"BM\x1a\0\0\0\0\0\0\0");
    assert_eq!(open(&bitmap, beside()).unwrap().kind(), InputKind::Pictures);
}

#[test]
fn lines_are_pictures_or_prompts_or_refused() {
    let refused = "can be read in two ways";
    let long_names =
        "a man who stands on the beach with a dog at dusk.png\na cup of tea on a table in the evening sun.png\n";
    for (lines, want) in [
        ("a.png\nb.png\n", "pictures"),
        ("b.png\na.png\n", "pictures"),
        ("# May\na.png\n", "pictures"),
        ("a gone picture.png\na.png\n", "pictures"),
        ("no-extension\n", "pictures"),
        ("# Draw\nWrite a poem\n", "lines of text"),
        ("Draw logo.png, please\nWrite a poem\n", "lines of text"),
        ("Write a poem\nName a command that turns every picture of a folder into out.png\n", "lines of text"),
        ("Which tool reads a.jpg and writes: b.png\nWhat is in logo.png?\n", "lines of text"),
        ("logo.png is too dark: what helps?\nSummarise https://x.example/article\n", "lines of text"),
        ("/start\nand/or\n// Say hello\nWhat is ASP.NET\n", "lines of text"),
        ("Summarise report.pdf\nHow do I open a .pdf\nConvert .heic to .jpg\nconvert a.jpg b.png\n", "lines of text"),
        ("How do I open a .pdf\n", "lines of text"),
        ("~/.bashrc\nhttps://example.com/article\nSay hello\n", "lines of text"),
        ("http://localhost:8080/health, why is it down?\n", "lines of text"),
        ("Q1\thttps://a.b/c\tsummarise\n", "lines of text"),
        (
            &format!("{}请把这张图片转换成output.png\nDraw me logo.png\n", "写一首关于猫的诗\n".repeat(18)),
            "lines of text",
        ),
        (&format!("{}Draw me logo.png\n", "Write a poem\n".repeat(8)), refused),
        (&format!("{}gone.png\n", "Write a poem\n".repeat(50)), refused),
        ("Summarise report.pdf\nSummarise notes.pdf\n", refused),
        ("~/photos/0001\n~/photos/0002\n", refused),
        ("gone.png\n", "is a list of pictures, but none of them can be sent:\n"),
        ("gone.png\nb.pdf\nc.psd\n", "lines.txt:2: b.pdf does not exist"),
        ("https://x.example/a.png?size=2\n", "is a URL"),
        ("gone.png\nDraw me logo.png\n", refused),
        ("Write a poem\na.png\n", refused),
        ("Write a poem\nlogo.png\n", refused),
        ("Draw a cup\nWrite a poem\nlogo.png\n", refused),
        ("Draw a cup\nWrite a poem\nWrite an ode\ngone.png\n", refused),
        ("Draw me logo.png\n", refused),
        ("my photo.png\nmy other photo.png\n", refused),
        ("# pictures\nmy photo.png\nmy other photo.png\n", refused),
        ("https://x.example/1\nhttps://x.example/2\n", refused),
        ("C:\\Users\\me\\gone one.png\nC:\\Users\\me\\gone two.png\n", refused),
        ("gone.png,1\nlost.png,2\n", refused),
        ("gone.png\ta cat\nlost.png\ta dog\n", refused),
        ("/photos/0001\n/photos/0002\n", refused),
        ("Write a poem\nmy photo.png\n", "line 2 (my photo.png) looks like a picture's name, path or URL"),
        ("my photo.png\n", "line 1 (my photo.png) may be a picture's name, path or URL"),
        (long_names, refused),
    ] {
        let folder = TempDir::new().unwrap();
        write(&folder, "a.png", &png(1, 1));
        write(&folder, "no-extension", &png(1, 1));
        match open(&write(&folder, "lines.txt", lines.as_bytes()), beside()) {
            Ok(input) => assert_eq!(input.kind().name(), want, "{lines}"),
            Err(words) => assert!(words.contains(want), "{lines}: {words}"),
        }
    }
}

#[test]
fn a_template_for_lines_of_text_says_what_they_are() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "lines.txt", b"https://x.example/1\nhttps://x.example/2\n");
    let with = |prompt: &str| open(&path, InputOptions { prompt: Some(prompt.to_owned()), ..InputOptions::default() });
    assert_eq!(with("Summarise {{ prompt }}").unwrap().kind(), InputKind::Text);
    for prompt in ["Summarise it.", "Describe {{ name }}."] {
        let refused = with(prompt).unwrap_err();
        assert!(refused.contains("can be read in two ways"), "{refused}");
    }
}

#[test]
fn a_pattern_takes_what_a_shell_would() {
    let folder = TempDir::new().unwrap();
    for name in ["a.png", "sub/b.png", "sub/deep/c.png", ".hidden/d.png", "sub/.e.png"] {
        write(&folder, name, &png(1, 1));
    }
    std::os::unix::fs::symlink(folder.path().join("sub"), folder.path().join("linked")).unwrap();
    for (pattern, want) in [
        ("*.png", &["a.png"][..]),
        ("**/*.png", &["a.png", "sub/b.png", "sub/deep/c.png"]),
        ("**/**/*.png", &["a.png", "sub/b.png", "sub/deep/c.png"]),
        ("**", &["a.png", "sub/b.png", "sub/deep/c.png"]),
        ("**/deep/*", &["sub/deep/c.png"]),
        ("l*/*.png", &["linked/b.png"]),
        ("s*/../[a-c].png", &["sub/../a.png"]),
        (".h*/*.png", &[".hidden/d.png"]),
    ] {
        let found = open(&folder.path().join(pattern), beside()).unwrap_or_else(|words| panic!("{pattern}: {words}"));
        assert_eq!(ids(&all(&found)), want, "{pattern}");
    }
}

#[test]
fn no_pictures_at_all_is_an_error() {
    let folder = TempDir::new().unwrap();
    write(&folder, "rows.jsonl", b"{}");
    let words = open(folder.path(), beside()).unwrap_err();
    assert!(words.contains("contains no pictures"), "{words}");
    let words = open(&folder.path().join("*.jsonl"), beside()).unwrap_err();
    assert!(words.contains("rows must be given as one file"), "{words}");
}

#[test]
fn prompts_speak_of_a_pictures_name_place_and_size() {
    let folder = TempDir::new().unwrap();
    write(&folder, "cats/Tom.PNG", &png(640, 480));
    write(&folder, "cats/broken.png", b"");
    let template = "{{ name }} {{ stem }} {{ extension }} {{ directory }} {{ path }} {{ width }}x{{ height }}";
    let input = open(folder.path(), InputOptions { prompt: Some(template.to_owned()), ..beside() }).unwrap();
    let items = all(&input);
    assert_eq!(prompt(&items[1]), "Tom.PNG Tom png cats cats/Tom.PNG 640x480");
    assert_eq!(prompt(&items[0]), "broken.png broken png cats cats/broken.png 0x0");
}

#[test]
fn captions_mirror_their_pictures_folders() {
    let folder = TempDir::new().unwrap();
    write(&folder, "in/sub/a.png", &png(1, 1));
    let out = folder.path().join("out");
    let input = open(&folder.path().join("in"), captions(|captions| captions.dir = Some(out.clone()))).unwrap();
    assert_eq!(all(&input)[0].caption_path, Some(out.join("sub/a.txt")));
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
        (ExistingCaptionPolicy::Skip, vec!["empty.png", "new.png"], 1),
        (ExistingCaptionPolicy::Overwrite, vec!["done.png", "empty.png", "new.png"], 0),
        (ExistingCaptionPolicy::Append, vec!["done.png", "empty.png", "new.png"], 0),
        (ExistingCaptionPolicy::Prepend, vec!["done.png", "empty.png", "new.png"], 0),
    ] {
        let input = open(folder.path(), captions(|captions| captions.existing = existing)).unwrap();
        let checked = input.validate().unwrap();
        assert_eq!((checked.items, checked.skipped), (want.len() as u64, skipped), "{existing:?}");
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
    let items: Vec<_> = input.items().with_known_ids(|id| id == "mine.png").map(|item| item.unwrap()).collect();
    assert_eq!(ids(&items), ["mine.png", "new.png"]);
    assert_eq!(input.items().with_known_ids(|id| id == "mine.png").check().unwrap().skipped, 1);
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
        faults.reported[0].error.message,
        "a.png and a.jpg would share the caption file a.txt; rename one of them, or use --full-caption-names (a.png.txt)"
    );
    let full = open(folder.path(), captions(|captions| captions.keeps_extension = true)).unwrap();
    assert_eq!(all(&full)[1].caption_path, Some(folder.path().join("a.png.txt")));
    let none = open(folder.path(), no_options()).unwrap();
    assert!(all(&none).iter().all(|item| item.caption_path.is_none()), "without captions nothing can clash");
}

#[test]
fn a_picture_listed_twice_is_refused_with_both_lines() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a.png", &png(1, 1));
    let list = write(&folder, "list.txt", b"a.png\n./a.png\n");
    let faults = open(&list, beside()).unwrap().validate().unwrap_err();
    assert_eq!(faults.reported[0].error.message, "the id `a.png` is already used in line 1; ids must be unique");
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
    assert!(faults.reported[0].error.message.contains("would be written outside"), "{faults}");
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
    let append = captions(|captions| captions.existing = ExistingCaptionPolicy::Append);
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
        all(&open(folder.path(), beside()).unwrap())[0].request_hash.clone()
    };
    assert_eq!(hash(&png(1, 1)), hash(&png(1, 1)));
    assert_ne!(hash(&png(1, 1)), hash(&[png(1, 1), vec![0]].concat()));
}
