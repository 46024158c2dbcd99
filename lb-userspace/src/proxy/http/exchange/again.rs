//! Requests that are kept, to be sent again where `retry_on` says so.

use std::rc::Rc;

use http::request;

use super::send::{Sent, Trouble};
use crate::{
    config::model::RetryOn,
    proxy::http::{
        body::RequestBody,
        client::{Client, Expired, Upload},
        kept::Kept,
        message::Message,
    },
};

/// A request that can be sent again.
pub(super) struct Copy {
    head: Box<request::Parts>,
    body: Kept,
}

impl Copy {
    /// Of `request`, if `wanted` and if it can be.
    pub(super) fn of(request: &mut Message, wanted: bool) -> Option<Self> {
        let body = wanted.then(|| request.body_mut().keep())??;
        let head = Box::new(request.head().clone());
        Some(Self { head, body })
    }

    /// Whether what came of the request lets it be sent again.
    pub(super) fn may_go(&self, client: &Client, retry_on: &RetryOn, sent: &Sent) -> bool {
        let wanted = match sent {
            Sent::Answered(response, ..) => retry_on.has_status(response.status().as_u16()),
            Sent::Failed(Trouble::Malformed) => retry_on.junk,
            Sent::Failed(Trouble::Closed | Trouble::Reset) => retry_on.empty,
            Sent::Failed(Trouble::Expired(Expired::Server)) => retry_on.timeout,
            Sent::Failed(_) | Sent::Not(_) => false,
        };
        wanted && client.upload() == Upload::Done && self.body.is_whole()
    }

    pub(super) fn request(&self, client: &Rc<Client>) -> Message {
        let body = RequestBody::again(&self.body, client);
        Message::from_parts(self.head.clone(), body)
    }
}
