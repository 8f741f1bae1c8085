//! Which text format a client gets.

/// A format of the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, for clients that ask for plain text.
    Prometheus,
}

impl TextFormat {
    /// Chooses the format by the header `Accept`. OpenMetrics, unless only other texts are accepted.
    pub(super) fn for_accept(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default().to_ascii_lowercase();
        let asks_for = |media_type: &str| accept.contains(media_type);
        if asks_for("application/openmetrics-text") || !(asks_for("text/plain") || asks_for("text/html")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_open_metrics_and_browsers_plain_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases = [
            (None, TextFormat::OpenMetrics),
            (Some("*/*"), TextFormat::OpenMetrics),
            (Some(prometheus), TextFormat::OpenMetrics),
            (Some("text/plain;version=0.0.4"), TextFormat::Prometheus),
            (Some(browser), TextFormat::Prometheus),
        ];
        for (accept, want) in cases {
            assert_eq!(TextFormat::for_accept(accept), want, "{accept:?}");
        }
    }
}
