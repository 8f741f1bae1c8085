//! Read-only access to a run for commands in other processes, also while the run goes on.

mod items;
mod replay_preview;
mod results;
mod summary;

pub use items::{
    ended_id_lookup, for_each_unfinished_caption, for_each_unknown_waiting, fully_ended_id_lookup, known_id_lookup,
    load_done_items, picture_stamp_lookup, unchanged_item_lookup,
};
pub use replay_preview::{ReplayPreview, preview_replay};
pub use results::{FinalLine, for_each_result};
pub use summary::load_summary;
