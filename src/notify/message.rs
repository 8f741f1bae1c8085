//! A message as it is sent: one sentence for people, figures for programs, in the words that each service wants.
//!
//! No prompt, answer, item or secret is ever in it.

use serde::Serialize;
use serde_json::json;

use super::outbox::{Parcel, shortened};
use crate::{
    config::Format,
    domain::{Alert, Snapshot, Summary, WallTime, event::format_duration},
};

/// Characters of the reason for an ending or a standstill.
const REASON: usize = 300;

/// Characters of the sentence: Discord takes 2,000, ntfy 4,096 bytes.
const SENTENCE: usize = 1_300;

/// What format `json` sends. Field names are a contract, those of `status --json` where there is the same.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Message {
    pub text: String,
    /// The same again, for services that look there.
    content: String,
    /// `finished`, `stopped`, `attention`, `resumed` or `test`.
    pub event: &'static str,
    run: String,
    state: String,
    /// Why it stopped or stands still.
    why: Option<String>,
    /// Until when it waits, in RFC 3339.
    until: Option<String>,
    /// What happened, one sentence each.
    alarms: Vec<String>,
    /// How many alarms there were beside those.
    more_alarms: u64,
    /// `None` where there is no run to have any.
    #[serde(flatten)]
    figures: Option<Figures>,
    /// When it was put together, in RFC 3339.
    at: String,
    host: Option<String>,
    /// The alias of the webhook.
    webhook: String,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Figures {
    total: u64,
    waiting: u64,
    in_flight: u64,
    done: u64,
    failed: u64,
    cost_usd: f64,
    elapsed_s: f64,
}

/// A request's body and what it is.
pub(super) struct Body {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

impl Message {
    /// What `parcel` tells of the run as `snapshot` has it.
    pub fn new(parcel: &Parcel, snapshot: &Snapshot, webhook: &str, host: Option<String>) -> Self {
        let summary = Summary::from(snapshot);
        let (event, why, until) = match parcel.ending.as_ref().or(parcel.standing.as_ref()) {
            Some(Alert::Finished { .. }) => ("finished", None, None),
            Some(Alert::Stopped { reason }) => ("stopped", Some(reason), None),
            Some(Alert::Stalled { reason, until }) => ("attention", Some(reason), until.map(|until| until.at)),
            Some(Alert::Resumed) if parcel.alarms.is_empty() => ("resumed", None, None),
            Some(Alert::Resumed | Alert::Event { .. }) | None => ("attention", None, None),
        };
        let text = harmless(&shortened(&sentence(parcel, snapshot, &summary), SENTENCE));
        Self {
            content: text.clone(),
            text,
            event,
            run: shortened(&summary.run, REASON),
            state: summary.state,
            why: why.map(|why| shortened(why, REASON)),
            until: until.map(WallTime::rfc3339),
            alarms: parcel.alarms.clone(),
            more_alarms: parcel.more,
            figures: Some(Figures {
                total: summary.total,
                waiting: summary.waiting,
                in_flight: summary.in_flight,
                done: summary.done,
                failed: summary.failed,
                cost_usd: summary.cost_usd,
                elapsed_s: summary.elapsed_s,
            }),
            at: snapshot.at.rfc3339(),
            host,
            webhook: webhook.to_owned(),
        }
    }

    /// A message of no run, for trying a webhook out.
    pub fn test(webhook: &str, at: WallTime, host: Option<String>) -> Self {
        let text = harmless(&format!(
            "cascadeck: this is a test of the webhook {webhook}. When a run ends, stops or needs attention, it is said here."
        ));
        Self { state: "finished".to_owned(), ..Self::without_figures("test", "test", text, webhook, at, host) }
    }

    /// Of a run that could not begin. Of `why` its first line: others name rows.
    pub fn did_not_begin(run: &str, why: &str, webhook: &str, at: WallTime, host: Option<String>) -> Self {
        let run = shortened(run, REASON);
        let why = shortened(why.lines().next().unwrap_or_default().trim_end_matches(['.', ':']), REASON);
        let text = harmless(&format!("{run} did not begin: {why}."));
        Self {
            state: "stopped".to_owned(),
            why: Some(why),
            ..Self::without_figures("stopped", &run, text, webhook, at, host)
        }
    }

    fn without_figures(
        event: &'static str,
        run: &str,
        text: String,
        webhook: &str,
        at: WallTime,
        host: Option<String>,
    ) -> Self {
        Self {
            content: text.clone(),
            text,
            event,
            run: run.to_owned(),
            state: String::new(),
            why: None,
            until: None,
            alarms: Vec::new(),
            more_alarms: 0,
            figures: None,
            at: at.rfc3339(),
            host,
            webhook: webhook.to_owned(),
        }
    }

    pub fn body(&self, format: Format) -> Body {
        let json = |value: serde_json::Value| value.to_string().into_bytes();
        let bytes = match format {
            // Plain data with text keys: there is nothing in it that JSON can't hold.
            Format::Json => serde_json::to_vec(self).unwrap_or_default(),
            // Google Chat refuses a message with a field that it doesn't know.
            Format::Slack => json(json!({ "text": self.text })),
            Format::Discord => json(json!({ "content": self.text, "allowed_mentions": { "parse": [] } })),
            Format::Teams => json(json!({
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
            Format::Text => self.text.clone().into_bytes(),
        };
        let content_type =
            if format == Format::Text { "text/plain; charset=utf-8" } else { "application/json; charset=utf-8" };
        Body { content_type, bytes }
    }
}

fn sentence(parcel: &Parcel, snapshot: &Snapshot, summary: &Summary) -> String {
    let unended: Vec<&str> = parcel.alarms.iter().map(|words| words.trim_end_matches('.')).collect();
    let mut alarms = unended.join("; ");
    if parcel.more > 0 {
        alarms = format!("{alarms}; and {} more", parcel.more);
    }
    let run = &summary.run;
    let figures = figures(snapshot, summary);
    let mut words = match (&parcel.ending, &parcel.standing) {
        (Some(Alert::Stopped { reason }), _) => {
            format!("{run} stopped: {}. {figures}", shortened(reason, REASON).trim_end_matches('.'))
        }
        (Some(_), _) => format!("{run} is finished: {figures}"),
        (None, Some(standing @ Alert::Stalled { .. })) => {
            format!(
                "{run} needs attention: it {}. {figures}",
                shortened(&standing.to_string(), REASON).trim_end_matches('.')
            )
        }
        (None, Some(_)) => format!("{run} goes on: {figures}"),
        (None, None) => return format!("{run} needs attention: {alarms}. {figures}."),
    };
    words.push('.');
    if !alarms.is_empty() {
        words = format!("{words} Before that: {alarms}.");
    }
    words
}

/// `3214 of 5000 done, 7 failed, 1779 left, $0.84, 42:17`
fn figures(snapshot: &Snapshot, summary: &Summary) -> String {
    let left = match summary.waiting + summary.in_flight {
        0 => String::new(),
        left => format!(", {left} left"),
    };
    format!(
        "{} of {} done, {} failed{left}, {}, {}",
        summary.done,
        summary.total,
        summary.failed,
        snapshot.spend.cost,
        format_duration(std::time::Duration::from_secs(snapshot.elapsed.as_secs())),
    )
}

/// Chats take some words for orders: `<!channel>`, `<@U1>`, `@everyone`. Nothing that a provider says may call people.
fn harmless(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|character| {
            let is_order = character == '@' && !before.is_alphanumeric();
            before = character;
            match character {
                '<' => '‹',
                '>' => '›',
                '@' if is_order => '＠',
                other => other,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_message_calls_people() {
        let cases = [
            ("<!channel> look", "‹!channel› look"),
            ("@everyone, (@here)", "＠everyone, (＠here)"),
            ("gemini-3@alice cools down", "gemini-3@alice cools down"),
            ("<@U123>", "‹＠U123›"),
        ];
        for (text, want) in cases {
            assert_eq!(harmless(text), want);
        }
    }

    #[test]
    fn each_service_gets_what_it_takes_and_nothing_else() {
        let message = Message::test("team", WallTime::from_unix_seconds(1_795_251_600), None);
        let value = |format| -> serde_json::Value { serde_json::from_slice(&message.body(format).bytes).unwrap() };
        assert_eq!(value(Format::Slack), json!({ "text": message.text }));
        assert_eq!(value(Format::Discord)["content"], message.text);
        assert_eq!(value(Format::Discord)["allowed_mentions"], json!({ "parse": [] }));
        assert_eq!(value(Format::Teams)["attachments"][0]["content"]["body"][0]["text"], message.text);
        let all = value(Format::Json);
        assert_eq!((&all["text"], &all["content"]), (&message.text.as_str().into(), &message.text.as_str().into()));
        assert_eq!((&all["event"], &all["at"]), (&"test".into(), &"2026-11-21T09:00:00.000Z".into()));
        assert_eq!((all.get("total"), all.get("elapsed_s")), (None, None), "there is no run to have figures");
        let plain = message.body(Format::Text);
        assert_eq!(
            (plain.bytes.as_slice(), plain.content_type),
            (message.text.as_bytes(), "text/plain; charset=utf-8")
        );
    }
}
