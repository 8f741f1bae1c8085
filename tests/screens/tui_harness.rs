//! A dashboard without a terminal: a state, a snapshot, and the effects of every event.

use cascadeck::{
    domain::{Command, Image, Page, Query, ReplayFilter, RouteTarget, Snapshot},
    tui::{
        Effect, State, UiEvent,
        action::Action,
        draw,
        pane::Pane,
        picture::{self, ImageCaps, ImageRequest},
        state::{DetailView, PendingQuery},
        theme::{ColourDepth, Theme},
        update,
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, layout::Size};

use crate::fixture;

pub struct TuiHarness {
    pub state: State,
    pub snapshot: Snapshot,
    pub effects: Vec<Effect>,
    /// Image requests that wait for [`TuiHarness::render_image`]; `None`: images are rendered at once.
    pub held_images: Option<Vec<(ImageRequest, u32)>>,
}

/// A command that replays these items, to the cascade or to one target.
pub fn replay_command(ids: &[&str], target: Option<RouteTarget>) -> Command {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Command::Replay { filter: ReplayFilter { ids, ..ReplayFilter::default() }, target }
}

/// The effects when `command` is the only thing to do.
pub fn send_effect(command: Command) -> Vec<Effect> {
    vec![Effect::SendCommand(command)]
}

impl TuiHarness {
    /// The busy snapshot on a common terminal size.
    pub fn busy() -> Self {
        Self::new(120, 36, fixture::busy())
    }

    pub fn new(width: u16, height: u16, snapshot: Snapshot) -> Self {
        Self::with_depth(width, height, snapshot, ColourDepth::True, false)
    }

    pub fn with_depth(
        width: u16,
        height: u16,
        snapshot: Snapshot,
        colour_depth: ColourDepth,
        ascii_only: bool,
    ) -> Self {
        let theme = Theme::load(None, colour_depth).unwrap();
        let mut state = State::new(theme, ascii_only, TimeZone::UTC, Size { width, height }, &snapshot);
        state.images.caps = Some(ImageCaps {
            colour_depth,
            ascii_only,
            light_background: false,
            protocol: None,
            inside_tmux: false,
            cell_size: None,
        });
        let mut stage = Self { state, snapshot, effects: Vec::new(), held_images: None };
        stage.update(UiEvent::NewSnapshot);
        stage.answer_queries();
        stage.effects.clear();
        stage
    }

    pub fn update(&mut self, message: UiEvent) {
        for effect in update(&mut self.state, &self.snapshot, message) {
            match (effect, &mut self.held_images) {
                (Effect::RenderImage { request, image_number }, Some(held)) => held.push((request, image_number)),
                (Effect::RenderImage { request, image_number }, None) => {
                    self.render_image(request, image_number, &fixture::picture());
                }
                (other, _) => self.effects.push(other),
            }
        }
    }

    /// Answers an image request with this picture.
    pub fn render_image(&mut self, request: ImageRequest, number: u32, image: &Image) {
        let result = picture::render_blocking(image, &request, number);
        self.update(UiEvent::ImageRendered { request, result });
    }

    pub fn perform(&mut self, action: Action) -> &mut Self {
        self.update(UiEvent::Action(action));
        self.answer_queries();
        self
    }

    /// Presses keys, one per character: `\n` is Enter, `\x1b` Esc, `\t` Tab, `\x08` Backspace.
    pub fn press(&mut self, keys: &str) -> &mut Self {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                '\x08' => KeyCode::Backspace,
                letter => KeyCode::Char(letter),
            };
            self.update(UiEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)));
            self.answer_queries();
        }
        self
    }

    pub fn press_ctrl(&mut self, letter: char) -> &mut Self {
        self.update(UiEvent::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)));
        self
    }

    pub fn press_code(&mut self, code: KeyCode) -> &mut Self {
        self.update(UiEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self.answer_queries();
        self
    }

    pub fn focus(&mut self, pane: Pane) -> &mut Self {
        self.perform(Action::Focus(pane))
    }

    pub fn publish(&mut self, snapshot: Snapshot) -> &mut Self {
        self.state.now = snapshot.at;
        self.snapshot = snapshot;
        self.update(UiEvent::NewSnapshot);
        self
    }

    /// Answers all pending queries from the fixture's items.
    pub fn answer_queries(&mut self) {
        for query in self.state.pending_queries(&self.snapshot) {
            let page = self.page_for(&query.query);
            self.update(UiEvent::QueryAnswer { query, page: Ok(page) });
        }
    }

    fn page_for(&self, query: &Query) -> Page {
        match query {
            Query::Items { filter, offset, limit } => {
                let failed = fixture::failed_items().into_iter().filter(|_| self.snapshot.totals.failed > 0);
                let all: Vec<_> = std::iter::once(fixture::done_item().row)
                    .chain(failed)
                    .filter(|row| filter.state.is_none_or(|state| state == row.state))
                    .filter(|row| fixture::contains_text(row, &filter.text))
                    .collect();
                let matching = all.len() as u64;
                let rows = all.into_iter().skip(*offset as usize).take(*limit as usize).collect();
                Page::Items { rows, matching, offset: *offset, outdated: false }
            }
            Query::Samples => Page::Samples { samples: Vec::new() },
            Query::Failures { filter } => {
                let rows: Vec<_> = fixture::failed_items()
                    .into_iter()
                    .filter(|row| filter.ids.is_empty() || filter.ids.contains(&row.id))
                    .filter(|row| fixture::contains_text(row, &filter.text))
                    .collect();
                let rows: Vec<_> = match &filter.pattern {
                    Some(pattern) => rows.into_iter().filter(|row| row.preview == *pattern).collect(),
                    None => rows,
                };
                if self.snapshot.totals.failed == 0 {
                    Page::Failures { groups: Vec::new(), matching: 0, outdated: false }
                } else {
                    Page::Failures {
                        groups: fixture::group_failures(&rows),
                        matching: rows.len() as u64,
                        outdated: false,
                    }
                }
            }
            Query::Item { seq: 342 } => Page::Item(Box::new(fixture::failed_item())),
            Query::Item { seq: 1 | 7 } => Page::Item(Box::new(fixture::done_item())),
            // The first failed item.
            Query::Item { seq: 117 } => {
                let mut item = fixture::failed_item();
                item.row = fixture::failed_items()[0].clone();
                Page::Item(Box::new(item))
            }
            Query::Item { .. } | Query::Picture { .. } | Query::ExportFailures { .. } => Page::NotFound,
        }
    }

    /// The first pending query.
    pub fn pending_query(&self) -> Option<PendingQuery> {
        self.state.pending_queries(&self.snapshot).next()
    }

    /// Answers the first pending query with `page`.
    pub fn answer_query_with(&mut self, page: Result<Page, String>) -> &mut Self {
        let query = self.pending_query().expect("something is wanted");
        self.update(UiEvent::QueryAnswer { query, page });
        self
    }

    /// Publishes a snapshot with one more failed item.
    pub fn fail_one_more_item(&mut self) -> &mut Self {
        let mut snapshot = self.snapshot.clone();
        snapshot.totals.failed += 1;
        self.publish(snapshot)
    }

    /// Opens an item that was answered.
    pub fn open_answered_item(&mut self) -> &mut Self {
        self.state.detail = Some(DetailView::new(1));
        self.answer_queries();
        self
    }

    fn terminal(&self) -> Terminal<TestBackend> {
        let mut terminal =
            Terminal::new(TestBackend::new(self.state.terminal_size.width, self.state.terminal_size.height)).unwrap();
        terminal.draw(|frame| draw(frame, &self.state, &self.snapshot)).unwrap();
        terminal
    }

    pub fn test_backend(&self) -> TestBackend {
        self.terminal().backend().clone()
    }

    pub fn buffer(&self) -> Buffer {
        self.terminal().backend().buffer().clone()
    }

    /// The frame as drawn, before it is compared with the terminal's content.
    pub fn frame(&self) -> Buffer {
        let Size { width, height } = self.state.terminal_size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &self.state, &self.snapshot)).unwrap().buffer.clone()
    }

    /// The rows of the screen as text, without trailing blanks.
    pub fn screen_text(&self) -> String {
        let buffer = self.buffer();
        let area = buffer.area;
        let mut text = String::new();
        for y in 0..area.height {
            let row: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
            text += row.trim_end();
            text.push('\n');
        }
        text
    }
}
