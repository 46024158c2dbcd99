//! The answers that the balancer gives by itself: from a status to the message, the file's page or HAProxy's.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use hyper::ext::ReasonPhrase;

use super::{client::Client, exchange};
use crate::{config::model::Page, rules::Reply};

/// An answer of ours.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Another reason phrase than the status's usual one.
    pub reason: Option<ReasonPhrase>,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The connection ends in its place.
    pub silent: bool,
    /// What it stands for, whatever its page's own status is.
    pub meant: Option<StatusCode>,
}

impl Answer {
    /// HAProxy's answer with a status; for statuses that it has no body for, one in its manner.
    pub fn standard(status: StatusCode) -> Self {
        let (reason, body) = standard(status);
        let mut headers = HeaderMap::with_capacity(4);
        if !body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        }
        let usual = status.canonical_reason() == Some(reason);
        Self {
            status,
            reason: (!usual).then(|| ReasonPhrase::from_static(reason.as_bytes())),
            headers,
            body,
            silent: false,
            meant: None,
        }
    }

    /// The head, and the body.
    pub fn into_response(self) -> (Response<()>, Bytes) {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(reason);
        }
        (response, self.body)
    }

    /// The whole message as it goes over the wire of HTTP/1 where the connection ends with it.
    pub fn message(&self) -> Vec<u8> {
        if self.silent {
            return Vec::new();
        }
        let reason = match &self.reason {
            Some(reason) => reason.as_bytes(),
            None => self.status.canonical_reason().unwrap_or("Error").as_bytes(),
        };
        let mut text = format!("HTTP/1.1 {} ", self.status.as_u16()).into_bytes();
        text.extend_from_slice(reason);
        text.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"connection: close\r\n\r\n");
        text.extend_from_slice(&self.body);
        text
    }
}

impl From<&Page> for Answer {
    fn from(page: &Page) -> Self {
        let mut headers = page.headers.clone();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(page.body.len()));
        Self {
            status: page.status,
            reason: page.reason.clone(),
            headers,
            body: page.body.clone(),
            silent: page.silent,
            meant: None,
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self {
            status: reply.status,
            reason: reply.reason,
            headers: reply.headers,
            body: reply.body,
            silent: false,
            meant: None,
        }
    }
}

impl Client {
    /// Our answer with a status: the page that the file has for it, the backend's or else the frontend's, or the usual
    /// one.
    pub(super) fn answer(&self, status: StatusCode) -> Answer {
        let code = status.as_u16();
        let backend = self.exchange().backend().cloned();
        let page = backend
            .as_ref()
            .and_then(|backend| backend.config.errorfiles.page(code))
            .or_else(|| self.frontend().config.errorfiles.page(code));
        let mut answer = match page.flatten() {
            None => Answer::standard(status),
            Some(page) => match &page.filled {
                None => Answer::from(page),
                Some(filled) => exchange::page::fill(self, backend.as_ref(), page, filled)
                    .unwrap_or_else(|| Answer::standard(status)),
            },
        };
        answer.meant = Some(status);
        answer
    }

    /// A rule's answer.
    pub(super) fn reply(&self, reply: Reply) -> Answer {
        match reply.page {
            true => self.answer(reply.status),
            false => reply.into(),
        }
    }
}

/// Declares the answers with their reason phrases and texts; the bodies are put together by the compiler.
macro_rules! answers {
    ($status:ident: $($code:literal $title:literal $text:literal)*) => {
        match $status.as_u16() {
            $($code => ($title, Bytes::from_static(concat!(
                "<html><body><h1>", stringify!($code), " ", $title, "</h1>\n", $text, "\n</body></html>\n"
            ).as_bytes())),)*
            // They have no body.
            204 | 304 => ($status.canonical_reason().unwrap_or_default(), Bytes::new()),
            code => {
                let title = $status.canonical_reason().unwrap_or("Unknown");
                let text = "The request was refused by administrative rules.";
                let body = format!("<html><body><h1>{code} {title}</h1>\n{text}\n</body></html>\n");
                (title, body.into())
            }
        }
    };
}

/// The reason phrase and the body that go with a status.
fn standard(status: StatusCode) -> (&'static str, Bytes) {
    answers! { status:
        200 "OK" "Service ready."
        400 "Bad request" "Your browser sent an invalid request."
        401 "Unauthorized" "You need a valid user and password to access this content."
        403 "Forbidden" "Request forbidden by administrative rules."
        404 "Not Found" "The resource could not be found."
        405 "Method Not Allowed"
            "A request was made of a resource using a request method not supported by that resource"
        407 "Unauthorized" "You need a valid user and password to access this content."
        408 "Request Time-out" "Your browser didn't send a complete request in time."
        410 "Gone" "The resource is no longer available and will not be available again."
        413 "Payload Too Large" "The request entity exceeds the maximum allowed."
        414 "URI Too Long" "The request target is longer than the server accepts."
        421 "Misdirected Request" "Request sent to a non-authoritative server."
        422 "Unprocessable Content" "The server cannot process the contained instructions."
        425 "Too Early" "Your browser sent early data."
        429 "Too Many Requests" "You have sent too many requests in a given amount of time."
        431 "Request Header Fields Too Large" "The request header fields are larger than the server accepts."
        500 "Internal Server Error" "An internal server error occurred."
        501 "Not Implemented" "The server does not support the functionality required to fulfill the request."
        502 "Bad Gateway" "The server returned an invalid or incomplete response."
        503 "Service Unavailable" "No server is available to handle this request."
        504 "Gateway Time-out" "The server didn't respond in time."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_haproxys() {
        // Lengths that HAProxy sends with these bodies.
        for (status, length) in [
            (StatusCode::BAD_REQUEST, 90),
            (StatusCode::REQUEST_TIMEOUT, 110),
            (StatusCode::BAD_GATEWAY, 107),
            (StatusCode::SERVICE_UNAVAILABLE, 107),
            (StatusCode::GATEWAY_TIMEOUT, 92),
        ] {
            assert_eq!(Answer::standard(status).body.len(), length, "{status}");
        }
        assert_eq!(
            Answer::standard(StatusCode::BAD_GATEWAY).body,
            "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>\n"
        );
    }

    #[test]
    fn what_has_no_body_says_nothing_of_one() {
        let answer = Answer::standard(StatusCode::NO_CONTENT);
        assert!(answer.body.is_empty() && answer.headers.is_empty());
    }

    #[test]
    fn a_message_says_that_it_closes() {
        let answer = Answer::standard(StatusCode::BAD_REQUEST);
        let message = String::from_utf8(answer.message()).expect("text");
        assert!(
            message.starts_with("HTTP/1.1 400 Bad request\r\n"),
            "{message}"
        );
        assert!(message.contains("\r\nconnection: close\r\n"), "{message}");
        assert!(message.as_bytes().ends_with(&answer.body), "{message}");
    }
}
