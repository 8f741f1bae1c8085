//! The words of the program as plain data: no I/O, no clock, no runtime.
//!
//! Everything above (`scheduler`, `provider`, `store`, `engine`, `tui`) speaks in these types.
//! This module imports nothing of theirs, and no tokio, reqwest, ratatui or database.

pub mod answer;
pub mod command;
pub mod complexity;
pub mod count;
pub mod days;
pub mod event;
pub mod failure;
pub mod fleet;
pub mod forecast;
pub mod holding;
pub mod ids;
pub mod item;
pub mod latency;
pub mod money;
pub mod news;
pub mod outcome;
pub mod plain_text;
pub mod policy;
pub mod query;
pub mod report;
pub mod request;
pub mod result;
pub mod routing;
pub mod rule;
pub mod snapshot;
pub mod strategy;
pub mod summary;
pub mod time;

pub use answer::{Answer, Hint, Usage, Verdict};
pub use command::{Command, ReplayFilter};
pub use complexity::Complexity;
pub use count::{are, counted, plural};
pub use event::{Event, EventKind, Level};
pub use failure::FailureGroup;
pub use fleet::{Api, Counted, Day, Key, Limits, Model, MoneyCaps, Provider, Role};
pub use forecast::Forecast;
pub use ids::{AttemptId, KeyId, ModelId, PoolId, ProviderId, RouteId, Seq};
pub use item::{ItemSpec, ItemState, MADE_UP_DIGITS, PictureStamp, short_id};
pub use latency::Latencies;
pub use money::{Money, Price};
pub use news::{News, Watch};
pub use outcome::{Action, Outcome};
pub use plain_text::neutralise;
pub use policy::{Balance, CascadeOrder, MOST_IN_FLIGHT, OnExhausted, Policy, SpillTo, WhenLimited};
pub use query::{AttemptRow, ItemDetail, ItemFilter, ItemRow, Page, Query, UnderWay};
pub use report::{Dimension, LimitReport, Provenance, Report};
pub use request::{Image, JsonMode, Message, Params, Part, Request, Speaker, Thinking};
pub use result::{FinalState, ResultError, ResultLine};
pub use routing::{Target, Traits, UnknownModel};
pub use rule::{Conditions, Rule, Terms};
pub use snapshot::Snapshot;
pub use strategy::Strategy;
pub use summary::Summary;
pub use time::{Mono, Now, Wall};
