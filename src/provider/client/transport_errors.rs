//! Describes why an HTTP request failed. Messages about TLS say what to do next.

use std::error::Error;

use rustls::CertificateError;

use super::super::transport::TransportFailure;

/// Maps a failed request to a [`TransportFailure`] by whether anything was sent. A connection that timed out while
/// being set up sent nothing.
pub(super) fn transport_failure(host: &str, error: &(dyn Error + 'static), is_unsent: bool) -> TransportFailure {
    let cause = describe_transport_error(error);
    if is_unsent {
        TransportFailure::Unreachable(format!("can't connect to {host}: {cause}"))
    } else {
        TransportFailure::ConnectionLost(format!("the connection to {host} was lost: {cause}"))
    }
}

/// The failure of a request that took too long.
pub(super) fn timed_out(host: &str, cause: &str) -> TransportFailure {
    TransportFailure::TimedOut(format!("{host} sent no data for too long, or exceeded the deadline: {cause}"))
}

/// Describes a request's error by its innermost cause. The outer errors only name the layers; no cause contains a URL.
pub fn describe_transport_error(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if cause.is::<reqwest::Error>() {
        return "the request failed".to_owned();
    }
    find_tls_error(error).map_or_else(|| cause.to_string(), describe_tls_error)
}

/// Finds the TLS error inside another error. I/O layers wrap it in errors of their own.
fn find_tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let wrapped = || find_tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(wrapped).or_else(|| find_tls_error(error.source()?))
}

fn describe_tls_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate_error) => describe_certificate_error(certificate_error),
        other => format!("TLS failed: {other}"),
    }
}

fn describe_certificate_error(error: &CertificateError) -> String {
    const CLOCK: &str = "correct this machine's clock, or have the server's certificate renewed";
    let (problem, remedy) = match error {
        CertificateError::UnknownIssuer => (
            "is not trusted: no authority that this system trusts has signed it".to_owned(),
            "if it belongs to your own server or network, add its issuer to the certificates that this system trusts, \
             or set SSL_CERT_FILE to a file that contains them; otherwise the connection may be intercepted",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ("has expired".to_owned(), CLOCK),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet".to_owned(), CLOCK)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "is for another server: this name is not in it".to_owned(),
            "if it belongs to your own server, use a name from the certificate in the address (base_url, or a webhook's \
             url); otherwise the connection may be intercepted",
        ),
        CertificateError::Revoked => ("was revoked".to_owned(), "contact the server's operator"),
        other => (format!("is not trusted: {other}"), "contact the server's operator"),
    };
    format!("TLS: the server's certificate {problem}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_error_says_what_to_do() {
        for (why, what, next) in [
            (CertificateError::UnknownIssuer, "not trusted: no authority", "SSL_CERT_FILE"),
            (CertificateError::Expired, "has expired", "clock"),
            (CertificateError::NotValidYet, "not valid yet", "clock"),
            (CertificateError::NotValidForName, "another server", "base_url"),
            (CertificateError::Revoked, "revoked", "operator"),
            (CertificateError::BadSignature, "not trusted: ", "operator"),
        ] {
            let message = describe_tls_error(&rustls::Error::InvalidCertificate(why));
            assert!(message.starts_with("TLS: the server's certificate"), "{message}");
            assert!(message.contains(what) && message.contains(next), "{message}");
        }
        assert!(describe_tls_error(&rustls::Error::DecryptError).starts_with("TLS failed: "));
    }

    #[test]
    fn a_tls_error_is_found_inside_other_errors() {
        let wrapped = std::io::Error::other(std::io::Error::other(rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&wrapped), Some(&rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&std::io::Error::other("something else")), None);
    }
}
