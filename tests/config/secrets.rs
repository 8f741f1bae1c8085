//! Where secrets come from, and that they stay there.

use crate::{Desk, exposed};

const MODEL: &str = "[[model]]\nname = 'm'\nprovider = 'gemini'\n";

fn with_secret(secret: &str) -> Desk {
    Desk::with_keys(&format!("{MODEL}[[key]]\nname = 'alice'\nprovider = 'gemini'\nsecret = {secret}\n"))
}

#[test]
fn a_secret_comes_from_a_variable_a_dotenv_a_file_or_the_text_itself() {
    let cases = [
        ("'env:ALICE'", with_secret("'env:ALICE'").variable("ALICE", "s3cret")),
        ("'env:ALICE' in .env", with_secret("'env:ALICE'").file(".env", "ALICE=s3cret\n")),
        ("'file:keys/alice'", with_secret("'file:keys/alice'").file("keys/alice", "\n s3cret\n")),
        ("'s3cret'", with_secret("'s3cret'")),
    ];
    for (what, desk) in cases {
        let config = desk.load();
        assert_eq!(exposed(&config, "alice"), Some("s3cret"), "{what}");
        assert_eq!(config.warnings, [""; 0], "{what}");
    }
}

#[test]
fn a_secret_file_is_looked_for_beside_keys_toml_or_at_home() {
    let keys = format!(
        "{MODEL}[[key]]\nname = 'a'\nprovider = 'gemini'\nsecret = 'file:one'\n\
         [[key]]\nname = 'b'\nprovider = 'gemini'\nsecret = 'file:~/two'\n"
    );
    let desk = Desk::empty().file("conf/keys.toml", keys).file("conf/one", "1").file("home/two", "2");
    let home = desk.path().join("home").display().to_string();
    let config = desk.variable("HOME", &home).try_load_file(Some("conf/keys.toml")).unwrap();
    assert_eq!((exposed(&config, "a"), exposed(&config, "b")), (Some("1"), Some("2")));
}

#[test]
fn what_others_may_read_is_warned_of_only_where_it_holds_secrets() {
    let cases = [
        ("a literal", with_secret("'s3cret'").mode("keys.toml", 0o644), Some(("keys.toml", "644"))),
        ("a file", with_secret("'file:k'").file("k", "s3cret").mode("k", 0o640), Some(("k", "640"))),
        ("a .env", with_secret("'env:A'").file(".env", "A=s3cret").mode(".env", 0o604), Some((".env", "604"))),
        ("only references", with_secret("'env:A'").variable("A", "s3cret").mode("keys.toml", 0o644), None),
        ("a file, seen from outside", with_secret("'file:k'").file("k", "s3cret").mode("keys.toml", 0o644), None),
    ];
    for (what, desk, warned) in cases {
        let warnings = desk.load().warnings;
        let Some((file, mode)) = warned else {
            assert_eq!(warnings, [""; 0], "{what}");
            continue;
        };
        assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
        assert!(
            warnings[0].ends_with(&format!("(mode {mode}): chmod 600 {}", desk.path().join(file).display())),
            "{what}: {warnings:?}"
        );
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "AQ.hunter2hunter2hunter2";
    let desk = with_secret(&format!("'{secret}'"));
    let shown = format!("{:?} {:#?}", desk.load(), desk.load());
    assert!(!shown.contains("hunter2"), "{shown}");

    let key = |rest: &str| Desk::with_keys(&format!("{MODEL}[[key]]\n{rest}\n"));
    let faulty = [
        ("in place of the alias", key(&format!("name = '{secret}'\nprovider = 'gemini'\nsecret = 's'"))),
        ("in place of the provider", key(&format!("name = 'a'\nprovider = '{secret}'\nsecret = 's'"))),
        ("in place of the role", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 's'\nrole = '{secret}'"))),
        ("in place of a name", key(&format!("name = 'a'\nprovider = 'gemini'\n'{secret}' = 's'"))),
        ("behind env:", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 'env:{secret}'"))),
        ("behind file:", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 'file:{secret}'"))),
        ("with a space", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = '{secret} {secret}'"))),
        ("in a list", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = ['{secret}']"))),
        ("without quotes", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = {secret}"))),
        ("with half the quotes", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = \"{secret}\n"))),
        ("twice on a line", key(&format!("name = 'a' secret = '{secret}'"))),
        (
            "twice",
            key(&format!(
                "name = 'a'\nprovider = 'gemini'\nsecret = '{secret}'\n[[key]]\nname = 'b'\nprovider = 'gemini'\nsecret = '{secret}'"
            )),
        ),
        (
            "in an address",
            Desk::with_keys(&format!("[[provider]]\nname = 'gemini'\nbase_url = 'https://x.example/?key={secret}'")),
        ),
        (
            "in a header",
            Desk::with_keys(&format!(
                "[[provider]]\nname = 'gemini'\nheaders = {{ Authorization = 'Bearer {secret}' }}"
            )),
        ),
        ("in a file", with_secret("'file:k'").file("k", format!("{secret}\n{secret}"))),
        ("in a variable", with_secret("'env:K'").variable("K", &format!("{secret} {secret}"))),
        ("in a .env", with_secret("'env:K'").file(".env", format!("K={secret} {secret}\n"))),
    ];
    for (what, desk) in faulty {
        let faults = desk.faults();
        for shown in [faults.to_string(), format!("{faults:?}")] {
            assert!(!shown.contains("hunter2"), "{what}: {shown}");
        }
    }
}
