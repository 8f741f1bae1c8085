//! The APIs' limits on the size of pictures and of requests with pictures.

use crate::domain::Api;

pub(super) const MIB: u64 = 1024 * 1024;

/// Maximum size of a picture file in bytes.
///
/// Anthropic limits the base64 text, which is a third longer than the file: 10 MB on its own API (5 MB until mid 2026),
/// 5 MB on Amazon Bedrock and Google Cloud (platform.claude.com/docs/en/build-with-claude/vision). A relay at another
/// host may forward to any of these. The larger limit is used there, because an item whose picture is rejected as too
/// large goes to the next model.
///
/// Gemini and OpenAI limit only the whole request (100 MB, see [`max_request_bytes`], and 512 MB). 20 MiB a picture is
/// this program's own limit there.
pub fn max_file_bytes(api: Api, host: &str) -> u64 {
    let is_cloud = || [".amazonaws.com", ".api.aws", ".googleapis.com"].iter().any(|domain| host.ends_with(domain));
    match api {
        Api::Gemini | Api::OpenAi => 20 * MIB,
        Api::Anthropic if is_cloud() => file_bytes_for_base64(5 * MIB),
        Api::Anthropic => file_bytes_for_base64(10 * MIB),
    }
}

/// Size of the file whose base64 text has `base64_bytes` bytes.
const fn file_bytes_for_base64(base64_bytes: u64) -> u64 {
    base64_bytes / 4 * 3
}

/// Maximum width and height in pixels: 8000 at Anthropic, or 2000 if a request has more than 20 pictures.
pub(super) const fn max_side_pixels(api: Api, picture_count: usize) -> Option<usize> {
    match api {
        Api::Gemini | Api::OpenAi => None,
        Api::Anthropic if picture_count > 20 => Some(2_000),
        Api::Anthropic => Some(8_000),
    }
}

/// Maximum size of a request in bytes, with its pictures as base64: 32 MB at Anthropic, 100 MB at Gemini (20 MB until
/// January 2026). OpenAI's limit changes too often to be checked here.
pub const fn max_request_bytes(api: Api) -> Option<u64> {
    match api {
        Api::Gemini => Some(100 * MIB),
        Api::OpenAi => None,
        Api::Anthropic => Some(32 * MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropics_size_limit_applies_to_the_base64_text() {
        // The recorded message: "… image exceeds 5 MB maximum: 8259148 bytes > 5242880 bytes".
        let recorded = include_str!("../../../tests/wire/examples/anthropic_400_image_5mb.json");
        let (_, numbers) = recorded.split_once("maximum: ").unwrap();
        let numbers: Vec<u64> = numbers.split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
        let &[refused_base64_bytes, max_base64_bytes] = numbers.as_slice() else {
            panic!("two numbers, not {numbers:?}")
        };
        // Base64 has a multiple of four characters.
        assert_eq!(refused_base64_bytes % 4, 0);
        let base64_bytes = |bytes: u64| base64::encoded_len(bytes as usize, true).unwrap() as u64;
        for (host, max_base64_bytes) in [
            ("bedrock-mantle.us-east-1.api.aws", max_base64_bytes),
            ("bedrock-runtime.us-east-1.amazonaws.com", max_base64_bytes),
            ("us-east5-aiplatform.googleapis.com", max_base64_bytes),
            // As reported in kolega-ai/kolega-code#354 (2026-07-28): 13,474,984 characters were over it.
            ("api.anthropic.com", 10_485_760),
            ("relay.example", 10_485_760),
        ] {
            let largest = max_file_bytes(Api::Anthropic, host);
            assert!(
                base64_bytes(largest) <= max_base64_bytes && base64_bytes(largest + 1) > max_base64_bytes,
                "{host}: {largest}"
            );
        }
    }
}
