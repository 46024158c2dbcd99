//! The endpoint's sockets.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Mutex, Notify},
    task::JoinSet,
    time::timeout,
};

use super::{
    Asked, Endpoint, Unread,
    places::{Place, Places},
};
use crate::{
    config::model::{Address, Bind},
    tls::Acceptor,
};

/// Connections served at a time; further ones take the place of silent ones, or wait in the kernel's backlog.
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

/// What tells one listener from another.
type Seat = (Address, bool);

fn seat(bind: &Bind) -> Seat {
    (bind.address.clone(), bind.both_families)
}

/// What two processes call the listener of a bind.
pub fn name(bind: &Bind) -> String {
    let (address, both) = seat(bind);
    name_of(&address, both)
}

fn name_of(address: &Address, both_families: bool) -> String {
    format!("{address}{}", if both_families { " v4v6" } else { "" })
}

/// Opens the listeners, while the daemon still may.
///
/// # Errors
/// The first bind that cannot be listened on.
pub fn listen(binds: &[Bind]) -> Result<Vec<(Bind, TcpListener)>, ListenError> {
    binds
        .iter()
        .map(|bind| {
            // The file has no other for it.
            let address = bind.address.inet();
            let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported));
            let listening = address.and_then(|address| listen_on(address, bind.both_families));
            let listener = listening.map_err(|source| ListenError {
                bind: bind.text.clone(),
                source,
            })?;
            Ok((bind.clone(), listener))
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

/// The endpoint while it is served, from one configuration to the next. Dropping it ends that. Wants a tokio runtime with
/// time and IO.
#[derive(Debug)]
pub struct Serving {
    places: Arc<Places>,
    slow: Arc<Mutex<()>>,
    accepting: HashMap<Seat, Accepting>,
    tasks: JoinSet<()>,
}

/// A listener.
#[derive(Debug)]
struct Accepting {
    listener: Arc<tokio::net::TcpListener>,
    server: Arc<ArcSwap<Server>>,
    end: Arc<Notify>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            places: Arc::new(Places::new(MAX_CONNECTIONS)),
            slow: Arc::default(),
            accepting: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }
}

impl Serving {
    /// Duplicates of what is listened on, each with its [`name`].
    pub fn lend(&self) -> impl Iterator<Item = (String, OwnedFd)> {
        self.accepting
            .iter()
            .filter_map(|((address, both), accepting)| {
                let socket = accepting.listener.as_fd().try_clone_to_owned().ok()?;
                Some((name_of(address, *both), socket))
            })
    }

    /// Those of `binds` that are not listened on.
    pub fn missing(&self, binds: &[Bind]) -> Vec<Bind> {
        let missing = binds
            .iter()
            .filter(|bind| !self.accepting.contains_key(&seat(bind)));
        missing.cloned().collect()
    }

    /// Serves `endpoint` from now on, on `listeners` beside those of its binds that are listened on already. Others are
    /// closed, and what came by them is served to its end.
    ///
    /// # Errors
    /// A listener that the runtime cannot take.
    pub fn follow(
        &mut self,
        endpoint: Option<Arc<Endpoint>>,
        listeners: Vec<(Bind, TcpListener)>,
    ) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.accepting);
        let mut listeners: HashMap<Seat, TcpListener> = listeners
            .into_iter()
            .map(|(bind, listener)| (seat(&bind), listener))
            .collect();
        let binds = endpoint
            .iter()
            .flat_map(|endpoint| endpoint.binds().map(move |bind| (endpoint, bind)));
        for (endpoint, (bind, acceptor)) in binds {
            let server = Server {
                endpoint: Arc::clone(endpoint),
                acceptor,
                slow: Arc::clone(&self.slow),
            };
            let seat = seat(bind);
            if let Some(accepting) = before.remove(&seat) {
                accepting.server.store(Arc::new(server));
                self.accepting.insert(seat, accepting);
            } else if let Some(listener) = listeners.remove(&seat) {
                let listener = Arc::new(tokio::net::TcpListener::from_std(listener)?);
                let accepting = Accepting {
                    listener: Arc::clone(&listener),
                    server: Arc::new(ArcSwap::from_pointee(server)),
                    end: Arc::default(),
                };
                self.tasks.spawn(accept(
                    listener,
                    Arc::clone(&accepting.server),
                    Arc::clone(&self.places),
                    Arc::clone(&accepting.end),
                ));
                self.accepting.insert(seat, accepting);
            }
        }
        for removed in before.into_values() {
            removed.end.notify_one();
        }
        while self.tasks.try_join_next().is_some() {}
        Ok(())
    }
}

/// What a bind's connections are served with.
#[derive(Debug, Clone)]
struct Server {
    endpoint: Arc<Endpoint>,
    acceptor: Option<Arc<Acceptor>>,
    /// One password at a time is hashed, so that nobody gets more than a core by guessing.
    slow: Arc<Mutex<()>>,
}

/// Accepts until it is to `end`, and then serves those that have come.
async fn accept(
    listener: Arc<tokio::net::TcpListener>,
    server: Arc<ArcSwap<Server>>,
    places: Arc<Places>,
    end: Arc<Notify>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = end.notified() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let place = tokio::select! {
                    biased;
                    place = places.take() => place,
                    () = end.notified() => break,
                };
                let server = server.load_full();
                connections.spawn(async move {
                    tokio::select! {
                        () = server.serve(stream, client.ip(), &place) => {}
                        () = place.asked_to_leave() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!("stats endpoint cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

impl Server {
    async fn serve(&self, stream: TcpStream, client: IpAddr, place: &Place) {
        let Some(acceptor) = &self.acceptor else {
            return self.connection(stream, client, place).await;
        };
        // A client without a handshake gets nothing, not even a line in the log: anybody can be one.
        if let Ok(Ok(accepted)) = timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
            self.connection(accepted.stream, client, place).await;
        }
    }

    async fn connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        client: IpAddr,
        place: &Place,
    ) {
        let service = service_fn(
            |request: hyper::Request<hyper::body::Incoming>| async move {
                let response = self.respond(request, client, place).await;
                place.silent();
                Ok::<_, Infallible>(response)
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

    async fn respond(
        &self,
        request: hyper::Request<hyper::body::Incoming>,
        client: IpAddr,
        place: &Place,
    ) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let endpoint = Arc::clone(&self.endpoint);
        let body = read(body, endpoint.wants_body(&head.method, &head.uri)).await;
        // Who dawdles over a body is as good as silent.
        place.busy();
        let takes_long = endpoint.takes_long(&head.uri, &head.headers);
        let secure = self.acceptor.is_some();
        let respond = move || {
            endpoint.respond(&Asked {
                method: &head.method,
                uri: &head.uri,
                headers: &head.headers,
                body: body.as_deref().map_err(|unread| *unread),
                client: Some(client),
                secure,
                admitted: false,
            })
        };
        if !takes_long {
            return respond();
        }
        let _turn = self.slow.lock().await;
        let answer = tokio::task::spawn_blocking(respond).await;
        // A task that is not awaited any more has nobody to answer, and it does not panic.
        answer.unwrap_or_else(|_| {
            let mut response = Response::default();
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// A body of so many bytes at most.
async fn read(body: hyper::body::Incoming, most: usize) -> Result<Bytes, Unread> {
    if most == 0 {
        return Ok(Bytes::new());
    }
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLong),
        Err(_) => Err(Unread::BrokenOff),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net,
    };

    use super::*;
    use crate::{
        config::model::{Stats, Transport},
        observe::stats::fixture,
    };

    fn bind(address: SocketAddr) -> Bind {
        Bind {
            address: address.into(),
            permissions: Default::default(),
            both_families: false,
            transport: Transport::Tcp,
            text: address.to_string(),
            tls: None,
            accept_proxy: None,
            sockets: Default::default(),
            label: Default::default(),
        }
    }

    /// Serves on a port of its own while `client` runs.
    fn while_served<T: Send + 'static>(client: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listeners = listen(&[bind(([127, 0, 0, 1], 0).into())]).expect("listening");
        let address = listeners[0].1.local_addr().expect("it has one");
        let config = Stats {
            binds: vec![listeners[0].0.clone()],
            uri: "/stats".into(),
            refresh: None,
            realm: "x".into(),
            auth: None,
            metrics: Default::default(),
            admin: Default::default(),
            shows: Default::default(),
            rules: Default::default(),
        };
        let endpoint = Arc::new(Endpoint::new(config, fixture::sources()));
        let client = std::thread::spawn(move || client(address));
        runtime.block_on(async {
            let done = async {
                while !client.is_finished() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let mut serving = Serving::default();
            serving
                .follow(Some(endpoint), listeners)
                .expect("it is served");
            done.await;
        });
        client.join().expect("it did not panic")
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = net::TcpStream::connect(address).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer and its end");
        answer
    }

    #[test]
    fn requests_are_answered_and_rubbish_is_not_fatal() {
        let (health, bad, again) = while_served(|address| {
            (
                ask(
                    address,
                    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                ),
                ask(address, "rubbish\r\n\r\n"),
                ask(address, "HEAD /stats;csv HTTP/1.0\r\n\r\n"),
            )
        });
        assert!(
            health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok\n"),
            "{health}"
        );
        assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
        assert!(
            again.starts_with("HTTP/1.0 200 OK\r\n") && again.ends_with("\r\n\r\n"),
            "{again}"
        );
    }

    #[test]
    fn idle_clients_leave_room_for_others() {
        let answer = while_served(|address| {
            let _idle: Vec<_> = (0..MAX_CONNECTIONS * 2)
                .map(|_| net::TcpStream::connect(address).expect("connected"))
                .collect();
            ask(address, "GET /healthz HTTP/1.0\r\n\r\n")
        });
        assert!(answer.ends_with("ok\n"), "{answer}");
    }

    #[test]
    fn a_bind_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = taken.local_addr().expect("it has one");
        let error = listen(&[bind(address)]).expect_err("it is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
