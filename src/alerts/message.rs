//! The content of a webhook message: one sentence for people and figures for programs, in each service's format.
//!
//! It never contains a prompt, an answer, an item or a secret.

use serde::Serialize;
use serde_json::json;

use super::outbox::{PendingMessage, shorten};
use crate::{
    config::WebhookFormat,
    domain::{Alert, Snapshot, Summary, WallTime, event::format_duration, truncated_suffix},
};

/// Maximum number of characters of the reason for a stop or a stall.
const MAX_REASON_CHARS: usize = 300;

/// Maximum number of characters of the sentence. Discord accepts 2,000 characters, ntfy 4,096 bytes.
const MAX_SENTENCE_CHARS: usize = 1_300;

/// The JSON object that format `json` sends. Its field names are a contract. They are the same as in `status --json`
/// for the same values.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(super) struct WebhookMessage {
    pub text: String,
    /// The same text, for services that read this field.
    content: String,
    /// `finished`, `stopped`, `attention`, `resumed` or `test`.
    pub event: &'static str,
    run: String,
    state: String,
    /// Why the run stopped or is stalled.
    #[serde(rename = "why")]
    reason: Option<String>,
    /// When the wait ends, in RFC 3339.
    until: Option<String>,
    /// Events since the last message, one sentence each.
    #[serde(rename = "alarms")]
    events: Vec<String>,
    /// Number of events left out of `events`.
    #[serde(rename = "more_alarms")]
    more_events: u64,
    /// `None` in a test message, and if the run could not start.
    #[serde(flatten)]
    totals: Option<MessageTotals>,
    /// When the message was created, in RFC 3339.
    at: String,
    host: Option<String>,
    /// The alias of the webhook.
    webhook: String,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct MessageTotals {
    total: u64,
    waiting: u64,
    in_flight: u64,
    done: u64,
    failed: u64,
    truncated: u64,
    invalid_outputs: u64,
    cost_usd: f64,
    elapsed_s: f64,
}

/// The body of a request and its content type.
pub(super) struct MessageBody {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

impl WebhookMessage {
    /// Creates the message for `pending`, with the run's figures from `snapshot`.
    pub fn new(pending: &PendingMessage, snapshot: &Snapshot, webhook: &str, host: Option<String>) -> Self {
        let summary = Summary::from(snapshot);
        let (event, reason, until) = match pending.ending.as_ref().or(pending.stall.as_ref()) {
            Some(Alert::Finished { .. }) => ("finished", None, None),
            Some(Alert::Stopped { reason }) => ("stopped", Some(reason), None),
            Some(Alert::Stalled { reason, until }) => ("attention", Some(reason), until.map(|until| until.at)),
            Some(Alert::Resumed) if pending.events.is_empty() => ("resumed", None, None),
            Some(Alert::Resumed | Alert::Event { .. } | Alert::KeysLeft { .. }) | None => ("attention", None, None),
        };
        let text = escape_mentions(&shorten(&compose_sentence(pending, snapshot, &summary), MAX_SENTENCE_CHARS));
        let run = shorten(&summary.run, MAX_REASON_CHARS);
        Self {
            state: summary.state,
            reason: reason.map(|why| shorten(why, MAX_REASON_CHARS)),
            until: until.map(WallTime::rfc3339),
            events: pending.events.clone(),
            more_events: pending.more_events,
            totals: Some(MessageTotals {
                total: summary.total,
                waiting: summary.waiting,
                in_flight: summary.in_flight,
                done: summary.done,
                failed: summary.failed,
                truncated: summary.truncated,
                invalid_outputs: summary.invalid_outputs,
                cost_usd: summary.usage.cost_usd,
                elapsed_s: summary.elapsed_s,
            }),
            ..Self::without_totals(event, run, text, webhook, snapshot.at, host)
        }
    }

    /// A message without a run, for testing a webhook.
    pub fn test(webhook: &str, at: WallTime, host: Option<String>) -> Self {
        let text = escape_mentions(&format!(
            "cascadeck: this is a test of the webhook {webhook}. You get a message here when a run ends, stops or needs \
             attention."
        ));
        Self {
            state: "finished".to_owned(),
            ..Self::without_totals("test", "test".to_owned(), text, webhook, at, host)
        }
    }

    /// A message about a run that could not start. Only the first line of `reason` is used: later lines may name rows.
    pub fn start_failure(run: &str, reason: &str, webhook: &str, at: WallTime, host: Option<String>) -> Self {
        let run = shorten(run, MAX_REASON_CHARS);
        let first_line =
            shorten(reason.lines().next().unwrap_or_default().trim_end_matches(['.', ':']), MAX_REASON_CHARS);
        let text = escape_mentions(&format!("{run} could not start: {first_line}."));
        Self {
            state: "stopped".to_owned(),
            reason: Some(first_line),
            ..Self::without_totals("stopped", run, text, webhook, at, host)
        }
    }

    fn without_totals(
        event: &'static str,
        run: String,
        text: String,
        webhook: &str,
        at: WallTime,
        host: Option<String>,
    ) -> Self {
        Self {
            content: text.clone(),
            text,
            event,
            run,
            at: at.rfc3339(),
            host,
            webhook: webhook.to_owned(),
            ..Self::default()
        }
    }

    pub fn body(&self, format: WebhookFormat) -> MessageBody {
        let json = |value: serde_json::Value| value.to_string().into_bytes();
        let bytes = match format {
            // Plain data with text keys can always be written as JSON.
            WebhookFormat::Json => serde_json::to_vec(self).unwrap_or_default(),
            // Google Chat rejects a message with an unknown field.
            WebhookFormat::Slack => json(json!({ "text": self.text })),
            WebhookFormat::Discord => json(json!({ "content": self.text, "allowed_mentions": { "parse": [] } })),
            WebhookFormat::Teams => json(json!({
                "type": "message",
                "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "contentUrl": null,
                    "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "type": "AdaptiveCard",
                        "version": "1.2",
                        "body": [{ "type": "TextBlock", "text": self.text, "wrap": true }],
                    },
                }],
            })),
            WebhookFormat::Text => self.text.clone().into_bytes(),
        };
        let content_type =
            if format == WebhookFormat::Text { "text/plain; charset=utf-8" } else { "application/json; charset=utf-8" };
        MessageBody { content_type, bytes }
    }
}

fn compose_sentence(pending: &PendingMessage, snapshot: &Snapshot, summary: &Summary) -> String {
    let trimmed_events: Vec<&str> = pending.events.iter().map(|text| text.trim_end_matches('.')).collect();
    let mut events = trimmed_events.join("; ");
    if pending.more_events > 0 {
        events = format!("{events}; and {} more", pending.more_events);
    }
    let run = &summary.run;
    let figures = describe_totals(snapshot, summary);
    let mut sentence = match (&pending.ending, &pending.stall) {
        (Some(Alert::Stopped { reason }), _) => {
            format!("{run} stopped: {}. {figures}", shorten(reason, MAX_REASON_CHARS).trim_end_matches('.'))
        }
        (Some(_), _) => format!("{run} is finished: {figures}"),
        (None, Some(stall @ Alert::Stalled { .. })) => {
            format!(
                "{run} needs attention: it {}. {figures}",
                shorten(&stall.to_string(), MAX_REASON_CHARS).trim_end_matches('.')
            )
        }
        (None, Some(_)) => format!("{run} has resumed: {figures}"),
        (None, None) => return format!("{run} needs attention: {events}. {figures}."),
    };
    sentence.push('.');
    if !events.is_empty() {
        sentence = format!("{sentence} Before that: {events}.");
    }
    sentence
}

/// `3214 of 5000 done, 7 failed, 1779 left, $0.84, 42:17`
fn describe_totals(snapshot: &Snapshot, summary: &Summary) -> String {
    let left = match summary.waiting + summary.in_flight {
        0 => String::new(),
        left => format!(", {left} left"),
    };
    format!(
        "{} of {} done{}, {} failed{left}, {}, {}",
        summary.done,
        summary.total,
        truncated_suffix(summary.truncated),
        summary.failed,
        snapshot.spend.cost,
        format_duration(std::time::Duration::from_secs(snapshot.elapsed.as_secs())),
    )
}

/// Replaces the characters that chat services read as mentions (`<!channel>`, `<@U1>`, `@everyone`) by similar ones, so
/// that a provider's message can't notify people.
fn escape_mentions(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .map(|character| {
            let is_mention = character == '@' && !previous.is_alphanumeric();
            previous = character;
            match character {
                '<' => '‹',
                '>' => '›',
                '@' if is_mention => '＠',
                other => other,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_in_a_message_are_escaped() {
        let cases = [
            ("<!channel> look", "‹!channel› look"),
            ("@everyone, (@here)", "＠everyone, (＠here)"),
            ("gemini-3@alice cools down", "gemini-3@alice cools down"),
            ("<@U123>", "‹＠U123›"),
        ];
        for (text, want) in cases {
            assert_eq!(escape_mentions(text), want);
        }
    }

    #[test]
    fn each_format_has_only_the_fields_its_service_accepts() {
        let message = WebhookMessage::test("team", WallTime::from_unix_seconds(1_795_251_600), None);
        let value = |format| -> serde_json::Value { serde_json::from_slice(&message.body(format).bytes).unwrap() };
        assert_eq!(value(WebhookFormat::Slack), json!({ "text": message.text }));
        assert_eq!(value(WebhookFormat::Discord)["content"], message.text);
        assert_eq!(value(WebhookFormat::Discord)["allowed_mentions"], json!({ "parse": [] }));
        assert_eq!(value(WebhookFormat::Teams)["attachments"][0]["content"]["body"][0]["text"], message.text);
        let all = value(WebhookFormat::Json);
        assert_eq!((&all["text"], &all["content"]), (&message.text.as_str().into(), &message.text.as_str().into()));
        assert_eq!((&all["event"], &all["at"]), (&"test".into(), &"2026-11-21T09:00:00.000Z".into()));
        assert_eq!((all.get("total"), all.get("elapsed_s")), (None, None), "there is no run to have figures");
        let plain = message.body(WebhookFormat::Text);
        assert_eq!(
            (plain.bytes.as_slice(), plain.content_type),
            (message.text.as_bytes(), "text/plain; charset=utf-8")
        );
    }
}
