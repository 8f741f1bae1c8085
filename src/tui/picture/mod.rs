//! An item's picture, as well as this terminal can show it.
//!
//! Owns reading, decoding, sizing and encoding; it must not know the run or what the screen remembers. All of it is
//! a function of the picture and of an [`Ask`], and is called on a thread of its own: what a frame does with the
//! [`Drawing`] that comes back is to copy cells.
//!
//! Pictures come from anywhere: what can be told from a file's size or its header is refused before anything is
//! decoded, and a decoder that panics takes nothing along but its thread.

mod blocks;
mod decode;
mod drawing;
mod fit;
mod graphics;
mod palette;
mod ramp;
mod source;
mod terminal;

use std::thread;

use ratatui::layout::Size;
use tokio::sync::oneshot;

pub use drawing::Drawing;
pub use fit::fit;
pub use graphics::{Graphics, farewell};
pub use terminal::Wish;

use super::theme::Depth;
use crate::domain::Image;

/// Pixels of one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellPixels {
    pub width: u16,
    pub height: u16,
}

/// What the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canvas {
    pub depth: Depth,
    /// Only ASCII signs.
    pub ascii: bool,
    /// Dark signs on a light background: an empty cell is bright.
    pub light: bool,
    /// What it understands beyond signs and colours.
    pub graphics: Option<Graphics>,
    /// Sequences that tmux would swallow are wrapped for it.
    pub inside_tmux: bool,
    /// Where the terminal says it; a cell is twice as high as it is wide otherwise.
    pub cell: Option<CellPixels>,
}

/// Which picture, in what room, on what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    pub seq: u64,
    /// Among the item's pictures.
    pub index: usize,
    /// Cells that it may take.
    pub room: Size,
    pub canvas: Canvas,
}

/// Reads, decodes and draws, away from whoever waits for it. Nothing waits for the thread when the program ends, be it
/// at a disk that has stopped answering.
///
/// # Errors
/// Why there is nothing to see, in words for the operator.
pub async fn depict(image: Image, ask: Ask, number: u32) -> Result<Drawing, String> {
    apart(move || draw(&image, &ask, number)).await
}

/// The same, here and now. `number` tells apart the pictures that a terminal is given to keep.
///
/// # Errors
/// Why there is nothing to see, in words for the operator.
pub fn draw(image: &Image, ask: &Ask, number: u32) -> Result<Drawing, String> {
    let bytes = source::bytes(image)?;
    let picture = decode::open(&bytes)?;
    drop(bytes);
    Ok(Drawing::new(&picture, ask, number))
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let (done, result) = oneshot::channel();
    let spawned = thread::Builder::new().name("picture".to_owned()).spawn(move || {
        // Whoever waited may have left.
        let _ = done.send(work());
    });
    match spawned {
        Ok(_) => result.await.unwrap_or_else(|_| {
            Err("the picture can't be decoded: the decoder failed at it; the log (7) has its words".to_owned())
        }),
        Err(error) => Err(format!("the picture can't be decoded: no thread could be started for it ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_decoder_that_panics_is_told_like_a_broken_picture() {
        let failed = apart::<()>(|| panic!("index out of bounds")).await;
        assert!(failed.unwrap_err().contains("the decoder failed"));
        assert_eq!(apart(|| Ok(7)).await, Ok(7));
    }
}
