//! The open item's picture: its place, when it is drawn, and the message where it can't be drawn.

use std::{fs, path::PathBuf};

use cascadeck::{
    domain::{Image, ItemDetail, Page, Query},
    tui::{
        Effect, UiEvent,
        action::Action,
        picture::{self, GraphicsProtocol},
        state::DetailView,
        theme::ColourDepth,
    },
};
use ratatui::{buffer::CellDiffOption, layout::Size, style::Color};

use crate::{SIZES, fixture, tui_harness::TuiHarness};

/// A harness that holds image requests until the test answers them.
fn harness_with_held_images(width: u16, height: u16) -> TuiHarness {
    let mut stage = TuiHarness::new(width, height, fixture::busy());
    stage.held_images = Some(Vec::new());
    stage
}

fn take_request(stage: &mut TuiHarness) -> (picture::ImageRequest, u32) {
    let held = stage.held_images.as_mut().unwrap();
    assert_eq!(held.len(), 1, "one at a time");
    held.remove(0)
}

/// Opens an item with these pictures.
fn open_item(stage: &mut TuiHarness, pictures: &[&str]) {
    let item =
        ItemDetail { pictures: pictures.iter().map(|name| (*name).to_owned()).collect(), ..fixture::done_item() };
    stage.state.detail = Some(DetailView::new(1));
    let query = stage.pending_query().unwrap();
    assert_eq!(query.query, Query::Item { seq: 1 });
    stage.update(UiEvent::QueryAnswer { query, page: Ok(Page::Item(Box::new(item))) });
}

fn count_blocks(text: &str) -> usize {
    text.chars().filter(|sign| *sign == '▀').count()
}

#[test]
fn each_terminal_gets_the_colours_it_has() {
    let colours = |depth| {
        let mut stage = TuiHarness::with_depth(120, 36, fixture::busy(), depth, false);
        let buffer = stage.open_answered_item().buffer();
        let cells = buffer.content().iter().filter(|cell| cell.symbol() == "▀").cloned().collect::<Vec<_>>();
        assert!(cells.len() > 400, "{depth:?}: {} cells", cells.len());
        cells
    };
    assert!(
        colours(ColourDepth::True).iter().all(|cell| matches!((cell.fg, cell.bg), (Color::Rgb(..), Color::Rgb(..))))
    );
    let indexed = |cell: &ratatui::buffer::Cell| matches!((cell.fg, cell.bg), (Color::Indexed(_), Color::Indexed(_)));
    assert!(colours(ColourDepth::Ansi256).iter().all(indexed));
    let more = |colour| matches!(colour, Color::Rgb(..) | Color::Indexed(_));
    assert!(!colours(ColourDepth::Ansi16).iter().any(|cell| more(cell.fg) || more(cell.bg)));
    let mut mono = TuiHarness::with_depth(120, 36, fixture::busy(), ColourDepth::Mono, false);
    for cell in mono.open_answered_item().buffer().content() {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{cell:?}");
    }
}

#[test]
fn an_ascii_screen_has_an_ascii_picture() {
    for (width, height) in SIZES {
        let mut stage = TuiHarness::with_depth(width, height, fixture::busy(), ColourDepth::True, true);
        let text = stage.open_answered_item().screen_text();
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn the_text_is_there_before_the_picture_and_can_be_read_meanwhile() {
    for (width, height) in [(120, 36), (80, 24)] {
        let mut stage = harness_with_held_images(width, height);
        open_item(&mut stage, &["a.png"]);
        let before = stage.screen_text();
        assert!(before.contains("reading the picture") && before.contains("Two herons"), "{before}");
        stage.press("jj");
        assert_eq!(stage.state.detail.as_ref().unwrap().scroll.line, if height == 24 { 2 } else { 0 });
        stage.press("kk");
        let (ask, number) = take_request(&mut stage);
        stage.render_image(ask, number, &fixture::picture());
        let after = stage.screen_text();
        assert!(count_blocks(&after) > 100 && after.contains("120 x 80 PNG"), "{after}");
        // The text stays in its place.
        for line in ["Two herons", "Attempts"] {
            let row = |text: &str| text.lines().position(|row| row.contains(line));
            assert_eq!(row(&before), row(&after), "{line} at {width}x{height}");
        }
    }
}

#[test]
fn the_answer_is_on_the_first_screen_where_the_picture_is() {
    for (width, height) in SIZES {
        let mut stage = TuiHarness::new(width, height, fixture::busy());
        let text = stage.open_answered_item().screen_text();
        assert!(text.contains("A fox, half hidden"), "{width}x{height}:\n{text}");
        assert_eq!(count_blocks(&text) > 0, height > 15, "{width}x{height}:\n{text}");
    }
}

#[test]
fn a_late_image_is_dropped() {
    let mut stage = harness_with_held_images(120, 36);
    open_item(&mut stage, &["a.png"]);
    let (old, number) = take_request(&mut stage);
    // Another item and another size: no request is sent until the first one is answered.
    stage.update(UiEvent::Resize(Size::new(100, 30)));
    open_item(&mut stage, &["b.png"]);
    assert_eq!(stage.held_images.as_ref().unwrap(), &[], "one at a time");
    stage.render_image(old, number, &fixture::picture());
    assert_eq!(count_blocks(&stage.screen_text()), 0, "it has another size");
    let (new, number) = take_request(&mut stage);
    assert_ne!(new.max_cells, old.max_cells);
    stage.render_image(new, number, &fixture::picture());
    assert!(count_blocks(&stage.screen_text()) > 100);
    // Closing and opening an item reads its picture again, because the file may have changed.
    stage.press("\x1b");
    assert!(stage.held_images.as_ref().unwrap().is_empty());
    open_item(&mut stage, &["b.png"]);
    take_request(&mut stage);
}

#[test]
fn resizing_leaves_nothing_outside_the_item() {
    let mut stage = TuiHarness::new(200, 50, fixture::busy());
    stage.open_answered_item();
    for (width, height) in [(120, 36), (80, 24), (60, 20), (60, 15), (59, 14), (100, 30), (200, 50)] {
        stage.update(UiEvent::Resize(Size::new(width, height)));
        let buffer = stage.buffer();
        let body = stage.state.layout(&stage.snapshot).body;
        for at in buffer.area.positions().filter(|at| buffer[*at].symbol() == "▀") {
            assert!(at.x > body.x && at.x < body.right() - 1, "{at} at {width}x{height}");
            assert!(at.y > body.y && at.y < body.bottom() - 1, "{at} at {width}x{height}");
        }
    }
    assert!(count_blocks(&stage.screen_text()) > 1_000);
}

#[test]
fn a_picture_inside_the_text_scrolls_with_it() {
    let mut stage = TuiHarness::new(80, 24, fixture::busy());
    stage.open_answered_item();
    let rows = |stage: &TuiHarness| stage.screen_text().lines().filter(|row| row.contains('▀')).count();
    let whole = rows(&stage);
    assert!(whole >= 5);
    for _ in 0..20 {
        stage.perform(Action::Down);
    }
    assert!(rows(&stage) < whole);
    stage.perform(Action::Top);
    assert_eq!(rows(&stage), whole);
}

#[test]
fn pictures_are_cycled_and_hidden() {
    let mut stage = harness_with_held_images(120, 36);
    open_item(&mut stage, &["one.png", "two.png"]);
    let (ask, number) = take_request(&mut stage);
    assert_eq!(ask.index, 0);
    stage.render_image(ask, number, &fixture::picture());
    assert!(stage.screen_text().contains("1 of 2 (n)  one.png  120 x 80 PNG"), "{}", stage.screen_text());
    stage.press("n");
    let (ask, number) = take_request(&mut stage);
    assert_eq!(ask.index, 1);
    stage.render_image(ask, number, &fixture::picture());
    assert!(stage.screen_text().contains("2 of 2 (n)  two.png"), "{}", stage.screen_text());
    stage.press("n");
    assert_eq!(take_request(&mut stage).0.index, 0, "after the last comes the first");

    let mut stage = TuiHarness::new(120, 36, fixture::busy());
    stage.open_answered_item();
    stage.press("n");
    assert!(stage.screen_text().contains("no other picture"));
    stage.press("v");
    assert_eq!(count_blocks(&stage.screen_text()), 0);
    stage.press("v");
    assert!(count_blocks(&stage.screen_text()) > 100);
    stage.press("\x1b:next-picture\n");
    assert!(stage.screen_text().contains("open an item first"));
}

#[test]
fn with_pictures_switched_off_the_text_has_the_whole_width() {
    let mut stage = TuiHarness::new(120, 36, fixture::busy());
    stage.state.images.caps = None;
    stage.held_images = Some(Vec::new());
    let text = stage.open_answered_item().screen_text();
    assert_eq!(count_blocks(&text), 0);
    assert!(text.contains("pictures/spring/img_0342.png"));
    assert!(stage.held_images.as_ref().unwrap().is_empty(), "nothing is read");
    stage.press("v");
    assert!(stage.screen_text().contains("switched off in keys.toml"));
}

#[test]
fn a_picture_that_cannot_be_shown_is_explained_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        Image::File(path)
    };
    let whole = fixture::png(120, 80);
    let url = |url: &str| Image::Url(url.to_owned());
    let cases = [
        (Image::File(PathBuf::from("no/such/file.png")), "no/such/file.png: the picture does not exist"),
        (file("cut.png", &whole[..whole.len() / 2]), "the PNG picture is damaged"),
        (file("text.png", b"this is a text"), "this is not a supported picture format"),
        (file("a\u{1b}[31m\u{202e}gnp.heic", b"\0\0\0\x1cftypheic\0\0\0\0"), "a HEIC picture, which this screen can't"),
        (url("https://example.org/cat.png"), "https://example.org/cat.png (not fetched)"),
    ];
    for (image, words) in cases {
        for (width, height) in [(120, 36), (80, 24)] {
            let mut stage = harness_with_held_images(width, height);
            open_item(&mut stage, &["a.png"]);
            let (ask, number) = take_request(&mut stage);
            stage.render_image(ask, number, &image);
            let text = stage.screen_text();
            assert!(text.contains(words), "{words}:\n{text}");
            assert!(!text.contains("reading the picture") && text.contains("Two herons"), "{text}");
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            // It isn't retried.
            stage.update(UiEvent::Tick);
            stage.update(UiEvent::Resize(Size::new(width + 1, height)));
            assert!(stage.held_images.as_ref().unwrap().is_empty(), "{words}");
        }
    }
}

#[test]
fn terminal_graphics_become_block_characters_under_a_dialog() {
    for graphics in [GraphicsProtocol::Kitty, GraphicsProtocol::Iterm2, GraphicsProtocol::Sixel] {
        for (width, height) in [(120, 36), (80, 24)] {
            let mut stage = TuiHarness::new(width, height, fixture::busy());
            stage.state.images.caps.as_mut().unwrap().protocol = Some(graphics);
            stage.update(UiEvent::CellSize(Some(picture::CellPixels { width: 8, height: 16 })));
            stage.open_answered_item();
            let own = |stage: &TuiHarness| {
                let cells = stage.frame();
                cells.content().iter().filter(|cell| cell.diff_option != CellDiffOption::None).count()
            };
            let shown = own(&stage);
            assert!(shown > 50, "{graphics:?} at {width}x{height}: {shown} cells");
            assert_eq!(count_blocks(&stage.screen_text()), 0);
            stage.press("?");
            assert_eq!(own(&stage), 0, "{graphics:?}: the help lies over signs");
            stage.press("\x1b");
            assert_eq!(own(&stage), shown);
            // Partly scrolled out of sight, it is drawn with characters too.
            if height == 24 {
                for _ in 0..8 {
                    stage.perform(Action::Down);
                }
                assert_eq!(own(&stage), 0);
            }
        }
    }
}

#[test]
fn no_image_is_requested_without_a_picture_or_room() {
    let mut stage = harness_with_held_images(120, 36);
    open_item(&mut stage, &[]);
    assert!(stage.held_images.as_ref().unwrap().is_empty());
    let mut stage = harness_with_held_images(60, 15);
    open_item(&mut stage, &["a.png"]);
    assert!(stage.held_images.as_ref().unwrap().is_empty());
    assert!(stage.effects.iter().all(|effect| !matches!(effect, Effect::RenderImage { .. })));
}
