//! The connections that userspace serves, and what operators ask of them: the worker threads answer.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::oneshot;

use crate::{config::model::Mode, topology::Peer};

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// All connections.
    All,
    /// That the one of this id end.
    Kill(u64),
    /// That all at a server end: its connections of mode tcp, and what else is there looks whether it is over.
    KillAt {
        /// Its backend.
        backend: String,
        /// Its name.
        server: String,
    },
}

/// A client's connection, as it is shown.
#[derive(Debug, Clone)]
pub struct Session {
    /// What it is called by.
    pub id: u64,
    /// The thread that serves it.
    pub thread: usize,
    /// The client.
    pub peer: Peer,
    /// Where it came in.
    pub frontend: Arc<str>,
    /// The frontend's mode.
    pub mode: Mode,
    /// Backend and server, as long as it has one.
    pub server: Option<(Arc<str>, Arc<str>)>,
    /// How long ago it was accepted.
    pub age: Duration,
    /// When it was accepted.
    pub accepted_at: SystemTime,
}

/// A thread that can be asked: it gets the question, and answers whom that concerned.
pub type Asked = Arc<dyn Fn(Question, oneshot::Sender<Vec<Session>>) + Send + Sync>;

/// Where all threads can be asked for their connections.
#[derive(Clone, Default)]
pub struct Sessions(Vec<Asked>);

impl Sessions {
    /// Of these threads.
    pub fn new(threads: Vec<Asked>) -> Self {
        Self(threads)
    }

    /// Asks all threads, and waits for their answers.
    pub async fn ask(&self, question: &Question) -> Vec<Session> {
        let asked = self.0.iter().map(|thread| {
            let (reply, answer) = oneshot::channel();
            // One that is ending drops what it is asked.
            thread(question.clone(), reply);
            answer
        });
        let mut found = Vec::new();
        for answer in asked.collect::<Vec<_>>() {
            found.extend(answer.await.unwrap_or_default());
        }
        found.sort_by_key(|session| session.id);
        found
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.0.len()).finish()
    }
}
