//! Generated inputs: each is read as items or reported errors.

use cascadeck::input::InputOptions;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{no_options, open, write};

/// Pieces of valid syntax, which get further into the readers than random bytes.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\u",
        "\n",
        "\r\n",
        "\u{feff}",
        ";",
        "null",
        "1e999",
        "-1",
        "{{",
        "%}",
        r#""prompt":"x""#,
        r#""messages":["#,
        r#"{"role":"user","content":"#,
        r#"{"type":"image_url","image_url":"#,
        r#""data:image/png;base64,AAAA""#,
        r#"{"custom_id":"a","body":{"#,
        r#"{"custom_id":"a","params":{"#,
        r#"{"key":"a","request":{"contents":[{"parts":["#,
        r#""generationConfig":{"#,
        r#""thinking":"#,
        r#""id":"#,
        "id,prompt\n",
        "\"\"",
        "a.png",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    prop::collection::vec(prop_oneof![4 => word, 1 => noise], 0..40).prop_map(|pieces| pieces.concat())
}

fn starts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "{\"prompt\":\"x\"}\n",
        "{\"custom_id\":\"a\",\"body\":{}}\n",
        "{\"custom_id\":\"a\",\"params\":{}}\n",
        "{\"key\":\"a\",\"request\":{}}\n",
        "id,prompt,temperature,images\n",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_make_a_reader_panic(
        name in prop::sample::select(vec!["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a", "a.png"]),
        start in starts(),
        bytes in pieces(),
        template in prop::option::of(prop::sample::select(vec!["{{ prompt }}", "{{ id.x }}", "fixed"])),
    ) {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, name, &[start.as_bytes(), &bytes].concat());
        let options = InputOptions { prompt: template.map(str::to_owned), ..no_options() };
        if let Ok(input) = open(&path, options) {
            let items: Vec<_> = input.items().collect();
            match input.validate() {
                Ok(checked) => prop_assert_eq!(checked.items as usize, items.len()),
                Err(faults) => {
                    let bad = items.iter().filter(|item| item.is_err()).count() as u64;
                    prop_assert!(faults.total == bad || (items.is_empty() && faults.total == 1));
                    prop_assert!(!faults.to_string().is_empty());
                }
            }
        }
    }
}
