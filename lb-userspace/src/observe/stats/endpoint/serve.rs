//! The endpoint's sockets.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};

use super::Endpoint;
use crate::config::model::Bind;

/// Connections served at a time; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;
/// A request's head has to be complete within this; also the longest a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a connection may last, so that a client that reads slowly cannot hold its place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// A request's head has to fit in this.
const HEAD_SIZE: usize = 16 * 1024;
/// Rest after accept failed, which is for want of a file descriptor as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 128;

/// A bind that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on stats bind {bind}: {source}")]
pub struct ListenError {
    /// As the user wrote it.
    pub bind: String,
    /// The system's reason.
    pub source: io::Error,
}

/// Opens the listeners, while the daemon still may.
///
/// # Errors
/// The first bind that cannot be listened on.
pub fn listen(binds: &[Bind]) -> Result<Vec<TcpListener>, ListenError> {
    binds
        .iter()
        .map(|bind| {
            listen_on(bind.address, bind.both_families).map_err(|source| ListenError {
                bind: bind.text.clone(),
                source,
            })
        })
        .collect()
}

fn listen_on(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until dropped. Runs on any tokio runtime with time and IO.
///
/// # Errors
/// A listener that the runtime cannot take.
pub async fn serve(listeners: Vec<TcpListener>, endpoint: Arc<Endpoint>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.spawn(accept(listener, Arc::clone(&endpoint), Arc::clone(&places)));
    }
    while accepting.join_next().await.is_some() {}
    Ok(())
}

async fn accept(
    listener: tokio::net::TcpListener,
    endpoint: Arc<Endpoint>,
    places: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    // The semaphore is never closed, so this only ends with the task.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let endpoint = Arc::clone(&endpoint);
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, &endpoint).await;
                });
            }
            Err(error) => {
                tracing::warn!("stats endpoint cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, endpoint: &Endpoint) {
    let service = service_fn(
        |request: hyper::Request<hyper::body::Incoming>| async move {
            Ok::<_, Infallible>(endpoint.respond(
                request.method(),
                request.uri(),
                request.headers(),
            ))
        },
    );
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong here is the client's affair: it went away, spoke no HTTP, or was too slow.
    let _ = timeout(CONNECTION_TIMEOUT, serving).await;
}
