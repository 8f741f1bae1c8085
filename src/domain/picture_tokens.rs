//! How many input tokens a picture costs.

use super::{fleet::Api, native_body::ATTACHMENT_TOKENS, picture_settings::LongestSide};

/// Counts the tokens of pictures for a fleet of models.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PictureTokenizer {
    /// The models that accept pictures, by API and name.
    models: Vec<(Api, String)>,
    longest_side: LongestSide,
}

impl PictureTokenizer {
    /// `models` are those that accept pictures.
    pub fn new(models: impl IntoIterator<Item = (Api, String)>, longest_side: LongestSide) -> Self {
        Self { models: models.into_iter().collect(), longest_side }
    }

    /// A high estimate of a picture's tokens, from its size in pixels: that of the model where it costs most.
    pub fn tokens(&self, width: u32, height: u32) -> u64 {
        let at_model = |(api, name): &(Api, String)| {
            let (width, height) = self.longest_side.scaled(*api, width, height);
            // An API scales a larger picture itself before it counts.
            let (width, height) = LongestSide::OfApi.scaled(*api, width, height);
            picture_tokens(*api, name, width, height)
        };
        self.models.iter().map(at_model).max().unwrap_or(ATTACHMENT_TOKENS)
    }
}

/// A high estimate of a picture's tokens at a model, from its size in pixels as it is sent.
///
/// - Anthropic: one token for each patch of 28 x 28 pixels.
/// - Gemini: 1,120 for each picture; models before Gemini 3 count 258 for each tile.
/// - OpenAI: 1.2 for each patch of 32 x 32 pixels, or 170 for each tile of 512 x 512 pixels and 85 for the whole,
///   whichever is more, since models count in one of these ways.
fn picture_tokens(api: Api, model: &str, width: u32, height: u32) -> u64 {
    let patches = |side: u32| u64::from(width.div_ceil(side)) * u64::from(height.div_ceil(side));
    match api {
        Api::Anthropic => patches(28),
        Api::Gemini if model.contains("gemini-1") || model.contains("gemini-2") => 258 * gemini_tiles(width, height),
        Api::Gemini => 1_120,
        Api::OpenAi => (patches(32) * 6).div_ceil(5).max(85 + 170 * openai_tiles(width, height)),
    }
}

/// Tiles of Gemini 2: one if both sides have at most 384 pixels, else squares of 1/1.5 of the shorter side, which have
/// 256 to 768 pixels a side.
fn gemini_tiles(width: u32, height: u32) -> u64 {
    if width.max(height) <= 384 {
        return 1;
    }
    let side = (width.min(height) * 2 / 3).clamp(256, 768);
    u64::from(width.div_ceil(side)) * u64::from(height.div_ceil(side))
}

/// Tiles of OpenAI's older models: the picture is scaled until its shorter side has at most 768 pixels.
fn openai_tiles(width: u32, height: u32) -> u64 {
    let shorter = u64::from(width.min(height));
    let tiles = |length: u32| {
        let length = u64::from(length);
        let scaled = if shorter > 768 { (length * 768).div_ceil(shorter) } else { length };
        scaled.div_ceil(512).max(1)
    };
    tiles(width) * tiles(height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_counts_what_the_dearest_of_its_models_does() {
        let models = [(Api::Gemini, "gemini-3.8-flash".to_owned()), (Api::Anthropic, "claude".to_owned())];
        let tokenizer = PictureTokenizer::new(models, LongestSide::OfApi);
        assert_eq!(tokenizer.tokens(100, 100), 1_120);
        assert_eq!(tokenizer.tokens(9_000, 9_000), 56 * 56);
        assert_eq!(PictureTokenizer::default().tokens(100, 100), ATTACHMENT_TOKENS);
    }

    #[test]
    fn tokens_follow_from_the_size_as_each_api_counts() {
        for (api, model, size, want) in [
            (Api::Anthropic, "claude-sonnet-5-5", (1_024, 1_024), 1_369),
            (Api::Anthropic, "claude-sonnet-5-5", (1, 1), 1),
            (Api::Gemini, "gemini-3.8-flash", (4_032, 3_024), 1_120),
            (Api::Gemini, "gemini-2.5-flash", (300, 384), 258),
            (Api::Gemini, "gemini-2.5-flash", (960, 540), 1_548),
            (Api::OpenAi, "gpt-6", (1_024, 1_024), 1_229),
            (Api::OpenAi, "gpt-6", (256, 256), 255),
            (Api::OpenAi, "gpt-4o", (512, 10), 255),
        ] {
            assert_eq!(picture_tokens(api, model, size.0, size.1), want, "{model} {size:?}");
        }
    }
}
