//! How far a connection and an exchange on it have come.

use std::time::Duration;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Phase {
    /// No byte of the next request has come.
    Idle,
    /// Some bytes of a request's head have come.
    Head,
    /// A request is being served, and nothing of the answer was given to hyper.
    Serving,
    /// Our answer is on its way.
    Answering,
    /// All of our answer was given to hyper; it remains to be flushed.
    Flushing,
}

/// What an exchange waits for, and so which timeout runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Wait {
    /// Nothing that has its time here; reaching a server keeps its own.
    Nothing,
    /// The head of the server's response.
    Response(Duration),
    /// The rest of the server's response.
    Body(Duration),
    /// The rest of the request, whose answer is complete.
    Request(Duration),
}

/// How far the request's body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Upload {
    /// There is none, or all of it has come.
    Done,
    /// The client has to send more.
    Waiting,
    /// The server has to take what came.
    Sending,
    /// The client closed in the middle.
    Aborted,
    /// What the client sent is no body.
    Malformed,
    /// The client has its answer before it was asked for the body, and is not to send it any more.
    Unwanted,
}

/// Whose time has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Expired {
    /// The client's.
    Client,
    /// The server's.
    Server,
}
