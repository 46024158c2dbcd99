//! What conditions see of a request.

use http::{HeaderMap, Uri, header::HOST};

/// A request as the client sent it, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// A view of a request's target and header fields.
    pub fn new(uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self { uri, headers }
    }

    /// The path as it was sent: from the first slash after any authority up to the query, not decoded.
    pub fn path(&self) -> Option<&'a str> {
        Some(self.uri.path()).filter(|path| path.starts_with('/'))
    }

    /// The Host field as it was sent, or the target's authority where there is no such field.
    pub fn host(&self) -> Option<&'a str> {
        match self.headers.get(HOST) {
            Some(host) => host.to_str().ok(),
            None => self.uri.authority().map(|authority| authority.as_str()),
        }
    }
}
