//! `cascadeck audit`: proves from the record that nothing was lost, duplicated or overspent.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{
    CliError,
    print::{EXIT_DONE, print, sanitize_lines},
};
use crate::{
    domain::{CostByKindUsd, Money, group_digits, pluralize},
    store::audit::{Audit, UnansweredAttempt, audit},
};

/// Prove from the record that nothing was lost, duplicated or overspent
///
/// Checks every row. Exits with 0 if every promise holds. Otherwise exits with 1 and names each broken promise.
#[derive(Args, Clone, Debug)]
pub(super) struct AuditArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Maximum number of attempts named in the text report. The JSON object contains all.
const MAX_NAMED: usize = 20;

pub(super) fn run(args: &AuditArgs) -> Result<u8, CliError> {
    let audit = audit(&args.run_dir, None)?;
    let text = if args.json { to_json(args, &audit).to_string() } else { sanitize_lines(&to_text(args, &audit)) };
    let printed = print(&(text + "\n"));
    let broken = audit.checks.iter().filter(|check| check.violations > 0).count();
    if broken > 0 {
        return Err(CliError::internal(format!(
            "{broken} of {} checks failed in {}",
            audit.checks.len(),
            args.run_dir.display()
        )));
    }
    printed.map(|()| EXIT_DONE)
}

fn to_json(args: &AuditArgs, audit: &Audit) -> Value {
    let checks: Vec<Value> = audit
        .checks
        .iter()
        .map(|check| json!({ "promise": check.invariant, "broken": check.violations, "examples": check.examples }))
        .collect();
    let attempts: Vec<Value> = audit
        .unanswered
        .iter()
        .map(|unanswered| {
            let UnansweredAttempt { attempt, item, key, model, sent_at, outcome, at_risk } = unanswered;
            json!({ "attempt": attempt, "id": item, "key": key, "model": model, "sent_at": sent_at.rfc3339(),
                    "outcome": outcome, "at_risk_usd": at_risk.as_usd() })
        })
        .collect();
    json!({
        "run_dir": args.run_dir.display().to_string(),
        "holds": audit.is_ok(),
        "total": audit.items,
        "done": audit.done,
        "failed": audit.failed,
        "waiting": audit.waiting,
        "input_read_to_its_end": audit.input_complete,
        "attempts": audit.attempts,
        "in_flight": audit.in_flight,
        "usage": audit.usage,
        "cost_usd": audit.cost.as_usd(),
        "cost_by_kind_usd": CostByKindUsd::from(audit.cost_by_kind),
        "at_risk_usd": audit.at_risk.as_usd(),
        "may_have_been_billed": attempts,
        "captions_deleted_with_their_pictures": audit.deleted_captions,
        "checks": checks,
    })
}

fn to_text(args: &AuditArgs, audit: &Audit) -> String {
    let Audit { items, done, failed, waiting, attempts, cost, at_risk, .. } = audit;
    let unread = if audit.input_complete { "" } else { "; the input has not been read to its end yet" };
    let mut text = format!(
        "{}\n{}: {done} done, {failed} failed, {waiting} waiting{unread}\n{}, {cost} spent\n",
        args.run_dir.display(),
        pluralize(*items, "item"),
        pluralize(*attempts, "attempt"),
    );
    let _ = writeln!(
        text,
        "tokens: {} in{}, {} out",
        group_digits(audit.usage.input_tokens),
        audit.usage.describe_cached(),
        group_digits(audit.usage.billed_output())
    );
    if let Some(kinds) = audit.cost_by_kind.describe() {
        let _ = writeln!(text, "cost: {kinds}");
    }
    let unanswered_count = audit.unanswered.len();
    // The record has no prices: an attempt at no cost may be of a free model, or of one whose price is unknown.
    let unpriced = if audit.unanswered.iter().any(|unanswered| unanswered.at_risk == Money::ZERO) {
        ", without those whose price is unknown or zero"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "{} may have been billed without an answer, at most {at_risk}{unpriced}",
        pluralize(unanswered_count as u64, "attempt")
    );
    for unanswered in audit.unanswered.iter().take(MAX_NAMED) {
        let UnansweredAttempt { attempt, item, key, model, sent_at, outcome, at_risk } = unanswered;
        let outcome = outcome.as_deref().unwrap_or("no outcome yet");
        let _ = writeln!(
            text,
            "  item {item}, attempt {attempt}, {model}@{key}, sent {sent_at}, {outcome}, {}",
            if *at_risk == Money::ZERO { "price unknown or zero".to_owned() } else { format!("at most {at_risk}") }
        );
    }
    if unanswered_count > MAX_NAMED {
        let _ = writeln!(text, "  … and {} more", unanswered_count - MAX_NAMED);
    }
    for check in &audit.checks {
        let status = if check.violations == 0 { "ok    " } else { "FAILED" };
        let _ = writeln!(text, "{status}  {}", check.invariant);
        for example in &check.examples {
            let _ = writeln!(text, "        {example}");
        }
        if check.violations > check.examples.len() as u64 {
            let _ = writeln!(text, "        … {} in all", check.violations);
        }
    }
    if audit.deleted_captions > 0 {
        let captions = pluralize(audit.deleted_captions, "caption");
        let _ = writeln!(text, "note    {captions} deleted along with the pictures; the answers are in results.jsonl");
    }
    text.trim_end().to_owned()
}
