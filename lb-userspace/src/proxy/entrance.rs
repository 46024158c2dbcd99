//! What comes before a connection's own bytes: a PROXY header, then a TLS handshake. Nobody is served before both are
//! done, and one timeout stands for both.

use std::{io, rc::Rc, sync::Arc};

use tokio_rustls::TlsStream;

use super::{
    Client, Stream, Worker,
    header::{self, Parsed},
    peek::{Looked, Peeked, peek, take},
    refused::{self, Comer, Refused},
};
use crate::{
    config::model::{AcceptProxy, Bind, Mode},
    tls::Acceptor,
    topology::Peer,
};

/// Takes what comes first on the bind at `index` of its frontend; `None` if nothing of use came, which has been logged.
pub(super) async fn enter(worker: &Worker, client: Client, index: usize) -> Option<Client> {
    let frontend = Arc::clone(client.frontend());
    let bind = frontend.config.binds.get(index)?;
    let timeouts = &frontend.config.timeouts;
    let patience = match frontend.config.mode {
        Mode::Http => timeouts.client.min(timeouts.http_request),
        Mode::Tcp => timeouts.client,
    };
    let address = client.address;
    let comer = Comer {
        client: address,
        destination: client.destination(),
        accepted: client.accepted,
        accepted_at: client.accepted_at,
        bind: index + 1,
        tls: bind.tls.is_some(),
    };
    let acceptor = frontend.acceptor(index);
    let mut stage = Stage::Header;
    let entered = tokio::time::timeout(patience, through(bind, acceptor, client, &mut stage)).await;
    let refused = match (entered, stage) {
        (Ok(Ok(client)), _) => {
            if let Some(session) = &client.tls {
                frontend.counters.tls_sessions.inc();
                if session.resumed {
                    frontend.counters.reused_tls_sessions.inc();
                }
            }
            return Some(client);
        }
        (Ok(Err(refused)), _) => refused,
        (Err(_elapsed), Stage::Header) => Refused::HeaderTimeout,
        (Err(_elapsed), Stage::Tls) => Refused::TlsTimeout,
    };
    if refused.is_of_tls() {
        frontend.counters.failed_handshakes.inc();
    }
    if let Refused::Tls(why) = &refused {
        tracing::debug!("frontend {}: {address}: {why}", frontend.name);
    }
    refused::log(worker, &frontend, &comer, &refused);
    None
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Header,
    Tls,
}

async fn through(
    bind: &Bind,
    acceptor: Option<&Arc<Acceptor>>,
    mut client: Client,
    stage: &mut Stage,
) -> Result<Client, Refused> {
    if bind
        .accept_proxy
        .as_ref()
        .is_some_and(|from| is_expected(from, client.address))
    {
        proxy_header(&mut client).await?;
    }
    *stage = Stage::Tls;
    if bind.tls.is_none() {
        return Ok(client);
    }
    let acceptor = acceptor.ok_or_else(|| Refused::Tls(io::Error::other("it has no TLS")))?;
    handshake(client, acceptor).await
}

fn is_expected(from: &AcceptProxy, client: Peer) -> bool {
    match (from, client.ip()) {
        (AcceptProxy::Everyone, _) => true,
        (AcceptProxy::From(prefixes), Some(ip)) => {
            prefixes.iter().any(|prefix| prefix.contains(ip))
        }
        (AcceptProxy::From(_), None) => false,
    }
}

async fn proxy_header(client: &mut Client) -> Result<(), Refused> {
    let stream = client.stream.tcp();
    let parsed = peek(stream, header::LONGEST, |bytes| {
        if bytes.is_empty() {
            return Looked::Wants(1);
        }
        match header::parse(bytes) {
            Ok(Parsed::Partial(least)) => Looked::Wants(least),
            Ok(Parsed::Complete(length, ends)) => {
                let heard = header::heard(bytes.get(..length).unwrap_or_default());
                Looked::Enough(Ok((length, ends, heard)))
            }
            Err(error) => Looked::Enough(Err(error)),
        }
    });
    let (length, ends, heard) = match parsed.await {
        Ok(Peeked::Enough(parsed)) => parsed?,
        Ok(Peeked::Ended(0)) => return Err(Refused::HeaderEmpty),
        Ok(Peeked::Ended(_)) => return Err(Refused::HeaderTruncated),
        Err(_) => return Err(Refused::HeaderAborted),
    };
    take(stream, length).map_err(|_| Refused::HeaderAborted)?;
    client.introduced = Some(Rc::new(heard));
    if let Some(ends) = ends {
        client.address = ends.source.into();
        client.destination = Some(ends.destination);
    }
    Ok(())
}

async fn handshake(client: Client, acceptor: &Acceptor) -> Result<Client, Refused> {
    let (stream, client) = client.split();
    let Stream::Plain(stream) = stream else {
        return Err(Refused::Tls(io::Error::other("it is TLS already")));
    };
    let accepted = acceptor
        .accept(stream)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Refused::TlsEmpty,
            _ => Refused::Tls(error),
        })?;
    let session = accepted.session();
    let stream = Stream::Tls(Box::new(TlsStream::Server(accepted.stream)));
    Ok(client(stream, Rc::new(session)))
}
