//! A run in a temporary directory, and a minimal engine that drives it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cascadeck::{
    domain::{
        AnswerParts, AttemptId, CostByKind, FinalState, ItemSpec, Money, Outcome, Request, ResultError, ResultLine,
        RouteId, Seq, Usage, WallTime,
    },
    store::{
        Ack, CompletedAttempt, Intent, LocalEnd, Op, OpReply, OpenedRun, PinnedSettings, RejectedGroup, RouteName,
        RunDir, Store, StoreWriter, WaitingItem,
    },
};
use tokio::sync::mpsc;

pub const SECOND_MICROS: i64 = 1_000_000;
pub const RUN_START: WallTime = WallTime(1_795_251_600 * SECOND_MICROS);

pub fn routes() -> Vec<RouteName> {
    let route = |key: &str, model: &str| RouteName { key: key.into(), model: model.into(), provider: "gemini".into() };
    vec![route("alice", "pro"), route("alice", "flash"), route("bob", "pro")]
}

pub fn settings() -> PinnedSettings {
    PinnedSettings {
        input: "batch.jsonl".into(),
        kind: "jsonl".into(),
        fingerprint: "f1".into(),
        ..PinnedSettings::default()
    }
}

pub fn item_spec(number: u64) -> ItemSpec {
    item_with_prompt(number, &format!("What is {number} squared?"))
}

/// Item `number` with this prompt, and a hash of the prompt.
pub fn item_with_prompt(number: u64, prompt: &str) -> ItemSpec {
    ItemSpec {
        id: format!("item-{number}"),
        request: Request::from_prompt(prompt),
        request_hash: format!("{:032x}", xxhash_rust::xxh3::xxh3_128(prompt.as_bytes())),
        line: number,
        ..ItemSpec::default()
    }
}

pub fn intent_op(attempt: u64, seq: u64, route: u32) -> Op {
    Op::RecordIntent(Intent {
        attempt: AttemptId(attempt),
        seq: Seq(seq),
        route: RouteId(route),
        sent_at: sent_at(attempt),
        reserved: Money(5_000_000),
        est_tokens: 120,
    })
}

pub fn sent_at(attempt: u64) -> WallTime {
    WallTime(RUN_START.0 + attempt as i64 * SECOND_MICROS)
}

pub fn answered_op(attempt: u64, id: u64) -> Op {
    let output = format!("The answer to item-{id}.");
    complete_op(attempt, Outcome::Ok, Some(result_line(id, FinalState::Done, Outcome::Ok, &output)))
}

pub fn requeued_op(attempt: u64, outcome: Outcome) -> Op {
    complete_op(attempt, outcome, None)
}

pub fn failed_op(attempt: u64, id: u64, outcome: Outcome) -> Op {
    complete_op(attempt, outcome, Some(result_line(id, FinalState::Failed, outcome, "blockReason: SAFETY")))
}

pub fn complete_op(attempt: u64, outcome: Outcome, final_line: Option<ResultLine>) -> Op {
    let ok = outcome == Outcome::Ok;
    Op::CompleteAttempt(Box::new(CompletedAttempt {
        attempt: AttemptId(attempt),
        completed_at: Some(WallTime(sent_at(attempt).0 + SECOND_MICROS / 2)),
        outcome,
        status: Some(if ok { 200 } else { 429 }),
        latency_ms: 500,
        message: if ok { String::new() } else { "blockReason: SAFETY".into() },
        usage: if ok {
            Usage { input_tokens: 100, output_tokens: 20, thinking_tokens: 3, ..Usage::default() }
        } else {
            Usage::default()
        },
        cost: if ok { Money(2_000_000) } else { Money::ZERO },
        cost_by_kind: CostByKind::default(),
        at_risk: Money::ZERO,
        final_line,
    }))
}

pub fn unreadable_op(seq: u64, id: u64) -> Op {
    let line = result_line(id, FinalState::Failed, Outcome::UnreadableInput, "cat.png: no such file");
    Op::EndLocally(Box::new(LocalEnd { seq: Seq(seq), outcome: Outcome::UnreadableInput, line }))
}

/// `words` is the answer of a done item and the error of a failed one.
pub fn result_line(id: u64, status: FinalState, outcome: Outcome, words: &str) -> ResultLine {
    let done = status == FinalState::Done;
    ResultLine {
        id: format!("item-{id}"),
        status,
        output: done.then(|| words.to_owned()),
        error: (!done).then(|| ResultError { outcome, status: None, message: words.to_owned(), check: None }),
        finish_reason: done.then(|| "stop".to_owned()),
        key: Some("alice".into()),
        provider: Some("gemini".into()),
        model: Some("pro".into()),
        model_version: Some("pro-001".into()),
        usage: Usage::default(),
        cost_usd: 0.000_002,
        cost_by_kind_usd: None,
        latency_ms: 500,
        attempts: 1,
        started_at: Some(RUN_START.rfc3339()),
        finished_at: RUN_START.rfc3339(),
        request_hash: String::new(),
        parts: AnswerParts::default(),
    }
}

/// A run directory that is deleted with the test.
pub struct TestRun {
    _root: tempfile::TempDir,
    pub dir: RunDir,
}

impl TestRun {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path().join("runs").join("batch"));
        Self { _root: root, dir }
    }

    pub fn open(&self) -> (Store, OpenedRun) {
        Store::open(&self.dir, &settings()).unwrap()
    }

    /// Opens the run and starts its writer thread.
    pub fn start_engine(&self) -> FakeEngine {
        FakeEngine::new(self.open().0)
    }

    /// A run with `items` waiting items.
    pub fn with_items(items: u64) -> (Self, FakeEngine) {
        let home = Self::new();
        let mut engine = home.start_engine();
        engine.commit(vec![Op::IngestItems((1..=items).map(item_spec).collect()), Op::FinishIngest { rows: items }]);
        (home, engine)
    }

    pub fn results(&self) -> Vec<ResultLine> {
        results(&self.dir.results())
    }

    /// A second connection to the database, past the store.
    pub fn sql(&self) -> rusqlite::Connection {
        open_database(&self.dir)
    }
}

/// A connection of its own, on which the view `results` works.
fn open_database(dir: &RunDir) -> rusqlite::Connection {
    let sql = rusqlite::Connection::open(dir.database()).unwrap();
    cascadeck::store::add_result_line_function(&sql).unwrap();
    sql
}

pub fn results(path: &Path) -> Vec<ResultLine> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ids of the file's lines, in order.
pub fn ids(results: &[ResultLine]) -> Vec<&str> {
    results.iter().map(|line| line.id.as_str()).collect()
}

/// Submits groups one at a time and waits for each.
pub struct FakeEngine {
    pub writer: StoreWriter,
    pub acks: mpsc::Receiver<Ack>,
    number: u64,
    /// The route of each attempt, and the hash of each row: a result line holds both.
    routes_by_attempt: BTreeMap<u64, RouteName>,
    hashes_by_id: BTreeMap<String, String>,
}

impl FakeEngine {
    pub fn new(store: Store) -> Self {
        let (writer, acks) = store.into_writer(&routes()).unwrap();
        Self { writer, acks, number: 0, routes_by_attempt: BTreeMap::new(), hashes_by_id: BTreeMap::new() }
    }

    pub fn submit(&mut self, mut ops: Vec<Op>) -> u64 {
        for op in &mut ops {
            self.fill_result_line(op);
        }
        self.number += 1;
        self.writer.submit(self.number, ops).unwrap();
        self.number
    }

    /// Sets a result line's route, amounts and times to those of its attempt, and its hash to that of its item.
    fn fill_result_line(&mut self, op: &mut Op) {
        let (line, route) = match op {
            Op::IngestItems(specs) => {
                self.hashes_by_id.extend(specs.iter().map(|spec| (spec.id.clone(), spec.request_hash.clone())));
                return;
            }
            Op::RecordIntent(intent) => {
                self.routes_by_attempt
                    .extend(routes().get(intent.route.index()).map(|route| (intent.attempt.0, route.clone())));
                return;
            }
            Op::CompleteAttempt(completed) => {
                if let Some(line) = &mut completed.final_line {
                    line.usage = completed.usage;
                    line.cost_usd = completed.cost.as_usd();
                    line.cost_by_kind_usd = Some(completed.cost_by_kind.into());
                    line.latency_ms = completed.latency_ms;
                    line.finished_at = completed.completed_at.unwrap().rfc3339();
                }
                (completed.final_line.as_mut(), self.routes_by_attempt.get(&completed.attempt.0))
            }
            Op::EndLocally(verdict) => (Some(&mut verdict.line), None),
            _ => return,
        };
        let Some(line) = line else { return };
        // Rows that an earlier engine has ingested have the hash of their number.
        line.request_hash = self.hashes_by_id.get(&line.id).cloned().unwrap_or_else(|| {
            let number = line.id.strip_prefix("item-").and_then(|number| number.parse().ok());
            number.map_or_else(String::new, |number| item_spec(number).request_hash)
        });
        if let Some(route) = route {
            line.key = Some(route.key.clone());
            line.model = Some(route.model.clone());
            line.provider = Some(route.provider.clone());
        }
    }

    pub fn wait_for_ack(&mut self) -> Ack {
        self.acks.blocking_recv().expect("the writer lives")
    }

    /// Commits a group that must succeed.
    pub fn commit(&mut self, ops: Vec<Op>) -> Vec<OpReply> {
        let number = self.submit(ops);
        let ack = self.wait_for_ack();
        assert_eq!(ack.number, number);
        assert!(ack.after_commit_error.is_none(), "{:?}", ack.after_commit_error);
        ack.result.unwrap()
    }

    /// Submits a group that must be rejected.
    pub fn submit_rejected(&mut self, ops: Vec<Op>) -> RejectedGroup {
        self.submit(ops);
        *self.wait_for_ack().result.unwrap_err()
    }

    pub fn close(self) -> Store {
        self.writer.close().unwrap()
    }
}

pub fn waiting_seqs(store: &Store) -> Vec<u64> {
    let mut seqs = Vec::new();
    store.for_each_waiting(|WaitingItem { seq, .. }| seqs.push(seq.0)).unwrap();
    seqs
}

/// Checks that the record agrees with itself and with the results file, also while a process owns it. Returns each
/// item's state by id.
pub fn assert_audit(dir: &RunDir) -> BTreeMap<String, i64> {
    let audit = cascadeck::store::audit::audit(dir.path(), None).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    let sql = open_database(dir);
    let mut statement = sql.prepare("SELECT line FROM results ORDER BY n").unwrap();
    let recorded: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let shown = fs::read_to_string(dir.results()).unwrap();
    assert_eq!(shown.lines().collect::<Vec<_>>(), recorded, "results.jsonl is what the table says");
    let mut statement = sql.prepare("SELECT id, state FROM items JOIN progress USING (seq)").unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

pub fn file_mode(path: impl Into<PathBuf>) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path.into()).unwrap().permissions().mode() & 0o777
}
