//! Where samples come from.
//!
//! A fetch that has several values (a header field's) gives all of them to a condition, any of which may match, and the
//! last to a template, as HAProxy's do.

mod counter;
mod fault;
mod head;
mod header;
pub mod hello;
pub(in crate::rules) mod link;
mod list;
mod log;
mod names;
mod needs;
pub(super) mod payload;
pub mod rdp;
mod request;

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, Method, Version};

use super::{
    auth::Users,
    body::BodyPart,
    priority::PriorityPart,
    process::Var,
    scene::{Fact, Scene},
    table::Data,
    tls_fact::{CertificatePart, TlsFact, Whose},
    value::{Kind, Value},
};

use counter::{Counted, Operation};
pub use fault::Fault;
use fault::FaultPart;
use head::HeadPart;
use header::Occurrence;
use link::Link;
pub(in crate::rules) use log::LogPart;
pub(super) use names::{alias, parse, shorthand};
use payload::Payload;
pub(in crate::rules) use request::LinePart;

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Request,
    /// The server's.
    Response,
}

/// Where a sample comes from.
#[derive(Debug, Clone)]
pub enum Fetch {
    /// The same always.
    Constant(Value<'static>),
    /// `src`.
    Source,
    /// `src_port`.
    SourcePort,
    /// `dst`.
    Destination,
    /// `dst_port`.
    DestinationPort,
    /// `method`.
    Method,
    /// `path`: not decoded, without the query.
    Path,
    /// `pathq`: with the query.
    PathQuery,
    /// `url`: the target as it was sent.
    Url,
    /// `base`: host and path.
    Base,
    /// `query`: what follows the question mark.
    Query,
    /// `urlp`: a parameter of the query, not decoded; `None` is the first.
    Parameter {
        /// Its name.
        name: Option<String>,
        /// Where in path and query they begin, and what they may be divided by.
        delimiter: u8,
    },
    /// The host: in lower case, without port and trailing dot.
    Host,
    /// `scheme`: `https` over TLS, else `http`.
    Scheme,
    /// `req.ver`, `res.ver`: `1.1`.
    Version(Side),
    /// `req.hdr`, `res.hdr` and the like.
    Header {
        /// Of which message.
        side: Side,
        /// Its name.
        name: HeaderName,
        /// Whole lines, or what commas divide.
        whole: bool,
        /// Which of them; `None` is all for conditions, the last for templates.
        occurrence: Option<Occurrence>,
    },
    /// `req.hdr_cnt` and the like.
    HeaderCount {
        /// Of which message.
        side: Side,
        /// Its name; `None` counts all.
        name: Option<HeaderName>,
        /// Whole lines, or what commas divide.
        whole: bool,
    },
    /// `req.hdr_names`.
    HeaderNames(Side, String),
    /// `req.cook`, `res.cook`.
    Cookie(Side, String),
    /// `req.cook_cnt`.
    CookieCount(String),
    /// `status`.
    Status,
    /// `var`.
    Var(Var, Option<Box<str>>),
    /// `sc_…(N)`, `src_…(table)`.
    Counter {
        /// Whose entry.
        of: Counted,
        /// What of it.
        data: Data,
        /// What is done with it.
        operation: Operation,
    },
    /// `sc_tracked(N)`.
    IsTracked(u8),
    /// Numbers of proxies and servers.
    Fact(Fact),
    /// `ssl_…`.
    Tls(TlsFact),
    /// `ssl_bc_…`, `ssl_s_…`: of the connection to the server.
    ServerTls(TlsFact),
    /// `date`: seconds since 1970, plus an offset; with a factor for finer units.
    Date {
        /// Seconds to add.
        offset: i64,
        /// Units a second.
        factor: i64,
    },
    /// `rand`: below the range.
    Random(u32),
    /// `capture.req.hdr(N)`, `capture.res.hdr(N)`.
    Captured(Side, usize),
    /// `capture.req.method`, `capture.req.uri`, `capture.req.ver`: as the client sent it.
    Line(LinePart),
    /// What HAProxy has a variable for alone.
    Log(LogPart),
    /// `fc_http_major`: 1 or 2.
    Major,
    /// `last_rule_file`, `last_rule_line`: where the rule stands that had the last word.
    LastRule {
        /// The line instead of the file.
        line: bool,
    },
    /// `capture.res.ver`.
    ResponseVersion,
    /// The request's number, which has no name in expressions: `%rt`.
    RequestNumber,
    /// `uuid`.
    Uuid,
    /// `prio_class`, `prio_offset`.
    Priority(PriorityPart),
    /// `unique-id`.
    UniqueId,
    /// `fe_name`.
    FrontendName,
    /// `be_name`.
    BackendName,
    /// `http_auth`: whether the request has a user's password.
    Auth(std::sync::Arc<Users>),
    /// `http_auth_group`: the groups of the user whose password the request has.
    Groups(std::sync::Arc<Users>),
    /// `ssl_c_s_dn(CN)`, `ssl_c_i_dn(CN)`.
    NamePart {
        /// Which certificate it is.
        whose: Whose,
        /// Of the issuer.
        issuer: bool,
        /// Which.
        name: String,
        /// Which of several, from 1 or from -1 backwards.
        which: i64,
    },
    /// `url32`, before it is hashed: host and target.
    HostAndTarget,
    /// `url_ip`, `url_port`: of a target with an authority.
    Authority {
        /// The port.
        port: bool,
    },
    /// `srv_name`.
    ServerName,
    /// `req.hdrs`: all fields as they would be written.
    Fields(Side),
    /// `table_cnt`, `table_avl`: how many keys a table has, or room for.
    Keys {
        /// Of which.
        table: std::sync::Arc<super::table::Handle>,
        /// How many more.
        free: bool,
    },
    /// `http_auth_user`, `http_auth_pass`.
    Credentials {
        /// The password instead of the name.
        password: bool,
    },
    /// `req.body`, `res.body` and the like.
    Body(Side, BodyPart),
    /// `fc_err` and the like.
    Fault(FaultPart),
    /// Rarer parts of a message's head.
    Head(HeadPart),
    /// What is known of the connections on either side.
    Link(Link),
    /// `req.len`, `req.payload` and the like, of mode tcp.
    Payload(Payload),
}

impl Fetch {
    /// The type of its values.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Constant(value) => value.kind(),
            Self::Source | Self::Destination => Kind::Ip,
            Self::Method => Kind::Method,
            Self::SourcePort
            | Self::DestinationPort
            | Self::HeaderCount { .. }
            | Self::CookieCount(_)
            | Self::Status
            | Self::Counter { .. }
            | Self::RequestNumber
            | Self::Major
            | Self::LastRule { line: true }
            | Self::Date { .. }
            | Self::Random(_) => Kind::Int,
            Self::Fact(Fact::ServerUp(..)) | Self::IsTracked(_) | Self::Auth(_) => Kind::Bool,
            Self::Fact(_) | Self::Keys { .. } | Self::Authority { port: true } => Kind::Int,
            Self::Authority { port: false } => Kind::Ip,
            Self::Tls(fact) | Self::ServerTls(fact) => match fact {
                TlsFact::Used | TlsFact::HasSni | TlsFact::Resumed | TlsFact::CertificateUsed => {
                    Kind::Bool
                }
                TlsFact::Verify
                | TlsFact::Error
                | TlsFact::AuthorityError
                | TlsFact::AuthorityDepth
                | TlsFact::KeySize
                | TlsFact::Of(_, CertificatePart::Version) => Kind::Int,
                TlsFact::Of(_, part) if part.is_bytes() => Kind::Bin,
                _ => Kind::Str,
            },
            Self::Payload(payload) => payload.kind(),
            Self::Fault(part) => part.kind(),
            Self::Body(_, part) => part.kind(),
            Self::Head(part) => part.kind(),
            Self::Link(link) => link.kind(),
            _ => Kind::Str,
        }
    }

    /// Whether it has more than one value, of which conditions take any.
    fn is_multiple(&self) -> bool {
        match self {
            Self::Header { occurrence, .. } => occurrence.is_none(),
            Self::Cookie(..) | Self::Parameter { name: Some(_), .. } | Self::Groups(_) => true,
            _ => false,
        }
    }

    /// Calls `visit` with each value until it says true; whether it did.
    pub fn any<'a>(&'a self, scene: &Scene<'a>, visit: &mut dyn FnMut(Value<'a>) -> bool) -> bool {
        if !self.is_multiple() {
            return self.sample(scene).is_some_and(visit);
        }
        match self {
            Self::Header {
                side, name, whole, ..
            } => scene.headers(*side).is_some_and(|headers| {
                header::each(headers, name, *whole).any(|v| visit(bytes(v)))
            }),
            Self::Groups(users) => {
                let headers = scene.request.map(|request| request.headers);
                let headers = headers.filter(|headers| scene.state.allows(users, headers));
                let user = headers.and_then(credentials).map(|(user, _)| user);
                user.is_some_and(|user| {
                    let mut groups = users.groups(&user);
                    groups.any(|group| visit(Value::text(group)))
                })
            }
            Self::Parameter { name, delimiter } => {
                let uri = scene.request.map(|request| request.uri);
                uri.is_some_and(|uri| {
                    let name = name.as_deref();
                    request::parameters_of(uri, name, *delimiter)
                        .chain(request::parameters_of_others(uri, name, *delimiter))
                        .any(|v| visit(bytes(v)))
                })
            }
            Self::Cookie(side, name) => scene.headers(*side).is_some_and(|headers| {
                request::cookies(headers, *side, name).any(|v| visit(bytes(v)))
            }),
            _ => false,
        }
    }

    /// Whether `holds` says so of any of the values of one that conditions ask for most, texts that stand in the message;
    /// `None` if it is another.
    pub(super) fn any_text<'a>(
        &'a self,
        scene: &Scene<'a>,
        holds: impl Fn(&[u8]) -> bool,
    ) -> Option<bool> {
        Some(match self {
            Self::Path => {
                let path = scene.request.and_then(|request| request.path());
                path.is_some_and(|path| holds(path.as_bytes()))
            }
            Self::Header {
                side,
                name,
                whole,
                occurrence: None,
            } => scene.headers(*side).is_some_and(|headers| {
                let mut values = header::each(headers, name, *whole);
                values.any(holds)
            }),
            _ => return None,
        })
    }

    /// The one value, or of several the last.
    pub fn sample<'a>(&'a self, scene: &Scene<'a>) -> Option<Value<'a>> {
        let request = scene.request;
        let world = scene.world;
        Some(match self {
            Self::Constant(value) => value.borrowed(),
            Self::Source => Value::Ip(world.source()?.ip()),
            Self::SourcePort => Value::Int(world.source()?.port().into()),
            Self::Destination => Value::Ip(world.destination()?.ip()),
            Self::DestinationPort => Value::Int(world.destination()?.port().into()),
            Self::Method => bytes(request?.method.as_str().as_bytes()),
            Self::Path => Value::text(request?.path()?),
            // The star of OPTIONS is no path.
            Self::PathQuery => match request?.uri.path_and_query()?.as_str() {
                "*" => return None,
                all => Value::text(all),
            },
            Self::Url => match request?.uri {
                uri if uri.authority().is_none() => Value::text(uri.path_and_query()?.as_str()),
                uri => Value::Str(Cow::Owned(uri.to_string().into_bytes())),
            },
            Self::Base => {
                let view = request?;
                let mut base = view.host().unwrap_or_default().to_vec();
                base.extend_from_slice(view.path().unwrap_or_default().as_bytes());
                Value::Str(Cow::Owned(base))
            }
            Self::Query => Value::text(request?.uri.query()?),
            Self::Parameter { name, delimiter } => {
                bytes(request::parameters_of(request?.uri, name.as_deref(), *delimiter).next()?)
            }
            Self::Host => Value::Str(host_name(request?.host()?)),
            Self::Scheme => {
                let tls = matches!(world.tls(TlsFact::Used), Some(Value::Bool(true)));
                Value::text(if tls { "https" } else { "http" })
            }
            Self::Version(side) => Value::text(match side {
                Side::Request => version(request?.version),
                Side::Response => version(scene.response?.version),
            }),
            Self::Header {
                side,
                name,
                whole,
                occurrence,
            } => {
                let headers = scene.headers(*side)?;
                let which = occurrence.unwrap_or(Occurrence::LAST);
                bytes(header::nth(headers, name, *whole, which)?)
            }
            Self::HeaderCount { side, name, whole } => {
                Value::Int(header::count(scene.headers(*side)?, name.as_ref(), *whole))
            }
            Self::HeaderNames(side, delimiter) => {
                let names: Vec<&str> = scene
                    .headers(*side)?
                    .keys()
                    .map(HeaderName::as_str)
                    .collect();
                Value::Str(Cow::Owned(names.join(delimiter).into_bytes()))
            }
            Self::Cookie(side, name) => {
                // Of several the last, as of fields.
                bytes(request::cookies(scene.headers(*side)?, *side, name).last()?)
            }
            Self::CookieCount(name) => {
                let count = request::cookies(request?.headers, Side::Request, name).count();
                Value::Int(i64::try_from(count).ok()?)
            }
            Self::Status => Value::Int(scene.response?.status.as_u16().into()),
            Self::Var(var, otherwise) => match (var.get(scene.state), otherwise) {
                (Some(value), _) => value,
                (None, otherwise) => Value::text(otherwise.as_deref()?),
            },
            Self::Counter {
                of,
                data,
                operation,
            } => Value::Int(of.sample(*data, *operation, scene)?),
            Self::Captured(side, place) => Value::Str(scene.state.captured()?.get(*side, *place)?),
            Self::Line(part) => part.sample(scene)?,
            Self::Log(part) => part.sample(scene)?,
            Self::ResponseVersion => Value::text(match scene.response?.version {
                // That of an answer of ours, of which nothing was captured.
                Version::HTTP_09 => return None,
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            }),
            Self::IsTracked(sc) => Value::Bool(scene.state.tracked(*sc).is_some()),
            Self::Fact(fact @ Fact::ServerUp(..)) => Value::Bool(world.fact(fact)? != 0),
            Self::Fact(fact) => Value::Int(world.fact(fact)?),
            Self::Tls(TlsFact::Used) => {
                Value::Bool(matches!(world.tls(TlsFact::Used), Some(Value::Bool(true))))
            }
            Self::ServerTls(TlsFact::Used) => {
                Value::Bool(world.server_tls(TlsFact::Used).is_some())
            }
            Self::ServerTls(fact) => world.server_tls(*fact)?,
            Self::Tls(TlsFact::Sni) => payload::server_name(scene)?,
            Self::Payload(payload) => payload.sample(scene)?,
            Self::Groups(users) => {
                let headers = request?.headers;
                let (user, _) = credentials(headers)?;
                match scene.state.allows(users, headers) {
                    true => Value::Str(user.into()),
                    false => return None,
                }
            }
            Self::NamePart {
                whose,
                issuer,
                name,
                which,
            } => Value::Str(world.name_part(*whose, *issuer, name, *which)?),
            Self::HostAndTarget => {
                let view = request?;
                let mut whole = view.host().unwrap_or_default().to_vec();
                let target = view
                    .uri
                    .path_and_query()
                    .map_or("", |target| target.as_str());
                whole.extend_from_slice(target.as_bytes());
                Value::Str(whole.into())
            }
            Self::Authority { port } => {
                let authority = request?.uri.authority()?;
                match port {
                    true => Value::Int(authority.port_u16().unwrap_or(80).into()),
                    false => Value::Ip(authority.host().trim_matches(['[', ']']).parse().ok()?),
                }
            }
            Self::ServerName => Value::Str(world.server()?),
            Self::Fields(side) => {
                let mut text = Vec::new();
                for (name, value) in scene.headers(*side)? {
                    text.extend_from_slice(name.as_str().as_bytes());
                    text.extend_from_slice(b": ");
                    text.extend_from_slice(value.as_bytes());
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"\r\n");
                Value::Str(text.into())
            }
            Self::Keys { table, free } => {
                let table = table.table()?;
                let used = i64::try_from(table.used(world.now_ms())).ok()?;
                Value::Int(match free {
                    true => (i64::from(table.key().size) - used).max(0),
                    false => used,
                })
            }
            Self::Body(side, part) => part.sample(scene.state.body(*side))?,
            Self::Head(part) => part.sample(scene)?,
            Self::Link(link) => link.sample(scene)?,
            Self::Tls(TlsFact::HasSni) => Value::Bool(world.tls(TlsFact::Sni).is_some()),
            Self::Tls(fact) => world.tls(*fact)?,
            Self::Fault(part) => part.sample(scene)?,
            Self::Date { offset, factor } => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                let micros = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
                let per_unit = 1_000_000 / factor.max(&1);
                Value::Int((micros / per_unit).saturating_add(offset.saturating_mul(*factor)))
            }
            Self::Random(range) => Value::Int(i64::from(
                u32::try_from((u128::from(world.random()) * u128::from(*range)) >> 64)
                    .unwrap_or_default(),
            )),
            Self::Major => Value::Int(match world.request_line()?.2 {
                Version::HTTP_2 => 2,
                _ => 1,
            }),
            Self::LastRule { line } => {
                let place = scene.state.last_rule?;
                match line {
                    true => Value::Int(place.line().into()),
                    false => Value::Str(Cow::Owned(place.file().as_bytes().to_vec())),
                }
            }
            Self::RequestNumber => Value::Int(i64::try_from(world.request_number()).ok()?),
            Self::Uuid => Value::Str(Cow::Owned(
                request::uuid(world.random(), world.random()).into_bytes(),
            )),
            Self::Priority(part) => Value::Int(scene.state.priority().get(*part)),
            Self::UniqueId => Value::Str(Cow::Borrowed(scene.unique_id()?)),
            Self::FrontendName => Value::text(world.frontend()),
            Self::BackendName => Value::text(world.backend().unwrap_or(world.frontend())),
            Self::Auth(users) => Value::Bool(scene.state.allows(users, request?.headers)),
            Self::Credentials { password } => {
                let (user, pass) = credentials(request?.headers)?;
                Value::Str(Cow::Owned(if *password { pass } else { user }))
            }
        })
    }
}

impl<'a> Scene<'a> {
    fn headers(&self, side: Side) -> Option<&'a http::HeaderMap> {
        match side {
            Side::Request => self.request.map(|request| request.headers),
            Side::Response => self.response.map(|response| response.headers),
        }
    }
}

pub use header::{first_value, host_name};
pub use request::credentials;
pub use request::parameter;
pub(in crate::rules) use request::{is_between_parameters, parameters};

fn bytes(text: &[u8]) -> Value<'_> {
    Value::Str(Cow::Borrowed(text))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    }
}

/// The well-known methods by name, so that none has to be made.
pub(super) fn method(name: &[u8]) -> Option<Method> {
    Method::from_bytes(name).ok()
}
