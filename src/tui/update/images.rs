//! The picture of the open item. It is requested when there is room for it, and stored when it is rendered.

use super::event::Effect;
use crate::{
    domain::Snapshot,
    tui::{
        panes,
        picture::{ImageRequest, RenderedImage},
        state::{State, ToastLevel},
    },
};

/// Requests the picture that the screen has room for, if it isn't there yet.
pub(super) fn request_image(state: &mut State, snapshot: &Snapshot) -> Option<Effect> {
    let wanted = wanted_image(state, snapshot);
    let (request, image_number) = state.images.begin_request(wanted)?;
    Some(Effect::RenderImage { request, image_number })
}

pub(super) fn on_rendered(
    state: &mut State,
    snapshot: &Snapshot,
    request: ImageRequest,
    result: Result<RenderedImage, String>,
) {
    let wanted = wanted_image(state, snapshot);
    state.images.on_rendered(request, result, wanted);
}

fn wanted_image(state: &State, snapshot: &Snapshot) -> Option<ImageRequest> {
    let detail = state.detail.as_ref()?;
    let item = detail.item().filter(|item| detail.picture_index < item.pictures.len())?;
    let visible_caps = state.images.visible_caps()?;
    let room = panes::picture::image_room(item, state.layout(snapshot).body)?;
    Some(ImageRequest { seq: detail.seq, index: detail.picture_index, max_cells: room, caps: visible_caps })
}

/// Shows the next picture of the open item; after the last comes the first.
pub(super) fn next_image(state: &mut State) {
    let count = state.detail.as_ref().and_then(|detail| Some(detail.item()?.pictures.len())).unwrap_or_default();
    match &mut state.detail {
        Some(detail) if count > 1 => detail.picture_index = (detail.picture_index + 1) % count,
        Some(_) => state.toasts.push("this item has no other picture", ToastLevel::Rejected, state.ui_elapsed),
        None => state.toasts.push("open an item first (Enter in Items)", ToastLevel::Rejected, state.ui_elapsed),
    }
}

pub(super) fn toggle_images(state: &mut State) {
    if state.images.caps.is_none() {
        let message = "pictures are switched off in keys.toml: [dashboard] pictures";
        state.toasts.push(message, ToastLevel::Rejected, state.ui_elapsed);
        return;
    }
    state.images.is_hidden = !state.images.is_hidden;
    let message = if state.images.is_hidden { "pictures are hidden" } else { "pictures are shown" };
    state.toasts.push(message, ToastLevel::Success, state.ui_elapsed);
}
