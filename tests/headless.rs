//! The plain-text front end over hand-made snapshots.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use cascadeck::{
    domain::{
        Api, Command, CostByKind, CostByKindUsd, Event, EventKind, EventLevel, KeyRole, Money, Outcome, QuotaDay,
        Snapshot, Summary, Usage, WallTime,
        snapshot::{
            BackoffWait, Condition, CurrentRoute, Gauge, KeyView, ModelView, RunState, Spend, Throughput, Totals,
        },
        summary::ModelSummary,
    },
    engine::{CommandRequest, EngineHandle},
    headless::{
        ProgressOptions, Reporter, exit_status,
        progress::{event_line, progress_line},
        report, summary_table, watch,
    },
};
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch as channel};

/// 2026-11-21T14:08:51Z
const NOW: WallTime = WallTime::from_unix_seconds(1_795_270_131);

fn snapshot() -> Snapshot {
    Snapshot {
        elapsed: Duration::from_secs(2_537),
        totals: Totals { total: 5_000, waiting: 1_769, in_flight: 10, done: 3_214, failed: 7, ..Totals::default() },
        max_in_flight: 16,
        spend: Spend { cost: Money::from_usd(0.84).unwrap(), ..Spend::default() },
        throughput: Throughput { items_per_second: 1.21, finish_at: Some(NOW + Duration::from_secs(1_390)) },
        current_route: Some(CurrentRoute {
            key: "alice".to_owned(),
            key_number: 1,
            key_count: 3,
            model: "gemini-3.5-flash-lite".to_owned(),
            model_number: 2,
            model_count: 4,
            retry_number: 2,
            max_retries: 5,
            backoff: None,
        }),
        ..Snapshot::empty("captions-spring", NOW, 1.0)
    }
}

fn snapshot_in_state(state: RunState) -> Snapshot {
    Snapshot { state, ..snapshot() }
}

fn ended_snapshot(waiting: u64, failed: u64, state: RunState) -> Snapshot {
    let totals = Totals { total: 100, waiting, failed, done: 100 - waiting - failed, ..Totals::default() };
    Snapshot { totals, ..snapshot_in_state(state) }
}

fn event(number: u64, level: EventLevel) -> Arc<Event> {
    let kind = EventKind::Run { level, message: format!("event {number}") };
    Arc::new(Event { number, at: NOW, kind })
}

fn utc_options() -> ProgressOptions {
    ProgressOptions { zone: TimeZone::UTC, ..ProgressOptions::default() }
}

const HOUR: Duration = Duration::from_hours(1);

mod progress {
    use super::*;

    fn line(snapshot: &Snapshot) -> String {
        progress_line(snapshot, &TimeZone::UTC)
    }

    #[test]
    fn the_line_names_the_current_route() {
        assert_eq!(
            line(&snapshot()),
            "14:08:51  64% of 5,000: 3,214 done, 7 failed  1.2/s  ETA 14:32:01 (in 23:10)  10 in flight  $0.84  \
             key 1/3 alice, model 2/4 gemini-3.5-flash-lite, retry 2/5"
        );
    }

    #[test]
    fn a_backoff_says_its_step_how_long_and_why() {
        let with = |outcome, status| {
            let until = NOW + Duration::from_secs(10);
            let mut snapshot = snapshot();
            snapshot.current_route.as_mut().unwrap().backoff = Some(BackoffWait { until, outcome, status });
            line(&snapshot)
        };
        let refused = with(Outcome::RateLimitedMinute, Some(429));
        assert!(refused.ends_with("model 2/4 gemini-3.5-flash-lite, retry 2/5 in 10s: 429"), "{refused}");
        let earlier = with(Outcome::RateLimitedMinute, None);
        assert!(earlier.ends_with("retry 2/5 in 10s: rate_limited_minute"), "a record without status: {earlier}");
    }

    #[test]
    fn a_wait_says_for_what_and_until_when() {
        let midnight = Some(NOW + Duration::from_mins(6 * 60 + 12));
        let cases = [
            (
                RunState::Waiting { reason: "every key is out for the day".to_owned(), until: midnight },
                "waiting until 20:20 (in 6h12m): every key is out for the day",
            ),
            (RunState::Waiting { reason: "a route asks".to_owned(), until: None }, "waiting: a route asks"),
            (RunState::NeedsOperator { reason: "the disk is full".to_owned() }, "halted: the disk is full"),
            (RunState::Pausing, "pausing"),
            (RunState::Draining, "draining"),
        ];
        for (state, want) in cases {
            let line = line(&snapshot_in_state(state));
            assert!(line.ends_with(&format!("retry 2/5  {want}")), "{line}");
        }
    }

    #[test]
    fn the_last_line_has_no_eta_and_names_the_reason() {
        let stopped = RunState::Stopped { reason: "the budget is spent".to_owned() };
        assert_eq!(
            line(&snapshot_in_state(stopped)),
            "14:08:51  64% of 5,000: 3,214 done, 7 failed  $0.84  stopped: the budget is spent"
        );
    }

    #[test]
    fn counts_never_claim_too_much() {
        let with = |totals: Totals| line(&Snapshot { totals, ..snapshot() });
        let nearly = Totals { total: 1_000, done: 999, waiting: 1, ..Totals::default() };
        assert!(with(nearly).contains("99% of 1,000: 999 done, 0 failed"));
        let failed = Totals { total: 4, done: 3, failed: 1, ..Totals::default() };
        assert!(with(failed).contains("100% of 4: 3 done, 1 failed"));
        let reading = Totals { total: 1_000, done: 999, ingesting: true, ..Totals::default() };
        assert!(with(reading).contains("  999 done, 0 failed of 1,000+  "), "of how many is not known yet");
        assert!(with(Totals::default()).contains("0% of 0: 0 done, 0 failed"));
        let opening = with(Totals { ingesting: true, ..Totals::default() });
        assert!(opening.contains("reading the input") && !opening.contains("of 0"), "{opening}");
    }

    #[test]
    fn truncated_answers_are_counted() {
        let totals = Totals { total: 2_000, done: 1_500, truncated: 1_200, failed: 7, ..Totals::default() };
        let text = line(&Snapshot { totals, ..snapshot() });
        assert!(text.contains("75% of 2,000: 1,500 done (1,200 truncated), 7 failed"), "{text}");
    }

    #[test]
    fn money_shows_its_cap_and_what_may_have_been_billed() {
        let usd = |usd: f64| Money::from_usd(usd).unwrap();
        let spend = Spend { cost: usd(0.84), at_risk: usd(0.02), budget: Some(usd(5.0)), ..Spend::default() };
        let line = line(&Snapshot { spend, ..snapshot() });
        assert!(line.contains("  $0.84 of $5.00 (+ up to $0.02 possibly billed)  "), "{line}");
    }

    #[test]
    fn a_slow_throughput_is_shown_per_minute_and_zero_is_left_out() {
        let with = |items_per_second| {
            line(&Snapshot { throughput: Throughput { items_per_second, finish_at: None }, ..snapshot() })
        };
        assert!(with(0.02).contains("  1.2/min  "));
        assert!(!with(0.0).contains("/min") && !with(0.0).contains("ETA"));
    }

    #[test]
    fn a_forecast_time_that_has_passed_is_left_out() {
        let at = |ahead: i64| {
            let at = if ahead > 0 { NOW + Duration::from_secs(5) } else { NOW };
            let throughput = Throughput { items_per_second: 1.0, finish_at: Some(at) };
            line(&Snapshot { throughput, ..snapshot() })
        };
        assert!(at(5).contains("  ETA "), "{}", at(5));
        assert!(!at(0).contains("ETA"), "{}", at(0));
    }

    #[test]
    fn a_long_provider_message_is_cut_to_one_line() {
        let message = "You exceeded your current quota, please check your plan and billing details. ".repeat(6);
        let kind = EventKind::Cooldown {
            subject: "gemini-3.8-flash@vision-lab".to_owned(),
            outcome: Outcome::QuotaExhaustedDay,
            wait: None,
            message,
        };
        let line = event_line(&Event { number: 1, at: NOW, kind }, &TimeZone::UTC);
        assert_eq!(line.chars().count(), 160, "{line}");
        assert!(line.contains("day quota spent: You exceeded") && line.ends_with('…'), "{line}");
    }

    #[test]
    fn the_reason_why_an_item_was_not_sent_is_not_cut() {
        let reason = "no route can take it; `body.tools` can go only to a provider with the openai API, and there is none: \
                      add a model of one, or remove the field";
        for (outcome, is_whole) in [(Outcome::NoRoute, true), (Outcome::BadRequest, false)] {
            let kind = EventKind::ItemFailed {
                seq: 1,
                item_id: "request-1".to_owned(),
                route: None,
                outcome,
                message: reason.to_owned(),
            };
            let line = event_line(&Event { number: 1, at: NOW, kind }, &TimeZone::UTC);
            assert_eq!(line.ends_with(reason), is_whole, "{line}");
        }
    }

    #[test]
    fn text_from_outside_can_not_act_on_the_terminal() {
        let hostile = "\x1b]0;owned\x07\u{202e}\nrun: finished";
        let mut snapshot = snapshot_in_state(RunState::NeedsOperator { reason: hostile.to_owned() });
        snapshot.current_route.as_mut().unwrap().model = hostile.to_owned();
        let event = Event {
            number: 1,
            at: NOW,
            kind: EventKind::ItemFailed {
                seq: 1,
                item_id: hostile.to_owned(),
                route: Some(hostile.to_owned()),
                outcome: Outcome::ServerError,
                message: hostile.to_owned(),
            },
        };
        for line in [line(&snapshot), event_line(&event, &TimeZone::UTC)] {
            assert!(!line.contains(['\x1b', '\x07', '\u{202e}', '\n']), "{line:?}");
            assert!(line.contains("␛]0;owned␇<U+202E> run: finished"), "{line:?}");
        }
    }
}

mod reporter {
    use super::*;

    fn done(done: u64) -> Snapshot {
        Snapshot { totals: Totals { done, ..snapshot().totals }, ..snapshot() }
    }

    fn with_events(events: Vec<Arc<Event>>) -> Snapshot {
        Snapshot { events, ..snapshot() }
    }

    #[test]
    fn progress_is_reported_when_it_changed_and_at_most_every_interval() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut reporter = Reporter::new(utc_options());
        assert_eq!(reporter.update(at(0), &done(1)).len(), 1, "the first line comes at once");
        assert_eq!(reporter.update(at(1), &done(2)).len(), 0);
        assert_eq!(reporter.due_at(), Some(at(5)), "news is told when the pause is over, without a further change");
        assert_eq!(reporter.update(at(5), &done(2)).len(), 1);
        assert_eq!(reporter.update(at(100), &done(2)).len(), 0, "nothing new");
        assert_eq!(reporter.due_at(), Some(at(305)), "but a sign of life");
        assert_eq!(reporter.update(at(305), &done(2)).len(), 1);
    }

    #[test]
    fn a_change_of_state_or_route_is_reported_and_traffic_is_not() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut other_key = snapshot();
        other_key.current_route.as_mut().unwrap().key = "bob".to_owned();
        let mut traffic = snapshot();
        traffic.totals.in_flight = 3;
        traffic.at = NOW + Duration::from_secs(5);
        let cases = [
            ("another state", snapshot_in_state(RunState::Pausing), 1),
            ("another key", other_key, 1),
            ("other requests in flight", traffic, 0),
        ];
        for (what, next, lines) in cases {
            let mut reporter = Reporter::new(utc_options());
            reporter.update(start, &snapshot());
            assert_eq!(reporter.update(later, &next).len(), lines, "{what}");
        }
    }

    #[test]
    fn a_wait_whose_end_moves_by_microseconds_is_reported_once() {
        let wait =
            |until: WallTime| snapshot_in_state(RunState::Waiting { reason: "x".to_owned(), until: Some(until) });
        let (start, mut reporter) = (Instant::now(), Reporter::new(utc_options()));
        let mut lines_at = |seconds, snapshot| reporter.update(start + Duration::from_secs(seconds), &snapshot).len();
        assert_eq!(lines_at(0, wait(NOW)), 1);
        assert_eq!(lines_at(5, wait(NOW + Duration::from_micros(3))), 0);
        assert_eq!(lines_at(10, wait(NOW - Duration::from_micros(3))), 0);
        assert_eq!(lines_at(15, wait(NOW + Duration::from_secs(30))), 1, "the wait was prolonged");
    }

    #[test]
    fn mostly_truncated_answers_give_one_hint() {
        let with = |done, truncated, state| {
            let totals = Totals { total: 100, done, truncated, ..Totals::default() };
            Snapshot { totals, ..snapshot_in_state(state) }
        };
        let (start, mut reporter) = (Instant::now(), Reporter::new(utc_options()));
        let mut lines_at = |seconds, snapshot| reporter.update(start + Duration::from_secs(seconds), &snapshot).len();
        assert_eq!(lines_at(0, with(9, 9, RunState::Running)), 1, "too few answers");
        assert_eq!(lines_at(5, with(20, 10, RunState::Running)), 1, "only half of them");
        assert_eq!(lines_at(10, with(21, 11, RunState::Running)), 2);
        assert_eq!(lines_at(15, with(30, 20, RunState::Running)), 1, "the advice was given");
        let mut reporter = Reporter::new(utc_options());
        let lines = reporter.update(start, &with(100, 100, RunState::Finished));
        assert_eq!(lines.len(), 1, "the summary has it: {lines:?}");
    }

    #[test]
    fn the_end_is_reported_at_once() {
        let start = Instant::now();
        let mut reporter = Reporter::new(utc_options());
        reporter.update(start, &snapshot());
        let lines = reporter.update(start, &snapshot_in_state(RunState::Finished));
        assert!(lines.len() == 1 && lines[0].ends_with("finished"), "{lines:?}");
    }

    #[test]
    fn warnings_and_alarms_are_printed_once_and_other_events_not_at_all() {
        let start = Instant::now();
        let mut reporter = Reporter::new(utc_options());
        reporter.update(start, &snapshot());
        let first = vec![event(1, EventLevel::Info), event(2, EventLevel::Warn), event(3, EventLevel::Operator)];
        assert_eq!(reporter.update(start, &with_events(first.clone())), ["14:08:51  warn   event 2"]);
        let then = [first, vec![event(4, EventLevel::Alert)]].concat();
        assert_eq!(reporter.update(start, &with_events(then.clone())), ["14:08:51  ALERT  event 4"]);
        assert_eq!(reporter.update(start, &with_events(then)), [""; 0]);
    }

    #[test]
    fn events_up_to_last_known_event_are_not_printed() {
        let mut reporter = Reporter::new(ProgressOptions { last_known_event: 2, ..utc_options() });
        let events = (1..=3).map(|number| event(number, EventLevel::Warn)).collect();
        let lines = reporter.update(Instant::now(), &with_events(events));
        assert_eq!(lines[0], "14:08:51  warn   event 3");
    }

    #[test]
    fn a_flood_of_warnings_is_counted_and_no_alarm_drowns_in_it() {
        let start = Instant::now();
        let mut reporter = Reporter::new(utc_options());
        reporter.update(start, &snapshot());
        let mut events: Vec<_> = (1..=100).map(|number| event(number, EventLevel::Warn)).collect();
        events.push(event(101, EventLevel::Alert));
        let lines = reporter.update(start, &with_events(events.clone()));
        assert_eq!((lines.len(), lines[10].as_str()), (11, "14:08:51  ALERT  event 101"));
        let lines = reporter.update(start + Duration::from_secs(5), &with_events(events));
        assert_eq!(lines[0], "… and 90 more warnings, all in the run's log");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn the_stuck_timeout_runs_only_while_the_run_needs_an_operator() {
        let start = Instant::now();
        let later = start + Duration::from_mins(1);
        let snapshot_with = |state, in_flight| Snapshot {
            totals: Totals { in_flight, ..snapshot().totals },
            ..snapshot_in_state(state)
        };
        let held = || RunState::NeedsOperator { reason: String::new() };
        let waiting = |until| RunState::Waiting { reason: String::new(), until };
        let cases = [
            (held(), 0, true),
            (held(), 1, false),
            (RunState::Paused, 0, true),
            (waiting(None), 0, true),
            (waiting(Some(NOW)), 0, false),
            (RunState::Running, 0, false),
        ];
        for (state, in_flight, is_stuck) in cases {
            let mut reporter = Reporter::new(utc_options());
            let snapshot = snapshot_with(state.clone(), in_flight);
            reporter.update(start, &snapshot);
            reporter.update(later, &snapshot);
            assert_eq!(reporter.give_up_at(), is_stuck.then_some(start + HOUR), "{state:?} with {in_flight} in flight");
            reporter.update(later, &super::snapshot());
            assert_eq!(reporter.give_up_at(), None, "moving again");
        }
    }
}

mod watching {
    use super::*;

    struct FakeEngine {
        snapshots: channel::Sender<Arc<Snapshot>>,
        commands: mpsc::Receiver<CommandRequest>,
    }

    fn fake_engine(first: Snapshot) -> (FakeEngine, EngineHandle) {
        let (sender, snapshots) = channel::channel(Arc::new(first));
        let (command_tx, received) = mpsc::channel(1);
        let (query_tx, _) = mpsc::channel(1);
        (FakeEngine { snapshots: sender, commands: received }, EngineHandle { snapshots, command_tx, query_tx })
    }

    #[derive(Debug)]
    struct ClosedPipe;

    impl io::Write for ClosedPipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[tokio::test]
    async fn the_run_is_followed_to_its_end() {
        let (engine, handle) = fake_engine(snapshot());
        let follow = async {
            let mut err = Vec::new();
            let last = watch(handle, utc_options(), &mut err).await;
            (last, String::from_utf8(err).unwrap())
        };
        let run = async {
            tokio::task::yield_now().await;
            engine.snapshots.send(Arc::new(ended_snapshot(0, 0, RunState::Finished))).unwrap();
        };
        let ((last, text), ()) = tokio::join!(follow, run);
        assert_eq!(last.state, RunState::Finished);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("key 1/3 alice") && lines[1].ends_with("finished"), "{text}");
    }

    #[tokio::test]
    async fn the_last_line_waits_for_requests_whose_end_is_being_recorded() {
        let (engine, handle) = fake_engine(snapshot());
        let stopped = |in_flight, at_risk| {
            let mut snapshot = ended_snapshot(5, 0, RunState::Stopped { reason: "quota".to_owned() });
            snapshot.totals.in_flight = in_flight;
            snapshot.spend.at_risk = at_risk;
            Arc::new(snapshot)
        };
        let run = async {
            for (in_flight, at_risk) in [(2, Money::ZERO), (1, Money(1)), (0, Money::from_usd(0.02).unwrap())] {
                tokio::task::yield_now().await;
                engine.snapshots.send(stopped(in_flight, at_risk)).unwrap();
            }
        };
        let mut err = Vec::new();
        let (last, ()) = tokio::join!(watch(handle, utc_options(), &mut err), run);
        let text = String::from_utf8(err).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), last.totals.in_flight), (2, 0), "{text}");
        assert!(lines[1].contains("up to $0.02 possibly billed") && lines[1].ends_with("stopped: quota"), "{text}");
    }

    #[tokio::test]
    async fn a_closed_pipe_does_not_end_the_run() {
        let (engine, handle) = fake_engine(snapshot());
        let run = async {
            tokio::task::yield_now().await;
            engine.snapshots.send(Arc::new(ended_snapshot(0, 0, RunState::Finished))).unwrap();
        };
        let (last, ()) = tokio::join!(watch(handle, utc_options(), ClosedPipe), run);
        assert_eq!(exit_status(&last), 0);
    }

    #[tokio::test]
    async fn an_engine_that_goes_away_is_reported_and_shows_in_the_exit_status() {
        let (engine, handle) = fake_engine(snapshot());
        drop(engine);
        let mut err = Vec::new();
        let last = watch(handle, utc_options(), &mut err).await;
        assert_eq!(exit_status(&last), 1);
        let text = String::from_utf8(err).unwrap();
        assert!(text.ends_with("the run ended unexpectedly; run the same command again to continue\n"), "{text}");
    }

    #[tokio::test]
    async fn a_stuck_run_is_drained_once_after_the_timeout() {
        let held = Snapshot {
            totals: Totals { in_flight: 0, ..snapshot().totals },
            ..snapshot_in_state(RunState::NeedsOperator { reason: "five items were refused alike".to_owned() })
        };
        let (mut engine, handle) = fake_engine(held);
        let mut err = Vec::new();
        let impatient = ProgressOptions { stuck_timeout: Duration::ZERO, ..utc_options() };
        let run = async {
            let order = engine.commands.recv().await.unwrap();
            assert_eq!(
                (order.command, order.stop_reason.as_deref()),
                (Command::Drain, Some("no operator acted for 0s"))
            );
            order.reply.send(Ok("draining".to_owned())).unwrap();
            engine
                .snapshots
                .send(Arc::new(ended_snapshot(5, 0, RunState::Stopped { reason: "drained".to_owned() })))
                .unwrap();
        };
        let (last, ()) = tokio::join!(watch(handle, impatient, &mut err), run);
        assert_eq!(exit_status(&last), 4);
        let text = String::from_utf8(err).unwrap();
        assert!(
            text.contains("\nno operator acted for 0s; stopping the run, which can be resumed: draining\n"),
            "{text}"
        );
        assert!(engine.commands.try_recv().is_err());
    }
}

mod end_of_run {
    use super::*;

    #[test]
    fn the_exit_status_says_how_it_went() {
        let stopped = || RunState::Stopped { reason: "quota".to_owned() };
        let cases = [
            ("all done", ended_snapshot(0, 0, RunState::Finished), 0),
            ("some failed", ended_snapshot(0, 2, RunState::Finished), 3),
            ("work left", ended_snapshot(5, 0, stopped()), 4),
            ("work left and some failed", ended_snapshot(5, 2, stopped()), 4),
            ("stopped when nothing was left", ended_snapshot(0, 0, stopped()), 0),
            ("not over", snapshot(), 1),
        ];
        for (what, snapshot, want) in cases {
            assert_eq!(exit_status(&snapshot), want, "{what}");
        }
        let mut ingesting = ended_snapshot(0, 0, stopped());
        ingesting.totals.ingesting = true;
        assert_eq!(exit_status(&ingesting), 4, "rows were still to come");
    }

    fn reported() -> Snapshot {
        let usage =
            Usage { input_tokens: 1_210_000, output_tokens: 300_000, thinking_tokens: 100_000, ..Usage::default() };
        let key = |name: &str, condition: Condition, health| KeyView {
            name: name.to_owned(),
            provider: "gemini".to_owned(),
            project: name.to_owned(),
            role: KeyRole::Primary,
            health,
            ok: 812,
            failed: 3,
            in_flight: 0,
            condition,
            usage,
            cost: Money::from_usd(0.41).unwrap(),
            cost_by_kind: CostByKind::default(),
            last_error: None,
        };
        let model = |name: &str, ok, failed, p95_ms| ModelView {
            name: name.to_owned(),
            provider: "gemini".to_owned(),
            api: Api::Gemini,
            vision: true,
            on: true,
            rpm: Gauge::default(),
            tpm: Gauge::default(),
            rpd: Gauge::default(),
            day: QuotaDay::Pacific,
            day_resets_at: None,
            in_flight: 0,
            ok,
            failed,
            invalid_outputs: 0,
            mean_ms: p95_ms,
            p50_ms: p95_ms.map(|ms: u64| ms / 2),
            p95_ms,
            usage: if ok > 0 { usage } else { Usage::default() },
            cost: if ok > 0 { Money::from_usd(0.41).unwrap() } else { Money::ZERO },
            cost_by_kind: CostByKind::default(),
            is_unpriced: false,
        };
        Snapshot {
            keys: vec![key("alice", Condition::Ready, 100), key("アリス", Condition::SwitchedOff { since: NOW }, 65)],
            models: vec![model("gemini-3.8-flash", 1_598, 6, Some(2_100)), model("evil\x1b[2J", 0, 0, None)],
            spend: Spend { usage, cost: Money::from_usd(0.82).unwrap(), ..Spend::default() },
            totals: Totals { attempts: 3_301, rate_limited: 41, ..snapshot().totals },
            ..snapshot_in_state(RunState::Stopped { reason: "quota".to_owned() })
        }
    }

    #[test]
    fn the_summary_is_a_table_that_lines_up() {
        let table = summary_table(&Summary::from(&reported()));
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        insta::assert_snapshot!(table, @"
        captions-spring: stopped
        items     3,214 of 5,000 done, 7 failed, 1,779 left
        requests  3,301, 429s: 41
        tokens    1,210,000 in, 400,000 out
        cost      $0.82
        time      42:17, 1.27 items/s

        model               ok errors  ok% mean  p50  p95 tokens in tokens out  cost
        gemini-3.8-flash 1,598      6 99.6 2.1s 1.1s 2.1s 1,210,000    400,000 $0.41
        evil␛[2J             0      0    -    -    -    -         0          0    $0

        key     state  health   ok  errors   cost
        alice   ready     100  812       3  $0.41
        アリス    off      65  812       3  $0.41
        ");
    }

    #[test]
    fn the_summary_is_never_wider_than_a_common_terminal() {
        let mut summary = Summary::from(&reported());
        summary.models[0].name = "gemini-3.5-flash-lite-preview".to_owned();
        summary.models[0].invalid_outputs = 5;
        (summary.at_risk_usd, summary.not_in_input) = (0.0123, 12);
        summary.usage.cost_by_kind_usd =
            CostByKindUsd { input: 0.4, cached_input: 0.2, output: 0.22, ..Default::default() };
        insta::assert_snapshot!(summary_table(&summary), @"
        captions-spring: stopped
        items     3,214 of 5,000 done, 7 failed, 1,779 left; 12 no longer in the input
        requests  3,301, 429s: 41
        tokens    1,210,000 in, 400,000 out
        cost      $0.82, and up to $0.0123 possibly billed for requests without an
                  answer (input $0.40, cached input $0.20, output $0.22)
        time      42:17, 1.27 items/s

        model                             ok  errors  invalid   ok%  mean   p50   p95
        gemini-3.5-flash-lite-preview  1,598       6        5  99.6  2.1s  1.1s  2.1s
        evil␛[2J                           0       0        0     -     -     -     -

        model                          tokens in  tokens out   cost
        gemini-3.5-flash-lite-preview  1,210,000     400,000  $0.41
        evil␛[2J                               0           0     $0

        key     state  health   ok  errors   cost
        alice   ready     100  812       3  $0.41
        アリス    off      65  812       3  $0.41
        ");
    }

    #[test]
    fn the_summary_counts_truncated_answers_and_gives_a_hint_if_most_are() {
        let summary = |done, truncated| Summary { total: 12, done, truncated, ..Summary::default() };
        let few = summary_table(&summary(12, 6));
        assert!(few.contains("items     12 of 12 done (6 truncated), 0 failed\n") && !few.contains("hint"), "{few}");
        let most = summary_table(&summary(12, 12));
        assert!(most.contains("12 of 12 done (12 truncated), 0 failed"), "{most}");
        assert!(most.contains("hint      most answers are truncated: raise --max-output-tokens"), "{most}");
        let json = serde_json::to_value(summary(12, 6)).unwrap();
        assert_eq!(json["truncated"], 6);
    }

    #[test]
    fn a_model_without_a_price_has_an_unknown_cost() {
        let mut snapshot = reported();
        snapshot.models[0].is_unpriced = true;
        let some = summary_table(&Summary::from(&snapshot));
        assert!(some.contains("\ncost      $0.82, excluding models without a price\n"), "{some}");
        for cost in [&mut snapshot.spend.cost, &mut snapshot.models[0].cost, &mut snapshot.keys[0].cost] {
            *cost = Money::ZERO;
        }
        let table = summary_table(&Summary::from(&snapshot));
        assert!(table.contains("\ncost      price unknown\n"), "{table}");
        for (line, end) in
            [("gemini", "price unknown"), ("evil", "$0"), ("alice", "price unknown"), ("アリス", "$0.41")]
        {
            let found = table.lines().rfind(|text| text.starts_with(line)).unwrap();
            assert!(found.ends_with(end), "{table}");
        }
        let json = serde_json::to_value(Summary::from(&snapshot)).unwrap();
        assert_eq!((&json["models"][0]["unpriced"], json["models"][1].get("unpriced")), (&true.into(), None));
    }

    #[test]
    fn requests_without_an_answer_have_an_unknown_cost_if_no_model_has_a_price() {
        let model = |unpriced| ModelSummary { name: "m".to_owned(), unpriced, ..ModelSummary::default() };
        let table = |attempts, models| summary_table(&Summary { attempts, models, ..Summary::default() });
        assert!(table(8, vec![model(true)]).contains("\ncost      price unknown\n"));
        assert!(table(8, vec![model(true), model(false)]).contains("\ncost      $0\n"));
        assert!(table(0, vec![model(true)]).contains("\ncost      $0\n"), "nothing was sent");
    }

    #[test]
    fn an_empty_run_has_a_summary_too() {
        let table = summary_table(&Summary::default());
        assert!(table.contains("0 of 0 done, 0 failed") && !table.contains("NaN"), "{table}");
    }

    #[test]
    fn the_report_for_scripts_is_one_json_object_on_one_line() {
        let text = report(&Summary::from(&reported()), true);
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        let summary: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!((summary.done, summary.keys.len(), summary.models[0].p95_ms), (3_214, 2, Some(2_100)));
        assert_eq!(report(&Summary::from(&reported()), false), summary_table(&summary));
    }
}
