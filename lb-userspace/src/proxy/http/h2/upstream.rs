//! Connections to servers. The requests of a worker share them.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client};
use http::{Request, Response};
use http_body::Body;
use tokio::{net::TcpStream, sync::Notify};

use super::{
    CONNECTION_WINDOW, MAX_HEAD, REMEMBERED_RESETS, Received, SEND_BUFFER, STREAM_WINDOW, STREAMS,
    head,
    pipe::{Pipe, Side},
};
use crate::proxy::{
    connect::ConnectError,
    http::{
        body::{Inbound, RequestBody},
        client::Client,
        upstream::Place,
    },
};

/// A connection to a server.
struct Connection {
    sender: client::SendRequest<Bytes>,
    active: Cell<usize>,
    idle_since: Cell<Instant>,
}

impl Connection {
    async fn open(stream: TcpStream) -> Result<Rc<Self>, h2::Error> {
        let (sender, wire) = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(4 * MAX_HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .enable_push(false)
            .handshake(stream)
            .await?;
        tokio::task::spawn_local(async move {
            // What goes wrong is told to the requests on it.
            let _ = wire.await;
        });
        Ok(Rc::new(Self {
            sender,
            active: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        }))
    }

    /// Whether the server still takes requests on it.
    fn is_open(&self) -> bool {
        let mut sender = self.sender.clone();
        !matches!(
            sender.poll_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Err(_))
        )
    }

    fn has_room(&self) -> bool {
        let most = self.sender.current_max_send_streams().min(STREAMS as usize);
        self.active.get() < most.max(1)
    }
}

/// A worker's connections to one server.
#[derive(Default)]
struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// One is being made; told once it is there, or is not to be had.
    opening: RefCell<Option<Rc<Notify>>>,
}

/// A worker's connections.
#[derive(Default)]
pub(in super::super) struct Pool {
    places: RefCell<Vec<(Place, Rc<Connections>)>>,
}

impl Pool {
    fn at(&self, place: Place) -> Rc<Connections> {
        let mut places = self.places.borrow_mut();
        if let Some((_, found)) = places.iter().find(|(at, _)| *at == place) {
            return Rc::clone(found);
        }
        let made = Rc::<Connections>::default();
        places.push((place, Rc::clone(&made)));
        made
    }

    /// Room for a request at `place`, on a connection that `connect` makes if there is none.
    ///
    /// # Errors
    /// Those of `connect`.
    pub(in super::super) async fn lease(
        &self,
        place: Place,
        connect: impl AsyncFnOnce() -> Result<TcpStream, ConnectError>,
    ) -> Result<Lease, ConnectError> {
        let at = self.at(place);
        loop {
            at.open
                .borrow_mut()
                .retain(|connection| connection.is_open());
            let free = at
                .open
                .borrow()
                .iter()
                .find(|connection| connection.has_room())
                .map(Rc::clone);
            if let Some(connection) = free {
                return Ok(Lease::new(connection, false));
            }
            // Whoever comes while one is being made waits for it: there may be room for all.
            let opening = at.opening.borrow().as_ref().map(Rc::clone);
            match opening {
                Some(opening) => opening.notified().await,
                None => break,
            }
        }
        let opening = Opening::begin(&at);
        let stream = connect().await?;
        let connection = Connection::open(stream)
            .await
            .map_err(|error| ConnectError::Refused(io::Error::other(error)))?;
        at.open.borrow_mut().push(Rc::clone(&connection));
        drop(opening);
        Ok(Lease::new(connection, true))
    }

    /// Closes what has been idle for too long, or was closed. Returns whether any is left.
    pub(in super::super) fn expire(&self, now: Instant, idle: Duration) -> bool {
        let mut left = false;
        for (_, at) in self.places.borrow().iter() {
            let mut open = at.open.borrow_mut();
            open.retain(|connection| {
                connection.is_open()
                    && (connection.active.get() > 0
                        || now.saturating_duration_since(connection.idle_since.get()) < idle)
            });
            left |= !open.is_empty();
        }
        left
    }
}

/// Says that a connection is being made, until it is or the attempt is dropped.
struct Opening<'a>(&'a Connections);

impl<'a> Opening<'a> {
    fn begin(at: &'a Connections) -> Self {
        *at.opening.borrow_mut() = Some(Rc::default());
        Self(at)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(opening) = self.0.opening.borrow_mut().take() {
            opening.notify_waiters();
        }
    }
}

/// Room for a request on a connection, and the request once it is sent.
pub(in super::super) struct Lease {
    connection: Rc<Connection>,
    fresh: bool,
    upload: Option<Pipe<RequestBody>>,
}

impl Lease {
    fn new(connection: Rc<Connection>, fresh: bool) -> Self {
        connection.active.set(connection.active.get() + 1);
        Self {
            connection,
            fresh,
            upload: None,
        }
    }

    /// Whether the connection was made for this request.
    pub(in super::super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether all of the request is on its way.
    pub(in super::super) fn is_sent(&self) -> bool {
        self.upload.is_none()
    }

    /// Sends more of the request's body.
    pub(in super::super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(end) = upload.poll(cx)
        {
            if let super::pipe::End::Failed(_) = end {
                // The server is not to take what came for all of it.
                upload.reset(Reason::CANCEL);
            }
            self.upload = None;
        }
    }

    /// Sends the request's head. Gives the request back if nothing of it can be sent.
    ///
    /// # Errors
    /// The request.
    pub(in super::super) fn ask(
        &mut self,
        client: &Rc<Client>,
        request: Request<RequestBody>,
    ) -> Result<Ask, Box<Request<RequestBody>>> {
        if !self.connection.is_open() {
            return Err(Box::new(request));
        }
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        // What may be asked twice is kept, for a server that closes as it comes.
        let again = (!self.fresh && ended && parts.method.is_idempotent()).then(|| parts.clone());
        let Some(head) = head::request(parts) else {
            return Ok(Ask {
                response: None,
                again: None,
            });
        };
        let target = head
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let size = head::request_size(head.method().as_str(), target, head.headers());
        let mut sender = self.connection.sender.clone();
        match sender.send_request(head, ended) {
            Ok((response, stream)) => {
                client.exchange().count_server_bytes((0, size as u64));
                if !ended {
                    let side = Side::Server(Rc::clone(client));
                    self.upload = Some(Pipe::new(body, stream, side));
                }
                Ok(Ask {
                    response: Some(response),
                    again: again.map(|parts| Request::from_parts(parts, body_of_none(client))),
                })
            }
            Err(_) => Ok(Ask {
                response: None,
                again: None,
            }),
        }
    }
}

fn body_of_none(client: &Rc<Client>) -> RequestBody {
    RequestBody::new(Inbound::None, client)
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        connection.idle_since.set(Instant::now());
    }
}

/// A request that waits for its answer.
pub(in super::super) struct Ask {
    response: Option<client::ResponseFuture>,
    /// The request, if it may be sent once more.
    again: Option<Request<RequestBody>>,
}

impl Ask {
    /// The response. An error with the request means that it may be sent once more.
    pub(in super::super) fn poll(
        &mut self,
        client: &Rc<Client>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Inbound>, Option<Request<RequestBody>>>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(None));
        };
        match Pin::new(response).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let head = Response::from_parts(parts, ());
                let size = head::response_size(&head);
                client.exchange().count_server_bytes((size as u64, 0));
                let body = Inbound::Http2(Received::of_server(body, client));
                Poll::Ready(Ok(head.map(|()| body)))
            }
            Poll::Ready(Err(error)) => {
                let unseen = error.is_go_away()
                    || error.is_io()
                    || error.reason() == Some(Reason::REFUSED_STREAM);
                Poll::Ready(Err(self.again.take().filter(|_| unseen)))
            }
        }
    }
}
