//! What there has to be for a fetch to have a value.

use super::{Fetch, Side, link::Link, payload};
use crate::rules::{TlsFact, scene::Scene, tls_fact::Whose};

/// What has to be there before a fetch has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// The process, and what rules or a check remember.
    Nothing,
    /// A client's connection.
    Client,
    /// A client's request.
    Request,
    /// A server's answer, a client's or a check's.
    Response,
    /// The connection to a server that has been asked for a client.
    Server,
}

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
        matches!(self.asks(), Asks::Response | Asks::Server)
    }

    /// Whether it looks at a request.
    pub fn needs_request(&self) -> bool {
        self.asks() == Asks::Request
    }

    /// Whether a check has nothing that it could ask: there is no client there, and no server is asked for one.
    pub fn is_unknown_to_checks(&self) -> bool {
        matches!(self.asks(), Asks::Request | Asks::Client | Asks::Server)
    }

    /// What there has to be for it to have a value. Whoever adds a fetch says so here, and nowhere else.
    fn asks(&self) -> Asks {
        let of = |side: Side| match side {
            Side::Request => Asks::Request,
            Side::Response => Asks::Response,
        };
        match self {
            Self::Constant(_)
            | Self::Var(..)
            | Self::Date { .. }
            | Self::Random(_)
            | Self::Uuid
            | Self::Keys { .. }
            // Whoever looks at bytes is asked for what it has to say of them.
            | Self::Payload(_)
            // A check has these as well.
            | Self::Destination
            | Self::DestinationPort
            | Self::BackendName
            | Self::ServerName => Asks::Nothing,
            // Without a name it is that of the client's frontend.
            Self::Fact(fact) => match fact.is_of_own_frontend() {
                true => Asks::Client,
                false => Asks::Nothing,
            },
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
            | Self::Credentials { .. } => Asks::Request,
            Self::Head(part) => of(part.side()),
            Self::Version(side)
            | Self::HeaderNames(side, _)
            | Self::Fields(side)
            | Self::Cookie(side, _)
            | Self::Body(side, _)
            | Self::Header { side, .. }
            | Self::HeaderCount { side, .. } => of(*side),
            Self::Status | Self::ResponseVersion => Asks::Response,
            Self::ServerTls(_) => Asks::Server,
            Self::NamePart { whose, .. } => match whose {
                Whose::Server => Asks::Server,
                Whose::Client | Whose::Ours => Asks::Client,
            },
            Self::Link(link) => match link {
                Link::BackendId | Link::ServerTimeout | Link::TunnelTimeout => Asks::Nothing,
                Link::ServerId => Asks::Response,
                link if link.of_server() => Asks::Server,
                _ => Asks::Client,
            },
            Self::Source
            | Self::SourcePort
            | Self::Scheme
            | Self::Counter { .. }
            | Self::IsTracked(_)
            | Self::Tls(_)
            | Self::Captured(..)
            | Self::Line(_)
            | Self::Log(_)
            | Self::Major
            | Self::RequestNumber
            | Self::LastRule { .. }
            | Self::Priority(_)
            | Self::UniqueId
            | Self::FrontendName
            | Self::Fault(_) => Asks::Client,
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
