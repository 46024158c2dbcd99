//! The way to a server that is checked: what its traffic meets, a check meets too.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;

use super::{finding::Finding, tcp};
use crate::{
    config::model::{self, ProxyVersion},
    tls::Connector,
    topology::{CheckStatus, Server, Topology},
};

/// Where a check goes, and what comes before its own bytes.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) address: SocketAddr,
    tls: Option<Arc<Connector>>,
    introduction: Option<ProxyVersion>,
    /// The name for TLS, where the server's depends on the request.
    host: Option<String>,
}

/// A connection that is ready for the check's own bytes.
pub(super) enum Reached {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Reach {
    /// As HAProxy, a check at a port or an address of its own speaks to something else than the server: neither TLS nor a PROXY header
    /// is for that.
    pub(super) fn new(check: &model::HealthCheck, server: &Server, host: Option<&str>) -> Self {
        let same = check.port.is_none() && check.address.is_none();
        Self {
            address: Topology::check_address(server, check),
            tls: server.tls.clone().filter(|_| same),
            introduction: server.config.send_proxy.filter(|_| same),
            host: host.map(str::to_owned),
        }
    }

    /// The same without TLS.
    pub(super) fn bare(&self) -> Self {
        Self {
            tls: None,
            ..self.clone()
        }
    }

    /// Connects.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Reached, Finding> {
        let mut stream = tcp::connect(self.address, deadline).await?;
        let hello: &[u8] = match self.introduction {
            None => b"",
            // Nobody is introduced: the connection is our own.
            Some(ProxyVersion::V1) => b"PROXY UNKNOWN\r\n",
            Some(ProxyVersion::V2) => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        };
        if !hello.is_empty() {
            stream
                .write_all(hello)
                .await
                .map_err(|error| tcp::failed(&error))?;
        }
        let Some(tls) = &self.tls else {
            return Ok(Reached::Plain(stream));
        };
        let handshake = tls.connect(stream, self.address.ip(), self.host.as_deref(), false);
        match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => Ok(Reached::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(Finding {
                info: error.to_string(),
                ..Finding::new(CheckStatus::L6Rsp)
            }),
            Err(_elapsed) => Err(Finding::new(CheckStatus::L6Tout)),
        }
    }
}
