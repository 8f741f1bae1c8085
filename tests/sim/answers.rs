//! Responses of each API: answers, truncated answers, pictures, lists of models.

use reqwest::Method;
use serde_json::{Value, json};

use super::{SimFixture, anthropic_body, gemini_body, openai_body, read_reply};

#[tokio::test]
async fn each_api_answers_in_its_own_shape() {
    let sim = SimFixture::open().await;

    let gemini = sim.gemini("AIza-g1", "What is 17 times 23?").await;
    assert_eq!(gemini.status, 200);
    let mut body = gemini.body.clone();
    assert!(body.as_object_mut().unwrap().remove("responseId").is_some());
    let expected = json!({
        "candidates": [{
            "content": { "parts": [{ "text": "17 × 23 = 391." }], "role": "model" },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 5, "totalTokenCount": 9,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 5 }],
            "candidatesTokenCount": 4,
        },
        "modelVersion": "gm",
    });
    assert_eq!(body, expected);

    let openai = sim.openai("sk-o1-0123456789", openai_body("What is 17 times 23?")).await;
    assert_eq!((openai.status, openai.text()), (200, "17 × 23 = 391."));
    assert_eq!(openai.body["object"], "chat.completion");
    assert_eq!(openai.body["choices"][0]["finish_reason"], "stop");
    let usage = &openai.body["usage"];
    assert_eq!([&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]], [5, 4, 9]);
    assert!(openai.header("x-request-id").is_some());

    let anthropic = sim.anthropic("sk-ant-a1", anthropic_body("What is 17 times 23?")).await;
    assert_eq!((anthropic.status, anthropic.text()), (200, "17 × 23 = 391."));
    assert_eq!((&anthropic.body["type"], &anthropic.body["stop_reason"]), (&json!("message"), &json!("end_turn")));
    assert_eq!([&anthropic.body["usage"]["input_tokens"], &anthropic.body["usage"]["output_tokens"]], [5, 4]);
    assert!(anthropic.header("request-id").is_some());

    let books = sim.checked_stats();
    assert_eq!((books.total.ok, books.total.input_tokens, books.total.output_tokens), (3, 15, 12));
}

#[tokio::test]
async fn an_output_limit_ends_the_answer_in_each_apis_words() {
    let sim = SimFixture::open().await;
    let prompt = "Why do cats purr?";
    let mut gemini = gemini_body(prompt);
    gemini["generationConfig"] = json!({ "maxOutputTokens": 3 });
    let gemini = read_reply(sim.gemini_request("AIza-g1", "gm", &gemini).send().await.unwrap()).await;
    assert_eq!(gemini.body["candidates"][0]["finishReason"], "MAX_TOKENS");
    let mut openai = openai_body(prompt);
    openai["max_completion_tokens"] = 3.into();
    let openai = sim.openai("sk-o1-0123456789", openai).await;
    assert_eq!(openai.body["choices"][0]["finish_reason"], "length");
    let mut anthropic = anthropic_body(prompt);
    anthropic["max_tokens"] = 3.into();
    let anthropic = sim.anthropic("sk-ant-a1", anthropic).await;
    assert_eq!(anthropic.body["stop_reason"], "max_tokens");
    for answer in [gemini, openai, anthropic] {
        assert_eq!(answer.text().len(), 12);
    }
}

#[tokio::test]
async fn pictures_are_described_and_charged() {
    // One pixel.
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    let sim = SimFixture::open().await;
    let gemini = |kind: &str, data: &str| {
        let part = json!({ "inline_data": { "mime_type": format!("image/{kind}"), "data": data } });
        sim.gemini_request("AIza-g1", "gm", &json!({ "contents": [{ "parts": [{ "text": "Caption." }, part] }] }))
    };
    let described = read_reply(gemini("png", PNG).send().await.unwrap()).await;
    assert_eq!(described.text(), "A picture of 1x1 pixels, square, 1 KB of png.");
    assert_eq!(described.body["usageMetadata"]["promptTokenCount"], 1_122);
    assert_eq!(read_reply(gemini("gif", GIF).send().await.unwrap()).await.status, 400);
    assert_eq!(
        read_reply(gemini("png", "AAAA").send().await.unwrap()).await.body["error"]["message"],
        "Provided image is not valid"
    );

    let url = format!("data:image/gif;base64,{GIF}");
    let parts = json!([{ "type": "text", "text": "Caption." }, { "type": "image_url", "image_url": { "url": url } }]);
    let body = json!({ "model": "om", "messages": [{ "role": "user", "content": parts }] });
    assert_eq!(sim.openai("sk-o1-0123456789", body).await.text(), "A picture of 1x1 pixels, square, 1 KB of gif.");

    let source = json!({ "type": "base64", "media_type": "image/png", "data": PNG });
    let parts = json!([{ "type": "image", "source": source }, { "type": "text", "text": "Caption." }]);
    let body = json!({ "model": "am", "max_tokens": 99, "messages": [{ "role": "user", "content": parts }] });
    assert_eq!(sim.anthropic("sk-ant-a1", body).await.text(), "A picture of 1x1 pixels, square, 1 KB of png.");
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let sim = SimFixture::open().await;
    let none = Value::Null;
    // Google's SDK uses v1, most other clients v1beta.
    let google = [("x-goog-api-key", "AIza-g1")];
    let bearer = [("authorization", "Bearer sk-o1-0123456789")];
    let anthropic = [("x-api-key", "sk-ant-a1"), ("anthropic-version", "2023-06-01")];
    let gemini = sim.send(Method::GET, "/v1beta/models", &google, &none).await;
    assert_eq!(gemini.body["models"][0]["name"], "models/gm");
    assert_eq!(sim.send(Method::GET, "/v1/models", &google, &none).await.body, gemini.body);
    let openai = sim.send(Method::GET, "/v1/models", &bearer, &none).await;
    assert_eq!((openai.body["data"].as_array().unwrap().len(), &openai.body["data"][0]["id"]), (1, &json!("om")));
    let listed = sim.send(Method::GET, "/v1/models", &anthropic, &none).await;
    assert_eq!((&listed.body["data"][0]["id"], &listed.body["has_more"]), (&json!("am"), &json!(false)));
    assert_eq!(sim.send(Method::GET, "/v1beta/models/gm", &google, &none).await.status, 200);
    assert_eq!(sim.send(Method::GET, "/v1/models/om", &bearer, &none).await.status, 200);
    assert_eq!(sim.send(Method::GET, "/v1/models/nope", &bearer, &none).await.status, 404);
    assert_eq!(sim.send(Method::GET, "/v1beta/models", &[("x-goog-api-key", "no")], &none).await.status, 400);
    let counted = sim.send(Method::POST, "/v1beta/models/gm:countTokens", &google, &gemini_body("12345678")).await;
    assert_eq!(counted.body, json!({ "totalTokens": 2 }));
    assert_eq!((sim.checked_stats().total.requests, sim.checked_stats().other_requests), (0, 7));
}

#[tokio::test]
async fn a_known_path_refuses_other_methods_and_an_unknown_one_is_not_found() {
    let sim = SimFixture::open().await;
    for (method, path, status) in [
        (Method::GET, "/v1/messages", 405),
        (Method::POST, "/sim/health", 405),
        (Method::PUT, "/v1/models/flash", 405),
        (Method::HEAD, "/sim/health", 200),
        (Method::GET, "/v1beta/models/a/b", 404),
        (Method::GET, "/v2", 404),
    ] {
        let url = format!("http://{}{path}", sim.sim.addr());
        let response = sim.http.request(method.clone(), url).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
    }
}
