//! Minute limits, day limits and tiers, as each provider states and enforces them.

use std::time::Duration;

use cascadeck::{clock::Clock, domain::WallTime, sim::SimLimit};
use serde_json::json;

use super::{SimFixture, anthropic_body, openai_body, profile};

fn wall(text: &str) -> WallTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

#[tokio::test]
async fn a_request_over_the_minute_limit_is_refused_and_the_stated_delay_is_true() {
    let models = r#"model = [{ name = "gm", provider = "g", rpm = 3 }]"#;
    let sim = SimFixture::new(profile(models), Clock::with_speed(60.0)).await;
    // Two keys of one project share the limit.
    let mut answered = [0, 0];
    let refused = loop {
        let key = (answered[0] + answered[1]) % 2;
        let seen = sim.gemini(["AIza-g1", "AIza-g2"][key], "hello").await;
        if seen.status != 200 {
            break seen;
        }
        answered[key] += 1;
    };
    assert_eq!(refused.status, 429);
    let error = &refused.body["error"];
    assert_eq!((&error["code"], &error["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        "quotaDimensions": { "location": "global", "model": "gm" },
        "quotaValue": "3",
    });
    assert_eq!(error["details"][1]["violations"], json!([violation]));
    let message = error["message"].as_str().unwrap();
    let (_, delay) = message.split_once("Please retry in ").unwrap();
    let delay: f64 = delay.strip_suffix("s.").unwrap().parse().unwrap();
    assert_eq!(error["details"][2]["retryDelay"], format!("{}s", delay.trunc()));
    assert!(refused.header("retry-after").is_none(), "Gemini has no such header");

    sim.clock.sleep(Duration::from_secs_f64(delay)).await;
    assert_eq!(sim.gemini("AIza-g2", "hello").await.status, 200);
    let books = sim.checked_stats();
    let pool = books.pool("gp", "gm").unwrap();
    assert_eq!((pool.counts.refused[&SimLimit::Rpm], pool.peaks.minute_requests), (1, 3));
    let by_key = ["g1", "g2"].map(|key| books.key(key).unwrap().counts.ok as usize);
    assert_eq!(by_key, [answered[0], answered[1] + 1]);
}

#[tokio::test]
async fn openai_and_anthropic_state_their_limits_in_headers() {
    let models = r#"model = [
        { name = "om", provider = "o", rpm = 2, tpm = 50 },
        { name = "am", provider = "a", rpm = 2, itpm = 1000, otpm = 1000 },
    ]"#;
    let sim = SimFixture::new(profile(models), Clock::real()).await;
    let secret = "sk-o1-0123456789";
    let first = sim.openai(secret, openai_body("What is 2 + 2?")).await;
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.header("x-ratelimit-limit-tokens"), Some("50"));
    assert_eq!(first.header("x-ratelimit-remaining-tokens"), Some("43"));
    assert!(first.header("x-ratelimit-reset-tokens").unwrap().ends_with('s'));
    sim.openai(secret, openai_body("What is 2 + 2?")).await;
    let refused = sim.openai(secret, openai_body("What is 2 + 2?")).await;
    let error = &refused.body["error"];
    assert_eq!(
        (refused.status, &error["code"], &error["type"]),
        (429, &json!("rate_limit_exceeded"), &json!("requests"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in "),
        "{message}"
    );
    assert!(refused.header("retry-after").is_some() && refused.header("retry-after-ms").is_some());
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    let impossible = sim.openai(secret, openai_body(&"long ".repeat(100))).await;
    let message = impossible.body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Request too large for om"), "{message}");

    for remaining in ["1", "0"] {
        let answer = sim.anthropic("sk-ant-a1", anthropic_body("What is 2 + 2?")).await;
        assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), Some(remaining));
        assert_eq!(answer.header("anthropic-ratelimit-input-tokens-limit"), Some("1000"));
        let reset = answer.header("anthropic-ratelimit-output-tokens-reset").unwrap();
        assert!(reset.parse::<jiff::Timestamp>().is_ok(), "{reset}");
    }
    let refused = sim.anthropic("sk-ant-a1", anthropic_body("What is 2 + 2?")).await;
    assert_eq!((refused.status, &refused.body["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(refused.body["request_id"].is_string());
    assert!((1..=60).contains(&refused.header("retry-after").unwrap().parse::<u32>().unwrap()));
    sim.checked_stats();
}

#[tokio::test]
async fn a_spent_day_looks_like_a_minute_but_for_its_quota_id() {
    let models = r#"model = [{ name = "gm", provider = "g", rpd = 1 }]"#;
    let sim = SimFixture::new(profile(models), Clock::starting_at(wall("2026-11-21T12:00:00Z"), 2.0)).await;
    assert_eq!(sim.gemini("AIza-g1", "hello").await.status, 200);
    let refused = sim.gemini("AIza-g1", "hello").await;
    let details = &refused.body["error"]["details"];
    assert_eq!(details[1]["violations"][0]["quotaId"], "GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    let delay: u32 = details[2]["retryDelay"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((5..60).contains(&delay), "seconds, though the day has twenty hours left");
    assert_eq!(sim.checked_stats().pool("gp", "gm").unwrap().days["2026-11-21"].requests, 1);
}

#[tokio::test]
async fn a_model_that_is_not_on_the_tier_says_limit_0() {
    let models = r#"model = [{ name = "gm", provider = "g", rpm = 0, rpd = 0 }]"#;
    let sim = SimFixture::new(profile(models), Clock::real()).await;
    let refused = sim.gemini("AIza-g1", "hello").await;
    assert_eq!(refused.status, 429);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("limit: 0, model: gm"));
    assert_eq!(refused.body["error"]["details"][1]["violations"][0].get("quotaValue"), None);
}

/// Los Angeles in 2026: 1 November has 25 hours.
#[tokio::test]
async fn the_pacific_day_begins_at_midnight_there_also_when_clocks_change() {
    let begins = [
        ("2026-10-31", wall("2026-10-31T07:00:00Z")),
        ("2026-11-01", wall("2026-11-01T07:00:00Z")),
        ("2026-11-02", wall("2026-11-02T08:00:00Z")),
        ("2026-11-03", wall("2026-11-03T08:00:00Z")),
        ("2026-11-04", wall("2026-11-04T08:00:00Z")),
    ];
    let models = r#"model = [{ name = "gm", provider = "g", rpd = 2 }]"#;
    let clock = Clock::starting_at(wall("2026-10-31T12:00:00Z"), 60_000.0);
    let sim = SimFixture::new(profile(models), clock).await;
    let days = || sim.checked_stats().pool("gp", "gm").map(|pool| pool.days.clone()).unwrap_or_default();
    while days().len() < 3 {
        let (earlier, before) = (days(), clock.now().wall);
        let status = sim.gemini("AIza-g1", "hello").await.status;
        let after = clock.now().wall;
        // It was counted between the two instants, on the day whose count rose.
        let counted = days().into_iter().find(|(date, day)| earlier.get(date) != Some(day));
        let Some((date, day)) = counted else {
            assert_eq!(status, 429);
            continue;
        };
        let nth = begins.iter().position(|(name, _)| **name == date).unwrap();
        assert!(after >= begins[nth].1 && before < begins[nth + 1].1, "{date}: between {before} and {after}");
        assert!(status == 200 && day.requests <= 2);
    }
}
