//! Models that were shut down or will be (from the vendors' deprecation pages, as of November 2026).

/// The deprecation notice for `model`, if there is one.
pub(super) fn deprecation_notice(model: &str) -> Option<&'static str> {
    let exact = match model {
        "gemini-2.5-flash" => {
            "retires on 2026-12-01; its requests are then answered, and billed, as another model; use gemini-3.5-flash-lite or gemini-3.8-flash"
        }
        "gemini-2.5-pro" => {
            "retires on 2026-12-01; its requests are then answered, and billed, as another model; use gemini-3.8-flash"
        }
        "gemini-2.5-flash-image" => "was shut down on 2026-10-02",
        "gemini-3-pro-preview" => "was shut down on 2026-03-09",
        "gemini-3.1-flash-lite-preview" => "was shut down on 2026-05-25; use gemini-3.1-flash-lite",
        "gemini-3.5-flash" => "has been answered by gemini-3.6-flash since 2026-10-08",
        "gemini-3.7-flash" => "has been answered by gemini-3.8-flash since 2026-10-08",
        "gpt-5-mini" => "retires on 2026-12-11; use gpt-5.4-mini",
        "gpt-5-nano" => "retires on 2026-12-11; use gpt-5.4-nano",
        "gpt-4.1-nano" => "was retired on 2026-10-23; use gpt-5.4-nano",
        "gpt-4.1-mini" => "retires on 2027-01-14; use gpt-5.4-mini",
        "gpt-4o-mini-2024-07-18" => "retires on 2027-01-14; use gpt-5.4-nano",
        _ => "",
    };
    if !exact.is_empty() {
        return Some(exact);
    }
    if model.starts_with("gemini-2.0-") {
        return Some("was shut down on 2026-06-01; use gemini-3.1-flash-lite or gemini-3.5-flash-lite");
    }
    if model.starts_with("gemini-1.") {
        return Some("was shut down; use gemini-3.1-flash-lite or gemini-3.5-flash-lite");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deprecated_models_have_a_notice_and_current_ones_have_none() {
        for model in ["gemini-2.0-flash", "gemini-2.0-flash-lite-001", "gemini-1.5-pro", "gemini-2.5-pro"] {
            assert!(deprecation_notice(model).is_some(), "{model}");
        }
        for model in ["gemini-3.8-flash", "gemini-3.1-flash-lite", "gemini-2.5-flash-lite", "gpt-5.4-mini"] {
            assert_eq!(deprecation_notice(model), None, "{model}");
        }
    }
}
