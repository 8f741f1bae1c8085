//! Events, snapshots, commands and saved state that version 0.1.0 wrote, before its fields had today's names, are read.

use cascadeck::{
    domain::{
        CascadeOrder, Command, Event, EventKind, EventLevel, ReplayFilter, RouteTarget, Snapshot,
        snapshot::{CauseSource, Condition},
    },
    scheduler::SavedState,
};
use serde_json::{Value, json};

const EVENTS: &str = include_str!("schema/1-events.json");
const COMMANDS: &str = include_str!("schema/1-commands.json");
const SNAPSHOT: &str = include_str!("schema/1-snapshot.json");
const SCHEDULER_STATE: &str = include_str!("schema/1-scheduler-state.json");

#[test]
fn every_kind_of_event_is_read() {
    let events: Vec<Event> = serde_json::from_str(EVENTS).unwrap();
    let former: Vec<Value> = serde_json::from_str(EVENTS).unwrap();
    assert_eq!(events.len(), 8);
    for (event, former) in events.iter().zip(&former) {
        let today = serde_json::to_value(event).unwrap();
        assert_eq!(today["message"], former["words"]);
        assert_eq!(today.get("subject"), former.get("what"));
        assert_eq!(today.get("item_id"), former.get("item"));
    }
    assert!(matches!(events[6].kind, EventKind::Run { level: EventLevel::Operator, .. }));
    assert!(matches!(events[7].kind, EventKind::Run { level: EventLevel::Alert, .. }));
}

#[test]
fn every_command_is_read() {
    let commands: Vec<Command> = serde_json::from_str(COMMANDS).unwrap();
    let target = Some(RouteTarget { model: "m".to_owned(), key: Some("alice".to_owned()) });
    let expected = [
        Command::SetCascadeOrder { order: CascadeOrder::KeyFirst },
        Command::SetMaxInFlight { max_in_flight: 7 },
        Command::ProbeKey { key: "alice".to_owned() },
        Command::Replay { filter: ReplayFilter::default(), target },
    ];
    assert_eq!(commands, expected);
}

#[test]
fn a_snapshot_is_read() {
    let snapshot: Snapshot = serde_json::from_str(SNAPSHOT).unwrap();
    let former: Value = serde_json::from_str(SNAPSHOT).unwrap();
    let today = serde_json::to_value(&snapshot).unwrap();
    for (name, former_name) in [
        ("clock_speed", "speed"),
        ("cascade_order", "order"),
        ("max_in_flight", "in_flight_cap"),
        ("throughput", "pace"),
    ] {
        assert_eq!(today[name], former[former_name], "{name}");
    }
    assert_eq!(json!(snapshot.current_route.unwrap().key_count), former["place"]["keys"]);
    let shares = |list: &Value| list.as_array().unwrap().iter().map(|one| one["share"].clone()).collect::<Vec<_>>();
    assert_eq!(shares(&today["bottlenecks"]), shares(&former["holding"]));
    assert!(!snapshot.bottlenecks.is_empty());
    let is_cooled_by_provider = |key: &cascadeck::domain::snapshot::KeyView| matches!(&key.condition, Condition::CoolingDown { cause, .. } if cause.source == CauseSource::Provider);
    assert!(snapshot.keys.iter().any(is_cooled_by_provider));
    assert!(snapshot.keys.iter().any(|key| matches!(key.condition, Condition::SwitchedOff { .. })));
}

#[test]
fn the_schedulers_saved_state_is_read() {
    let state: SavedState = serde_json::from_str(SCHEDULER_STATE).unwrap();
    let former: Value = serde_json::from_str(SCHEDULER_STATE).unwrap();
    let today = serde_json::to_value(&state).unwrap();
    let column = |state: &Value, table: &str, field: &str| -> Vec<Value> {
        state[table].as_array().unwrap().iter().map(|row| row[field].clone()).collect()
    };
    assert_eq!(today["models_switched_off"], former["models_off"]);
    for (table, field, former_field) in [
        ("keys", "switched_off_at", "off"),
        ("pools", "backoff_step", "ladder_step"),
        ("routes", "switched_off_at", "off"),
    ] {
        assert_eq!(column(&today, table, field), column(&former, table, former_field), "{table}.{field}");
    }
    // A key that its provider had rejected, and days that were spent.
    let count = |values: Vec<Value>| values.iter().filter(|value| !value.is_null()).count();
    assert_eq!(count(column(&today, "keys", "disabled")), 1);
    assert_eq!(count(column(&today, "pools", "day_exhausted")), count(column(&former, "pools", "spent")));
    assert!(count(column(&today, "pools", "day_exhausted")) > 0);
}
