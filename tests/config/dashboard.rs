//! `[dashboard]`: what the screen is told, and where each key stands.

use cascadeck::config::PictureSetting;

use crate::Desk;

const KEYS: &str = "
[[model]]
name = \"m\"
provider = \"gemini\"

[[key]]
name = \"alice\"
provider = \"gemini\"
secret = \"AQ.alice\"
";

fn dashboard(lines: &str) -> Desk {
    Desk::with_keys(&format!("{KEYS}\n[dashboard]\n{lines}\n"))
}

#[test]
fn looks_and_keys_are_read_with_their_lines() {
    let text = "theme = \"light\"\npictures = \"sixel\"\nmouse = false\nfps = 10\nkeys = { pause = \"F5\", toggle = [\"Space\", \"o\"] }";
    let config = dashboard(text).load();
    let read = config.dashboard;
    assert_eq!(
        (read.theme.as_deref(), read.pictures, read.mouse, read.notify, read.fps),
        (Some("light"), PictureSetting::Sixel, Some(false), None, Some(10))
    );
    let keys: Vec<_> =
        read.keys.iter().map(|key| (key.action.as_str(), key.keys.join(" "), key.location.as_str())).collect();
    assert_eq!(keys, [("pause", "F5".to_owned(), "keys.toml:16"), ("toggle", "Space o".to_owned(), "keys.toml:16")]);
    assert_eq!(Desk::with_keys(KEYS).load().dashboard, cascadeck::config::Dashboard::default());
}

#[test]
fn what_is_no_key_is_named_with_its_place() {
    let faults =
        dashboard("keys = { pause = 5 }\nfps = 0\ncolour = \"blue\"\npictures = \"sixels\"").faults().to_string();
    for words in [
        "keys.toml:12:18: write a key in quotes",
        "fps must be at least 1",
        "is not a setting of [dashboard]",
        "pictures must be",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
}
