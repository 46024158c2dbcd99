//! Keeps a [`View`] equal to the kernel's state and publishes it.
//!
//! It subscribes first and dumps second, so that nothing falls between; it reads everything again when changes were
//! lost (`ENOBUFS`), and the routes when the kernel has dropped some without a word.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::socket::{Change, Changes, NetError, Requests};
use super::view::{Changed, View};

/// The least time between two publications: a burst becomes a few of them, the first change goes out at once.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(2);
/// The least time between two readings of all routes.
const ROUTES_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before a lost connection is opened anew.
const REOPEN_AFTER: Duration = Duration::from_millis(200);

/// Follows the network of one namespace.
pub(super) struct Watcher {
    changes: Changes,
    requests: Requests,
    view: View,
    publish: watch::Sender<Arc<View>>,
    /// When to read the routes again.
    routes_due: Option<Instant>,
    /// When they were read last.
    routes_read: Instant,
}

impl Watcher {
    /// Subscribes, reads everything, and hands out where it will be published.
    pub(super) async fn start() -> Result<(Self, watch::Receiver<Arc<View>>), NetError> {
        let changes = Changes::subscribe()?;
        let mut requests = Requests::open()?;
        let view = View::from_dump(requests.dump_all().await?);
        let (publish, receiver) = watch::channel(Arc::new(view.clone()));
        Ok((
            Self {
                changes,
                requests,
                view,
                publish,
                routes_due: None,
                routes_read: Instant::now(),
            },
            receiver,
        ))
    }

    /// Runs until nobody holds a receiver any more.
    pub(super) async fn run(mut self) {
        let publish = self.publish.clone();
        loop {
            let lost = tokio::select! {
                () = publish.closed() => return,
                lost = self.follow() => lost,
            };
            tracing::warn!("following the network's changes failed, reading them anew: {lost}");
            loop {
                sleep(REOPEN_AFTER).await;
                if self.publish.is_closed() {
                    return;
                }
                match self.reopen().await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!("cannot read the network's state: {error}"),
                }
            }
        }
    }

    /// Applies changes as they come; returns when a connection is lost.
    async fn follow(&mut self) -> NetError {
        loop {
            let routes_due = self.routes_due;
            let wake = async {
                match routes_due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                change = self.changes.next() => match change {
                    Some(change) => self.take(change).await,
                    None => return NetError::Lost("changes"),
                },
                () = wake => self.reread_routes().await,
            };
            if let Err(error) = done {
                return error;
            }
            sleep(PUBLISH_INTERVAL).await;
        }
    }

    /// Applies `change` and whatever else has come already, then publishes.
    async fn take(&mut self, change: Change) -> Result<(), NetError> {
        let mut changed = Changed::default();
        let mut overrun = false;
        let mut next = Some(change);
        while let Some(change) = next {
            match change {
                Change::Event(event) => changed = changed.or(self.view.apply(event)),
                Change::Overrun => overrun = true,
            }
            next = self.changes.next().now_or_never().flatten();
        }
        if overrun {
            tracing::debug!("changes of the network were lost, reading all of it");
            changed = changed.or(self.reread().await?);
        } else if changed.stale_routes && self.routes_due.is_none() {
            self.routes_due = Some(Instant::now().max(self.routes_read + ROUTES_INTERVAL));
        }
        self.publish(changed);
        Ok(())
    }

    async fn reread(&mut self) -> Result<Changed, NetError> {
        let dump = View::from_dump(self.requests.dump_all().await?);
        self.routes_read = Instant::now();
        self.routes_due = None;
        Ok(self.view.replace(dump))
    }

    async fn reread_routes(&mut self) -> Result<(), NetError> {
        let dump = self.requests.dump_routes().await?;
        self.routes_read = Instant::now();
        self.routes_due = None;
        let changed = self.view.replace_routes(dump);
        self.publish(changed);
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), NetError> {
        self.changes = Changes::subscribe()?;
        self.requests = Requests::open()?;
        let changed = self.reread().await?;
        self.publish(changed);
        Ok(())
    }

    fn publish(&self, changed: Changed) {
        if changed.forwarding || changed.neighbour_state {
            self.publish.send_replace(Arc::new(self.view.clone()));
        }
    }
}
