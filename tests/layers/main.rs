//! Checks the layers: which module and file may import which, read from the source code.
//!
//! Code under `#[cfg(test)]` is exempt, and so are the files of modules that are declared there.

#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

mod imports;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use imports::ImportGraph;
use source::{SourceFile, program_files, source_files};

/// Each module and the modules that it may import.
const ALLOWED_IMPORTS: [(&str, &[&str]); 19] = [
    ("domain", &[]),
    ("forecast", &["domain"]),
    ("scheduler", &["domain", "forecast"]),
    ("clock", &["domain"]),
    ("atomic_file", &[]),
    ("provider", &["clock", "domain"]),
    ("checks", &["domain"]),
    ("store", &["atomic_file", "clock", "domain"]),
    ("output", &["atomic_file", "domain"]),
    ("input", &["atomic_file", "domain", "output"]),
    ("config", &["checks", "domain"]),
    ("telemetry", &["clock", "domain"]),
    ("engine", &["checks", "clock", "config", "domain", "forecast", "output", "provider", "scheduler", "store"]),
    ("headless", &["domain", "engine"]),
    ("alerts", &["clock", "config", "domain", "engine", "provider"]),
    ("metrics", &["clock", "config", "domain"]),
    ("tui", &["domain", "engine", "telemetry"]),
    ("sim", &["clock", "domain"]),
    (
        "cli",
        &[
            "clock",
            "config",
            "domain",
            "engine",
            "forecast",
            "headless",
            "input",
            "alerts",
            "metrics",
            "output",
            "provider",
            "scheduler",
            "sim",
            "store",
            "telemetry",
            "tui",
        ],
    ),
];

/// Crates that the pure modules may use besides the standard library.
const PURE_MODULES: [(&str, &[&str]); 3] = [
    ("domain", &["jiff", "serde", "serde_json", "smallvec", "thiserror", "unicode_segmentation", "unicode_width"]),
    ("forecast", &[]),
    ("scheduler", &["fastrand", "serde", "smallvec", "thiserror"]),
];

/// Names of the standard library that do I/O or read a clock: time, disk, network, threads, processes.
const IMPURE_STD_NAMES: [&str; 9] = ["env", "fs", "io", "net", "process", "thread", "os", "Instant", "SystemTime"];

#[test]
fn every_module_imports_only_modules_below_it() {
    let mut violations = BTreeSet::new();
    for source in program_files() {
        let module = source.module();
        let (_, allowed) = ALLOWED_IMPORTS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place among the layers"));
        let names = source.imported_modules();
        for name in names.iter().filter(|name| **name != module && !allowed.contains(&name.as_str())) {
            violations.insert(format!("{} knows crate::{name}", source.file.display()));
        }
    }
    assert_eq!(violations, BTreeSet::new());
}

#[test]
fn dependencies_go_downward_only() {
    // Follows the allowed imports: no module may reach itself.
    let may: BTreeMap<&str, &[&str]> = ALLOWED_IMPORTS.into_iter().collect();
    for module in may.keys() {
        let mut reached = BTreeSet::new();
        let mut next = vec![*module];
        while let Some(name) = next.pop() {
            next.extend(may[name].iter().filter(|below| reached.insert(**below)));
        }
        assert!(!reached.contains(module), "{module} stands above itself");
    }
    for screen in ["tui", "headless"] {
        for inside in ["checks", "store", "scheduler", "forecast", "provider", "config"] {
            assert!(!may[screen].contains(&inside), "{screen} may not see {inside}");
        }
    }
}

#[test]
fn the_pure_modules_use_no_runtime_network_database_screen_or_clock() {
    let mut violations = BTreeSet::new();
    for (module, may) in PURE_MODULES {
        let files: Vec<SourceFile> = program_files().into_iter().filter(|source| source.module() == module).collect();
        assert!(files.len() > 3, "{module} was found");
        for source in files {
            for (krate, next) in source.external_crates() {
                let is_impure = matches!(krate.as_str(), "std" | "core")
                    && next.iter().any(|name| IMPURE_STD_NAMES.contains(&name.as_str()));
                if is_impure || !(may.contains(&krate.as_str()) || matches!(krate.as_str(), "std" | "core")) {
                    violations.insert(format!("{} uses {krate}::{next:?}", source.file.display()));
                }
            }
            if source.tokens.windows(3).any(|words| words == ["::", "now", "("]) {
                violations.insert(format!("{} asks a clock; time is an argument", source.file.display()));
            }
            for word in ["async", "await", "unsafe"] {
                if source.tokens.iter().any(|token| token == word) {
                    violations.insert(format!("{} says {word}", source.file.display()));
                }
            }
        }
    }
    assert_eq!(violations, BTreeSet::new());
}

/// Types whose `impl` blocks stand in a few files only, with those files.
const IMPL_FILES: [(&str, &[&str]); 2] = [
    (
        "Scheduler",
        &[
            "scheduler/complete.rs",
            "scheduler/dispatch.rs",
            "scheduler/mod.rs",
            "scheduler/operator.rs",
            "scheduler/saved_state.rs",
            "scheduler/status.rs",
        ],
    ),
    (
        "Engine",
        &[
            "engine/commands.rs",
            "engine/completion.rs",
            "engine/event_loop.rs",
            "engine/shutdown.rs",
            "engine/snapshot.rs",
            "engine/startup.rs",
        ],
    ),
];

#[test]
fn the_coordinators_are_implemented_in_few_files() {
    let sources = program_files();
    for (name, files) in IMPL_FILES {
        let implements = |source: &&SourceFile| source.implemented_types().iter().any(|found| found == name);
        let found: BTreeSet<&str> =
            sources.iter().filter(implements).map(|source| source.file.to_str().unwrap()).collect();
        assert_eq!(found, files.iter().copied().collect(), "the files with an impl of {name}");
    }
}

/// The modules in whose files no import may lead back to where it came from.
const MODULES_WITHOUT_IMPORT_CIRCLES: [&str; 17] = [
    "alerts",
    "checks",
    "cli",
    "config",
    "domain",
    "engine",
    "forecast",
    "headless",
    "input",
    "metrics",
    "output",
    "provider",
    "scheduler",
    "sim",
    "store",
    "telemetry",
    "tui",
];

#[test]
fn files_do_not_import_one_another_in_circles() {
    let graph = ImportGraph::new(&program_files());
    let (violations, known): (Vec<_>, Vec<_>) = graph.circles().into_iter().partition(|files| {
        files.iter().any(|file| MODULES_WITHOUT_IMPORT_CIRCLES.iter().any(|module| file.starts_with(module)))
    });
    for files in known {
        println!("{}", graph.describe(&files));
    }
    let violations: Vec<String> = violations.iter().map(|files| graph.describe(files)).collect();
    assert!(violations.is_empty(), "import circles:\n{}", violations.join("\n"));
}

/// Where types repeat a provider's own words: the wire formats of the adapters and of the simulator.
const WIRE_FORMATS: [&str; 7] = [
    "provider/wire/anthropic.rs",
    "provider/wire/gemini.rs",
    "provider/wire/openai.rs",
    "sim/wire/anthropic.rs",
    "sim/wire/gemini.rs",
    "sim/wire/openai.rs",
    "sim/wire/api.rs",
];

#[test]
fn a_type_name_that_others_can_see_means_one_thing() {
    let mut files: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for source in program_files().into_iter().filter(|source| !WIRE_FORMATS.contains(&source.file.to_str().unwrap())) {
        for name in source.visible_types() {
            files.entry(name).or_default().insert(source.file.clone());
        }
    }
    assert!(files.len() > 300, "the types were found");
    files.retain(|_, files| files.len() > 1);
    assert_eq!(files, BTreeMap::new(), "defined in more than one file");
}

/// Names that the code had once. The field has better ones, which docs/glossary.md explains.
#[rustfmt::skip]
const RETIRED_NAMES: &[&str] = &[
    "AGED", "Accusers", "Agreement", "Ahead", "Album", "AnswerBlock", "Applying", "Arrangement", "Asking", "BLUR",
    "Begun", "BesideKept", "Bind", "CRUMB", "Circumstances", "Complaint", "Conduct", "Contact", "Counting",
    "Courier", "DayLedger", "DayMeter", "DayRoom", "DayUse", "Errand", "Fate", "Filling", "Flight", "Flying",
    "Followed", "Foreseen", "Happened", "HoldShare", "Holding", "Holdup", "KINDLY", "KeyStanding", "Kinship",
    "Landed", "Lane", "Latencies", "Leak", "Learner", "Lottery", "MISLED", "MOMENT", "Noteworthy", "Occasion",
    "OnChanged", "OtherRun", "Owed", "Parcel", "Picker", "PinChange", "Pins", "Placed", "PlacedRule", "Probed",
    "Provenance", "Purse", "PurseOutlook", "Purses", "Reach", "Recipe", "Reckoning", "Reclassed", "Recognised",
    "Reconciled", "Replayable", "Ruling", "RunsOut", "Said", "Scene", "Seat", "Sharing", "Sheet", "Shelf",
    "Shelves", "Sight", "Sound", "Speaker", "SpillLimits", "Stamped", "Standing", "Stay", "StopWhy", "TELLING",
    "TESTIMONY", "Tallies", "Tally", "Tank", "TerminalHold", "ThoughtLimit", "Ticket", "Told", "Tournament",
    "Transit", "Triple", "Trouble", "TurnedAway", "UNKINDLY", "UnderWay", "Unsendable", "Unsubmitted", "UsedToday",
    "Verdict", "Wanted", "Way", "Worked",
];

#[test]
fn retired_names_are_not_used_again() {
    let mut found = BTreeSet::new();
    for source in source_files() {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&source.file)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let mut names = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(name) = names.find(|name| RETIRED_NAMES.contains(name)) {
                found.insert(format!("{}:{}: {name}", source.file.display(), number + 1));
            }
        }
    }
    assert_eq!(found, BTreeSet::new(), "docs/glossary.md has the words that are used now");
}
