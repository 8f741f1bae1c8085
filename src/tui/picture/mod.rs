//! Renders an item's picture for what this terminal can show.
//!
//! This module reads, decodes, sizes and encodes pictures; it does not know the run or the state of the screen. The
//! result depends only on the picture and an [`ImageRequest`], and is computed on its own thread. A frame only copies
//! the cells of the [`RenderedImage`].
//!
//! Pictures are untrusted: sizes in the file system and in the header are checked before anything is decoded, and a
//! decoder that panics ends only its own thread.

mod blocks;
mod cell;
mod decode;
mod detection;
mod fit;
mod graphics;
mod luminance;
mod palette;
mod rendered;
mod request;
mod source;

use std::thread;

use tokio::sync::oneshot;

pub use crate::domain::ImageMode;
pub use fit::fit_to_cells;
pub use graphics::cleanup_sequence;
pub use rendered::RenderedImage;
pub use request::{CellPixels, GraphicsProtocol, ImageCaps, ImageRequest};

use crate::domain::Image;

/// Reads, decodes and renders a picture on its own thread. The program doesn't wait for that thread when it ends, even
/// if the thread hangs on a disk.
///
/// # Errors
/// Why the picture can't be shown, as a message for the operator.
pub async fn render(image: Image, request: ImageRequest, image_number: u32) -> Result<RenderedImage, String> {
    run_on_thread(move || render_blocking(&image, &request, image_number)).await
}

/// Like [`render`], on the current thread. `image_number` distinguishes the pictures that a terminal stores.
///
/// # Errors
/// Why the picture can't be shown, as a message for the operator.
pub fn render_blocking(image: &Image, request: &ImageRequest, image_number: u32) -> Result<RenderedImage, String> {
    let bytes = source::read_bytes(image)?;
    let picture = decode::decode(&bytes)?;
    drop(bytes);
    Ok(RenderedImage::new(&picture, request, image_number))
}

async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (result_sender, result_receiver) = oneshot::channel();
    let spawned = thread::Builder::new().name("picture".to_owned()).spawn(move || {
        // The receiver may have been dropped.
        let _ = result_sender.send(work());
    });
    match spawned {
        Ok(_) => result_receiver.await.unwrap_or_else(|_| {
            Err("the picture can't be decoded: the decoder crashed; see the log (7) for details".to_owned())
        }),
        Err(error) => Err(format!("the picture can't be decoded: can't start a thread for it ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_decoder_that_panics_gives_an_error() {
        let failed = run_on_thread::<()>(|| panic!("index out of bounds")).await;
        assert!(failed.unwrap_err().contains("the decoder crashed"));
        assert_eq!(run_on_thread(|| Ok(7)).await, Ok(7));
    }
}
