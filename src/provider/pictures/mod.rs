//! The pictures of a request. They are read when the attempt is made. Their type is detected by their bytes, they are
//! decoded to check that they are complete, and they are made what the API accepts: upright, not too large, in a format
//! that it knows, and without metadata. A picture that cannot be sent is reported before anything is sent.
//!
//! `load` reads and encodes them, and `prepare` decides what has to be done with a file: `metadata` cuts metadata out of
//! it, or `pixels` decodes and encodes it anew. `format` says which API accepts which type, `decode_check` decodes each
//! picture once, `decode_memory` limits the memory for that, and `limits` holds the APIs' limits.

mod decode_check;
mod decode_memory;
mod format;
mod limits;
mod load;
mod metadata;
mod pixels;
mod prepare;

pub use format::{can_be_sent_to, detect_file};
pub use limits::{max_file_bytes, max_request_bytes};
pub use load::{CheckedPictureCache, EncodedPicture, PictureError, load};
