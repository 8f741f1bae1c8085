//! Events that reach the screen, and what the event loop must do about it.

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Size;

use crate::{
    domain::{Command, Page, Query},
    tui::{
        action::Action,
        picture::{CellPixels, ImageRequest, RenderedImage},
        state::{ExitReason, PendingQuery},
    },
};

/// Everything that can happen to the screen.
#[derive(Debug)]
pub enum UiEvent {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(Size),
    /// The size of the terminal's cells, if it is known.
    CellSize(Option<CellPixels>),
    /// An action that no key triggered: from a signal or a test.
    Action(Action),
    /// The process was told to end: drain first, stop at once the second time. It does not come from the operator, so
    /// it also works on a read-only screen.
    Terminate,
    /// There is a newer snapshot: the one that is passed to [`update`](super::update) with this event.
    NewSnapshot,
    /// No more snapshots will come.
    EngineGone,
    /// Time has passed: see [`State::now`](crate::tui::State::now) and
    /// [`State::ui_elapsed`](crate::tui::State::ui_elapsed).
    Tick,
    /// The engine's reply to a command.
    CommandReply {
        command: Command,
        reply: Result<String, String>,
    },
    /// The answer to a pending query.
    QueryAnswer {
        query: PendingQuery,
        page: Result<Page, String>,
    },
    /// The result of [`Effect::RunExport`].
    ExportDone(Result<Page, String>),
    /// The result of [`Effect::RenderImage`].
    ImageRendered {
        request: ImageRequest,
        result: Result<RenderedImage, String>,
    },
}

/// An effect that the event loop must carry out.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    SendCommand(Command),
    /// Run an export once; its result comes as [`UiEvent::ExportDone`].
    RunExport(Query),
    /// Render an item's picture in the background; the result comes as [`UiEvent::ImageRendered`]. The number
    /// identifies the picture to the terminal.
    RenderImage {
        request: ImageRequest,
        image_number: u32,
    },
    /// Copy to the clipboard of the operator's terminal.
    CopyToClipboard(String),
    Leave(ExitReason),
    Suspend,
    RedrawAll,
    CaptureMouse(bool),
    SetTitle(String),
    /// Ring the bell and send a desktop notification.
    Notify(String),
}
