//! Pieces that panes are made of. They know cells, widths and styles, but nothing of keys, models or items.

pub mod bar;
pub mod chart;
pub mod frame;
pub mod status_line;
pub mod table;
