//! A strict reader of OpenMetrics text that shares no code with the program.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]

use std::collections::{BTreeMap, BTreeSet};

/// One sample: its full name, labels and value.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A text with its families (name and type) and samples.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OpenMetrics {
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl OpenMetrics {
    /// The sum of all samples with this name and at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(matches).map(|sample| sample.value).sum()
    }

    /// Parses the text.
    ///
    /// # Panics
    /// If it breaks a rule of OpenMetrics 1.0.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        let (mut family, mut family_type) = (String::new(), String::new());
        let mut seen: BTreeSet<(String, BTreeMap<String, String>)> = BTreeSet::new();
        let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
                match kind {
                    "TYPE" => {
                        rest.clone_into(&mut family_type);
                        assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                        let is_new = parsed.types.insert(name.to_owned(), rest.to_owned()).is_none();
                        assert!(is_new || family == name, "{name} has two families");
                    }
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "the unit is part of the name: {line}"),
                    "HELP" => assert!(!rest.is_empty(), "{line}"),
                    _ => panic!("unknown comment: {line}"),
                }
                name.clone_into(&mut family);
                assert!(name.starts_with("cascadeck_"), "{line}");
                continue;
            }
            let sample = parse_sample(line);
            let suffix = sample.name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let allowed: &[&str] = match family_type.as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} is not a sample of a {family_type}");
            if family_type != "gauge" {
                assert!(sample.value >= 0.0, "{line}");
            }
            assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "{line} occurs twice");
            parsed.samples.push(sample);
        }
        parsed.check_histograms();
        parsed
    }

    /// Buckets are cumulative, and the infinite one is the count.
    fn check_histograms(&self) {
        let mut last: BTreeMap<(String, BTreeMap<String, String>), (f64, f64)> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            let before = last.insert((sample.name.clone(), labels), (bound, sample.value));
            assert!(before.is_none_or(|(low, count)| low < bound && count <= sample.value), "{sample:?}");
        }
        for ((name, labels), (bound, count)) in last {
            assert_eq!(bound, f64::INFINITY, "{name}");
            let name = name.replace("_bucket", "_count");
            let is_this = |sample: &&Sample| sample.name == name && sample.labels == labels;
            assert_eq!(self.samples.iter().find(is_this).map(|sample| sample.value), Some(count), "{name}");
        }
    }
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(mut text) = rest.strip_prefix('{') {
        while !text.starts_with('}') {
            let (label, after) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            let (value, after) = unescape(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            text = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &text[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    Sample { name: name.to_owned(), labels, value: value.unwrap_or_else(|| panic!("no value: {line}")) }
}

/// The text up to the closing quote, and what follows the quote.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                other => panic!("wrong escape {other:?} in {text}"),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote in {text}")
}
