//! The open item's picture: where it stands, when it comes, and what is said where there is none to see.

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

use crate::{SIZES, fixture, stage::Stage};

/// A stage on which pictures wait until the test brings them.
fn waiting(width: u16, height: u16) -> Stage {
    let mut stage = Stage::new(width, height, fixture::storm());
    stage.held = Some(Vec::new());
    stage
}

fn asked(stage: &mut Stage) -> (picture::ImageRequest, u32) {
    let held = stage.held.as_mut().unwrap();
    assert_eq!(held.len(), 1, "one at a time");
    held.remove(0)
}

/// Opens an item with these pictures.
fn open(stage: &mut Stage, pictures: &[&str]) {
    let item =
        ItemDetail { pictures: pictures.iter().map(|name| (*name).to_owned()).collect(), ..fixture::done_item() };
    stage.state.detail = Some(DetailView::new(1));
    let query = stage.question().unwrap();
    assert_eq!(query.query, Query::Item { seq: 1 });
    stage.send(UiEvent::QueryAnswer { query, page: Ok(Page::Item(Box::new(item))) });
}

fn blocks(text: &str) -> usize {
    text.chars().filter(|sign| *sign == '▀').count()
}

#[test]
fn each_terminal_gets_the_colours_it_has() {
    let colours = |depth| {
        let mut stage = Stage::with(120, 36, fixture::storm(), depth, false);
        let buffer = stage.answered_item().buffer();
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
    let mut mono = Stage::with(120, 36, fixture::storm(), ColourDepth::Mono, false);
    for cell in mono.answered_item().buffer().content() {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{cell:?}");
    }
}

#[test]
fn an_ascii_screen_has_an_ascii_picture() {
    for (width, height) in SIZES {
        let mut stage = Stage::with(width, height, fixture::storm(), ColourDepth::True, true);
        let text = stage.answered_item().text();
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn the_text_is_there_before_the_picture_and_can_be_read_meanwhile() {
    for (width, height) in [(120, 36), (80, 24)] {
        let mut stage = waiting(width, height);
        open(&mut stage, &["a.png"]);
        let before = stage.text();
        assert!(before.contains("reading the picture") && before.contains("Two herons"), "{before}");
        stage.press("jj");
        assert_eq!(stage.state.detail.as_ref().unwrap().scroll.line, if height == 24 { 2 } else { 0 });
        stage.press("kk");
        let (ask, number) = asked(&mut stage);
        stage.depict(ask, number, &fixture::picture());
        let after = stage.text();
        assert!(blocks(&after) > 100 && after.contains("120 x 80 PNG"), "{after}");
        // The text stays where it is.
        for line in ["Two herons", "Attempts"] {
            let row = |text: &str| text.lines().position(|row| row.contains(line));
            assert_eq!(row(&before), row(&after), "{line} at {width}x{height}");
        }
    }
}

#[test]
fn the_answer_is_on_the_first_screen_where_the_picture_is() {
    for (width, height) in SIZES {
        let mut stage = Stage::new(width, height, fixture::storm());
        let text = stage.answered_item().text();
        assert!(text.contains("A fox, half hidden"), "{width}x{height}:\n{text}");
        assert_eq!(blocks(&text) > 0, height > 15, "{width}x{height}:\n{text}");
    }
}

#[test]
fn an_answer_that_comes_late_is_for_nobody() {
    let mut stage = waiting(120, 36);
    open(&mut stage, &["a.png"]);
    let (old, number) = asked(&mut stage);
    // Another item, another size: nothing more is asked for until the first is done.
    stage.send(UiEvent::Resize(Size::new(100, 30)));
    open(&mut stage, &["b.png"]);
    assert_eq!(stage.held.as_ref().unwrap(), &[], "one at a time");
    stage.depict(old, number, &fixture::picture());
    assert_eq!(blocks(&stage.text()), 0, "it has another size");
    let (new, number) = asked(&mut stage);
    assert_ne!(new.max_cells, old.max_cells);
    stage.depict(new, number, &fixture::picture());
    assert!(blocks(&stage.text()) > 100);
    // Closed and opened again it is read again: the file may be another now.
    stage.press("\x1b");
    assert!(stage.held.as_ref().unwrap().is_empty());
    open(&mut stage, &["b.png"]);
    asked(&mut stage);
}

#[test]
fn resizing_leaves_nothing_outside_the_item() {
    let mut stage = Stage::new(200, 50, fixture::storm());
    stage.answered_item();
    for (width, height) in [(120, 36), (80, 24), (60, 20), (60, 15), (59, 14), (100, 30), (200, 50)] {
        stage.send(UiEvent::Resize(Size::new(width, height)));
        let buffer = stage.buffer();
        let body = stage.state.layout(&stage.snapshot).body;
        for at in buffer.area.positions().filter(|at| buffer[*at].symbol() == "▀") {
            assert!(at.x > body.x && at.x < body.right() - 1, "{at} at {width}x{height}");
            assert!(at.y > body.y && at.y < body.bottom() - 1, "{at} at {width}x{height}");
        }
    }
    assert!(blocks(&stage.text()) > 1_000);
}

#[test]
fn it_scrolls_with_the_text_where_it_stands_within_it() {
    let mut stage = Stage::new(80, 24, fixture::storm());
    stage.answered_item();
    let rows = |stage: &Stage| stage.text().lines().filter(|row| row.contains('▀')).count();
    let whole = rows(&stage);
    assert!(whole >= 5);
    for _ in 0..20 {
        stage.act(Action::Down);
    }
    assert!(rows(&stage) < whole);
    stage.act(Action::Top);
    assert_eq!(rows(&stage), whole);
}

#[test]
fn pictures_are_walked_through_and_hidden() {
    let mut stage = waiting(120, 36);
    open(&mut stage, &["one.png", "two.png"]);
    let (ask, number) = asked(&mut stage);
    assert_eq!(ask.index, 0);
    stage.depict(ask, number, &fixture::picture());
    assert!(stage.text().contains("1 of 2 (n)  one.png  120 x 80 PNG"), "{}", stage.text());
    stage.press("n");
    let (ask, number) = asked(&mut stage);
    assert_eq!(ask.index, 1);
    stage.depict(ask, number, &fixture::picture());
    assert!(stage.text().contains("2 of 2 (n)  two.png"), "{}", stage.text());
    stage.press("n");
    assert_eq!(asked(&mut stage).0.index, 0, "after the last comes the first");

    let mut stage = Stage::new(120, 36, fixture::storm());
    stage.answered_item();
    stage.press("n");
    assert!(stage.text().contains("no other picture"));
    stage.press("v");
    assert_eq!(blocks(&stage.text()), 0);
    stage.press("v");
    assert!(blocks(&stage.text()) > 100);
    stage.press("\x1b:next-picture\n");
    assert!(stage.text().contains("open an item first"));
}

#[test]
fn switched_off_there_is_none_and_the_text_has_the_whole_width() {
    let mut stage = Stage::new(120, 36, fixture::storm());
    stage.state.images.caps = None;
    stage.held = Some(Vec::new());
    let text = stage.answered_item().text();
    assert_eq!(blocks(&text), 0);
    assert!(text.contains("pictures/spring/img_0342.png"));
    assert!(stage.held.as_ref().unwrap().is_empty(), "nothing is read");
    stage.press("v");
    assert!(stage.text().contains("switched off in keys.toml"));
}

#[test]
fn what_cannot_be_shown_is_told_in_its_place() {
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
        (file("text.png", b"this is a text"), "this is no picture that is known here"),
        (file("a\u{1b}[31m\u{202e}gnp.heic", b"\0\0\0\x1cftypheic\0\0\0\0"), "a HEIC picture, which this screen can't"),
        (url("https://example.org/cat.png"), "https://example.org/cat.png (not fetched)"),
    ];
    for (image, words) in cases {
        for (width, height) in [(120, 36), (80, 24)] {
            let mut stage = waiting(width, height);
            open(&mut stage, &["a.png"]);
            let (ask, number) = asked(&mut stage);
            stage.depict(ask, number, &image);
            let text = stage.text();
            assert!(text.contains(words), "{words}:\n{text}");
            assert!(!text.contains("reading the picture") && text.contains("Two herons"), "{text}");
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            // It isn't tried again and again.
            stage.send(UiEvent::Tick);
            stage.send(UiEvent::Resize(Size::new(width + 1, height)));
            assert!(stage.held.as_ref().unwrap().is_empty(), "{words}");
        }
    }
}

#[test]
fn a_terminals_own_graphics_give_way_to_signs_under_a_dialog() {
    for graphics in [GraphicsProtocol::Kitty, GraphicsProtocol::Iterm2, GraphicsProtocol::Sixel] {
        for (width, height) in [(120, 36), (80, 24)] {
            let mut stage = Stage::new(width, height, fixture::storm());
            stage.state.images.caps.as_mut().unwrap().protocol = Some(graphics);
            stage.send(UiEvent::CellSize(Some(picture::CellPixels { width: 8, height: 16 })));
            stage.answered_item();
            let own = |stage: &Stage| {
                let cells = stage.frame();
                cells.content().iter().filter(|cell| cell.diff_option != CellDiffOption::None).count()
            };
            let shown = own(&stage);
            assert!(shown > 50, "{graphics:?} at {width}x{height}: {shown} cells");
            assert_eq!(blocks(&stage.text()), 0);
            stage.press("?");
            assert_eq!(own(&stage), 0, "{graphics:?}: the help lies over signs");
            stage.press("\x1b");
            assert_eq!(own(&stage), shown);
            // Scrolled out of sight in part, it is signs too.
            if height == 24 {
                for _ in 0..8 {
                    stage.act(Action::Down);
                }
                assert_eq!(own(&stage), 0);
            }
        }
    }
}

#[test]
fn nothing_is_asked_for_where_there_is_no_picture_or_no_room() {
    let mut stage = waiting(120, 36);
    open(&mut stage, &[]);
    assert!(stage.held.as_ref().unwrap().is_empty());
    let mut stage = waiting(60, 15);
    open(&mut stage, &["a.png"]);
    assert!(stage.held.as_ref().unwrap().is_empty());
    assert!(stage.effects.iter().all(|effect| !matches!(effect, Effect::RenderImage { .. })));
}
