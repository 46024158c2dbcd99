//! Keeps the Ethernet addresses of next hops known and fresh, whether or not this host itself talks to them.
//!
//! Frames that the fast path forwards do not pass through the kernel's neighbour code, so nothing confirms an entry while
//! a million packets a second go to it. A missing or failed one is asked for, a stale one is confirmed (it stays in use
//! meanwhile), with a growing pause while there is no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use super::model::NeighbourState;
use super::socket::{NetError, Requests, Task};
use super::view::View;

/// The pause after the first probe without an answer; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: a server that comes back is found within it, and sooner by its own ARP or our health check.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A neighbour: interface index and address, as [`super::Resolution::probe`] gives it.
pub type Neighbour = (u32, IpAddr);

/// Says which neighbours to keep fresh; dropping it ends that.
#[derive(Debug)]
pub struct Prober {
    wanted: watch::Sender<BTreeSet<Neighbour>>,
    _task: Task,
}

impl Prober {
    pub(super) fn start(view: watch::Receiver<Arc<View>>) -> Result<Self, NetError> {
        let (wanted, receiver) = watch::channel(BTreeSet::new());
        let requests = Requests::open()?;
        let task = Task(tokio::spawn(run(requests, view, receiver)));
        Ok(Self {
            wanted,
            _task: task,
        })
    }

    /// From now on exactly these are kept fresh.
    pub fn want(&self, neighbours: BTreeSet<Neighbour>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != neighbours;
            *wanted = neighbours;
            changed
        });
    }
}

async fn run(
    mut requests: Requests,
    mut view: watch::Receiver<Arc<View>>,
    mut wanted: watch::Receiver<BTreeSet<Neighbour>>,
) {
    let mut schedule = Schedule::default();
    loop {
        schedule.want(&wanted.borrow_and_update());
        let current = Arc::clone(&view.borrow_and_update());
        for probe in schedule.due(&current, Instant::now()) {
            let Err(error) = probe.send(&mut requests).await else {
                continue;
            };
            tracing::debug!("cannot probe {}: {error}", probe.ip);
            if matches!(error, NetError::Lost(_)) {
                match Requests::open() {
                    Ok(opened) => requests = opened,
                    Err(error) => tracing::warn!("cannot probe neighbours: {error}"),
                }
            }
        }
        let wake = async {
            match schedule.next_wake(&current) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let over = tokio::select! {
            changed = view.changed() => changed.is_err(),
            changed = wanted.changed() => changed.is_err(),
            () = wake => false,
        };
        if over {
            return;
        }
    }
}

/// What to do about a neighbour in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It is fresh.
    Nothing,
    /// The kernel is at it.
    Patience,
    /// Resolve it from nothing.
    Ask,
    /// Check what is known.
    Confirm,
}

impl Need {
    fn of(view: &View, (ifindex, ip): Neighbour) -> Self {
        // No answer can come by an interface that is down, and the view changes when it comes up.
        if !view
            .link(ifindex)
            .is_some_and(|link| link.up && link.carrier)
        {
            return Self::Nothing;
        }
        match view
            .neighbour(ifindex, ip)
            .map_or(NeighbourState::None, |neighbour| neighbour.state)
        {
            NeighbourState::None | NeighbourState::Failed => Self::Ask,
            NeighbourState::Stale => Self::Confirm,
            NeighbourState::Incomplete | NeighbourState::Delay | NeighbourState::Probe => {
                Self::Patience
            }
            NeighbourState::Reachable | NeighbourState::Permanent => Self::Nothing,
        }
    }
}

/// When to probe whom: a pure function of view and time.
#[derive(Debug, Default)]
struct Schedule {
    /// For each wanted one: probes without success, and the earliest time for the next.
    tries: BTreeMap<Neighbour, (u32, Option<Instant>)>,
}

impl Schedule {
    fn want(&mut self, wanted: &BTreeSet<Neighbour>) {
        self.tries.retain(|neighbour, _| wanted.contains(neighbour));
        for neighbour in wanted {
            self.tries.entry(*neighbour).or_default();
        }
    }

    /// The probes to send now. Each counts as sent.
    fn due(&mut self, view: &View, now: Instant) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (&neighbour, (tries, not_before)) in &mut self.tries {
            let need = Need::of(view, neighbour);
            match need {
                Need::Nothing => (*tries, *not_before) = (0, None),
                Need::Patience => {}
                Need::Ask | Need::Confirm => {
                    if not_before.is_some_and(|at| now < at) {
                        continue;
                    }
                    let pause = FIRST_PAUSE
                        .saturating_mul(1 << (*tries).min(16))
                        .min(LONGEST_PAUSE);
                    (*tries, *not_before) = (*tries + 1, Some(now + pause));
                    probes.push(Probe {
                        ifindex: neighbour.0,
                        ip: neighbour.1,
                        confirm: need == Need::Confirm,
                    });
                }
            }
        }
        probes
    }

    /// When [`Schedule::due`] has something again if nothing changes before.
    fn next_wake(&self, view: &View) -> Option<Instant> {
        let waiting = self.tries.iter().filter(|(neighbour, _)| {
            matches!(Need::of(view, **neighbour), Need::Ask | Need::Confirm)
        });
        waiting.filter_map(|(_, (_, not_before))| *not_before).min()
    }
}

/// One probe, which the kernel carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    ifindex: u32,
    ip: IpAddr,
    confirm: bool,
}

impl Probe {
    /// Needs CAP_NET_ADMIN, as does all of the fast path.
    async fn send(self, requests: &mut Requests) -> Result<(), NetError> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = self.ifindex;
        let (family, destination) = match self.ip {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        message.header.family = family;
        message
            .attributes
            .push(NeighbourAttribute::Destination(destination));
        let flags = if self.confirm {
            // At once, where NTF_USE would wait out NUD_DELAY. Without NLM_F_REPLACE it overrides nothing (`neigh_add`).
            message.header.state = Nud::Probe;
            0
        } else {
            // As if a packet were waiting to be sent (`neigh_event_send`).
            message.header.flags = NeighbourFlags::Use;
            NLM_F_CREATE
        };
        requests
            .change(
                "a neighbour's probe",
                RouteNetlinkMessage::NewNeighbour(message),
                flags,
            )
            .await
    }
}

#[cfg(test)]
mod tests;
