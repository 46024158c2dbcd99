//! Certificates and keys, as far as they can be looked at before anybody is served.

use super::{Host, placed};
use crate::config::{
    diagnostic::{Diagnostic, Severity},
    tls::Wanted,
};

/// What is wrong with them, and what will be.
pub(in crate::config) fn check_tls(wanted: &[Wanted], host: &dyn Host) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for wanted in wanted {
        let (answer, span) = match wanted {
            Wanted::Bind(options, span) => (host.bind_tls(options), *span),
            Wanted::Server(options, span) => (host.server_tls(options), *span),
        };
        let errors = answer.errors.into_iter();
        found.extend(errors.map(|error| {
            placed(Severity::Error, Some(span), error.to_string()).mend(error.mend())
        }));
        let remarks = answer.remarks.into_iter();
        found.extend(
            remarks.map(|remark| {
                placed(Severity::Warning, Some(span), remark.message).mend(remark.mend)
            }),
        );
    }
    found
}
