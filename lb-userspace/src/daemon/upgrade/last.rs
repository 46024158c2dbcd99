//! What is left of a process whose place another has taken: it serves what it has accepted, tells what that adds to the
//! counters, and ends.

use std::{io, sync::PoisonError, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Successor, channel::Message};
use crate::{
    admin::wish::ASK_AGAIN,
    daemon::{
        running::Running,
        signals::{Request, Signals},
        stop::warn_of_left,
    },
    proxy::Stop,
};

/// Between two words about what is left.
const WORD: Duration = Duration::from_secs(1);

/// Serves what has been accepted to its end, for `grace` at the most. What those are told who wish for something still.
pub(in crate::daemon) async fn serve_last(
    mut successor: Successor,
    signals: &mut Signals,
    running: &mut Running,
) -> String {
    let elsewhere = format!("process {} {ASK_AGAIN}", successor.pid);
    let grace = running.config().global.grace;
    tracing::info!(
        "process {} has taken over; {} connections are served to their end here, for {grace:?} at most",
        successor.pid,
        running.proxy.clients()
    );
    let mut deadline = Some(Instant::now() + grace);
    let mut words = interval(WORD);
    words.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = true;
    let mut silent = successor.channel.be_patient_for(WORD).is_err();
    // What the process before this one counts goes by this one.
    let before = running.before.take();
    loop {
        let finished = async {
            running.proxy.finished().await;
            if let Some(before) = &before {
                before.gone().await;
            }
        };
        let end = || {
            running.proxy.stop(Stop::Now);
            if let Some(before) = &before {
                before.end();
            }
        };
        let due = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = finished => break,
            () = due => {
                warn_of_left(running.proxy.clients(), grace);
                deadline = None;
                end();
            }
            request = signals.next() => match request {
                Request::Stop => end(),
                Request::SoftStop => {}
                Request::Reload => tracing::warn!(
                    "signals that ask for a reload are for process {} by now",
                    successor.pid
                ),
            },
            said = successor.heard.recv(), if heard => match said.map(|said| said.message) {
                Some(Ok(Message::Now)) => end(),
                Some(_) => {}
                None => heard = false,
            },
            Some(wish) = running.wished.recv() => {
                wish.refuse(elsewhere.clone());
            }
            _ = words.tick(), if !silent => {
                // Half of a word would be taken for another's begin: that was the last one then.
                silent = tell(&successor, running, running.proxy.clients()).is_err();
            }
        }
    }
    if !silent {
        let _ = tell(&successor, running, 0);
    }
    elsewhere
}

/// Tells the new process what has been counted, and how many are left. One that does not listen, or is gone, misses it.
fn tell(successor: &Successor, running: &Running, clients: usize) -> io::Result<()> {
    let channel = &successor.channel;
    let mut told = successor
        .told
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    told.tell(channel, &running.shared)?;
    let mut left = vec![(std::process::id(), clients as u64)];
    left.extend(running.sources.process.predecessors());
    channel.send(&Message::Left(left), &[])
}
