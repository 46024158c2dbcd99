//! The daemon's answers, fetched in a thread of their own.

use std::{
    cell::Cell,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use crate::{
    admin::client::{self, ClientError},
    observe::{request::FlowRow, stats::Snapshot},
};

/// Most flows that are asked for: more fit on no screen.
const MOST_FLOWS: usize = 1_000;

/// What came.
#[derive(Debug)]
pub(super) enum Answer {
    /// The status.
    Status(Result<Box<Snapshot>, String>),
    /// The kernel's flows.
    Flows(Result<Vec<FlowRow>, String>),
    /// What a command has said: nothing if it was carried out.
    Done(Command, Result<String, String>),
}

/// Something to be done, and how it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// For the socket.
    pub(super) line: String,
    /// For people: `drain web/w1`.
    pub(super) text: String,
}

enum Wish {
    Look { flows: bool },
    Do(Command),
}

/// The other end of the thread.
pub(super) struct Asker {
    wishes: mpsc::Sender<Wish>,
    answers: mpsc::Receiver<(Answer, bool)>,
    /// Looks that have not been answered.
    looking: Cell<bool>,
}

impl Asker {
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let socket: PathBuf = socket.to_owned();
        let (wishes, wanted) = mpsc::channel();
        let (give, answers) = mpsc::channel();
        thread::Builder::new().name("ask".into()).spawn(move || {
            // Ends with whoever wants answers.
            while let Ok(wish) = wanted.recv() {
                if serve(&socket, wish, &give).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            wishes,
            answers,
            looking: Cell::new(false),
        })
    }

    /// Whether it has not answered the last look yet.
    pub(super) fn is_busy(&self) -> bool {
        self.looking.get()
    }

    /// Asks for the status, and for flows where they are shown.
    pub(super) fn look(&self, flows: bool) {
        self.looking
            .set(self.wishes.send(Wish::Look { flows }).is_ok());
    }

    /// Has something done.
    pub(super) fn command(&self, command: Command) {
        // The thread lives as long as this end.
        let _ = self.wishes.send(Wish::Do(command));
    }

    /// The next answer, if one has come.
    pub(super) fn answer(&self) -> Option<Answer> {
        let (answer, last) = self.answers.try_recv().ok()?;
        if last {
            self.looking.set(false);
        }
        Some(answer)
    }
}

fn serve(
    socket: &Path,
    wish: Wish,
    give: &mpsc::Sender<(Answer, bool)>,
) -> Result<(), mpsc::SendError<(Answer, bool)>> {
    match wish {
        Wish::Look { flows: wanted } => {
            if wanted {
                give.send((Answer::Flows(flows(socket)), false))?;
            }
            let status = status(socket).map(Box::new);
            give.send((Answer::Status(status.map_err(|e| e.to_string())), true))
        }
        Wish::Do(command) => {
            let said = client::ask(socket, &command.line).map_err(|error| error.to_string());
            give.send((Answer::Done(command, said), false))
        }
    }
}

/// The status now.
pub(super) fn status(socket: &Path) -> Result<Snapshot, ClientError> {
    let answer = client::ask(socket, "show status json")?;
    serde_json::from_str(&answer).map_err(|source| ClientError::Understand {
        path: socket.to_owned(),
        source,
    })
}

fn flows(socket: &Path) -> Result<Vec<FlowRow>, String> {
    let mut rows = Vec::new();
    let mut complaint = None;
    let line = format!("show flows json limit {MOST_FLOWS}");
    client::follow(socket, &line, &mut |line| {
        match serde_json::from_str(line) {
            Ok(row) => rows.push(row),
            Err(_) => complaint = Some(line.to_owned()),
        }
        Ok(complaint.is_none())
    })
    .map_err(|error| error.to_string())?;
    complaint.map_or(Ok(rows), Err)
}
