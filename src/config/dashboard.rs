//! `[dashboard]`: how the screen looks, and which keys trigger which actions. The dashboard itself checks the names of
//! themes, actions and keys. It gets the location of each binding for its error messages.

use toml::de::DeValue;

use super::{schema, toml_reader::TomlTable};
use crate::domain::{ImageMode, KeyOverride};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dashboard {
    /// The name of a built-in theme, or the path of a theme file.
    pub theme: Option<String>,
    pub ascii: bool,
    pub pictures: ImageMode,
    pub mouse: Option<bool>,
    pub notify: Option<bool>,
    /// Maximum number of frames per second.
    pub fps: Option<u16>,
    pub keys: Vec<KeyOverride>,
}

pub(super) fn read(root: &TomlTable<'_>) -> Dashboard {
    let Some(table) = root.table("dashboard", &schema::DASHBOARD) else { return Dashboard::default() };
    Dashboard {
        theme: table.text("theme").map(|theme| theme.text.to_owned()),
        ascii: table.flag("ascii").unwrap_or_default(),
        pictures: table.choice("pictures").unwrap_or_default(),
        mouse: table.flag("mouse"),
        notify: table.flag("notify"),
        fps: table.count("fps", 1..=120),
        keys: read_bindings(&table),
    }
}

fn read_bindings(table: &TomlTable<'_>) -> Vec<KeyOverride> {
    let Some(field) = table.field("keys") else { return Vec::new() };
    let Some(entries) = field.value.as_table() else {
        field.wrong_type("a table of actions and their keys, like { pause = \"p\" }");
        return Vec::new();
    };
    let mut bindings: Vec<KeyOverride> = Vec::new();
    for (action, value) in entries {
        let offset = value.span().start;
        let texts: Option<Vec<String>> = match value.get_ref() {
            DeValue::String(key) => Some(vec![key.to_string()]),
            DeValue::Array(keys) => {
                keys.iter().map(|key| key.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        match texts {
            Some(keys) if !keys.is_empty() => {
                let location = field.doc.location(offset);
                bindings.push(KeyOverride { action: action.get_ref().to_string(), keys, location });
            }
            _ => field.doc.add_error(offset, "write a key in quotes, like \"p\", or a list of keys"),
        }
    }
    bindings
}
