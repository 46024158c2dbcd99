//! A request on its way to a server.

use http::{HeaderMap, Method, Uri, Version, request};
use http_body::Body as _;

use super::body::RequestBody;

/// Whether a request may be sent once more, to a server that has not answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeatable {
    /// If the server has said that it has not looked at it.
    pub(super) unread: bool,
    /// If it may have been read, but what it asks for may be done twice (RFC 9110 section 9.2.2).
    pub(super) read: bool,
}

/// A request as a server is to get it. Its head is boxed from the time that it is understood: it goes from hand to hand.
pub(super) struct Message {
    head: Box<request::Parts>,
    body: RequestBody,
}

impl Message {
    pub(super) fn from_parts(head: Box<request::Parts>, body: RequestBody) -> Self {
        Self { head, body }
    }

    pub(super) fn into_parts(self) -> (Box<request::Parts>, RequestBody) {
        (self.head, self.body)
    }

    pub(super) fn head(&self) -> &request::Parts {
        &self.head
    }

    /// Whether it may be sent once more though a server may have read it.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.method().is_idempotent() && self.body.is_end_stream()
    }

    pub(super) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.head.uri
    }

    pub(super) fn version(&self) -> Version {
        self.head.version
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.head.headers
    }

    pub(super) fn body(&self) -> &RequestBody {
        &self.body
    }

    pub(super) fn body_mut(&mut self) -> &mut RequestBody {
        &mut self.body
    }
}
