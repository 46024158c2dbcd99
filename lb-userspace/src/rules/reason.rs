//! HAProxy's reason phrases, where they are not the usual ones.

use http::StatusCode;
use hyper::ext::ReasonPhrase;

/// What HAProxy says beside a status, if that is another phrase than the usual one.
pub fn reason(status: StatusCode) -> Option<ReasonPhrase> {
    let phrase = match status.as_u16() {
        203 => "Non-Authoritative Information",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        416 => "Requested range unsatisfiable",
        417 => "Expectation failed",
        422 => "Unprocessable Content",
        424 => "Method failure",
        502 => "Bad Gateway or Proxy Error",
        504 => "Gateway Time-out",
        505 => "HTTP Version not supported",
        506 => "Variant also negotiate",
        507 => "Insufficient storage",
        508 => "Loop detected",
        510 => "Not extended",
        511 => "Network authentication required",
        _ if status.canonical_reason().is_some() => return None,
        200..=299 => "Success",
        300..=399 => "Redirection",
        400..=499 => "Client Error",
        500..=599 => "Server Error",
        _ => return None,
    };
    Some(ReasonPhrase::from_static(phrase.as_bytes()))
}
