//! The answers that the balancer gives by itself, with HAProxy's bodies and header fields.
//!
//! There are two kinds. An [`Answer`] belongs to a request that was understood, and the connection goes on after it. A
//! [`Refusal`] ends the connection: what the client sent was no request, or not all of one, so whatever follows cannot
//! be told apart from it.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};

/// Declares the answers with their bodies, lengths reckoned by the compiler.
macro_rules! answers {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $title:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// The status code.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The reason phrase.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }

            /// The body.
            pub const fn body(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(
                        "<html><body><h1>", stringify!($code), " ", $title, "</h1>\n", $text, "\n</body></html>\n"
                    ),)*
                }
            }
        }
    };
}

answers! {
    /// An answer after which the connection goes on.
    Answer {
        /// The server's answer was none.
        BadGateway = 502 "Bad Gateway" "The server returned an invalid or incomplete response.",
        /// No server, none in time, or none that takes the connection.
        ServiceUnavailable = 503 "Service Unavailable" "No server is available to handle this request.",
        /// The server took too long.
        GatewayTimeout = 504 "Gateway Time-out" "The server didn't respond in time.",
    }
}

answers! {
    /// An answer after which the connection is closed.
    Refusal {
        /// Not a request, or one that could be read in more than one way.
        BadRequest = 400 "Bad request" "Your browser sent an invalid request.",
        /// A method that a reverse proxy does not serve.
        MethodNotAllowed = 405 "Method Not Allowed"
            "A request was made of a resource using a request method not supported by that resource",
        /// The request did not come in time.
        RequestTimeout = 408 "Request Time-out" "Your browser didn't send a complete request in time.",
        /// The target is too long.
        UriTooLong = 414 "URI Too Long" "The request target is longer than the server accepts.",
        /// The head is too large, or has too many fields.
        HeaderFieldsTooLarge = 431 "Request Header Fields Too Large"
            "The request header fields are larger than the server accepts.",
        /// A transfer coding other than chunked.
        NotImplemented = 501 "Not Implemented" "The server does not support the functionality required to fulfill the request.",
    }
}

fn headers(body: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers
}

impl Answer {
    /// The status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The header fields that go with the body.
    pub fn headers(self) -> HeaderMap {
        headers(self.body())
    }

    /// The body.
    pub fn bytes(self) -> Bytes {
        Bytes::from_static(self.body().as_bytes())
    }
}

impl Refusal {
    /// The status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code()).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// The header fields that go with the body where the protocol has its own way to end.
    pub fn headers(self) -> HeaderMap {
        headers(self.body())
    }

    /// The whole message as it goes over the wire.
    pub fn message(self) -> String {
        format!(
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\ncache-control: no-cache\r\nconnection: close\r\n\
             content-type: text/html\r\n\r\n{}",
            self.code(),
            self.reason(),
            self.body().len(),
            self.body()
        )
    }
}

/// The reason phrase, fields and body that go with a status when a rule refuses a request; HAProxy's, and for statuses
/// that it has no body for the same in its manner.
pub fn standard(status: StatusCode) -> (&'static str, HeaderMap, Bytes) {
    let code = status.as_u16();
    let (reason, text) = match code {
        200 => ("OK", "Service ready."),
        400 => ("Bad request", "Your browser sent an invalid request."),
        401 => (
            "Unauthorized",
            "You need a valid user and password to access this content.",
        ),
        403 => ("Forbidden", "Request forbidden by administrative rules."),
        404 => ("Not Found", "The resource could not be found."),
        405 => (
            "Method Not Allowed",
            "A request was made of a resource using a request method not supported by that resource",
        ),
        407 => (
            "Unauthorized",
            "You need a valid user and password to access this content.",
        ),
        408 => (
            "Request Time-out",
            "Your browser didn't send a complete request in time.",
        ),
        410 => (
            "Gone",
            "The resource is no longer available and will not be available again.",
        ),
        413 => (
            "Payload Too Large",
            "The request entity exceeds the maximum allowed.",
        ),
        421 => (
            "Misdirected Request",
            "Request sent to a non-authoritative server.",
        ),
        422 => (
            "Unprocessable Content",
            "The server cannot process the contained instructions.",
        ),
        425 => ("Too Early", "Your browser sent early data."),
        429 => (
            "Too Many Requests",
            "You have sent too many requests in a given amount of time.",
        ),
        500 => (
            "Internal Server Error",
            "An internal server error occurred.",
        ),
        501 => (
            "Not Implemented",
            "The server does not support the functionality required to fulfill the request.",
        ),
        502 => (
            "Bad Gateway",
            "The server returned an invalid or incomplete response.",
        ),
        503 => (
            "Service Unavailable",
            "No server is available to handle this request.",
        ),
        504 => ("Gateway Time-out", "The server didn't respond in time."),
        _ => (
            status.canonical_reason().unwrap_or("Unknown"),
            "The request was refused by administrative rules.",
        ),
    };
    let mut headers = HeaderMap::with_capacity(4);
    if matches!(code, 204 | 304) {
        return (reason, headers, Bytes::new());
    }
    let body = format!("<html><body><h1>{code} {reason}</h1>\n{text}\n</body></html>\n");
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    (reason, headers, body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_haproxys() {
        // Lengths that HAProxy sends with these bodies.
        for (answer, length) in [
            (Answer::BadGateway, 107),
            (Answer::ServiceUnavailable, 107),
            (Answer::GatewayTimeout, 92),
        ] {
            assert_eq!(answer.body().len(), length, "{answer:?}");
        }
        for (refusal, length) in [(Refusal::BadRequest, 90), (Refusal::RequestTimeout, 110)] {
            assert_eq!(refusal.body().len(), length, "{refusal:?}");
        }
        assert_eq!(
            Answer::BadGateway.body(),
            "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>\n"
        );
    }

    #[test]
    fn a_refusal_says_that_it_closes() {
        let message = Refusal::BadRequest.message();
        assert!(
            message.starts_with("HTTP/1.1 400 Bad request\r\n"),
            "{message}"
        );
        assert!(message.contains("\r\nconnection: close\r\n"), "{message}");
        assert!(message.ends_with(Refusal::BadRequest.body()), "{message}");
    }
}
