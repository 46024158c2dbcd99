//! Packets of one client and what the kernel program decided for them, as it tells while that client is traced.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use lb_common::{counter::Reason, event::Trace};
use tokio::sync::{
    mpsc::{Sender, error::TrySendError},
    oneshot,
};

use super::{
    clock::monotonic_ms,
    family::from_words,
    image::TCP,
    kernel::{Kernel, TracePrograms},
    net::View,
    registry::Registry,
    traffic, words,
};
use crate::observe::request::TraceRow;

/// Packets given away at one look, at most.
const MOST: usize = 1000;

/// A trace that is under way.
#[derive(Debug)]
pub(super) struct Tracing {
    client: IpAddr,
    /// The programs, until they are loaded, and who waits for that.
    loading: Option<(TracePrograms, oneshot::Sender<Result<(), String>>)>,
    packets: Sender<TraceRow>,
}

impl Tracing {
    /// Of `client` once `programs` are loaded, which `begun` is told, for whoever receives `packets`.
    pub(super) fn new(
        client: IpAddr,
        programs: TracePrograms,
        begun: oneshot::Sender<Result<(), String>>,
        packets: Sender<TraceRow>,
    ) -> Self {
        Self {
            client,
            loading: Some((programs, begun)),
            packets,
        }
    }

    /// Who is traced.
    pub(super) fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether somebody still wants to know.
    pub(super) fn is_wanted(&self) -> bool {
        !self.packets.is_closed()
    }

    /// Gives away what has come; whether there is more to be expected. What a slow reader has no room for is lost.
    pub(super) fn follow(&mut self, kernel: &mut Kernel, view: &View) -> bool {
        if let Some((mut programs, begun)) = self.loading.take() {
            let answer = match kernel.trace(&mut programs) {
                Ok(false) => {
                    self.loading = Some((programs, begun));
                    return true;
                }
                Ok(true) => {
                    tracing::info!("tracing packets of {}", self.client);
                    Ok(())
                }
                Err(error) => Err(format!("The program that traces cannot be had: {error}.")),
            };
            let failed = answer.is_err();
            // Whoever asked may be gone.
            let _ = begun.send(answer);
            if failed {
                return false;
            }
        }
        self.give(kernel, view);
        true
    }

    fn give(&self, kernel: &mut Kernel, view: &View) {
        let mut names = None;
        let clock = (SystemTime::now(), monotonic_ms());
        for _ in 0..MOST {
            let Some(trace) = kernel.maps.next_trace() else {
                return;
            };
            let names = names.get_or_insert_with(|| lane_names(&kernel.registry));
            let row = row(&trace, names, view, clock);
            if let Err(TrySendError::Closed(_)) = self.packets.try_send(row) {
                return;
            }
        }
    }
}

/// `frontend backend/server` of each lane.
fn lane_names(registry: &Registry) -> HashMap<u32, String> {
    let lanes = registry.all_lanes();
    lanes
        .map(|(lane, frontend, backend, server)| (lane, format!("{frontend} {backend}/{server}")))
        .collect()
}

fn row(
    trace: &Trace,
    names: &HashMap<u32, String>,
    view: &View,
    (now, now_ms): (SystemTime, u32),
) -> TraceRow {
    let ago = now_ms.wrapping_sub(trace.at_ms);
    // One that came after the clock was read.
    let ago = if ago > u32::MAX / 2 { 0 } else { ago };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let reason = Reason::from_index(trace.reason);
    let tcp = u16::from(trace.proto) == TCP;
    let socket = |words, port| SocketAddr::new(from_words(words, trace.family), u16::from_be(port));
    let has_flow = trace.lane != Trace::NO_LANE;
    TraceRow {
        time_ms: u64::try_from(now.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_sub(ago.into()),
        interface: view
            .link(trace.ifindex)
            .map_or_else(|| format!("#{}", trace.ifindex), |link| link.name.clone()),
        protocol: words::protocol(trace.proto.into()),
        source: socket(trace.src, trace.sport),
        destination: socket(trace.dst, trace.dport),
        flags: if tcp {
            words::tcp_flags(trace.tcp_flags)
        } else {
            "-".into()
        },
        length: trace.len,
        server: names.get(&trace.lane).filter(|_| has_flow).cloned(),
        state: has_flow.then(|| words::state(trace.proto.into(), trace.state, 0, false).into()),
        outcome: reason
            .map_or("other", |reason| traffic::kind(reason.outcome()).name())
            .into(),
        reason: reason.map_or_else(
            || format!("reason {}", trace.reason),
            |reason| reason.name().into(),
        ),
        why: reason.map_or("", Reason::help).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastpath::family::words;

    #[test]
    fn a_packet_reads_with_its_reason() {
        let trace = Trace {
            src: words("192.0.2.7".parse().unwrap()),
            dst: words("192.0.2.1".parse().unwrap()),
            at_ms: 900,
            reason: Reason::NoServer as u32,
            lane: Trace::NO_LANE,
            ifindex: 9,
            len: 60,
            sport: 40000u16.to_be(),
            dport: 80u16.to_be(),
            proto: 6,
            family: 4,
            tcp_flags: 2,
            state: 0,
        };
        let clock = (UNIX_EPOCH + std::time::Duration::from_secs(5), 1000);
        let row = row(&trace, &HashMap::new(), &View::default(), clock);
        assert_eq!((row.time_ms, row.interface.as_str()), (4900, "#9"));
        assert_eq!(row.source.to_string(), "192.0.2.7:40000");
        assert_eq!((row.flags.as_str(), row.server), ("S", None));
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("passed_up", "no_server")
        );
        assert_eq!(row.why, Reason::NoServer.help());
    }
}
