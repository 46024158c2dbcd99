//! From the first signal to the last connection.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    fast_path, notify,
    running::Running,
    signals::{Request, Signals},
    upgrade::{Left, Successor},
};
use crate::{
    admin::wish::{Again, What, Wish},
    fastpath::FastPath,
    proxy::{Proxy, Stop},
};

/// Why there is no other configuration any more.
pub(super) const STOPPING: &str = "the daemon is stopping and takes no other configuration";

/// Where a stop stands. Pure: [`wait`] does what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Letting nobody new in, so that what is short ends before the address leaves.
    Quiet,
    /// Serving still, while whoever watches learns that it will end.
    Leaving,
    Graceful,
    Now,
}

impl Phase {
    fn after(self, request: Request) -> Self {
        match (self, request) {
            (phase, Request::Reload) => phase,
            (Self::Running, _) => Self::Quiet,
            (Self::Quiet | Self::Leaving | Self::Graceful, Request::Stop) => Self::Now,
            (phase, _) => phase,
        }
    }
}

/// How long a stop takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Nobody new is let in for so long, before health is reported as failed.
    pub(super) drain: Duration,
    /// New connections are taken for so long, while health is reported as failed.
    pub(super) linger: Duration,
    /// What runs may run for so long.
    pub(super) grace: Duration,
    /// Whether the kernel path's flows are waited for: one that is kept goes on by itself.
    pub(super) drains: bool,
}

/// What is waited for.
enum Event {
    Asked(Request),
    Wished(Wish),
    Finished,
    /// The flows of an earlier lb's kernel path have ended.
    Left,
    Due,
}

/// Waits for a signal, then for the connections: until they have ended, their grace has passed or a second signal came.
/// Reloads when asked to, until then. Ends early with the process that has taken this one's place.
pub(super) async fn wait(signals: &mut Signals, running: &mut Running) -> Option<Successor> {
    let mut phase = Phase::Running;
    let mut deadline: Option<Instant> = None;
    let mut times = running.times();
    loop {
        let event = tokio::select! {
            request = signals.next() => Event::Asked(request),
            () = finished(
                &running.proxy,
                running.fast_path.as_ref().filter(|_| times.drains),
                running.before.as_ref(),
                phase,
            ) => Event::Finished,
            // One that is kept goes on by itself.
            () = fast_path::left(
                running.fast_path.as_ref().filter(|_| times.drains || phase == Phase::Running),
            ) => Event::Left,
            () = reached(deadline) => Event::Due,
            wish = running.wished.recv() => match wish {
                Some(wish) => Event::Wished(wish),
                None => continue,
            },
        };
        let Times {
            drain,
            linger,
            grace,
            drains,
        } = times;
        let next = match event {
            Event::Finished => return None,
            Event::Left => {
                let (topology, path) = (running.sources.topology(), &running.sources.path);
                fast_path::end_left(&mut running.fast_path, &topology, path).await;
                continue;
            }
            Event::Wished(wish) if phase == Phase::Running => {
                // Whoever has wished it may be gone.
                let asked = match wish.what {
                    What::Reload(again) => {
                        let (told, asked) = running.reload(again, signals.stop()).await;
                        let _ = wish.reply.send(told);
                        asked
                    }
                    What::Upgrade(upgrade) => match running.upgrade(&upgrade, signals.stop()).await
                    {
                        (Ok(successor), _) => {
                            let _ = wish.reply.send(Ok(successor.tell()));
                            return Some(successor);
                        }
                        (Err(why), asked) => {
                            let _ = wish.reply.send(Err(why));
                            asked
                        }
                    },
                    What::Amend(amendment) => {
                        let told = running.amend(amendment).await;
                        let _ = wish.reply.send(told);
                        None
                    }
                };
                times = running.times();
                match asked {
                    Some(request) => phase.after(request),
                    None => continue,
                }
            }
            Event::Wished(wish) => {
                wish.refuse(STOPPING.to_owned());
                continue;
            }
            Event::Asked(Request::Reload) if phase == Phase::Running => {
                // What has become of it is in the log.
                let (_, asked) = running.reload(Again::All, signals.stop()).await;
                times = running.times();
                match asked {
                    Some(request) => phase.after(request),
                    None => continue,
                }
            }
            Event::Asked(Request::Reload) => {
                tracing::warn!("{STOPPING}");
                continue;
            }
            Event::Asked(request) => phase.after(request),
            Event::Due if phase == Phase::Quiet => Phase::Leaving,
            Event::Due if phase == Phase::Leaving => Phase::Graceful,
            Event::Due => {
                warn_of_left(running.proxy.clients(), grace);
                Phase::Now
            }
        };
        if next == phase {
            continue;
        }
        phase = match next {
            Phase::Quiet if drain.is_zero() && linger.is_zero() => Phase::Graceful,
            Phase::Quiet if drain.is_zero() => Phase::Leaving,
            Phase::Leaving if linger.is_zero() => Phase::Graceful,
            next => next,
        };
        match phase {
            Phase::Running => {}
            Phase::Quiet => {
                tracing::info!(
                    "stopping: new connections wait for the other balancer, {drain:?} for what is under way"
                );
                notify::stopping("stopping: what is under way ends before the address leaves");
                running.proxy.stop(Stop::Quiet);
                if let Some(fast_path) = running.fast_path.as_ref().filter(|_| drains) {
                    fast_path.quiet();
                }
                deadline = Some(Instant::now() + drain);
            }
            Phase::Leaving if drain.is_zero() => {
                tracing::info!(
                    "stopping: health is reported as failed, new connections are taken for {linger:?} more"
                );
                running.sources.process.set_stopping();
                notify::stopping("stopping: new connections are taken until the address has left");
                deadline = Some(Instant::now() + linger);
            }
            Phase::Leaving => {
                tracing::info!(
                    "stopping: health is reported as failed, the address has {linger:?} to leave"
                );
                running.sources.process.set_stopping();
                notify::stopping("stopping: the address leaves");
                deadline = Some(Instant::now() + linger);
            }
            Phase::Graceful => {
                tracing::info!(
                    "stopping: no new connections, {grace:?} for those that run; a second signal stops now"
                );
                running.sources.process.set_stopping();
                notify::stopping("stopping: running connections are served to their end");
                running.proxy.stop(Stop::Graceful);
                deadline = Some(Instant::now() + grace);
            }
            Phase::Now => {
                running.proxy.stop(Stop::Now);
                if let Some(before) = &running.before {
                    before.end();
                }
                deadline = None;
            }
        }
    }
}

/// Waits until neither path has a connection, nor the process before this one. A stop that shall be immediate does not wait
/// for the kernel's.
async fn finished(
    proxy: &Proxy,
    fast_path: Option<&FastPath>,
    before: Option<&Left>,
    phase: Phase,
) {
    let before = async {
        if let Some(before) = before {
            before.gone().await;
        }
    };
    match (fast_path, phase) {
        // Not before a stop has begun: draining is part of it.
        (_, Phase::Running | Phase::Quiet | Phase::Leaving) => std::future::pending().await,
        (Some(fast_path), Phase::Graceful) => {
            tokio::join!(fast_path.drain(), proxy.finished(), before);
        }
        _ => {
            tokio::join!(proxy.finished(), before);
        }
    }
}

/// Says that `count` connections end because their `grace` has passed.
pub(super) fn warn_of_left(count: usize, grace: Duration) {
    match count {
        1 => tracing::warn!("1 connection is left after {grace:?} of grace; it ends now"),
        _ => tracing::warn!("{count} connections are left after {grace:?} of grace; they end now"),
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stop_is_immediate_and_a_second_soft_stop_is_not() {
        let graceful = Phase::Running.after(Request::Stop);
        assert_eq!(graceful, Phase::Quiet);
        assert_eq!(graceful.after(Request::Stop), Phase::Now);
        assert_eq!(Phase::Graceful.after(Request::Stop), Phase::Now);
        assert_eq!(Phase::Leaving.after(Request::Stop), Phase::Now);
        assert_eq!(Phase::Running.after(Request::SoftStop), Phase::Quiet);
        assert_eq!(graceful.after(Request::SoftStop), Phase::Quiet);
        assert_eq!(Phase::Graceful.after(Request::SoftStop), Phase::Graceful);
        assert_eq!(
            graceful.after(Request::SoftStop).after(Request::Stop),
            Phase::Now
        );
    }

    #[test]
    fn a_reload_stops_nothing() {
        for phase in [
            Phase::Running,
            Phase::Quiet,
            Phase::Leaving,
            Phase::Graceful,
            Phase::Now,
        ] {
            assert_eq!(phase.after(Request::Reload), phase);
        }
    }
}
