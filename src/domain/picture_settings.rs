//! How pictures are changed before they are sent.

use super::fleet::Api;

/// Settings for pictures that are read from files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PictureSettings {
    pub longest_side: LongestSide,
    /// Sends EXIF, XMP, comments and the like along where the file is sent as it is.
    pub keeps_metadata: bool,
}

/// The longest side in pixels to which larger pictures are scaled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LongestSide {
    /// Where the API's own scaling begins to lose what more pixels would add.
    #[default]
    OfApi,
    Pixels(u32),
    /// Pictures are scaled only to what the API accepts.
    Unlimited,
}

impl LongestSide {
    /// The longest side for this API in pixels; `None`: no limit.
    ///
    /// Anthropic's API scales a picture to 1,568 pixels, OpenAI's to 2,048. Gemini 3 spends the same tokens on each.
    pub const fn pixels(self, api: Api) -> Option<u32> {
        match (self, api) {
            (Self::OfApi, Api::Anthropic) => Some(1_568),
            (Self::OfApi, Api::OpenAi | Api::Gemini) => Some(2_048),
            (Self::Pixels(pixels), _) => Some(pixels),
            (Self::Unlimited, _) => None,
        }
    }

    /// The size of a picture after scaling.
    pub fn scaled(self, api: Api, width: u32, height: u32) -> (u32, u32) {
        self.pixels(api).map_or((width, height), |side| scaled_to(width, height, side))
    }
}

/// The size of a picture whose longest side is at most `side`, in the same proportions.
pub fn scaled_to(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= side {
        return (width, height);
    }
    let scale = |length: u32| {
        let scaled = (u64::from(length) * u64::from(side) + u64::from(longest) / 2) / u64::from(longest);
        u32::try_from(scaled).unwrap_or(side).max(1)
    };
    (scale(width), scale(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_scaled_in_proportion_and_small_ones_never_enlarged() {
        for (side, size, want) in [
            (LongestSide::OfApi, (4_032, 3_024), (1_568, 1_176)),
            (LongestSide::OfApi, (1_568, 9), (1_568, 9)),
            (LongestSide::Pixels(100), (1, 30_000), (1, 100)),
            (LongestSide::Pixels(u32::MAX), (5, 7), (5, 7)),
            (LongestSide::Unlimited, (9_000, 1), (9_000, 1)),
        ] {
            assert_eq!(side.scaled(Api::Anthropic, size.0, size.1), want, "{side:?} {size:?}");
        }
    }
}
