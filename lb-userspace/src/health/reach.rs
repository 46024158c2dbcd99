//! The way to a server that is checked: what its traffic meets, a check meets too.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{finding::Finding, tcp};
use crate::{
    config::model::{self, Address, CheckKind, CheckText, HTTP_2, Protocol, ProxyVersion},
    tls::Connector,
    topology::{CheckStatus, Elsewhere, Server, Topology},
    wire::{
        Stream,
        dial::{self, Handshake, Origin, Unready},
        header::{Introduction, Whom},
        told::told,
    },
};

/// Where a check goes, and what comes before its own bytes.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    server: Arc<Server>,
    /// Where it goes instead, as far as that is said.
    own: model::HealthCheck,
    tls: Option<Arc<Connector>>,
    introduction: Option<ProxyVersion>,
    /// The name for TLS, where the server's depends on the request.
    host: Option<String>,
    /// Whether HTTP/2 is spoken where nothing is agreed on.
    h2: bool,
}

impl Reach {
    /// As HAProxy, a check at a port or an address of its own speaks to something else than the server: neither TLS nor
    /// a PROXY header is for that, unless the check itself says so. `check` is of the server's connection at `at`.
    pub(super) fn new(check: &model::HealthCheck, at: usize, server: &Arc<Server>) -> Self {
        let same = check.goes_to_server();
        let traffic = || server.tls.clone().filter(|_| same && !check.bare);
        // What depends on the check is no name to verify.
        let named = |host: &Option<CheckText>| Some(host.as_ref()?.as_literal()?.to_owned());
        let own = server.check_tls.get(at).cloned().flatten();
        let (host, h2) = match &check.kind {
            CheckKind::Http { host, version, .. } => (named(host), version == HTTP_2),
            CheckKind::Grpc { host, .. } => (named(host), true),
            _ => (None, false),
        };
        Self {
            server: Arc::clone(server),
            own: check.clone(),
            tls: own.or_else(traffic),
            introduction: check.introduction.version(server.config.send_proxy, same),
            host,
            h2: h2 || (same && server.config.protocol == Protocol::H2),
        }
    }

    /// Where it goes now.
    pub(super) fn address(&self) -> Address {
        Topology::check_address(&self.server, &self.own)
    }

    /// What an operator has said of the agent.
    pub(super) fn agent(&self) -> Arc<Elsewhere> {
        self.server.agent_elsewhere()
    }

    /// Where it comes from: never a client.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            source: self.server.config.source,
            options: Some(&self.server.config.dialling),
            ..Origin::default()
        }
    }

    /// The same without TLS.
    pub(super) fn bare(&self) -> Self {
        Self {
            tls: None,
            ..self.clone()
        }
    }

    /// Whether HTTP/2 is spoken on `stream`: what was agreed on goes before what was meant.
    pub(super) fn speaks_h2(&self, stream: &Stream) -> bool {
        match stream.alpn() {
            Some(protocol) => protocol == b"h2",
            None => self.h2,
        }
    }

    /// Connects.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Stream, Finding> {
        let address = self.address();
        let stream = tcp::connect(&address, self.origin(), deadline).await?;
        // Of nobody's connection there is a checksum to tell, and that it is without TLS.
        let told = told(self.server.config.proxy_options, None, None, None);
        let introduction = self.introduction.map(|version| Introduction {
            version,
            whom: Whom::Ourselves,
            told: &told,
        });
        let tls = self.tls.as_deref().map(|connector| Handshake {
            connector,
            address: address.certified(),
            host: self.host.as_deref(),
            http_1: false,
        });
        let prepare = dial::prepare(stream, introduction, tls);
        match timeout_at(deadline, prepare).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(Unready::Broken(error))) => Err(tcp::failed(&error)),
            Ok(Err(Unready::Tls(error))) => Err(Finding {
                info: error.to_string(),
                ..Finding::new(CheckStatus::L6Rsp)
            }),
            Err(_elapsed) => Err(Finding::new(CheckStatus::L6Tout)),
        }
    }
}
