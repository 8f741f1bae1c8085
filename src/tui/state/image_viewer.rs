//! The picture of the open item: the request for it and its result. At most one request is in progress and at most one
//! result is stored.

use crate::tui::picture::{ImageCaps, ImageRequest, RenderedImage};

#[derive(Debug, Default)]
pub struct ImageViewer {
    /// Image capabilities of the terminal; `None`: pictures are off.
    pub caps: Option<ImageCaps>,
    /// True if the operator has hidden the pictures.
    pub is_hidden: bool,
    /// Number of the last request; distinguishes the pictures that the terminal stores.
    last_number: u32,
    in_progress: Option<ImageRequest>,
    latest: Option<(ImageRequest, Result<RenderedImage, String>)>,
}

/// The loading state of a picture.
#[derive(Clone, Copy, Debug)]
pub enum ImageState<'a> {
    Loading,
    Ready(&'a RenderedImage),
    Failed(&'a str),
}

impl ImageViewer {
    /// The image capabilities, if pictures are on and not hidden.
    pub fn visible_caps(&self) -> Option<ImageCaps> {
        self.caps.filter(|_| !self.is_hidden)
    }

    /// The state of this picture. It can be ready in another size than the one wanted now.
    pub fn image_state(&self, seq: u64, index: usize) -> ImageState<'_> {
        match &self.latest {
            Some((request, result)) if (request.seq, request.index) == (seq, index) => match result {
                Ok(image) => ImageState::Ready(image),
                Err(message) => ImageState::Failed(message),
            },
            _ => ImageState::Loading,
        }
    }

    /// Returns the request to render now, with its number, and counts it as in progress. `None` if `wanted` is rendered
    /// already or another request is in progress. Only one runs at a time, so that resizing the window or stepping
    /// through items never takes more than one thread. If no picture is wanted, the stored result is dropped.
    pub fn begin_request(&mut self, wanted: Option<ImageRequest>) -> Option<(ImageRequest, u32)> {
        let Some(wanted) = wanted else {
            // The file may have changed by the time the picture is opened again.
            self.latest = None;
            return None;
        };
        let is_done = self.latest.as_ref().is_some_and(|(request, result)| match result {
            Ok(_) => *request == wanted,
            // A picture that can't be read can't be read in another size either.
            Err(_) => (request.seq, request.index) == (wanted.seq, wanted.index),
        });
        if is_done || self.in_progress.is_some() {
            return None;
        }
        self.last_number = self.last_number.wrapping_add(1);
        self.in_progress = Some(wanted);
        Some((wanted, self.last_number))
    }

    /// Takes the result of a request, and stores it if it is still wanted.
    pub fn on_rendered(
        &mut self,
        request: ImageRequest,
        result: Result<RenderedImage, String>,
        wanted: Option<ImageRequest>,
    ) {
        if self.in_progress == Some(request) {
            self.in_progress = None;
        }
        if wanted == Some(request) {
            self.latest = Some((request, result));
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Size;

    use super::*;
    use crate::tui::theme::ColourDepth;

    const CAPS: ImageCaps = ImageCaps {
        colour_depth: ColourDepth::True,
        ascii_only: false,
        light_background: false,
        protocol: None,
        inside_tmux: false,
        cell_size: None,
    };

    fn request(seq: u64, width: u16) -> ImageRequest {
        ImageRequest { seq, index: 0, max_cells: Size { width, height: 10 }, caps: CAPS }
    }

    fn broken() -> Result<RenderedImage, String> {
        Err("broken".to_owned())
    }

    #[test]
    fn one_request_is_in_progress_and_the_newest_comes_next() {
        let mut pictures = ImageViewer::default();
        assert_eq!(pictures.begin_request(Some(request(1, 40))), Some((request(1, 40), 1)));
        for width in 41..60 {
            assert_eq!(pictures.begin_request(Some(request(1, width))), None, "one at a time");
        }
        pictures.on_rendered(request(1, 40), broken(), Some(request(1, 59)));
        assert!(matches!(pictures.image_state(1, 0), ImageState::Loading), "an answer to an old question is ignored");
        assert_eq!(pictures.begin_request(Some(request(1, 59))), Some((request(1, 59), 2)));
    }

    #[test]
    fn a_picture_of_another_item_is_not_shown() {
        let mut pictures = ImageViewer::default();
        pictures.begin_request(Some(request(1, 40)));
        pictures.on_rendered(request(1, 40), broken(), Some(request(2, 40)));
        assert!(matches!(pictures.image_state(1, 0), ImageState::Loading));
        assert!(matches!(pictures.image_state(2, 0), ImageState::Loading));
    }

    #[test]
    fn an_unreadable_picture_is_read_again_only_when_it_is_reopened() {
        let mut pictures = ImageViewer::default();
        pictures.begin_request(Some(request(1, 40)));
        pictures.on_rendered(request(1, 40), broken(), Some(request(1, 40)));
        assert!(matches!(pictures.image_state(1, 0), ImageState::Failed("broken")));
        assert_eq!(pictures.begin_request(Some(request(1, 50))), None);
        assert_eq!(pictures.begin_request(None), None);
        assert!(pictures.begin_request(Some(request(1, 50))).is_some());
    }
}
