//! Routing rules: which rule applies to an item, at the first start and after the rules have changed.

use std::collections::BTreeMap;

use cascadeck::{
    domain::{ItemSpec, Outcome, Page, Query, ReplayFilter, RoutingRule, RuleConditions, Strategy},
    store::{Op, PageRequest, Reclassification, Store, spawn_reader},
};
use tokio::sync::{mpsc, oneshot};

use crate::store::harness::{
    FakeEngine, TestRun, answered_op, failed_op, intent_op, item_spec, item_with_prompt, waiting_seqs,
};

fn rule(name: &str, conditions: RuleConditions) -> RoutingRule {
    RoutingRule { name: name.into(), conditions, ..RoutingRule::default() }
}

fn words_over(words: u64) -> RuleConditions {
    RuleConditions { words_over: Some(words), ..RuleConditions::default() }
}

fn lang_is(lang: &str) -> RuleConditions {
    RuleConditions { row_fields: BTreeMap::from([("lang".into(), lang.into())]), ..RuleConditions::default() }
}

/// The rule of each waiting item, in order.
fn applied_rules(store: &Store) -> Vec<Option<String>> {
    let traits: BTreeMap<u32, _> = store.traits().into_iter().collect();
    let mut applied = Vec::new();
    store.for_each_waiting(|item| applied.push(traits[&item.traits_id].rule.clone())).unwrap();
    applied
}

fn optional_names(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect()
}

/// One word, three words, and three words with a field `lang`.
fn items() -> Vec<ItemSpec> {
    let mut german = item_with_prompt(3, "drei Wörter hier");
    german.kept_fields.insert("lang".into(), "de".into());
    vec![item_with_prompt(1, "one"), item_with_prompt(2, "three words here"), german]
}

#[test]
fn rows_are_classed_by_the_first_rule_that_fits() {
    let home = TestRun::new();
    let (mut store, _) = home.open();
    store.apply_rules(&[rule("german", lang_is("de")), rule("long", words_over(2))]).unwrap();
    let mut engine = FakeEngine::new(store);
    engine.commit(vec![Op::IngestItems(items())]);
    let store = engine.close();
    assert_eq!(applied_rules(&store), optional_names(&["", "long", "german"]));
    assert_eq!(store.traits().len(), 3);
}

#[test]
fn changed_rules_are_applied_to_everything_that_is_not_done() {
    let home = TestRun::new();
    let rules = [rule("long", words_over(2))];
    let (mut store, _) = home.open();
    assert_eq!(store.apply_rules(&rules).unwrap(), Reclassification::default());
    let mut engine = FakeEngine::new(store);
    engine.commit(vec![Op::IngestItems(
        [items(), vec![item_with_prompt(4, "four words are here"), item_with_prompt(5, "five")]].concat(),
    )]);
    engine.commit(vec![intent_op(1, 4, 0), intent_op(2, 5, 0)]);
    engine.commit(vec![failed_op(1, 4, Outcome::ContentBlocked), answered_op(2, 5)]);
    drop(engine.close());

    let (mut store, _) = home.open();
    assert_eq!(store.apply_rules(&rules).unwrap(), Reclassification::default(), "the same rules change nothing");
    let reclassed = store.apply_rules(&[rule("longer", words_over(3)), rule("german", lang_is("de"))]).unwrap();
    assert_eq!(reclassed, Reclassification { changed_waiting: 2, missing_fields: vec!["lang".into()] });
    assert_eq!(applied_rules(&store), optional_names(&["", "", "german"]));
    drop(store);

    let (mut store, _) = home.open();
    assert_eq!(applied_rules(&store), optional_names(&["", "", "german"]), "and outlive the process");
    store.requeue(&ReplayFilter::default(), None).unwrap();
    assert_eq!(waiting_seqs(&store), [1, 2, 3, 4]);
    assert_eq!(applied_rules(&store), optional_names(&["", "", "german", "longer"]), "a failed item too");
}

#[test]
fn one_item_says_which_rule_applies_and_why() {
    let home = TestRun::new();
    let (mut store, _) = home.open();
    let german = RoutingRule {
        models: Some(vec!["pro".into()]),
        strategy: Some(Strategy::Fastest),
        ..rule("german", lang_is("de"))
    };
    store.apply_rules(&[german]).unwrap();
    let mut engine = FakeEngine::new(store);
    let mut own = item_spec(4);
    own.preferred_model = Some("flash".into());
    engine.commit(vec![Op::IngestItems([items(), vec![own]].concat())]);
    let (asks, asked) = mpsc::channel(4);
    spawn_reader(&home.dir, asked).unwrap();
    let said = |seq| {
        let (reply, page) = oneshot::channel();
        asks.blocking_send(PageRequest { query: Query::Item { seq }, reply }).unwrap();
        match page.blocking_recv().unwrap().unwrap() {
            Page::Item(item) => item.rule,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(said(1), None);
    assert_eq!(said(3).unwrap(), "rule german (lang is de): models pro; strategy fastest");
    assert_eq!(said(4).unwrap(), "its row asks for flash first");
}
