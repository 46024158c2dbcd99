//! What there has to be for a fetch to have a value.

use super::{Fetch, Side, link::Link, payload};
use crate::rules::{TlsFact, scene::Scene, tls_fact::Whose};

impl Fetch {
    /// Whether it looks at the bytes of a connection of mode tcp; if so, whether at the server's.
    pub fn payload(&self) -> Option<bool> {
        match self {
            Self::Payload(payload) => payload.is_of_response(),
            _ => None,
        }
    }

    /// Whether more bytes of the connection may change its value, or bring it.
    pub fn may_change(&self, scene: &Scene<'_>) -> bool {
        match self {
            Self::Payload(payload) => payload.may_change(scene),
            Self::Tls(TlsFact::Sni) => payload::server_name_may_come(scene),
            _ => false,
        }
    }

    /// Whether it looks at a response.
    pub fn needs_response(&self) -> bool {
        match self {
            Self::Status
            | Self::ResponseVersion
            | Self::ServerTls(_)
            | Self::Body(Side::Response, _) => true,
            Self::NamePart { whose, .. } => *whose == Whose::Server,
            Self::Head(part) => part.side() == Side::Response,
            Self::Link(link) => link.of_server(),
            Self::Version(side)
            | Self::HeaderNames(side, _)
            | Self::Fields(side)
            | Self::Cookie(side, _) => *side == Side::Response,
            Self::Header { side, .. } | Self::HeaderCount { side, .. } => *side == Side::Response,
            _ => false,
        }
    }

    /// Whether it looks at a request.
    pub fn needs_request(&self) -> bool {
        match self {
            Self::Method
            | Self::Path
            | Self::PathQuery
            | Self::Url
            | Self::Base
            | Self::Query
            | Self::Parameter { .. }
            | Self::Host
            | Self::CookieCount(_)
            | Self::Auth(_)
            | Self::Groups(_)
            | Self::HostAndTarget
            | Self::Authority { .. }
            | Self::Body(Side::Request, _)
            | Self::Credentials { .. } => true,
            Self::Head(part) => part.side() == Side::Request,
            Self::Version(side)
            | Self::HeaderNames(side, _)
            | Self::Fields(side)
            | Self::Cookie(side, _) => *side == Side::Request,
            Self::Header { side, .. } | Self::HeaderCount { side, .. } => *side == Side::Request,
            _ => false,
        }
    }

    /// Whether a check has nothing that it could ask: there is no client there, and nobody counts.
    pub fn is_unknown_to_checks(&self) -> bool {
        match self {
            Self::Source
            | Self::SourcePort
            | Self::Counter { .. }
            | Self::IsTracked(_)
            | Self::Fact(_)
            | Self::Tls(_)
            | Self::ServerTls(_)
            | Self::NamePart { .. }
            | Self::Captured(..)
            | Self::Line(_)
            | Self::Log(_)
            | Self::Major
            | Self::RequestNumber
            | Self::Priority(_)
            | Self::UniqueId
            | Self::FrontendName
            | Self::Fault(_) => true,
            Self::Link(link) => !matches!(link, Link::BackendId | Link::ServerId),
            other => other.needs_request(),
        }
    }

    /// Whether it looks at a message's fields, which are gone when the line for the log is written.
    pub fn needs_fields(&self) -> bool {
        matches!(
            self,
            Self::Base
                | Self::Host
                | Self::CookieCount(_)
                | Self::Auth(_)
                | Self::Groups(_)
                | Self::HostAndTarget
                | Self::Fields(_)
                | Self::Body(..)
                | Self::Header { .. }
                | Self::HeaderCount { .. }
                | Self::HeaderNames(..)
                | Self::Cookie(..)
                | Self::Credentials { .. }
                | Self::Head(_)
        )
    }
}
