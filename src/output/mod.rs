//! What leaves the program as files: captions beside pictures, and exports of a run's results.
//!
//! Knows result lines and where they go; knows nothing of the run that made them.

pub mod captions;
pub mod claims;
pub mod export;

pub use captions::{ExistingCaptionPolicy, write_caption};
pub use claims::{CaptionFiles, Claim, ConflictingRun, claim_files};
pub use export::{ExportFormat, ExportOptions, Exporter, export, looks_like_an_export};
