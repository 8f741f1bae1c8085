//! Inputs of every format, valid and invalid, read from real files.

mod any_bytes;
mod formats;
mod ids;
mod pictures;
mod rows;
mod templates;

use std::{
    fs,
    path::{Path, PathBuf},
};

use cascadeck::{
    domain::{ItemSpec, MessageRole, Part},
    input::{Input, InputKind, InputOptions, InputSummary, RowErrors},
};
use tempfile::TempDir;

fn no_options() -> InputOptions {
    InputOptions::default()
}

fn write(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn open(path: &Path, options: InputOptions) -> Result<Input, String> {
    let spool = Path::new("/nowhere/spool");
    Input::open(path.to_str().unwrap(), options, spool).map_err(|error| error.to_string())
}

/// All items of an input without errors. Checks that validation and a second pass agree with the first.
fn all(input: &Input) -> Vec<ItemSpec> {
    let InputSummary { items: rows, fingerprint, .. } = input.validate().unwrap_or_else(|faults| panic!("{faults}"));
    let items: Vec<_> = input.items().map(|item| item.unwrap()).collect();
    assert_eq!(items.len() as u64, rows);
    assert_eq!(fingerprint.len(), 32);
    let again: Vec<_> = input.items().map(|item| item.unwrap()).collect();
    assert_eq!(items, again);
    items
}

fn read(name: &str, content: &[u8], options: &InputOptions) -> (InputKind, Vec<ItemSpec>) {
    let folder = TempDir::new().unwrap();
    let input = open(&write(&folder, name, content), options.clone()).unwrap();
    (input.kind(), all(&input))
}

fn faults(name: &str, content: &[u8], options: &InputOptions) -> RowErrors {
    let folder = TempDir::new().unwrap();
    open(&write(&folder, name, content), options.clone()).unwrap().validate().unwrap_err()
}

fn ids(items: &[ItemSpec]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

fn speakers(item: &ItemSpec) -> Vec<MessageRole> {
    item.request.messages.iter().map(|message| message.role).collect()
}

fn prompt(item: &ItemSpec) -> &str {
    let text = item.request.messages[0].parts.iter().find_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Image(_) => None,
    });
    text.unwrap()
}

/// The signature and header of a PNG: enough to detect and measure it.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}
