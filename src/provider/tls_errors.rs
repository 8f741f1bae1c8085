//! TLS errors as messages that say what to do next.

use std::error::Error;

use rustls::CertificateError;

/// Finds the TLS error inside another error. I/O layers wrap it in errors of their own.
pub(super) fn find_tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let wrapped = || find_tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(wrapped).or_else(|| find_tls_error(error.source()?))
}

pub(super) fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate_error) => describe_certificate_error(certificate_error),
        other => format!("TLS failed: {other}"),
    }
}

fn describe_certificate_error(error: &CertificateError) -> String {
    const CLOCK: &str = "set this machine's clock right, or have the server's certificate renewed";
    let (problem, remedy) = match error {
        CertificateError::UnknownIssuer => (
            "is not trusted here: nobody whom this system trusts has signed it".to_owned(),
            "if it is your own server's, or your network's, add its issuer to the certificates that this system trusts, \
             or name them in SSL_CERT_FILE; otherwise somebody stands in between",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ("has run out".to_owned(), CLOCK),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet".to_owned(), CLOCK)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "is another server's: this name is not in it".to_owned(),
            "if it is your own server's, put the name that it is for into its address (base_url, or a webhook's url); otherwise somebody stands in \
             between",
        ),
        CertificateError::Revoked => ("was revoked".to_owned(), "ask whoever runs the server"),
        other => (format!("is not trusted here: {other}"), "ask whoever runs the server"),
    };
    format!("TLS: its certificate {problem}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_error_says_what_to_do() {
        for (why, what, next) in [
            (CertificateError::UnknownIssuer, "not trusted here", "SSL_CERT_FILE"),
            (CertificateError::Expired, "has run out", "clock"),
            (CertificateError::NotValidYet, "not valid yet", "clock"),
            (CertificateError::NotValidForName, "another server's", "base_url"),
            (CertificateError::Revoked, "revoked", "whoever runs"),
            (CertificateError::BadSignature, "not trusted here: ", "whoever runs"),
        ] {
            let message = describe(&rustls::Error::InvalidCertificate(why));
            assert!(message.starts_with("TLS: its certificate"), "{message}");
            assert!(message.contains(what) && message.contains(next), "{message}");
        }
        assert!(describe(&rustls::Error::DecryptError).starts_with("TLS failed: "));
    }

    #[test]
    fn a_tls_error_is_found_inside_other_errors() {
        let wrapped = std::io::Error::other(std::io::Error::other(rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&wrapped), Some(&rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&std::io::Error::other("something else")), None);
    }
}
