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
mod detection;
mod fit;
mod graphics;
mod luminance;
mod palette;
mod rendered;
mod source;

use std::thread;

use ratatui::layout::Size;
use tokio::sync::oneshot;

pub use detection::ImageMode;
pub use fit::fit_to_cells;
pub use graphics::{GraphicsProtocol, cleanup_sequence};
pub use rendered::RenderedImage;

use super::theme::ColourDepth;
use crate::domain::Image;

/// Pixels of one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellPixels {
    pub width: u16,
    pub height: u16,
}

/// What the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageCaps {
    pub colour_depth: ColourDepth,
    /// Only ASCII signs.
    pub ascii_only: bool,
    /// Dark signs on a light background: an empty cell is bright.
    pub light_background: bool,
    /// What it understands beyond signs and colours.
    pub protocol: Option<GraphicsProtocol>,
    /// Sequences that tmux would swallow are wrapped for it.
    pub inside_tmux: bool,
    /// Where the terminal says it; a cell is twice as high as it is wide otherwise.
    pub cell_size: Option<CellPixels>,
}

/// Which picture, in what room, on what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageRequest {
    pub seq: u64,
    /// Among the item's pictures.
    pub index: usize,
    /// Cells that it may take.
    pub max_cells: Size,
    pub caps: ImageCaps,
}

/// Reads, decodes and draws, away from whoever waits for it. Nothing waits for the thread when the program ends, be it
/// at a disk that has stopped answering.
///
/// # Errors
/// Why there is nothing to see, in words for the operator.
pub async fn render(image: Image, request: ImageRequest, image_number: u32) -> Result<RenderedImage, String> {
    run_on_thread(move || render_blocking(&image, &request, image_number)).await
}

/// The same, here and now. `number` tells apart the pictures that a terminal is given to keep.
///
/// # Errors
/// Why there is nothing to see, in words for the operator.
pub fn render_blocking(image: &Image, request: &ImageRequest, image_number: u32) -> Result<RenderedImage, String> {
    let bytes = source::read_bytes(image)?;
    let picture = decode::decode(&bytes)?;
    drop(bytes);
    Ok(RenderedImage::new(&picture, request, image_number))
}

async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (result_sender, result) = oneshot::channel();
    let spawned = thread::Builder::new().name("picture".to_owned()).spawn(move || {
        // Whoever waited may have left.
        let _ = result_sender.send(work());
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
        let failed = run_on_thread::<()>(|| panic!("index out of bounds")).await;
        assert!(failed.unwrap_err().contains("the decoder failed"));
        assert_eq!(run_on_thread(|| Ok(7)).await, Ok(7));
    }
}
