//! `[dashboard]`: its settings, and the line of each key override.

use cascadeck::domain::ImageMode;

use crate::config::ConfigFixture;

const MODEL_AND_KEY: &str = "
[[model]]
name = \"m\"
provider = \"gemini\"

[[key]]
name = \"alice\"
provider = \"gemini\"
secret = \"AQ.alice\"
";

fn with_dashboard_settings(lines: &str) -> ConfigFixture {
    ConfigFixture::with_keys_toml(&format!("{MODEL_AND_KEY}\n[dashboard]\n{lines}\n"))
}

#[test]
fn theme_and_key_overrides_are_read_with_their_lines() {
    let text = "theme = \"light\"\npictures = \"sixel\"\nmouse = false\nfps = 10\nkeys = { pause = \"F5\", toggle = [\"Space\", \"o\"] }";
    let config = with_dashboard_settings(text).load();
    let read = config.dashboard;
    assert_eq!(
        (read.theme.as_deref(), read.pictures, read.mouse, read.notify, read.fps),
        (Some("light"), ImageMode::Sixel, Some(false), None, Some(10))
    );
    let keys: Vec<_> =
        read.keys.iter().map(|key| (key.action.as_str(), key.keys.join(" "), key.location.as_str())).collect();
    assert_eq!(keys, [("pause", "F5".to_owned(), "keys.toml:16"), ("toggle", "Space o".to_owned(), "keys.toml:16")]);
    assert_eq!(ConfigFixture::with_keys_toml(MODEL_AND_KEY).load().dashboard, cascadeck::config::Dashboard::default());
}

#[test]
fn invalid_values_are_reported_with_line_and_column() {
    let faults = with_dashboard_settings("keys = { pause = 5 }\nfps = 0\ncolour = \"blue\"\npictures = \"sixels\"")
        .load_errors()
        .to_string();
    for words in [
        "keys.toml:12:18: write a key in quotes",
        "fps must be at least 1",
        "is not a setting of [dashboard]",
        "pictures must be",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
}
