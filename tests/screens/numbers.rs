//! Numbers from 0 to ten billion, in columns and on axes: rounded where necessary, never cut.

use cascadeck::{
    domain::{Money, Snapshot, Usage},
    tui::{action::Action, pane::Pane},
};

use crate::{fixture, tui_harness::TuiHarness};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 36), (200, 50)];

const NUMBERS: [u64; 18] = [
    0,
    7,
    99,
    100,
    999,
    1_000,
    1_037,
    1_999,
    9_949,
    9_995,
    12_345,
    99_950,
    100_000,
    999_499,
    999_500,
    123_456_789,
    9_999_999_999,
    10_000_000_000,
];

/// The busy snapshot with this number as the count, failures and usage of every key and model.
fn busy_with_counts(number: u64) -> Snapshot {
    let mut snapshot = fixture::busy();
    let usage = Usage { input_tokens: number, output_tokens: 0, thinking_tokens: 0, ..Usage::default() };
    let in_flight = u32::try_from(number.min(100_000)).unwrap();
    for key in &mut snapshot.keys {
        (key.ok, key.failed, key.in_flight, key.usage) = (number, number, in_flight, usage);
        key.cost = Money::from_usd(number as f64 / 1_000.0).unwrap();
    }
    for model in &mut snapshot.models {
        (model.ok, model.failed, model.in_flight, model.usage) = (number, 0, in_flight, usage);
        model.invalid_outputs = number;
        model.cost = Money::from_usd(number as f64 / 1_000.0).unwrap();
    }
    snapshot
}

/// The value of a shortened number such as `12.3k`.
fn parse_number(figure: &str) -> Option<f64> {
    let units = [('k', 1e3), ('M', 1e6), ('G', 1e9), ('T', 1e12)];
    let unit = units.iter().find(|(letter, _)| figure.ends_with(*letter));
    let digits = figure.trim_end_matches(['k', 'M', 'G', 'T']);
    let whole = digits.starts_with(|first: char| first.is_ascii_digit()) && !digits.ends_with('.');
    whole.then(|| digits.parse::<f64>().ok()).flatten().map(|number| number * unit.map_or(1.0, |(_, factor)| *factor))
}

/// The numbers under a right-aligned heading.
fn numbers_under<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    let rows: Vec<&str> = text.lines().collect();
    let Some((top, end)) = rows.iter().enumerate().find_map(|(row, line)| {
        if !line.contains('│') || !line.split(['│', ' ']).any(|word| ["key", "model"].contains(&word)) {
            return None;
        }
        let ends = [' ', '│'];
        let is_whole = |at: usize| line[..at].ends_with(ends) && line[at + heading.len()..].starts_with(ends);
        let (at, _) = line.match_indices(heading).find(|(at, _)| is_whole(*at))?;
        Some((row, line[..at + heading.len()].chars().count()))
    }) else {
        return Vec::new();
    };
    let cell = |line: &'t str| {
        let (at, _) = line.char_indices().nth(end)?;
        line[..at].rsplit(' ').next().filter(|word| !word.is_empty())
    };
    let table = rows[top + 1..].iter().take_while(|line| !line.contains(['╭', '╰']));
    table.map_while(|line| cell(line)).take(4).collect()
}

#[test]
fn no_number_in_a_table_is_cut() {
    let mut seen = 0;
    for (size, number) in SIZES.into_iter().flat_map(|size| NUMBERS.map(|number| (size, number))) {
        for (pane, headings) in [
            (Pane::Keys, &["ok", "errors", "in flight", "$", "tokens"][..]),
            (Pane::Models, &["in flight", "$", "tokens", "invalid"]),
        ] {
            for zoomed in [false, true] {
                let mut stage = TuiHarness::new(size.0, size.1, busy_with_counts(number));
                stage.focus(pane);
                if zoomed {
                    stage.perform(Action::Zoom);
                }
                let text = stage.screen_text();
                for heading in headings {
                    let expected = match *heading {
                        "in flight" => number.min(100_000) as f64,
                        "$" => number as f64 / 1_000.0,
                        _ => number as f64,
                    };
                    for figure in numbers_under(&text, heading) {
                        let told = parse_number(figure)
                            .unwrap_or_else(|| panic!("{figure:?} under {heading} for {number}\n{text}"));
                        let off = (told - expected).abs();
                        assert!(off <= expected * 0.06 + 0.006, "{figure} under {heading} for {number}\n{text}");
                        seen += 1;
                    }
                }
            }
        }
    }
    assert!(seen > 2_000, "{seen} figures were seen");
}

#[test]
fn no_number_beside_a_chart_is_cut() {
    for (width, height) in SIZES.into_iter().chain([(60, 15), (52, 40), (30, 24)]) {
        for each in [1, 3, 30, 46, 90, 137, 450, 1_000, 22_500, 450_000, 99_999_999, 10_000_000_000] {
            let mut stage = TuiHarness::new(width, height, fixture::busy());
            for step in 0..40_u64 {
                let mut snapshot = fixture::busy();
                snapshot.at = fixture::NOW + fixture::seconds(3 * step);
                snapshot.totals.done += step * each / 3;
                snapshot.totals.rate_limited += step * each / 7;
                snapshot.spend.cost = Money::from_usd(step as f64 * each as f64 / 100_000.0).unwrap();
                for model in &mut snapshot.models {
                    (model.p50_ms, model.p95_ms) = (Some(each / 20), Some(each));
                }
                stage.publish(snapshot);
            }
            stage.focus(Pane::Charts).perform(Action::Zoom);
            let text = stage.screen_text();
            assert!(!text.contains("… │"), "{width}x{height}, {each} each:\n{text}");
        }
    }
}
