//! What is known of the connections on either side of a request, and of how long they are waited for.

use std::net::{IpAddr, SocketAddr};

use crate::rules::{
    args::Call,
    patience::Awaited,
    problem::Problem,
    registry::Registry,
    scene::Scene,
    value::{Kind, Value},
};

/// A fact about connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// `http_first_req`: whether it is the first request of its connection.
    FirstRequest,
    /// `thread`: which one serves it, from 0.
    Thread,
    /// `stopping`: whether lb is told to stop.
    Stopping,
    /// `fc_rcvd_proxy`: whether a PROXY header has come before it.
    ReceivedProxy,
    /// `so_id`: the number of the bind that it came to.
    SocketId,
    /// `fe_id`: the number of the frontend.
    FrontendId,
    /// `be_id`: that of the backend; before there is one, of the frontend.
    BackendId,
    /// `srv_id`: that of the server in its backend.
    ServerId,
    /// `so_name`: that bind's name.
    SocketName,
    /// `fc_pp_authority`, `fc_pp_unique_id`: what that told.
    Told(Told),
    /// `fc_rtt` and the like: what the kernel knows of the client's connection.
    Tcp(TcpPart),
    /// `bc_dst`, `bc_dst_port`: the server's end.
    Server {
        /// The port alone.
        port: bool,
    },
    /// `bc_src`, `bc_src_port`: our end.
    Local {
        /// The port alone.
        port: bool,
    },
    /// `bc_http_major`: 1 or 2.
    ServerMajor,
    /// `fe_client_timeout`: milliseconds.
    ClientTimeout,
    /// `be_server_timeout`: milliseconds.
    ServerTimeout,
    /// `be_tunnel_timeout`: milliseconds.
    TunnelTimeout,
    /// `cur_server_timeout`: the same, as rules have it.
    CurrentServerTimeout,
    /// `cur_tunnel_timeout`.
    CurrentTunnelTimeout,
    /// `fe_defbe`: where what no rule leads elsewhere goes.
    DefaultBackend,
    /// `fc_src`, `fc_dst` and their ports: an end of the client's connection itself, whatever a PROXY header or a rule says.
    Itself {
        /// The client's end.
        client: bool,
        /// The port alone.
        port: bool,
    },
    /// `fc_src_is_local`, `fc_dst_is_local`: whether that is this host's.
    ItselfIsLocal {
        /// The client's end.
        client: bool,
    },
    /// `src_is_local`: whether the client's address is this host's.
    SourceIsLocal,
    /// `dst_is_local`.
    DestinationIsLocal,
}

/// What of connections has to be remembered, since rules ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    /// The client's socket.
    pub socket: bool,
    /// Our end of the connection to the server.
    pub local: bool,
    /// What its TLS has shown.
    pub tls: bool,
}

/// What may be asked of a backend or server whose name comes with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `nbsrv`: servers of a backend that can be used.
    UsableServers,
    /// `srv_queue`: requests that wait for a server, `backend/server` or one of this backend's.
    ServerQueue,
}

/// What a PROXY header of version 2 may tell of a client besides its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The name that it asked for.
    Authority,
    /// What its connection is called.
    UniqueId,
}

/// A number of TCP_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpPart {
    /// `fc_rtt`: microseconds of a round trip, or milliseconds.
    RoundTrip {
        /// In microseconds.
        micros: bool,
    },
    /// `fc_rttvar`: by how much it varies.
    Variance {
        /// In microseconds.
        micros: bool,
    },
    /// `fc_unacked`
    Unacknowledged,
    /// `fc_sacked`
    Selectively,
    /// `fc_lost`
    Lost,
    /// `fc_retrans`
    Again,
    /// `fc_fackets`
    Forward,
    /// `fc_reordering`
    Reordering,
}

impl Link {
    /// A fetch by its name; with how many arguments it takes.
    pub(super) fn parse(
        call: &Call,
        registry: &mut Registry<'_>,
    ) -> Result<Option<(Self, usize)>, Problem> {
        let found = Self::named(call)?;
        match found {
            Some((Self::Tcp(_) | Self::Itself { .. } | Self::ItselfIsLocal { .. }, _)) => {
                registry.links_mut().socket = true;
            }
            Some((Self::Local { .. }, _)) => registry.links_mut().local = true,
            _ => {}
        }
        Ok(found)
    }

    fn named(call: &Call) -> Result<Option<(Self, usize)>, Problem> {
        let micros = || match call.optional(0) {
            None | Some("ms") => Ok(false),
            Some("us") => Ok(true),
            Some(unit) => Err(Problem::new(
                format!("`{unit}` is no unit"),
                "write `us` or `ms`",
            )),
        };
        let link = match call.name.as_str() {
            "fc_rtt" => {
                let micros = micros()?;
                return Ok(Some((Self::Tcp(TcpPart::RoundTrip { micros }), 1)));
            }
            "fc_rttvar" => {
                let micros = micros()?;
                return Ok(Some((Self::Tcp(TcpPart::Variance { micros }), 1)));
            }
            "fc_unacked" => Self::Tcp(TcpPart::Unacknowledged),
            "fc_sacked" => Self::Tcp(TcpPart::Selectively),
            "fc_lost" => Self::Tcp(TcpPart::Lost),
            "fc_retrans" => Self::Tcp(TcpPart::Again),
            "fc_fackets" => Self::Tcp(TcpPart::Forward),
            "fc_reordering" => Self::Tcp(TcpPart::Reordering),
            "http_first_req" => Self::FirstRequest,
            "thread" => Self::Thread,
            "stopping" => Self::Stopping,
            "fc_rcvd_proxy" => Self::ReceivedProxy,
            "so_id" => Self::SocketId,
            "so_name" => Self::SocketName,
            "fe_id" => Self::FrontendId,
            "be_id" => Self::BackendId,
            "srv_id" => Self::ServerId,
            "fc_pp_authority" => Self::Told(Told::Authority),
            "fc_pp_unique_id" => Self::Told(Told::UniqueId),
            "bc_dst" => Self::Server { port: false },
            "bc_dst_port" => Self::Server { port: true },
            "bc_src" => Self::Local { port: false },
            "bc_src_port" => Self::Local { port: true },
            "bc_http_major" => Self::ServerMajor,
            "fe_client_timeout" => Self::ClientTimeout,
            "be_server_timeout" => Self::ServerTimeout,
            "be_tunnel_timeout" => Self::TunnelTimeout,
            "cur_server_timeout" => Self::CurrentServerTimeout,
            "cur_tunnel_timeout" => Self::CurrentTunnelTimeout,
            "fe_defbe" => Self::DefaultBackend,
            "src_is_local" => Self::SourceIsLocal,
            "dst_is_local" => Self::DestinationIsLocal,
            "fc_src_is_local" => Self::ItselfIsLocal { client: true },
            "fc_dst_is_local" => Self::ItselfIsLocal { client: false },
            "fc_src" | "fc_src_port" => Self::Itself {
                client: true,
                port: call.name.ends_with("_port"),
            },
            "fc_dst" | "fc_dst_port" => Self::Itself {
                client: false,
                port: call.name.ends_with("_port"),
            },
            _ => return Ok(None),
        };
        Ok(Some((link, 0)))
    }

    /// The type of its values.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::FirstRequest
            | Self::Stopping
            | Self::ReceivedProxy
            | Self::SourceIsLocal
            | Self::DestinationIsLocal
            | Self::ItselfIsLocal { .. } => Kind::Bool,
            Self::Server { port: false }
            | Self::Local { port: false }
            | Self::Itself { port: false, .. } => Kind::Ip,
            Self::DefaultBackend | Self::SocketName | Self::Told(_) => Kind::Str,
            _ => Kind::Int,
        }
    }

    /// What it takes that is known only once there is a server.
    pub(super) fn of_server(self) -> bool {
        matches!(
            self,
            Self::Server { .. } | Self::Local { .. } | Self::ServerMajor | Self::ServerId
        )
    }

    pub(super) fn sample<'a>(self, scene: &Scene<'a>) -> Option<Value<'a>> {
        match self {
            Self::ItselfIsLocal { client } => {
                let end = Self::Itself {
                    client,
                    port: false,
                };
                scene.world.link(end)?.as_ip().map(is_local)
            }
            Self::SourceIsLocal => scene.world.source().map(|end| is_local(end.ip())),
            Self::DestinationIsLocal => scene.world.destination().map(|end| is_local(end.ip())),
            Self::CurrentServerTimeout => {
                Self::current(scene, Awaited::Server, Self::ServerTimeout)
            }
            Self::CurrentTunnelTimeout => {
                Self::current(scene, Awaited::Tunnel, Self::TunnelTimeout)
            }
            _ => scene.world.link(self),
        }
    }

    /// How long is waited: as a rule has it, or else as the backend does.
    fn current<'a>(scene: &Scene<'a>, of: Awaited, otherwise: Self) -> Option<Value<'a>> {
        match scene.state.patience(of) {
            Some(time) => i64::try_from(time.as_millis()).ok().map(Value::Int),
            // Before there is a server HAProxy has none to tell.
            None if scene.response.is_none() => Some(Value::Int(0)),
            None => scene.world.link(otherwise),
        }
    }

    /// An end of a connection, or its port.
    pub fn end(end: SocketAddr, port: bool) -> Value<'static> {
        match port {
            true => Value::Int(end.port().into()),
            false => Value::Ip(end.ip()),
        }
    }
}

/// Whether an address is this host's: one can listen there.
fn is_local(address: IpAddr) -> Value<'static> {
    Value::Bool(std::net::UdpSocket::bind((address, 0)).is_ok())
}
