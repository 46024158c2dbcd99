//! A kernel path that has lost its agent, and gets another: an upgrade came to nothing, and what forwards meanwhile must not be
//! left to itself. Until there is an agent, nothing that happens to servers, and nothing that operators order, gets there.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{Begin, Command, FastPathError, agent::Agent, remove_left_over, succession::Legacy};
use crate::observe::path::{PathKind, PathStatus};

/// From one try to the next, at first: each loads the program, which costs the kernel some time.
const FIRST: Duration = Duration::from_secs(1);
/// And at last.
const LONGEST: Duration = Duration::from_secs(16);

/// What there is until then.
pub(super) struct Orphan {
    begin: Begin,
    legacy: Legacy,
    /// Whoever wants to hear that no new flows are taken.
    draining: Vec<oneshot::Sender<()>>,
}

impl Orphan {
    pub(super) fn new(begin: Begin, legacy: Legacy) -> Self {
        Self {
            begin,
            legacy,
            draining: Vec::new(),
        }
    }

    /// Tries until there is an agent, and says so once it has `tried`. `None` if it is not wanted any more.
    pub(super) async fn find_an_agent(
        mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        tried: oneshot::Sender<()>,
    ) -> Option<Agent> {
        let (mut tried, mut pause) = (Some(tried), FIRST);
        loop {
            let why = match self.start().await {
                Ok(agent) => return Some(agent),
                Err(error) => error.to_string(),
            };
            tracing::error!(
                "nobody looks after the kernel path, which forwards by what it was told last; another try in {pause:?}: {why}"
            );
            self.tell(&why);
            if let Some(tried) = tried.take() {
                // Whoever waits for it may be gone.
                let _ = tried.send(());
            }
            let next = Instant::now() + pause;
            pause = (pause * 2).min(LONGEST);
            loop {
                tokio::select! {
                    biased;
                    command = commands.recv() => match command {
                        Some(command) => if self.is_done_with(command, &why) {
                            return None;
                        },
                        None => {
                            self.remove();
                            return None;
                        }
                    },
                    () = sleep_until(next) => break,
                }
            }
        }
    }

    async fn start(&mut self) -> Result<Agent, FastPathError> {
        self.legacy.try_clone()?.take_over();
        let mut agent = Agent::start(self.begin.clone()).await?;
        if !self.draining.is_empty() {
            agent.drain()?;
        }
        for waiting in self.draining.drain(..) {
            let _ = waiting.send(());
        }
        tracing::info!("the kernel path is looked after again");
        Ok(agent)
    }

    /// Does what can be done without an agent; whether there is nothing more to do.
    fn is_done_with(&mut self, command: Command, why: &str) -> bool {
        // Whoever has asked may be gone, here and below.
        match command {
            Command::Try { done, .. } => {
                let _ = done.send(Ok(()));
            }
            Command::Follow {
                config,
                topology,
                done,
            } => {
                self.begin.config = config;
                self.begin.topology = topology;
                let _ = done.send(Err(why.to_owned()));
            }
            Command::Drain { done } => self.draining.push(done),
            Command::HandOver { done } => {
                if let Ok(legacy) = self.legacy.try_clone() {
                    let _ = done.send(legacy);
                }
                return true;
            }
            Command::Finish { keep, done } => {
                if !keep {
                    self.remove();
                }
                let _ = done.send(());
                return true;
            }
        }
        false
    }

    /// Ends it without an agent, so that nothing forwards for an lb that is gone.
    fn remove(&self) {
        let taken = self.legacy.try_clone().map(Legacy::take_over);
        let removed = taken.map_err(FastPathError::from);
        match removed.and_then(|()| remove_left_over(&self.begin.config)) {
            Ok(()) => tracing::warn!(
                "the kernel path is removed without an agent: its flows end without a reset"
            ),
            Err(error) => tracing::error!("the kernel path was not removed whole: {error}"),
        }
    }

    /// The status is the last one that an agent has published, but for what it does not do any more.
    fn tell(&self, why: &str) {
        let mut status = PathStatus::clone(&self.begin.status.load());
        let frontends = status.frontends.iter_mut();
        for frontend in frontends.filter(|frontend| frontend.path != PathKind::Userspace) {
            frontend.reason = format!("nobody looks after the kernel path: {why}");
        }
        status.lost = Some(why.to_owned());
        self.begin.status.store(status);
    }
}
