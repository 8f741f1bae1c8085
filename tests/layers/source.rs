//! The sources of the program, as tokens.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// A file below `src`, as tokens without comments, strings and tests.
pub struct SourceFile {
    /// Path below `src`.
    pub file: PathBuf,
    pub tokens: Vec<String>,
    /// Names of the modules in other files that are declared under `#[cfg(test)]`.
    test_modules: Vec<String>,
}

impl SourceFile {
    pub fn new(file: &Path, code: &str) -> Self {
        let (tokens, test_items) = split_test_items(&tokenize(code));
        let test_modules = test_items.iter().filter_map(|item| match item.as_slice() {
            [.., keyword, name, end] if keyword == "mod" && end == ";" => Some(name.clone()),
            _ => None,
        });
        Self { file: file.to_owned(), tokens, test_modules: test_modules.collect() }
    }

    /// The crate's module that the file belongs to.
    pub fn module(&self) -> &str {
        self.file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs")
    }

    /// The directory of the files of modules that this file declares, below `src`.
    pub fn submodule_dir(&self) -> PathBuf {
        let is_root_of_directory = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| self.file.ends_with(name));
        if is_root_of_directory { self.file.parent().unwrap().to_owned() } else { self.file.with_extension("") }
    }

    /// Depth of the module: 1 for `a/mod.rs`, 2 for `a/b.rs`.
    fn depth(&self) -> usize {
        self.file.iter().count() - usize::from(self.file.ends_with("mod.rs"))
    }

    /// The crate's modules that are named by `crate::` or by enough `super::` to reach the root.
    pub fn imported_modules(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let root = match token.as_str() {
                "crate" => self.is_followed_by(at, "::").then_some(at + 2),
                // The first `super` of a chain.
                "super" if at < 2 || self.tokens[at - 2] != "super" => {
                    let chain = self.tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
                    (chain == self.depth()).then_some(at + 2 * chain)
                }
                _ => None,
            };
            names.extend(root.into_iter().flat_map(|at| self.first_segments(at)));
        }
        names
    }

    /// The names of types, traits and aliases that are `pub` in any form.
    pub fn visible_types(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (at, _) in self.tokens.iter().enumerate().filter(|(_, token)| *token == "pub") {
            let mut item = at + 1;
            // `pub(crate)` and the like.
            if self.is_followed_by(at, "(") {
                item += 1 + self.tokens[item..].iter().position(|token| token == ")").unwrap();
            }
            if ["struct", "enum", "trait", "type", "union"].contains(&self.tokens[item].as_str()) {
                names.push(self.tokens[item + 1].clone());
            }
        }
        names
    }

    /// The names of the types that have an `impl` here, of their own or of a trait.
    pub fn implemented_types(&self) -> Vec<String> {
        let impls = self.tokens.iter().enumerate().filter(|(_, token)| *token == "impl");
        impls.filter_map(|(at, _)| implemented_type(&self.tokens[at + 1..])).collect()
    }

    fn is_followed_by(&self, at: usize, wanted: &str) -> bool {
        self.tokens.get(at + 1).is_some_and(|token| token == wanted)
    }

    /// The first segments of a path or of a group of paths.
    fn first_segments(&self, at: usize) -> Vec<String> {
        let Some(first) = self.tokens.get(at) else { return Vec::new() };
        if first != "{" {
            return vec![first.clone()];
        }
        let mut heads = Vec::new();
        let (mut depth, mut at_path_start) = (0, false);
        for token in &self.tokens[at..] {
            match token.as_str() {
                "{" => {
                    depth += 1;
                    at_path_start = depth == 1;
                    continue;
                }
                "}" => depth -= 1,
                "," if depth == 1 => {
                    at_path_start = true;
                    continue;
                }
                name if at_path_start => heads.push(name.to_owned()),
                _ => {}
            }
            at_path_start = false;
            if depth == 0 {
                break;
            }
        }
        heads
    }

    /// Other crates at the start of a path, each with all names that follow in that path.
    pub fn external_crates(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let begins = at == 0 || (self.tokens[at - 1] != "::" || at < 2 || !is_identifier(&self.tokens[at - 2]));
            if !begins || !self.is_followed_by(at, "::") || !KNOWN_CRATES.contains(token) {
                continue;
            }
            let path = self.tokens[at + 1..]
                .iter()
                .take_while(|token| is_identifier(token) || ["::", "{", "}", ","].contains(&token.as_str()));
            let names: Vec<String> = path.filter(|token| is_identifier(token)).cloned().collect();
            found.push((token.clone(), names));
        }
        found
    }
}

/// The crates of the manifest, and those of the language.
static KNOWN_CRATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let manifest: toml::Table = toml::from_str(include_str!("../../Cargo.toml")).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_"));
    dependencies.chain(["std", "core", "alloc"].map(str::to_owned)).collect()
});

pub fn is_identifier(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The type's name in what follows `impl`: the last segment of the path after `for`, or else of the first path.
fn implemented_type(tokens: &[String]) -> Option<String> {
    let end = tokens.iter().position(|token| ["{", ";", "where"].contains(&token.as_str()))?;
    let mut angles = 0_usize;
    let mut name = None;
    for (at, token) in tokens[..end].iter().enumerate() {
        match token.as_str() {
            "<" => angles += 1,
            // Not the end of an arrow.
            ">" if tokens[at - 1] != "-" => angles = angles.saturating_sub(1),
            "for" if angles == 0 && tokens[at + 1] != "<" => name = None,
            token if angles == 0 && is_identifier(token) => name = Some(token.to_owned()),
            _ => {}
        }
    }
    name
}

/// Splits code into names, `::` and single characters. Comments, strings and characters are left out.
fn tokenize(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").unwrap() + 2
        } else if let Some(hashes) = raw_string_hashes(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').unwrap() + 1;
            open + rest[open..].find(&close).unwrap() + close.len()
        } else if first == '"' {
            quoted_len(rest)
        } else if first == '\'' {
            // A character literal, or else the tick of a lifetime.
            let inside = rest[1..].chars().next().unwrap();
            if inside == '\\' {
                quoted_len(rest)
            } else if rest[1 + inside.len_utf8()..].starts_with('\'') {
                inside.len_utf8() + 2
            } else {
                1
            }
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else if is_identifier(rest) {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Number of hashes of a raw string that starts here (`r"`, `br#"` and the like).
fn raw_string_hashes(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    inside[hashes..].starts_with('"').then_some(hashes)
}

/// Length of a literal that ends with the quote it begins with.
fn quoted_len(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = rest.starts_with(*c) && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.unwrap().0 + 1
}

/// Separates what stands under `#[cfg(test)]` from the rest.
fn split_test_items(tokens: &[String]) -> (Vec<String>, Vec<Vec<String>>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut test_items = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(MARK.len()).ne(MARK.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let length = MARK.len() + test_item_len(&tokens[at + MARK.len()..]);
        test_items.push(tokens[at..at + length].to_vec());
        at += length;
    }
    (kept, test_items)
}

/// The length of an item, statement or field. It ends with its closing brace or semicolon. A field also ends with a
/// comma or before the brace that closes the struct.
fn test_item_len(tokens: &[String]) -> usize {
    const KEYWORDS: [&str; 12] =
        ["const", "enum", "extern", "fn", "impl", "mod", "static", "struct", "trait", "type", "unsafe", "use"];
    let mut is_field = true;
    let (mut brackets, mut angles) = (0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => brackets += 1,
            "}" | ")" | "]" if brackets == 0 => return at,
            "}" | ")" | "]" => brackets -= 1,
            "<" => angles += 1,
            ">" if tokens[at - 1] != "-" => angles = angles.saturating_sub(1),
            word if brackets == 0 && KEYWORDS.contains(&word) => is_field = false,
            _ => {}
        }
        let ends = match token.as_str() {
            "}" | ";" => brackets == 0,
            "," => is_field && brackets == 0 && angles == 0,
            _ => false,
        };
        if ends {
            return at + 1;
        }
    }
    tokens.len()
}

/// The files below `src` that the program is built from, except lib.rs and main.rs.
pub fn program_files() -> Vec<SourceFile> {
    let mut sources = without_test_modules(source_files());
    sources.retain(|source| !matches!(source.file.to_str(), Some("lib.rs" | "main.rs")));
    sources
}

/// Leaves out the files of modules that are declared under `#[cfg(test)]`, and of all modules inside them.
pub fn without_test_modules(mut sources: Vec<SourceFile>) -> Vec<SourceFile> {
    let modules_of = |source: &SourceFile| {
        let directory = source.submodule_dir();
        source.test_modules.iter().map(|name| directory.join(name)).collect::<Vec<_>>()
    };
    let test_modules: BTreeSet<PathBuf> = sources.iter().flat_map(modules_of).collect();
    sources.retain(|source| !source.file.with_extension("").ancestors().any(|path| test_modules.contains(path)));
    sources
}

/// All files below `src`.
pub fn source_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.strip_prefix(&root).unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(SourceFile::new(file, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 100, "the sources were found");
    sources
}

#[test]
fn the_source_scanner_finds_every_way_to_name_a_module() {
    let code = r##"
        use crate::{clock::Clock, domain::{self, Key}, engine};
        // crate::comment::x
        /* crate::block::y */
        pub use super::super::sim as other;
        use tokio::{sync, time::Instant};
        const TEXT: &str = "crate::text::z";
        const RAW: &str = r#"crate::raw::z"#;
        fn f<'a>(x: &'a str, c: char) -> ::reqwest::Url { crate::store::open(x, '"', '\''); crate::tui::run() }
        use self::inner::Thing;
        #[cfg(test)]
        mod tests { use crate::cli::x; fn g() { "}"; } }
        fn h() { serde_json::from_str(crate::input::TEXT) }
    "##;
    let source = SourceFile::new(Path::new("engine/a.rs"), code);
    assert_eq!(source.module(), "engine");
    let names = source.imported_modules();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["clock", "domain", "engine", "input", "sim", "store", "tui"]);
    let crates: BTreeSet<_> = source.external_crates().into_iter().map(|(krate, _)| krate).collect();
    assert_eq!(crates.iter().map(String::as_str).collect::<Vec<_>>(), ["reqwest", "serde_json", "tokio"]);
    let (_, used) = source.external_crates().into_iter().find(|(krate, _)| krate == "tokio").unwrap();
    assert_eq!(used, ["sync", "time", "Instant"]);
}

#[test]
fn the_reader_of_sources_finds_the_types_that_others_can_see() {
    let code = r#"
        pub struct Seen<T> { pub field: T }
        pub(crate) enum Also { A }
        pub(super) trait Rule {}
        pub type Short = Vec<u8>;
        struct Private;
        pub fn kind() { let type_name = "pub struct Text;"; }
        // pub struct Comment;
        #[cfg(test)]
        mod tests { pub struct InTests; }
    "#;
    let source = SourceFile::new(Path::new("engine/a.rs"), code);
    assert_eq!(source.visible_types(), ["Seen", "Also", "Rule", "Short"]);
}

#[test]
fn files_of_a_module_for_tests_are_recognised() {
    let sources = [
        ("lib.rs", "pub mod engine; #[cfg(test)] mod shared;"),
        ("shared.rs", ""),
        ("engine/mod.rs", "mod run; #[cfg(test)] #[allow(dead_code)] pub(crate) mod proof; #[cfg(test)] mod tests {}"),
        ("engine/proof/mod.rs", "mod world;"),
        ("engine/proof/world.rs", ""),
        ("engine/run.rs", "#[cfg(test)] mod cases; #[cfg(test)] use std::mem; mod parts;"),
        ("engine/run/cases.rs", ""),
        ("engine/run/parts.rs", ""),
        ("engine/tests.rs", ""),
        ("shared/proof.rs", ""),
        ("sim/proof.rs", ""),
    ];
    let sources = sources.map(|(file, code)| SourceFile::new(Path::new(file), code)).into_iter().collect();
    let files: Vec<PathBuf> = without_test_modules(sources).into_iter().map(|source| source.file).collect();
    let program =
        ["lib.rs", "engine/mod.rs", "engine/run.rs", "engine/run/parts.rs", "engine/tests.rs", "sim/proof.rs"];
    assert_eq!(files, program.map(PathBuf::from));
}

#[test]
fn the_reader_of_sources_finds_the_types_with_an_impl() {
    let code = r"
        impl Plain { fn f() -> impl Iterator<Item = Other> { todo!() } }
        impl<'a, F: Fn() -> u8> super::Generic<'a, F> where F: Clone {}
        impl<T: From<Bound>> From<Source> for &'a mut Target<T> {}
        #[cfg(test)]
        impl InTests {}
    ";
    let source = SourceFile::new(Path::new("engine/a.rs"), code);
    assert_eq!(source.implemented_types(), ["Plain", "Iterator", "Generic", "Target"]);
}

#[test]
fn only_what_stands_under_cfg_test_is_left_out() {
    let code = "
        struct A { x: u8, #[cfg(test)] pub in_tests: Map<u8, (u8, u8)>, #[cfg(test)] last: [u8; 4] }
        impl A { fn f() { #[cfg(test)] self.count(1, 2); g(A { #[cfg(test)] in_tests: 1, x: 2 }) } }
        #[cfg(test)] pub fn h<T, U>(t: T) -> Map<T, U> where T: Copy, U: Copy { t }
        #[cfg(test)] use a::b;
        fn end() {}
    ";
    let kept = "struct A { x: u8, } impl A { fn f() { g(A { x: 2 }) } } fn end() {}";
    assert_eq!(SourceFile::new(Path::new("a.rs"), code).tokens, tokenize(kept));
}
