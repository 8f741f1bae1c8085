//! The settings of keys.toml, by table. Other settings are refused, and `keys.example.toml` must document all of these.

/// One kind of table and the fields it may have.
#[derive(Debug)]
pub struct Schema {
    /// The name of the table in messages: its header, as in `[[model]]`, or a description like `the file`.
    pub label: &'static str,
    pub fields: &'static [&'static str],
}

impl Schema {
    /// Finds the first renamed setting of this table for which `matches(former, current)` is true. Returns both names.
    pub fn find_renamed(&self, matches: impl Fn(&str, &str) -> bool) -> Option<(&'static str, &'static str)> {
        let (_, former, current) = FORMER_NAMES
            .into_iter()
            .find(|(table, former, current)| *table == self.label && matches(former, current))?;
        Some((former, current))
    }
}

pub const FILE: Schema = Schema {
    label: "the file",
    fields: &[
        "provider",
        "model",
        "key",
        "rule",
        "check",
        "policy",
        "defaults",
        "input",
        "pictures",
        "captions",
        "dashboard",
        "metrics",
        "webhook",
        "results",
    ],
};

pub const PROVIDER: Schema = Schema {
    label: "[[provider]]",
    fields: &[
        "name",
        "api",
        "base_url",
        "headers",
        "insecure",
        "day",
        "counted",
        "health",
        "health_interval",
        "extra_body",
    ],
};

pub const MODEL: Schema = Schema {
    label: "[[model]]",
    fields: &[
        "name",
        "provider",
        "rpm",
        "tpm",
        "itpm",
        "otpm",
        "rpd",
        "tpd",
        "counted",
        "day",
        "burst",
        "concurrency",
        "vision",
        "context",
        "max_output",
        "weight",
        "pool",
        "usd_per_mtok",
        "extra_body",
        "max_tokens_field",
        "usd_per_image",
    ],
};

pub const PRICE: Schema = Schema {
    label: "usd_per_mtok",
    fields: &["input", "output", "cached_input", "cache_write", "cache_write_1h", "steps"],
};

pub const PRICE_STEP: Schema = Schema {
    label: "step of usd_per_mtok",
    fields: &["above", "input", "output", "cached_input", "cache_write", "cache_write_1h"],
};

pub const KEY: Schema = Schema {
    label: "[[key]]",
    fields: &["name", "provider", "secret", "project", "weight", "role", "models", "max_usd", "max_usd_per_day"],
};

pub const RULE: Schema = Schema {
    label: "[[rule]]",
    fields: &[
        "name",
        "words_over",
        "code",
        "terms",
        "terms_at_least",
        "images",
        "tier",
        "latency_sensitive",
        "field",
        "models",
        "strategy",
        "max_usd",
    ],
};

pub const CHECK: Schema = Schema {
    label: "[[check]]",
    fields: &[
        "name",
        "rules",
        "per_row",
        "json",
        "schema",
        "regex",
        "min_words",
        "max_words",
        "not_contains",
        "command",
        "timeout",
        "retries",
        "explain",
    ],
};

pub const BALANCE: Schema = Schema { label: "balance", fields: &["quality", "price", "wait"] };

pub const POLICY: Schema = Schema {
    label: "[policy]",
    fields: &[
        "strategy",
        "order",
        "rotate_keys_daily",
        "balance",
        "explore",
        "when_limited",
        "spill",
        "spill_after",
        "on_exhausted",
        "in_flight",
        "max_usd",
        "max_usd_per_day",
        "backoff",
        "backoff_rest",
        "max_hint",
        "retry_delays",
        "retries_per_model",
        "max_errors_per_model",
        "max_attempts",
        "empty_retries",
        "retry_truncated_factor",
        "blocked_next_model",
        "refused_alike",
        "breaker_after",
        "breaker_open",
        "breaker_max",
        "billing_retry",
        "connect_timeout",
        "idle_timeout",
        "total_timeout",
        "drain_timeout",
        "give_up_after",
    ],
};

pub const DASHBOARD: Schema =
    Schema { label: "[dashboard]", fields: &["theme", "ascii", "pictures", "mouse", "notify", "fps", "keys"] };

pub const METRICS: Schema = Schema { label: "[metrics]", fields: &["listen", "hosts", "linger"] };

pub const DEFAULTS: Schema = Schema {
    label: "[defaults]",
    fields: &["system", "temperature", "top_p", "max_output_tokens", "stop", "seed", "thinking", "json"],
};

pub const INPUT: Schema =
    Schema { label: "[input]", fields: &["max_pipe_mib", "max_prompt_file_mib", "unknown_model", "row_model"] };

pub const PICTURES: Schema = Schema { label: "[pictures]", fields: &["max_side", "keep_metadata"] };

pub const CAPTIONS: Schema = Schema { label: "[captions]", fields: &["refusals"] };

pub const RESULTS: Schema = Schema { label: "[results]", fields: &["keep"] };

pub const WEBHOOK: Schema = Schema { label: "[[webhook]]", fields: &["name", "url", "on", "format", "insecure"] };

pub const ALL: [Schema; 18] = [
    FILE, PROVIDER, MODEL, PRICE, PRICE_STEP, KEY, RULE, CHECK, BALANCE, POLICY, DASHBOARD, METRICS, DEFAULTS, INPUT,
    PICTURES, CAPTIONS, RESULTS, WEBHOOK,
];

/// Renamed settings: the table's label, the former name and the current name. Both names are accepted.
pub const FORMER_NAMES: [(&str, &str, &str); 2] =
    [("[policy]", "ladder", "backoff"), ("[policy]", "ladder_rest", "backoff_rest")];
