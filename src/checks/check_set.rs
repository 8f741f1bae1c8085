//! The checks of a run: which of them apply to an item, and what becomes of its answer.

use std::{borrow::Cow, num::NonZero, sync::Arc, thread};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    command::CheckError,
    condition::AnswerCondition,
    schema::SchemaCache,
    start_fault::{CheckFault, StartFault},
};
use crate::domain::{
    Answer, AttemptResult, CaptionRules, Choice, FailedCheck, Image, ItemSpec, JsonMode, Outcome, OutcomeAction, Part,
    RoutingRule, UNCHECKED_MESSAGE_START, rule::first_match,
};

/// The row's field that names checks for it, separated by commas.
const ROW_FIELD: &str = "check";

/// Maximum number of commands that run at the same time.
const MAX_COMMANDS: usize = 8;

/// One check. An answer must satisfy all of its conditions.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    pub applies_to: AppliesTo,
    /// Cheap ones first; the first that does not hold decides.
    pub conditions: Vec<AnswerCondition>,
    /// How often an item is sent to the same model again.
    pub retries: u32,
    /// Whether the next request says what was wrong with the answer.
    pub explains: bool,
}

/// The items whose answers a check tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppliesTo {
    All,
    /// Those to which one of these routing rules applies.
    Rules(Vec<String>),
    /// Those whose row names the check.
    NamedByRow,
    /// Those whose answers are written as captions.
    Captions,
}

/// The names in a row's [`ROW_FIELD`].
fn split_names(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// All checks of a run. Cheap to clone; clones share the compiled schemas and the limit on commands.
#[derive(Clone, Debug)]
pub struct CheckSet(Arc<SharedChecks>);

#[derive(Debug)]
struct SharedChecks {
    checks: Vec<Check>,
    /// The routing rules, to find the one that applies to an item. Empty if no check depends on them.
    rules: Vec<RoutingRule>,
    schemas: SchemaCache,
    command_slots: Semaphore,
    start_fault: StartFault,
}

impl Default for CheckSet {
    fn default() -> Self {
        Self::new(Vec::new(), &[])
    }
}

impl CheckSet {
    /// `rules` are the routing rules of the run.
    pub fn new(checks: Vec<Check>, rules: &[RoutingRule]) -> Self {
        let depends_on_rules = checks.iter().any(|check| matches!(check.applies_to, AppliesTo::Rules(_)));
        let commands = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_COMMANDS);
        Self(Arc::new(SharedChecks {
            checks,
            rules: if depends_on_rules { rules.to_vec() } else { Vec::new() },
            schemas: SchemaCache::default(),
            command_slots: Semaphore::new(commands),
            start_fault: StartFault::default(),
        }))
    }

    /// Adds the checks of captions, after all others: that the answer is no refusal, and that it contains the trigger.
    /// `refusals` are further beginnings of refusals.
    #[must_use]
    pub fn with_caption_checks(&self, rules: &CaptionRules, refusals: &[String]) -> Self {
        let check = |name: &str, retries, condition| Check {
            name: name.to_owned(),
            applies_to: AppliesTo::Captions,
            conditions: vec![condition],
            retries,
            explains: retries > 0,
        };
        let mut checks = self.0.checks.clone();
        if !rules.allows_refusals {
            // The same model would refuse again.
            checks.push(check("refusal", 0, AnswerCondition::Caption(refusals.to_vec())));
        }
        if let Some(trigger) = &rules.required_trigger {
            checks.push(check("trigger", 1, AnswerCondition::Trigger(trigger.clone())));
        }
        Self::new(checks, &self.0.rules)
    }

    /// The checks, in the order in which they are applied.
    pub fn all(&self) -> &[Check] {
        &self.0.checks
    }

    /// Why answers can't be checked at present, so that no more should be asked for.
    pub fn fault(&self) -> Option<CheckFault> {
        self.0.start_fault.current()
    }

    /// From now on, an answer whose check command can't be started fails its item, instead of waiting until the command
    /// can be started.
    pub fn stop_waiting_for_commands(&self) {
        self.0.start_fault.stop_waiting_for_commands();
    }

    /// The row's field that names checks; `None` if rows can't name any, so that the field means nothing.
    pub fn row_field(&self) -> Option<&'static str> {
        self.names_for_rows().next().map(|_| ROW_FIELD)
    }

    pub fn is_empty(&self) -> bool {
        self.0.checks.is_empty()
    }

    fn names_for_rows(&self) -> impl Iterator<Item = &str> {
        let named = self.0.checks.iter().filter(|check| check.applies_to == AppliesTo::NamedByRow);
        named.map(|check| check.name.as_str())
    }

    /// Makes sure that an item read from a row can be checked.
    ///
    /// # Errors
    /// If its row names a check that does not exist; and as [`Self::require_usable_schema`].
    pub fn validate_row(&self, item: &ItemSpec) -> Result<(), String> {
        let named = item.kept_fields.get(ROW_FIELD).filter(|_| self.row_field().is_some());
        let is_unknown = |name: &&str| self.names_for_rows().all(|known| known != *name);
        if let Some(unknown) = named.and_then(|named| split_names(named).find(is_unknown)) {
            let known: Vec<&str> = self.names_for_rows().collect();
            return Err(format!(
                "`{ROW_FIELD}` names {unknown}, but rows can name only these checks: {}",
                known.join(", ")
            ));
        }
        self.require_usable_schema(item)
    }

    fn applicable<'s>(&'s self, item: &'s ItemSpec) -> impl Iterator<Item = &'s Check> {
        let rule = first_match(&self.0.rules, item).map(|matching| matching.rule.name.as_str());
        let named = item.kept_fields.get(ROW_FIELD).map(String::as_str).unwrap_or_default();
        self.0.checks.iter().filter(move |check| match &check.applies_to {
            AppliesTo::All => true,
            AppliesTo::Captions => item.caption_path.is_some(),
            AppliesTo::Rules(rules) => rule.is_some_and(|rule| rules.iter().any(|name| name == rule)),
            AppliesTo::NamedByRow => split_names(named).any(|name| name == check.name),
        })
    }

    /// Makes sure that the answer to an item can be checked, before its request costs anything.
    ///
    /// # Errors
    /// If a check needs the request's own schema, and that schema can't be used.
    pub fn require_usable_schema(&self, item: &ItemSpec) -> Result<(), String> {
        let Some(JsonMode::Schema(schema)) = &item.request.params.json else { return Ok(()) };
        let needs_it = |check: &Check| check.conditions.iter().any(|it| matches!(it, AnswerCondition::RequestSchema));
        match self.applicable(item).find(|check| needs_it(check)) {
            None => Ok(()),
            Some(check) => match self.0.schemas.compile(schema) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("check {}: the request's JSON schema can't be used: {error}", check.name)),
            },
        }
    }

    /// Checks the answer in `result`, if there is one. The result is unchanged if the answer passes; if it has several
    /// choices, all must pass. A caption that was cut off is left alone, since it is not accepted anyway. An answer
    /// without text (tool calls, an embedding) is tested by commands only.
    ///
    /// `redact` makes a message safe to record: short, on one line, without secrets.
    pub async fn apply(
        &self,
        item: &ItemSpec,
        model: &str,
        result: AttemptResult,
        redact: &(dyn Fn(&str) -> String + Sync),
    ) -> AttemptResult {
        let is_checked = match result.outcome {
            Outcome::Ok => true,
            Outcome::Truncated => item.caption_path.is_none(),
            _ => false,
        };
        let Some(answer) = result.answer.as_ref().filter(|_| is_checked) else { return result };
        match self.first_failure(item, model, answer).await {
            None => result,
            Some((check, CheckError::Failed(reason))) => {
                into_invalid_output(result, check, redact(&(message_prefix(check) + &reason)))
            }
            Some((check, CheckError::NotRun(reason))) => {
                // Not `message_prefix`, or `explanation` would tell the model about it as about a failed check.
                let message = redact(&format!("{UNCHECKED_MESSAGE_START}{}: {reason}", check.name));
                into_unchecked(result, check, message)
            }
        }
    }

    /// The first check that some choice of the answer fails, and why.
    async fn first_failure<'s>(
        &'s self,
        item: &'s ItemSpec,
        model: &str,
        answer: &Answer,
    ) -> Option<(&'s Check, CheckError)> {
        if self.0.checks.is_empty() {
            return None;
        }
        let is_embedding = answer.parts.as_ref().is_some_and(|parts| parts.embedding.is_some());
        let choices = answer.choices();
        for check in self.applicable(item) {
            for condition in &check.conditions {
                for (number, choice) in (1..).zip(&choices) {
                    let failure = match self.test(check, condition, item, model, choice, is_embedding).await {
                        Ok(()) => continue,
                        Err(CheckError::Failed(reason)) if choices.len() > 1 => {
                            CheckError::Failed(format!("choice {number}: {reason}"))
                        }
                        Err(failure) => failure,
                    };
                    return Some((check, failure));
                }
            }
        }
        None
    }

    async fn test(
        &self,
        check: &Check,
        condition: &AnswerCondition,
        item: &ItemSpec,
        model: &str,
        choice: &Choice<'_>,
        is_embedding: bool,
    ) -> Result<(), CheckError> {
        if let AnswerCondition::Command(command) = condition {
            // The semaphore is never closed. The input is made after the wait, since many attempts may wait.
            let _slot = self.0.command_slots.acquire().await;
            let input = command_input(check, item, model, choice).to_string();
            // Boxed, since it is large and most attempts run no command.
            return Box::pin(command.run(input.as_bytes(), &self.0.start_fault)).await;
        }
        let has_no_text = choice.text.trim().is_empty() && (choice.tool_calls.is_some() || is_embedding);
        if has_no_text {
            return Ok(());
        }
        condition.test_text(&choice.text, item, &self.0.schemas).map_err(CheckError::Failed)
    }

    /// The text about an answer that has failed, which is appended to the next request; `None` if its check does not
    /// explain. `message` is [`AttemptResult::message`], fresh or read from the record.
    pub fn explanation(&self, message: &str) -> Option<String> {
        let explains = |check: &&Check| check.explains && message.starts_with(&message_prefix(check));
        self.0.checks.iter().find(explains)?;
        Some(explain(message))
    }
}

fn message_prefix(check: &Check) -> String {
    format!("check {}: ", check.name)
}

fn explain(message: &str) -> String {
    format!(
        "An earlier answer to this request was not accepted ({message}). Give a complete new answer without this fault."
    )
}

fn into_invalid_output(result: AttemptResult, check: &Check, message: String) -> AttemptResult {
    let failed_check = FailedCheck {
        name: check.name.clone(),
        retries: check.retries,
        is_truncated: result.outcome == Outcome::Truncated,
        explanation: check.explains.then(|| explain(&message)),
    };
    AttemptResult {
        outcome: Outcome::InvalidOutput,
        action: OutcomeAction::Retry,
        rule: format!("the answer fails the check {}", check.name),
        message,
        failed_check: Some(Box::new(failed_check)),
        ..result
    }
}

/// The result for an answer whose check could not be made. Its item fails: other answers would be paid for in vain.
fn into_unchecked(result: AttemptResult, check: &Check, message: String) -> AttemptResult {
    let invalid = into_invalid_output(result, check, message);
    let failed_check = invalid.failed_check.map(|failed| Box::new(FailedCheck { explanation: None, ..*failed }));
    AttemptResult {
        action: OutcomeAction::FailItem,
        rule: format!("the check {} could not be made", check.name),
        failed_check,
        ..invalid
    }
}

/// The standard input of a command that tests one choice. The data of inline pictures is left out.
fn command_input(check: &Check, item: &ItemSpec, model: &str, choice: &Choice<'_>) -> Value {
    let texts: Vec<&str> = item
        .request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) => None,
        })
        .collect();
    let pictures: Vec<Cow<'_, str>> = item
        .request
        .images()
        .filter_map(|image| match image {
            Image::File(path) => Some(path.to_string_lossy()),
            Image::Url(url) if !url.starts_with("data:") => Some(url.into()),
            Image::Url(_) | Image::Inline { .. } => None,
        })
        .collect();
    json!({
        "check": check.name,
        "id": item.id,
        "model": model,
        "system": item.request.system,
        "prompt": texts.join("\n\n"),
        "pictures": pictures,
        "output": choice.text,
        "tool_calls": choice.tool_calls,
        "finish_reason": choice.finish_reason,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::{
        super::{command::CheckCommand, condition::tests::item, schema::JsonSchema},
        *,
    };
    use crate::domain::{AnswerParts, RuleConditions, Usage};

    fn check(name: &str, applies_to: AppliesTo, condition: AnswerCondition) -> Check {
        Check { name: name.to_owned(), applies_to, conditions: vec![condition], retries: 2, explains: false }
    }

    fn shell(script: &str) -> CheckCommand {
        CheckCommand {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            timeout: Duration::from_secs(60),
        }
    }

    fn answered(outcome: Outcome, text: &str) -> AttemptResult {
        AttemptResult {
            status: Some(200),
            answer: Some(Answer { text: text.to_owned(), ..Answer::default() }),
            usage: Usage { input_tokens: 3, output_tokens: 5, ..Usage::default() },
            ..AttemptResult::without_response(outcome, OutcomeAction::Complete, "", "an answer with text")
        }
    }

    async fn apply(set: &CheckSet, item: &ItemSpec, result: AttemptResult) -> AttemptResult {
        set.apply(item, "m", result, &str::to_owned).await
    }

    async fn failed(set: &CheckSet, item: &ItemSpec, text: &str) -> Option<String> {
        apply(set, item, answered(Outcome::Ok, text)).await.failed_check.map(|failed| failed.name)
    }

    #[tokio::test]
    async fn checks_are_for_all_items_or_by_rule_or_named_by_the_row() {
        let conditions = RuleConditions { words_over: Some(3), ..RuleConditions::default() };
        let rules = [
            RoutingRule { name: "long".to_owned(), conditions, ..RoutingRule::default() },
            RoutingRule { name: "rest".to_owned(), ..RoutingRule::default() },
        ];
        let set = CheckSet::new(
            vec![
                check("never", AppliesTo::All, AnswerCondition::NotContains(vec!["never".to_owned()])),
                check("long", AppliesTo::Rules(vec!["long".to_owned()]), AnswerCondition::MinWords(3)),
                check("number", AppliesTo::NamedByRow, AnswerCondition::regex(r"^\d+$").unwrap()),
            ],
            &rules,
        );
        let (short, long) = (item("a b"), item("a b c d"));
        let named = ItemSpec {
            kept_fields: BTreeMap::from([(ROW_FIELD.to_owned(), "other, number".to_owned())]),
            ..short.clone()
        };
        for (item, text, expected) in [
            (&short, "ok", None),
            (&short, "Never", Some("never")),
            (&long, "ok", Some("long")),
            (&long, "fine so far", None),
            (&named, "ok", Some("number")),
            (&named, "42", None),
        ] {
            assert_eq!(failed(&set, item, text).await.as_deref(), expected, "{text}");
        }
        assert_eq!(set.row_field(), Some("check"));
        let error = set.validate_row(&named).unwrap_err();
        assert_eq!(error, "`check` names other, but rows can name only these checks: number");
        assert_eq!((set.validate_row(&short), CheckSet::default().validate_row(&named)), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn a_failed_answer_is_kept_with_its_usage() {
        let set = CheckSet::new(vec![check("json", AppliesTo::All, AnswerCondition::Json)], &[]);
        let result = apply(&set, &item("?"), answered(Outcome::Truncated, "{\"a\"")).await;
        assert_eq!(result.outcome, Outcome::InvalidOutput);
        assert_eq!(result.message, "check json: is not JSON: EOF while parsing an object at line 1 column 4");
        assert_eq!((result.status, result.usage.output_tokens), (Some(200), 5));
        assert_eq!(result.answer.unwrap().text, "{\"a\"");
        let failed = FailedCheck { name: "json".to_owned(), retries: 2, is_truncated: true, explanation: None };
        assert_eq!(result.failed_check.as_deref(), Some(&failed));

        let passed = apply(&set, &item("?"), answered(Outcome::Ok, "[]")).await;
        assert_eq!(passed, answered(Outcome::Ok, "[]"));
        let caption = ItemSpec { caption_path: Some("a.txt".into()), ..item("?") };
        let cut_off = apply(&set, &caption, answered(Outcome::Truncated, "A cat")).await;
        assert_eq!(cut_off.outcome, Outcome::Truncated);
        let refused = AttemptResult::without_response(Outcome::ServerError, OutcomeAction::Retry, "", "");
        assert_eq!(apply(&set, &item("?"), refused.clone()).await, refused);
    }

    #[tokio::test]
    async fn an_answer_without_a_text_is_tested_by_commands_only() {
        let conditions = [
            AnswerCondition::Json,
            AnswerCondition::MinWords(1),
            AnswerCondition::regex("^yes$").unwrap(),
            AnswerCondition::Schema(JsonSchema::compile(&json!({"type": "object"})).unwrap()),
        ];
        let of_text = CheckSet::new(conditions.map(|condition| check("text", AppliesTo::All, condition)).into(), &[]);
        let command = shell(r#"grep -q '"tool_calls":\[{"name":"find"}\]'"#);
        let own = CheckSet::new(vec![check("own", AppliesTo::All, AnswerCondition::Command(command))], &[]);
        let with = |text: &str, parts: AnswerParts| {
            let answer = Answer { text: text.to_owned(), parts: Some(Box::new(parts)), ..Answer::default() };
            AttemptResult { answer: Some(answer), ..answered(Outcome::Ok, "") }
        };
        let calls = AnswerParts { tool_calls: Some(json!([{"name": "find"}])), ..AnswerParts::default() };
        let embedding = AnswerParts { embedding: Some(json!([0.5])), ..AnswerParts::default() };
        let choices = AnswerParts { choices: Some(json!([])), ..AnswerParts::default() };
        for (set, result, passes) in [
            (&of_text, with(" \n", calls.clone()), true),
            (&of_text, with("", embedding.clone()), true),
            (&of_text, with("Searching.", calls.clone()), false),
            (&of_text, with("", choices), false),
            (&own, with("", calls), true),
            (&own, with("", embedding), false),
        ] {
            let failed = apply(set, &item("?"), result.clone()).await.failed_check;
            assert_eq!(failed.is_none(), passes, "{result:?}");
        }
    }

    #[tokio::test]
    async fn only_a_check_that_explains_has_an_explanation_also_from_the_record() {
        let explaining = Check { explains: true, ..check("json", AppliesTo::All, AnswerCondition::Json) };
        let set = CheckSet::new(vec![check("short", AppliesTo::All, AnswerCondition::MaxWords(3)), explaining], &[]);
        let result = apply(&set, &item("?"), answered(Outcome::Ok, "{")).await;
        let text = set.explanation(&result.message).unwrap();
        assert!(text.contains("is not JSON: EOF while parsing"), "{text}");
        assert_eq!(result.failed_check.unwrap().explanation, Some(text));
        let long = apply(&set, &item("?"), answered(Outcome::Ok, "a b c d")).await;
        assert_eq!((set.explanation(&long.message), set.explanation("check jso")), (None, None));
    }

    #[tokio::test]
    async fn a_schema_that_cannot_be_used_is_found_before_the_request() {
        let set = CheckSet::new(vec![check("shape", AppliesTo::All, AnswerCondition::RequestSchema)], &[]);
        let mut item = item("?");
        assert_eq!(set.require_usable_schema(&item), Ok(()));
        item.request.params.json = Some(JsonMode::Schema(json!({"type": "object"})));
        assert_eq!(set.require_usable_schema(&item), Ok(()));
        item.request.params.json = Some(JsonMode::Schema(json!({"$ref": "https://example.org/s.json"})));
        let error = set.require_usable_schema(&item).unwrap_err();
        assert!(error.starts_with("check shape: the request's JSON schema can't be used: "), "{error}");
        assert_eq!(CheckSet::default().require_usable_schema(&item), Ok(()), "no check needs it");
    }

    #[tokio::test]
    async fn a_check_that_is_not_waited_for_fails_the_item_and_explains_nothing() {
        let command = CheckCommand { program: "/no/such/program".to_owned(), ..shell("") };
        let own = Check { explains: true, ..check("own", AppliesTo::All, AnswerCondition::Command(command)) };
        let set = CheckSet::new(vec![own], &[]);
        set.stop_waiting_for_commands();
        let result = apply(&set, &item("?"), answered(Outcome::Ok, "So.")).await;
        assert_eq!((result.outcome, result.action), (Outcome::InvalidOutput, OutcomeAction::FailItem));
        assert!(result.message.starts_with("could not make the check own: the command "), "{}", result.message);
        assert_eq!((set.explanation(&result.message), result.failed_check.unwrap().explanation), (None, None));
        assert_eq!(result.answer.unwrap().text, "So.");
    }

    #[tokio::test]
    async fn a_command_reads_the_answer_and_its_request() {
        let script = r#"input=$(cat); case $input in *'"id":"a"'*'"model":"m"'*'"prompt":"Why?"'*'"output":"So."'*) ;; *) echo "$input"; exit 1;; esac"#;
        let set = CheckSet::new(vec![check("own", AppliesTo::All, AnswerCondition::Command(shell(script)))], &[]);
        assert_eq!(apply(&set, &item("Why?"), answered(Outcome::Ok, "So.")).await.message, "");
        assert_eq!(failed(&set, &item("Why?"), "No.").await.as_deref(), Some("own"));
    }
}
