//! Plain data types shared by the whole program: no I/O, no clock, no runtime.
//!
//! The modules in higher layers (`scheduler`, `provider`, `store`, `engine`, `tui`) use these types. This module
//! imports none of them, and no tokio, reqwest, ratatui or database.

pub mod alert;
pub mod answer_parts;
pub mod attempt_result;
mod body_fields;
pub mod bottleneck;
mod caption_text;
pub mod command;
pub mod complexity;
mod cost_factors;
mod dashboard;
pub mod duration_histogram;
pub mod event;
pub mod failure;
pub mod fleet;
pub mod forecast;
pub mod ids;
pub mod item;
mod json_numbers;
pub mod known_param;
pub mod latency;
pub mod lease;
pub mod metric_counts;
pub mod money;
mod named;
pub mod native_body;
pub mod outcome;
pub mod params;
mod picture_settings;
mod picture_tokens;
pub mod picture_type;
pub mod plain_text;
pub mod plural;
pub mod policy;
pub mod price;
pub mod query;
pub mod quota_day;
mod refusal;
pub mod request;
pub mod response_meta;
pub mod result;
pub mod route_sums;
pub mod routing;
pub mod rule;
pub mod sample;
pub mod snapshot;
pub mod strategy;
pub mod summary;
pub mod time;
pub mod truncation;
mod usable_keys;

pub use alert::{Alert, AlertTracker};
pub use answer_parts::{AnswerParts, Choice, KeptParts};
pub use attempt_result::{
    Answer, AttemptResult, FailedCheck, RetryAfter, UNCHECKED_MESSAGE_START, Usage, is_unchecked,
};
pub use body_fields::{field_at_mut, has_names_of_data, merge_defaults, merge_over, merge_under, to_camel_case};
pub use caption_text::{CaptionRules, CleanupStep, has_trigger};
pub use command::{Command, ReplayFilter};
pub use complexity::Complexity;
pub use cost_factors::{CostFactors, UnboundedField, unbounded_field, unbounded_model_effect};
pub use dashboard::{ImageMode, KeyOverride};
pub use duration_histogram::DurationHistogram;
pub use event::{Event, EventKind, EventLevel};
pub use failure::FailureGroup;
pub use fleet::{
    ANTHROPIC_DEFAULT_MAX_OUTPUT, Api, HealthCheck, HealthCheckTarget, Key, KeyRole, Limits, MaxTokensField, Model,
    Provider, SpendLimits, TokenCounting,
};
pub use forecast::Forecast;
pub use ids::{AttemptId, KeyId, ModelId, PoolId, ProjectId, ProviderId, RouteId, Seq};
pub use item::{GENERATED_ID_LEN, ItemSpec, ItemState, PictureStamp, short_id};
pub use json_numbers::{NUMBER_FIELD, NumberTexts, may_be_rewritten, parse_with_exact_numbers, restore_number};
pub use latency::LatencyHistogram;
pub use metric_counts::{CountedAttempt, CountedStatus, MetricCounts, RouteLabels};
pub use money::Money;
pub use named::Named;
pub(crate) use named::names;
pub use native_body::NativeBody;
pub use outcome::{Outcome, OutcomeAction};
pub use params::{JsonMode, Params, Thinking};
pub use picture_settings::{LongestSide, PictureSettings, scaled_to};
pub use picture_tokens::PictureTokenizer;
pub use picture_type::PictureType;
pub use plain_text::{escape_json, sanitize};
pub use plural::{group_digits, is_or_are, plural, pluralize};
pub use policy::{BalanceWeights, CascadeOrder, MAX_IN_FLIGHT, OnExhausted, Policy, SpillTo, WhenLimited};
pub use price::{CostByKind, CostByKindUsd, MAX_PRICE_STEPS, Price, Rates, UsageBound};
pub use query::{AttemptRow, InFlightAttempt, ItemDetail, ItemFilter, ItemRow, Page, Query};
pub use quota_day::QuotaDay;
pub use refusal::find_refusal;
pub use request::{Image, Message, MessageRole, Part, Request};
pub use response_meta::{LimitDimension, LimitSource, ProviderLimit, ResponseMeta};
pub use result::{FinalState, ResultError, ResultLine};
pub use route_sums::{RouteSums, SummedAttempt, UsageSlot};
pub use routing::{AllowedRoutes, RouteTarget, RoutingTraits, RowModelPolicy, SpillRule, UnknownModelPolicy};
pub use rule::{RequiredTerms, RoutingRule, RuleConditions};
pub use sample::{
    EndedCounter, KeySample, MAX_SAMPLES, MIN_SAMPLE_INTERVAL, MIN_UNCHANGED_INTERVAL, ModelSample, RouteSample,
    Sample, drop_every_other,
};
pub use snapshot::Snapshot;
pub use strategy::Strategy;
pub use summary::Summary;
pub use time::{MonoTime, Now, WallTime};
pub use truncation::{TRUNCATED_HINT, are_mostly_truncated, truncated_suffix};
