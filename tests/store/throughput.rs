//! Throughput of the store: `cargo test --release --test main store::throughput -- --ignored --nocapture`.

use std::time::Instant;

use cascadeck::{
    domain::{ItemFilter, Page, Query},
    store::{Ack, MAX_PENDING_GROUPS, Op, OpReply, PageRequest, report, spawn_reader},
};
use tokio::sync::{mpsc, oneshot};

use crate::store::harness::{FakeEngine, TestRun, answered_op, intent_op, item_spec};

const ITEMS: u64 = 1_000_000;
/// Attempts in flight: one group completes them, the next sends as many again.
const IN_FLIGHT: u64 = 512;

/// Keeps as many groups outstanding as the engine would.
struct Pipeline {
    engine: FakeEngine,
    outstanding_groups: usize,
}

impl Pipeline {
    fn submit(&mut self, group: Vec<Op>) {
        if self.outstanding_groups == MAX_PENDING_GROUPS {
            self.receive_ack();
        }
        self.engine.submit(group);
        self.outstanding_groups += 1;
    }

    fn receive_ack(&mut self) {
        let Ack { result, after_commit_error, .. } = self.engine.wait_for_ack();
        let answers = result.unwrap();
        assert!(after_commit_error.is_none() && answers.iter().all(|answer| matches!(answer, OpReply::Ingested(_))));
        self.outstanding_groups -= 1;
    }
}

#[test]
#[ignore = "a measurement: takes a minute and a gigabyte of disk"]
fn throughput() {
    let home = TestRun::new();
    let mut pipeline = Pipeline { engine: home.start_engine(), outstanding_groups: 0 };
    let print_rate = |what: &str, items: u64, began: Instant| {
        let seconds = began.elapsed().as_secs_f64();
        println!("{what}: {seconds:.2} s, {:.0}/s, {} MiB resident", items as f64 / seconds, resident_mib());
    };

    let began = Instant::now();
    for first in (1..=ITEMS).step_by(1_000) {
        pipeline.submit(vec![Op::IngestItems((first..=ITEMS.min(first + 999)).map(item_spec).collect())]);
    }
    pipeline.submit(vec![Op::FinishIngest { rows: ITEMS }]);
    print_rate("ingested", ITEMS, began);

    let began = Instant::now();
    for first in (1..=ITEMS + IN_FLIGHT).step_by(IN_FLIGHT as usize) {
        let settled = (first.saturating_sub(IN_FLIGHT).max(1)..first.min(ITEMS + 1)).map(|seq| answered_op(seq, seq));
        let sent = (first..(first + IN_FLIGHT).min(ITEMS + 1)).map(|seq| intent_op(seq, seq, 0));
        pipeline.submit(settled.chain(sent).collect());
    }
    while pipeline.outstanding_groups > 0 {
        pipeline.receive_ack();
    }
    print_rate("sent and settled", ITEMS, began);

    let began = Instant::now();
    drop(pipeline.engine.close());
    print_rate("closed", ITEMS, began);
    let began = Instant::now();
    let (store, opened) = home.open();
    assert_eq!(opened.totals.done, ITEMS);
    print_rate("opened again, every line compared", ITEMS, began);
    let began = Instant::now();
    store.for_each_waiting(|_| ()).unwrap();
    print_rate("looked for waiting items", ITEMS, began);
    let began = Instant::now();
    report::load_summary(home.dir.path()).unwrap();
    print_rate("summarised", ITEMS, began);

    let (asks, asked) = mpsc::channel(1);
    spawn_reader(&home.dir, asked).unwrap();
    for (what, text, offset) in
        [("the last window", "", ITEMS - 50), ("a text searched", "999999", 0), ("again", "999999", 0)]
    {
        let began = Instant::now();
        let (reply, page) = oneshot::channel();
        let filter = ItemFilter { state: Some(cascadeck::domain::ItemState::Done), text: text.into() };
        asks.blocking_send(PageRequest { query: Query::Items { filter, offset, limit: 50 }, reply }).unwrap();
        assert!(matches!(page.blocking_recv().unwrap().unwrap(), Page::Items { rows, .. } if !rows.is_empty()));
        print_rate(what, ITEMS, began);
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}
