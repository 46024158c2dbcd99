//! The phases of a stop.

use std::time::{Duration, Instant};

use lb_common::counter::Reason;
use tokio::{sync::oneshot, time::sleep};

use super::Agent;
use crate::fastpath::{error::FastPathError, reset::Which, succession::Legacy, traffic};

/// Flows that are left at the end have this long to answer: three pokes and a little.
const LAST: Duration = Duration::from_millis(2000);
/// Between looks at them.
const STEP: Duration = Duration::from_millis(20);

impl Agent {
    /// First phase of a stop: no new flows.
    pub(in crate::fastpath) fn drain(&mut self) -> Result<(), FastPathError> {
        self.draining = true;
        self.sync()?;
        self.publish()
    }

    /// Ends without ending anything: another process's agent goes on.
    pub(super) fn hand_over(mut self, done: oneshot::Sender<Legacy>) {
        self.status.take_requests(None);
        if let Err(error) = self.end_trace() {
            tracing::error!("the trace could not be ended: {error}");
        }
        self.log_flows();
        let Self { deny, lock, .. } = self;
        let legacy = Legacy {
            lock: lock.into(),
            denied: deny.changes(),
        };
        // Nobody waits for it any more: it goes with this process.
        let _ = done.send(legacy);
    }

    /// Last phase: ends what flows are left, then detaches and removes everything; or leaves all as it is.
    pub(super) async fn finish(mut self, keep: bool, done: oneshot::Sender<()>) {
        self.status.take_requests(None);
        if let Err(error) = self.end_trace() {
            tracing::error!("the trace could not be ended: {error}");
        }
        if keep {
            self.log_flows();
            let new = if self.leaving {
                "no new ones are taken"
            } else {
                "new ones are taken"
            };
            tracing::info!(
                "the kernel path stays: its flows go on and {new}, until lb starts again"
            );
            let _ = done.send(());
            return;
        }
        if let Err(error) = self.reset_all().await {
            tracing::error!("flows that are left end without a word: {error}");
        }
        self.log_flows();
        if let Err(error) = self.kernel.remove_everything() {
            tracing::error!("the kernel path was not removed whole: {error}");
        }
        self.restore_offloads();
        if let Err(error) = self.reservation.release() {
            tracing::warn!("source ports stay reserved: {error}");
        }
        let _ = done.send(());
    }

    /// After a start that failed: leaves nothing behind that was not there before.
    pub(super) fn give_up(&mut self) {
        if self.kernel.taken_over {
            return;
        }
        if let Err(error) = self.kernel.remove_everything() {
            tracing::error!("the kernel path was not removed whole: {error}");
        }
        self.restore_offloads();
        if let Err(error) = self.reservation.release() {
            tracing::warn!("source ports stay reserved: {error}");
        }
    }

    /// Resets the flows that are left, as far as their ends answer in time.
    async fn reset_all(&mut self) -> Result<(), FastPathError> {
        self.drain()?;
        let left = *self.active.borrow();
        if left == 0 {
            return Ok(());
        }
        tracing::info!("{left} flows are left in the kernel; they are reset");
        let end = Instant::now() + LAST;
        let before = (self.resets.expected(), self.answered()?);
        self.resets.begin(Which::All, Instant::now());
        while Instant::now() < end && !self.resets.is_idle() {
            self.step_resets()?;
            self.log_flows();
            let expected = self.resets.expected() - before.0;
            let answered = self.answered()?.wrapping_sub(before.1);
            if self.resets.has_looked() && answered >= expected {
                break;
            }
            sleep(STEP).await;
        }
        while self.resets.remove_some(&self.kernel)? {
            self.log_flows();
        }
        self.publish()
    }

    /// Segments that have been answered with a reset.
    fn answered(&self) -> Result<u64, FastPathError> {
        Ok(traffic::reason(&self.kernel.maps, Reason::ResetAnswered)?)
    }
}
