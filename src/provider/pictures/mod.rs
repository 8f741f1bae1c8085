//! The pictures of a request. They are read when the attempt is made. Their type is detected by their bytes, they are
//! decoded to check that they are complete, and they are checked against the API's limits. A picture that cannot be
//! sent is reported before anything is sent.
//!
//! `load` reads and encodes them. `format` says which API accepts which type, `decode_check` decodes each picture once, and `limits`
//! holds the APIs' limits.

mod decode_check;
mod format;
mod limits;
mod load;

pub use format::{detect_file, is_accepted_by};
pub use limits::{max_file_bytes, max_request_bytes};
pub use load::{CheckedPictureCache, EncodedPicture, PictureError, load};
