//! The access log of what the kernel forwarded: a line for each flow's end, from the kernel program's ring buffer.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use lb_common::{
    event::FlowEnd,
    flow::flags,
    tcp::{self, state},
};

use super::{
    clock::monotonic_ms, family::from_words, image::TCP, kernel::Maps, registry::Registry,
};
use crate::{
    observe::log::{
        Active, Cause, Common, Extra, Path, Phase, ServerField, Sink, Structured, TcpRecord,
        Termination,
    },
    topology::{Backend, Frontend, Peer, Topology},
};

/// Ends of flows written at one look, at most, so that a burst does not hold the agent up.
const MOST: usize = 20_000;

/// Writes the lines of the flows that have ended since the last look.
pub(super) fn write(maps: &mut Maps, registry: &Registry, topology: &Topology, log: &Sink) {
    let mut lanes = None;
    let (now_ms, now) = (monotonic_ms(), SystemTime::now());
    for _ in 0..MOST {
        let Some(end) = maps.next_flow_end() else {
            return;
        };
        let lanes = lanes.get_or_insert_with(|| names(registry));
        if let Some((frontend, backend, server)) = lanes.get(&end.lane) {
            write_one(
                &end,
                (frontend, backend, server),
                topology,
                log,
                (now_ms, now),
            );
        }
    }
}

/// Frontend, backend and server of each lane.
fn names(registry: &Registry) -> HashMap<u32, (&str, &str, &str)> {
    registry
        .all_lanes()
        .map(|(lane, f, b, s)| (lane, (f, b, s)))
        .collect()
}

fn write_one(
    end: &FlowEnd,
    (frontend_name, backend_name, server): (&str, &str, &str),
    topology: &Topology,
    log: &Sink,
    (now_ms, now): (u32, SystemTime),
) {
    // A lane of a frontend that an earlier configuration had has nobody who would want its line.
    let Some(frontend) = topology.frontend(frontend_name) else {
        return;
    };
    count(end, frontend, topology.backend(backend_name).map(|b| &**b));
    let since = |ms: u32| Duration::from_millis(u64::from(now_ms.wrapping_sub(ms)));
    let accepted = now.checked_sub(since(end.opened_ms)).unwrap_or(now);
    let kernel = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let of_frontend =
        kernel(frontend.counters.kernel.active.value()).saturating_add(frontend.current());
    let server_now = topology.server(backend_name, server);
    let of_server = server_now.map_or(0, |server| server.active());
    let is_up = server_now.is_some_and(|server| server.is_up());
    let structured = frontend.config.log_format_sd.as_deref();
    log.tcp(&TcpRecord {
        common: Common {
            format: &frontend.config.log_format,
            options: frontend.config.log_options,
            client: Peer::Inet(SocketAddr::new(
                from_words(end.client, end.family),
                u16::from_be(end.client_port),
            )),
            accepted,
            frontend: frontend_name,
            tls: false,
            backend: Some(backend_name),
            server: ServerField::Name(server),
            // The kernel has no queue: what has to wait goes to userspace.
            queued: Some(Duration::ZERO),
            connected: connected(end),
            total: total(end),
            bytes_in: end.bytes_in,
            bytes_out: end.bytes_out,
            termination: termination(end, is_up),
            active: Active {
                process: of_frontend,
                frontend: of_frontend,
                backend: of_server,
                server: of_server,
            },
            retries: 0,
            redispatched: false,
            server_queue: 0,
            backend_queue: 0,
            extra: Extra {
                structured: structured.map(|line| Structured { line, samples: &[] }),
                ..Extra::default()
            },
        },
        path: Path::Kernel,
    });
}

/// What it adds to the distributions of times.
fn count(end: &FlowEnd, frontend: &Frontend, backend: Option<&Backend>) {
    frontend.counters.kernel_total.record(total(end));
    let Some(backend) = backend else { return };
    let distributions = &backend.counters.distributions;
    distributions.kernel_total.record(total(end));
    if let Some(connected) = connected(end) {
        distributions.kernel_connect.record(connected);
    }
}

/// How long its handshake with the server took, if it came to one.
fn connected(end: &FlowEnd) -> Option<Duration> {
    (end.connect_ms != FlowEnd::NEVER).then(|| Duration::from_millis(u64::from(end.connect_ms)))
}

/// How long it was there.
fn total(end: &FlowEnd) -> Duration {
    Duration::from_millis(u64::from(end.ended_ms.wrapping_sub(end.opened_ms)))
}

/// HAProxy's termination state for how a flow ended. `is_up` is whether its server is: one that is not had its sessions
/// shut down.
fn termination(end: &FlowEnd, is_up: bool) -> Termination {
    let last = end.state;
    let connecting = last & (state::ANSWERED | state::ONE_SIDED) == 0;
    let phase = if connecting {
        Phase::Connect
    } else {
        Phase::Data
    };
    if end.flags & flags::RESETTING != 0 {
        let cause = if is_up { Cause::Killed } else { Cause::Down };
        // As HAProxy: what is ended from without once data could pass has been in no phase.
        let phase = if connecting { phase } else { Phase::Complete };
        Termination::new(cause, phase)
    } else if last & state::RST_SERVER != 0 {
        Termination::new(Cause::Server, phase)
    } else if last & state::RST_CLIENT != 0 {
        Termination::new(Cause::Client, phase)
    } else if tcp::is_closing(last) {
        Termination::NORMAL
    } else if connecting {
        Termination::new(Cause::ServerTimeout, phase)
    } else if end.proto != TCP as u8 {
        // What has no end of its own ends by silence.
        Termination::NORMAL
    } else {
        Termination::new(Cause::ClientTimeout, phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(last: u8) -> String {
        told(last, TCP as u8, 0, true)
    }

    fn told(state: u8, proto: u8, flags: u8, is_up: bool) -> String {
        let end = FlowEnd {
            state,
            proto,
            flags,
            ..FlowEnd::default()
        };
        let termination = termination(&end, is_up);
        [termination.cause.letter(), termination.phase.letter()]
            .iter()
            .collect()
    }

    #[test]
    fn ends_read_as_haproxy_writes_them() {
        let open = state::ESTABLISHED;
        assert_eq!(letters(open | state::FIN_BOTH), "--");
        assert_eq!(letters(open | state::RST_SERVER), "SD");
        assert_eq!(letters(open | state::RST_CLIENT), "CD");
        assert_eq!(letters(open), "cD");
        assert_eq!(letters(state::NEW | state::RST_SERVER), "SC");
        assert_eq!(letters(state::NEW), "sC");
        assert_eq!(letters(state::ONE_SIDED | open | state::FIN_CLIENT), "--");
    }

    #[test]
    fn what_was_ended_by_order_and_what_has_no_end_are_told_apart() {
        let open = state::ESTABLISHED;
        assert_eq!(told(open, 6, flags::RESETTING, true), "K-");
        assert_eq!(told(open, 6, flags::RESETTING, false), "D-");
        assert_eq!(told(open, 17, 0, true), "--");
        assert_eq!(told(state::NEW, 17, 0, true), "sC", "nobody answered");
    }
}
