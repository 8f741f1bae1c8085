//! Whatever happens to results.jsonl between two starts, the next start restores it from the record, or the run that
//! it starts does.

use std::fs;

use proptest::prelude::*;

use crate::store::harness::{FakeEngine, TestRun, answered_op, assert_audit, failed_op, intent_op};
use cascadeck::{
    domain::{Outcome, ReplayFilter},
    store::Repair,
};

/// Damage that a crash, an editor or another program may do to a file.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Append(Vec<u8>),
    Insert(usize, Vec<u8>),
    Flip(usize, u8),
    Remove(usize, usize),
    Replace(Vec<u8>),
    Delete,
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        any::<usize>().prop_map(Damage::Cut),
        bytes().prop_map(Damage::Append),
        Just(Damage::Append(b"{\"id\":\"item-1\",\"status\":\"done\"}\n".to_vec())),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<usize>(), 1..=u8::MAX).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (any::<usize>(), 1..200usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        bytes().prop_map(Damage::Replace),
        Just(Damage::Delete),
    ]
}

impl Damage {
    /// The damaged file; `None`: it is deleted.
    fn done_to(&self, mut file: Vec<u8>) -> Option<Vec<u8>> {
        let within = |at: usize| at % (file.len() + 1);
        match self {
            Self::Cut(at) => file.truncate(within(*at)),
            Self::Append(bytes) => file.extend(bytes),
            Self::Insert(at, bytes) => drop(file.splice(within(*at)..within(*at), bytes.iter().copied())),
            Self::Flip(at, mask) => {
                let at = at % file.len().max(1);
                file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
            }
            Self::Remove(at, length) => {
                let (from, to) = (within(*at), (within(*at) + length).min(file.len()));
                file.drain(from..to);
            }
            Self::Replace(bytes) => file.clone_from(bytes),
            Self::Delete => return None,
        }
        Some(file)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_start_leaves_what_the_record_says(damages in prop::collection::vec(any_damage(), 1..4)) {
        let (home, mut engine) = TestRun::with_items(4);
        engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 1), intent_op(3, 3, 2)]);
        engine.commit(vec![answered_op(1, 1), failed_op(2, 2, Outcome::ContentBlocked), answered_op(3, 3)]);
        drop(engine.close());
        let whole = fs::read(home.dir.results()).unwrap();
        for damage in &damages {
            let file = fs::read(home.dir.results()).unwrap_or_default();
            match damage.done_to(file) {
                Some(damaged) => fs::write(home.dir.results(), damaged).unwrap(),
                None => drop(fs::remove_file(home.dir.results())),
            }
        }
        drop(home.open());
        prop_assert_eq!(fs::read(home.dir.results()).unwrap(), whole);
        assert_audit(&home.dir);
    }
}

/// A closed run with a results file of more than two megabytes.
fn run_with_long_file() -> TestRun {
    let items = 6_000;
    let (home, mut engine) = TestRun::with_items(items + 1);
    engine.commit((1..=items).map(|item| intent_op(item, item, 0)).collect());
    engine.commit((1..=items).map(|item| answered_op(item, item)).collect());
    // A commit saves how far the file was written before it.
    engine.commit(Vec::new());
    drop(engine.close());
    home
}

#[test]
fn a_long_file_is_compared_behind_the_run_and_repaired_before_it_ends() {
    let home = run_with_long_file();
    let whole = fs::read(home.dir.results()).unwrap();
    assert!(whole.len() > 2 << 20, "{}", whole.len());
    for damaged_at in [20, whole.len() / 3] {
        let mut damaged = whole.clone();
        damaged[damaged_at] ^= 1;
        fs::write(home.dir.results(), &damaged).unwrap();
        let (store, opened) = home.open();
        assert_eq!(opened.repair, Repair::default(), "the start compares the end only");
        assert_eq!(fs::read(home.dir.results()).unwrap(), damaged);
        drop(FakeEngine::new(store).close());
        assert!(fs::read(home.dir.results()).unwrap() == whole, "byte {damaged_at}");
    }
    assert_audit(&home.dir);
}

#[test]
fn a_difference_found_behind_the_run_loses_no_line_of_a_later_commit() {
    let home = run_with_long_file();
    let mut damaged = fs::read(home.dir.results()).unwrap();
    damaged[20] ^= 1;
    fs::write(home.dir.results(), &damaged).unwrap();
    let mut engine = home.start_engine();
    engine.commit(vec![intent_op(6_001, 6_001, 0)]);
    engine.commit(vec![answered_op(6_001, 6_001)]);
    drop(engine.close());
    assert_eq!(home.results().len(), 6_001);
    assert_audit(&home.dir);
}

#[test]
fn a_change_of_the_length_before_the_end_is_found_at_once() {
    let home = run_with_long_file();
    let whole = fs::read(home.dir.results()).unwrap();
    fs::write(home.dir.results(), [b"x", &whole[..]].concat()).unwrap();
    let (_, opened) = home.open();
    assert_eq!(opened.repair, Repair { cut_bytes: whole.len() as u64 + 1, added_lines: 6_000 });
    assert!(fs::read(home.dir.results()).unwrap() == whole);
}

#[test]
fn the_file_of_a_compacted_run_is_trusted_from_its_new_end() {
    let home = run_with_long_file();
    let all = ReplayFilter::default();
    let (mut store, _) = home.open();
    store.requeue(&all, None).unwrap();
    drop(store);
    let mut engine = home.start_engine();
    engine.commit(vec![intent_op(6_001, 6_001, 0)]);
    engine.commit(vec![failed_op(6_001, 6_001, Outcome::ContentBlocked)]);
    let mut store = engine.close();
    store.requeue(&all, None).unwrap();
    assert_eq!(store.compact_results().unwrap(), 1);
    drop(store);
    let (_, opened) = home.open();
    assert_eq!(opened.repair, Repair::default());
    assert_audit(&home.dir);
}
