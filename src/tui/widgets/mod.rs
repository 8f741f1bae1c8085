//! Building blocks of the panes. They depend on cells, widths and styles, but not on keys, models or items.

pub mod bar;
pub mod chart;
pub mod frame;
pub mod status_line;
pub mod table;
