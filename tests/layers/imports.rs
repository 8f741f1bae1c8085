//! Which file imports which: resolves the paths in the sources to the files that define what they name.
//!
//! Re-exports are followed, so that a `mod.rs` that only passes names on imports nothing and is not imported. Methods
//! are not resolved: a call names no file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::source::{SourceFile, is_identifier};

/// Names from the crate's root to a module. The root's own path is empty.
type ModulePath = Vec<String>;

/// The files and the imports between them.
pub struct ImportGraph {
    /// The imported files of each file, with the names that it imports from them.
    imports: BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>,
}

impl ImportGraph {
    pub fn new(sources: &[SourceFile]) -> Self {
        let crate_modules = CrateModules::new(sources);
        let mut imports: BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>> = BTreeMap::new();
        for (module_path, module) in &crate_modules.modules {
            let imported = imports.entry(module.file.clone()).or_default();
            for (file, name) in crate_modules.imported_items(module_path) {
                if file != module.file {
                    imported.entry(file).or_default().insert(name);
                }
            }
        }
        Self { imports }
    }

    /// The groups of two or more files that reach one another by imports.
    pub fn circles(&self) -> Vec<BTreeSet<PathBuf>> {
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            self.imports.keys().map(|file| (file.as_path(), self.reached_from(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, files) in &reached {
            let circle: BTreeSet<PathBuf> =
                files.iter().filter(|other| reached[*other].contains(file)).map(|other| other.to_path_buf()).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached_from<'a>(&'a self, file: &'a Path) -> BTreeSet<&'a Path> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(file) = next.pop() {
            next.extend(self.imports[file].keys().map(PathBuf::as_path).filter(|other| reached.insert(*other)));
        }
        reached
    }

    /// The files of a circle and the imports among them, for a person.
    pub fn describe(&self, circle: &BTreeSet<PathBuf>) -> String {
        let mut lines: Vec<String> = vec![format!("circle of {} files", circle.len())];
        for file in circle {
            for (other, names) in self.imports[file].iter().filter(|(other, _)| circle.contains(*other)) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                lines.push(format!("  {} -> {}: {}", file.display(), other.display(), names.join(", ")));
            }
        }
        lines.join("\n")
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Module(ModulePath),
    Item {
        /// The module that defines the item.
        module: ModulePath,
        name: String,
    },
    /// Something of another crate, or of the language.
    External,
}

/// The modules of the crate. Each is a file.
struct CrateModules {
    modules: BTreeMap<ModulePath, Module>,
}

impl CrateModules {
    /// More re-exports in a row than any name has. An import of an external name by itself (`use x::x`) ends here.
    const MAX_REEXPORTS: usize = 16;

    fn new(sources: &[SourceFile]) -> Self {
        let modules = sources.iter().map(|source| (module_path(&source.file), Module::new(source))).collect();
        Self { modules }
    }

    /// The items that a module's imports and paths name, each with the file that defines it.
    fn imported_items(&self, module_path: &ModulePath) -> Vec<(PathBuf, String)> {
        let module = &self.modules[module_path];
        let passes_on = |import: &Import| {
            import.is_reexport && module.file.ends_with("mod.rs") && !module.names.contains(&import.name)
        };
        let imports = module.imports.iter().filter(|import| !passes_on(import)).map(|import| &import.path);
        let mut items = Vec::new();
        for path in imports.chain(&module.paths) {
            let (path, is_glob) =
                path.strip_suffix(&["*".to_owned()]).map_or((path.as_slice(), false), |of| (of, true));
            match self.resolve(module_path, path, is_glob, 0) {
                Target::Item { module, name } => items.push((self.modules[&module].file.clone(), name)),
                Target::Module(module) if is_glob && self.modules.contains_key(&module) => {
                    items.push((self.modules[&module].file.clone(), "*".to_owned()));
                }
                Target::Module(_) | Target::External => {}
            }
        }
        items
    }

    /// Finds what a path in a module names. A last segment can name an item and a module; `prefer_module` chooses.
    fn resolve(&self, from: &ModulePath, path: &[String], prefer_module: bool, reexports: usize) -> Target {
        if reexports > Self::MAX_REEXPORTS {
            return Target::External;
        }
        let (mut module, mut at) = (from.clone(), 0);
        while let Some(keyword @ ("crate" | "self" | "super")) = path.get(at).map(String::as_str) {
            match keyword {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                _ => {}
            }
            at += 1;
        }
        for (index, name) in path.iter().enumerate().skip(at) {
            let is_in_scope = index == 0;
            let wants_module = prefer_module || index + 1 < path.len();
            match self.look_up(&module, name, wants_module, is_in_scope, reexports) {
                Target::Module(inner) => module = inner,
                found => return found,
            }
        }
        Target::Module(module)
    }

    /// Finds a name in a module. A path that begins with the name (`is_in_scope`) sees the imports inside functions
    /// too, and can name another crate.
    fn look_up(
        &self,
        module_path: &ModulePath,
        name: &str,
        prefer_module: bool,
        is_in_scope: bool,
        reexports: usize,
    ) -> Target {
        let module = self.modules.get(module_path);
        let child = module_path.iter().cloned().chain([name.to_owned()]).collect();
        let child = self.modules.contains_key(&child).then_some(Target::Module(child));
        let item = || Target::Item { module: module_path.clone(), name: name.to_owned() };
        let own = module.is_some_and(|module| module.items.contains(name)).then(item);
        let import = module.and_then(|module| {
            let mut imports = module.imports.iter().filter(|import| import.name == name);
            let import = imports.find(|import| is_in_scope || !import.is_in_function)?;
            Some(self.resolve(module_path, &import.path, prefer_module, reexports + 1))
        });
        let mut found: Vec<Target> = [own, import, child].into_iter().flatten().collect();
        found.sort_by_key(|target| match target {
            Target::Module(_) => !prefer_module,
            Target::Item { .. } => prefer_module,
            Target::External => true,
        });
        match found.into_iter().next() {
            Some(target) => target,
            // Nothing declares the name: a macro in the module does.
            None if module.is_some() && !is_in_scope => item(),
            None => Target::External,
        }
    }
}

/// A file's names and paths.
struct Module {
    file: PathBuf,
    /// The items that the file defines, except modules.
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// The paths outside imports. They have two segments or more.
    paths: Vec<Vec<String>>,
    /// The single names outside imports.
    names: BTreeSet<String>,
}

/// One name that a `use` brings into scope.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    /// Ends with `*` where everything of a module or an enum is imported.
    path: Vec<String>,
    /// The name in scope.
    name: String,
    is_reexport: bool,
    is_in_function: bool,
}

impl Module {
    fn new(source: &SourceFile) -> Self {
        let mut module = Self {
            file: source.file.clone(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
            names: BTreeSet::new(),
        };
        let tokens: Vec<&str> = source.tokens.iter().map(String::as_str).collect();
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(&token) = tokens.get(at) {
            let before = if at == 0 { "" } else { tokens[at - 1] };
            let after = tokens.get(at + 1).copied().unwrap_or_default();
            match token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                // `use<'a>` in a type imports nothing.
                "use" if after != "<" => {
                    at += 1;
                    let mut leaves = Vec::new();
                    read_use_tree(&tokens, &mut at, &[], &mut leaves);
                    module.imports.extend(leaves.into_iter().map(|(path, name)| Import {
                        path,
                        name,
                        is_reexport: before == "pub" || before == ")",
                        is_in_function: depth > 0,
                    }));
                    continue;
                }
                // A lifetime has lost its tick: `&'static`.
                "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static"
                    if depth == 0 && before != "&" =>
                {
                    let name = if after == "mut" { tokens[at + 2] } else { after };
                    if is_identifier(name) && name != "fn" {
                        module.items.insert(name.to_owned());
                    }
                }
                "mod" => {
                    assert_ne!(tokens[at + 2], "{", "{}: module {after} has no file", source.file.display());
                    at += 2;
                }
                name if is_identifier(name) && before != "::" && before != "." => {
                    let mut path = vec![name.to_owned()];
                    while tokens.get(at + 1) == Some(&"::")
                        && tokens.get(at + 2).is_some_and(|next| is_identifier(next))
                    {
                        at += 2;
                        path.push(tokens[at].to_owned());
                    }
                    if path.len() == 1 {
                        module.names.extend(path);
                    } else {
                        module.paths.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        module
    }
}

/// Reads a tree of a `use`, up to the token after it. Adds each path with its name in scope.
fn read_use_tree(tokens: &[&str], at: &mut usize, prefix: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
    let mut path = prefix.to_vec();
    loop {
        let token = tokens[*at];
        *at += 1;
        match token {
            "{" => {
                while tokens[*at] != "}" {
                    read_use_tree(tokens, at, &path, leaves);
                    if tokens[*at] == "," {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "::" => continue,
            // The module before the group.
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        if tokens[*at] != "::" {
            break;
        }
    }
    let mut name = path.last().unwrap().clone();
    if tokens[*at] == "as" {
        tokens[*at + 1].clone_into(&mut name);
        *at += 2;
    }
    leaves.push((path, name));
}

fn module_path(file: &Path) -> ModulePath {
    let names = file.with_extension("");
    let mut names: Vec<String> = names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// The imports among made-up files, as `file -> file: names`.
fn imports_among(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<SourceFile> = files.iter().map(|(file, code)| SourceFile::new(Path::new(file), code)).collect();
    let graph = ImportGraph::new(&sources);
    graph
        .describe(&sources.into_iter().map(|source| source.file).collect())
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn trees_of_imports_are_read() {
    let code = "
        use a::{self, b::{C, self as d}, E as F, g::*, };
        pub(super) use ::h::I;
        fn f() -> impl Sized + use<> { use super::j; }
    ";
    let source = SourceFile::new(Path::new("x.rs"), code);
    let imports = Module::new(&source).imports;
    let imports: Vec<String> =
        imports.iter().map(|import| format!("{} as {}", import.path.join("::"), import.name)).collect();
    assert_eq!(
        imports,
        ["a as a", "a::b::C as C", "a::b as d", "a::E as F", "a::g::* as *", "h::I as I", "super::j as j"]
    );
}

#[test]
fn groups_and_renames_lead_to_the_file_of_each_item() {
    let files = [
        ("top/mod.rs", "mod a; mod b; mod c;"),
        ("top/a.rs", "use super::{b::{self, One as Uno}, c::Two}; use std::{fmt, mem::take}; fn f() -> b::Three {}"),
        ("top/b.rs", "pub struct One; pub enum Three { A }"),
        ("top/c.rs", "pub type Two = u8; use crate::top::b as other; const X: other::One = other::One;"),
    ];
    assert_eq!(
        imports_among(&files),
        ["  top/a.rs -> top/b.rs: One, Three", "  top/a.rs -> top/c.rs: Two", "  top/c.rs -> top/b.rs: One"]
    );
}

#[test]
fn chains_of_reexports_lead_to_the_defining_file() {
    let files = [
        ("low/mod.rs", "mod inner; pub mod ids; pub use inner::{Deep as Shallow, plural}; pub mod plural;"),
        ("low/inner/mod.rs", "mod deepest; pub use deepest::Deep; pub use super::plural::plural;"),
        ("low/inner/deepest.rs", "pub trait Deep {}"),
        ("low/plural.rs", "pub fn plural() {}"),
        ("low/ids.rs", "make!(Id);"),
        ("high/mod.rs", "mod part; use crate::low::{Shallow, ids::Id}; pub struct Own;"),
        ("high/part.rs", "use super::{Own, Shallow}; use crate::low::plural; fn f() { plural::plural(); plural() }"),
    ];
    assert_eq!(
        imports_among(&files),
        [
            "  high/mod.rs -> low/ids.rs: Id",
            "  high/mod.rs -> low/inner/deepest.rs: Deep",
            "  high/part.rs -> high/mod.rs: Own",
            "  high/part.rs -> low/inner/deepest.rs: Deep",
            "  high/part.rs -> low/plural.rs: plural",
        ]
    );
}

#[test]
fn a_module_that_uses_what_it_passes_on_imports_it() {
    let files = [
        ("top/mod.rs", "mod a; pub use a::{Held, Passed, Called}; struct Own(Held); fn f() { Called::new() }"),
        ("top/a.rs", "pub struct Held; pub struct Passed; pub struct Called;"),
        ("top/b.rs", "pub use super::Passed;"),
    ];
    assert_eq!(imports_among(&files), ["  top/b.rs -> top/a.rs: Passed", "  top/mod.rs -> top/a.rs: Called, Held"]);
}

#[test]
fn paths_outside_imports_count() {
    let files = [
        ("top/mod.rs", "mod a; mod b; mod c; pub const LIMIT: usize = 1; fn f() { c::run::<u8>(&x) }"),
        (
            "top/a.rs",
            "fn f() { crate::top::b::Kind::default(); x.map(super::c::run) } fn g() -> usize { super::LIMIT }",
        ),
        (
            "top/b.rs",
            "pub enum Kind {} impl Kind { fn f() { Self::g(); Kind::g(); std::mem::take(x); self::g(); } } fn g() {}",
        ),
        ("top/c.rs", "pub fn run() { use super::b; b::Kind::f() } #[cfg(test)] mod tests { use super::super::a::f; }"),
    ];
    assert_eq!(
        imports_among(&files),
        [
            "  top/a.rs -> top/b.rs: Kind",
            "  top/a.rs -> top/c.rs: run",
            "  top/a.rs -> top/mod.rs: LIMIT",
            "  top/c.rs -> top/b.rs: Kind",
            "  top/mod.rs -> top/c.rs: run",
        ]
    );
}

#[test]
fn each_super_goes_one_module_up() {
    let files = [
        ("top/mod.rs", "mod below; pub struct Top;"),
        ("top/below/mod.rs", "mod leaf; pub struct Below;"),
        ("top/below/leaf.rs", "use super::{Below, super::Top}; pub fn f(x: super::super::super::side::Side) {}"),
        ("side.rs", "pub struct Side;"),
    ];
    assert_eq!(
        imports_among(&files),
        [
            "  top/below/leaf.rs -> side.rs: Side",
            "  top/below/leaf.rs -> top/below/mod.rs: Below",
            "  top/below/leaf.rs -> top/mod.rs: Top",
        ]
    );
}

#[test]
fn circles_are_the_files_that_reach_one_another() {
    let files = [
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::{a::A, d::D}; pub struct C;"),
        ("d.rs", "use crate::e::E; pub struct D;"),
        ("e.rs", "pub struct E;"),
        ("f/mod.rs", "mod g; use g::G; struct F;"),
        ("f/g.rs", "use super::F; pub struct G(super::G);"),
        ("top.rs", "use crate::a::A;"),
    ];
    let sources = files.map(|(file, code)| SourceFile::new(Path::new(file), code));
    let circles: Vec<Vec<PathBuf>> =
        ImportGraph::new(&sources).circles().into_iter().map(|files| files.into_iter().collect()).collect();
    assert_eq!(
        circles,
        [vec!["a.rs".into(), "b.rs".into(), "c.rs".into()], vec!["f/g.rs".into(), PathBuf::from("f/mod.rs")]]
    );
}
