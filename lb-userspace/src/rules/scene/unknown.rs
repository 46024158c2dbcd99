//! A list of users that was asked for, and takes long to answer.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::rules::auth::Users;

/// What takes long to find out: whether a list of users allows what an Authorization field says.
#[derive(Debug)]
pub struct Unknown {
    /// The list.
    pub users: Arc<Users>,
    /// The field's value.
    pub field: HeaderValue,
}

impl Unknown {
    pub(in crate::rules) fn of(users: &Arc<Users>, headers: &HeaderMap) -> Option<Self> {
        let field = headers.get(AUTHORIZATION)?.clone();
        let users = Arc::clone(users);
        Some(Self { users, field })
    }
}
