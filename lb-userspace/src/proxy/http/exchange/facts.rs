//! What conditions ask of proxies, servers and a client's TLS.

use std::{
    borrow::Cow,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use crate::{
    rules::{Asked, CertificatePart, Fact, Link, Named, TcpPart, TlsFact, Told, Value, Whose},
    tls::{ClientCertificate, Session},
    topology::{Backend, Frontend, Server, Topology},
    wire::heard::Heard,
};

/// A number of the proxies and servers there are; where it names none, of those that a request is at.
pub(in crate::proxy) fn fact(
    topology: &Topology,
    fact: &Fact,
    here: &Arc<Frontend>,
    backend: Option<&Arc<Backend>>,
    now: u64,
) -> Option<i64> {
    let here = (here,);
    let backend_of = |named: Option<&Named>| match named {
        None => backend,
        Some(named) => topology.backends.get(named.index()?),
    };
    let server_of =
        |backend: &Named, server: &Named| backend_of(Some(backend))?.servers.get(server.index()?);
    let frontend = |named: &Option<Named>| match named {
        Some(named) => topology.frontends.get(named.index()?),
        None => Some(here.0),
    };
    let rate = |per_second: u64| i64::try_from(per_second).unwrap_or(i64::MAX);
    Some(match fact {
        Fact::UsableServers(b) => usable(backend_of(b.as_ref())?),
        Fact::BackendConnections(b) => backend_of(b.as_ref())?.current().into(),
        Fact::BackendRate(b) => {
            let counters = &backend_of(b.as_ref())?.counters;
            rate(counters.connection_rate.per_second(now))
        }
        Fact::Queue(b) => queued(backend_of(b.as_ref())?),
        Fact::AverageQueue(b) => {
            let backend = backend_of(b.as_ref())?;
            let usable = usable(backend).max(1);
            (queued(backend) + usable - 1) / usable
        }
        Fact::Slots(b) => {
            let backend = backend_of(b.as_ref())?;
            let up = backend.servers.iter().filter(|server| server.is_eligible());
            // The same where a queue has none.
            let slots = up.map(|server| {
                let room = i64::from(server.config.max_queue?) - i64::from(server.queue.len());
                Some(free(server)? + room.max(0))
            });
            slots.sum::<Option<i64>>().unwrap_or(-1)
        }
        Fact::BackendFree(b) => {
            let backend = backend_of(b.as_ref())?;
            // HAProxy says -1 where a server has no limit, since nothing can be told then.
            let free = backend
                .servers
                .iter()
                .filter(|s| s.is_eligible())
                .map(|s| free(s));
            free.sum::<Option<i64>>().unwrap_or(-1)
        }
        Fact::FrontendConnections(f) => frontend(f)?.current().into(),
        Fact::FrontendRate(f) => rate(frontend(f)?.counters.connection_rate.per_second(now)),
        Fact::FrontendRequestRate(f) => {
            rate(frontend(f)?.counters.http.request_rate.per_second(now))
        }
        Fact::ServerUp(b, s) => server_of(b, s)?.is_up().into(),
        Fact::ServerConnections(b, s) => server_of(b, s)?.active().into(),
        Fact::ServerFree(b, s) => free(server_of(b, s)?).unwrap_or(-1),
        Fact::ServerWeight(b, s) => server_of(b, s)?.weight().into(),
        Fact::ServerInitialWeight(b, s) => server_of(b, s)?.config.weight.into(),
        Fact::ServerRate(b, s) => rate(server_of(b, s)?.counters.connection_rate.per_second(now)),
        Fact::ServerQueue(b, s) => server_of(b, s)?.queue.len().into(),
    })
}

/// A number of the backend or server that is called `name`; a server without its backend is one of `backend`.
pub(in crate::proxy) fn named(
    topology: &Topology,
    what: Asked,
    name: &str,
    backend: Option<&Arc<Backend>>,
) -> Option<i64> {
    let find = |name: &str| topology.backends.iter().find(|one| &*one.name == name);
    Some(match what {
        Asked::UsableServers => usable(find(name)?),
        Asked::ServerQueue => {
            let (backend, server) = match name.split_once('/') {
                Some((backend, server)) => (find(backend)?, server),
                None => (backend?, name),
            };
            backend.server(server)?.queue.len().into()
        }
    })
}

/// What a PROXY header told.
pub(in crate::proxy) fn heard(heard: &Heard, what: Told) -> Option<Value<'_>> {
    let bytes = match what {
        Told::Authority => &heard.authority,
        Told::UniqueId => &heard.unique_id,
    };
    Some(Value::Str(Cow::Borrowed(bytes.as_deref()?)))
}

/// An end of a client's connection itself, the client's or ours, or its port.
pub(in crate::proxy) fn itself(
    socket: BorrowedFd<'_>,
    client: bool,
    port: bool,
) -> Option<Value<'static>> {
    let end = match client {
        true => rustix::net::getpeername(socket).ok()?,
        false => Some(rustix::net::getsockname(socket).ok()?),
    };
    let end = SocketAddr::try_from(end?).ok()?;
    let end = SocketAddr::new(end.ip().to_canonical(), end.port());
    Some(Link::end(end, port))
}

/// What the kernel knows of a client's connection.
pub(in crate::proxy) fn tcp(socket: BorrowedFd<'_>, part: TcpPart) -> Option<i64> {
    let info = tcp_info(socket)?;
    let time = |micros: u32, fine: bool| match fine {
        true => micros,
        false => micros / 1000,
    };
    let number = match part {
        TcpPart::RoundTrip { micros } => time(info.tcpi_rtt, micros),
        TcpPart::Variance { micros } => time(info.tcpi_rttvar, micros),
        TcpPart::Unacknowledged => info.tcpi_unacked,
        TcpPart::Selectively => info.tcpi_sacked,
        TcpPart::Lost => info.tcpi_lost,
        TcpPart::Again => info.tcpi_retrans,
        TcpPart::Forward => info.tcpi_fackets,
        TcpPart::Reordering => info.tcpi_reordering,
    };
    Some(number.into())
}

fn tcp_info(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the kernel writes no more than `size` bytes into `info`, which has as many and is all zeros before.
    let said = unsafe {
        let to = info.as_mut_ptr().cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            to,
            &raw mut size,
        )
    };
    // SAFETY: numbers alone, of which every pattern of bits is one.
    (said == 0).then(|| unsafe { info.assume_init() })
}

/// Milliseconds, as expressions have them.
pub(in crate::proxy) fn millis(time: Duration) -> Value<'static> {
    Value::Int(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// What a handshake has shown.
pub(in crate::proxy) fn tls_fact(session: &Session, fact: TlsFact) -> Option<Value<'_>> {
    Some(match fact {
        TlsFact::Used => Value::Bool(true),
        TlsFact::Sni => Value::text(session.server_name.as_deref()?),
        TlsFact::Protocol => Value::text(session.version),
        TlsFact::HasSni => Value::Bool(session.server_name.is_some()),
        TlsFact::Alpn => Value::Str(session.alpn.as_deref()?.into()),
        TlsFact::Cipher => Value::text(session.cipher),
        TlsFact::CertificateUsed => Value::Bool(session.peer.is_some()),
        TlsFact::Verify => Value::Int(session.verdict.last.into()),
        TlsFact::Error => Value::Int(session.verdict.certificate.into()),
        TlsFact::AuthorityError => Value::Int(session.verdict.authority.into()),
        TlsFact::AuthorityDepth => Value::Int(session.verdict.depth.into()),
        TlsFact::Resumed => Value::Bool(session.resumed),
        TlsFact::KeySize => Value::Int(session.key_size()),
        TlsFact::Of(whose, part) => part_of(certificate_of(session, whose)?, part)?,
    })
}

fn certificate_of(session: &Session, whose: Whose) -> Option<&ClientCertificate> {
    match whose {
        Whose::Client | Whose::Server => session.peer.as_deref(),
        Whose::Ours => session.ours.as_deref(),
    }
}

fn part_of(certificate: &ClientCertificate, part: CertificatePart) -> Option<Value<'_>> {
    Some(match part {
        CertificatePart::Subject => Value::text(&certificate.subject),
        CertificatePart::Issuer => Value::text(&certificate.issuer),
        CertificatePart::NotBefore => Value::text(certificate.not_before.as_deref()?),
        CertificatePart::NotAfter => Value::text(certificate.not_after.as_deref()?),
        CertificatePart::Serial => Value::bytes_of_hex(&certificate.serial)?,
        CertificatePart::Sha1 => Value::bytes_of_hex(&certificate.sha1)?,
        CertificatePart::Sha256 => Value::bytes_of_hex(&certificate.sha256)?,
        CertificatePart::Der => Value::Bin(certificate.der.as_slice().into()),
        CertificatePart::Chain => Value::Bin(certificate.chain.as_slice().into()),
        CertificatePart::KeyKind => Value::text(&certificate.key_kind),
        CertificatePart::SignatureKind => Value::text(&certificate.signature_kind),
        CertificatePart::Version => Value::Int(certificate.version.into()),
    })
}

/// A part of the name in a certificate, or in its issuer's.
pub(in crate::proxy) fn name_part<'s>(
    session: &'s Session,
    whose: Whose,
    issuer: bool,
    name: &str,
    which: i64,
) -> Option<Cow<'s, [u8]>> {
    let part = certificate_of(session, whose)?.part(issuer, name, which)?;
    Some(Cow::Borrowed(part.as_bytes()))
}

/// Servers that new requests may go to.
fn usable(backend: &Backend) -> i64 {
    let count = match backend.servers_up() {
        // Of the spares one is used at a time, unless all are.
        (0, spares) if !backend.config.connections.all_backups => spares.min(1),
        (0, spares) => spares,
        (count, _) => count,
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Requests that wait for any of a backend's servers.
fn queued(backend: &Backend) -> i64 {
    let of_servers = backend
        .servers
        .iter()
        .map(|server| i64::from(server.queue.len()));
    i64::from(backend.queue.len()) + of_servers.sum::<i64>()
}

/// Places that a server has left; `None` if it has no limit.
fn free(server: &Server) -> Option<i64> {
    let most = i64::from(server.maxconn()?);
    Some((most - i64::from(server.active())).max(0))
}
