//! The pictures of a request. They are read when the attempt is made. Their type is detected by their bytes, they are
//! decoded to check that they are complete, and they are made what the API accepts: upright, not too large, in a format
//! that it knows, and without metadata. A picture that cannot be sent is reported before anything is sent.
//!
//! `load` reads and encodes them, and `prepare` decides what has to be done with a file: `metadata` cuts metadata out of
//! it, or `pixels` decodes and encodes it anew. `format` says which API accepts which type, `decode_check` decodes each
//! picture once, which `checked_cache` remembers, `decode_memory` limits the memory for that, and `limits` holds the APIs' limits.
//! `thumbnail` makes small versions for people.

mod checked_cache;
mod decode_check;
mod decode_memory;
mod format;
mod header;
mod limits;
mod load;
mod metadata;
mod pixels;
mod prepare;
mod thumbnail;

pub use checked_cache::CheckedPictureCache;
pub use format::{can_be_sent_to, detect_file};
pub use header::PictureError;
pub use limits::{max_file_bytes, max_request_bytes};
pub use load::{EncodedPicture, load};
pub use thumbnail::thumbnail;
