//! Files that the program writes for users: captions beside pictures, and exports of a run's results.
//!
//! Knows result lines and target paths; knows nothing of the run that produced them.

pub mod captions;
pub mod claims;
pub mod export;
mod openai_batch;

pub use captions::{ExistingCaptionPolicy, write_caption};
pub use claims::{CaptionPathDigests, Claim, ConflictingRun, claim_files};
pub use export::{ExportFormat, ExportOptions, Exporter, GALLERY_FIRST_LINE, export, is_export_line};
