//! What conditions ask of a client's connection and its TLS.

use std::{
    borrow::Cow,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use crate::{
    rules::{CertificatePart, Link, TcpPart, TlsFact, Told, Value, Whose},
    tls::{ClientCertificate, Session},
    wire::heard::Heard,
};

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
