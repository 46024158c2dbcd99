//! Of which services this host has no connection of its own: for those the kernel program need not look among its
//! sockets before it opens a flow, which is what a flood costs most.
//!
//! The program withdraws it as soon as it passes a packet of the service up, and what others serve passes up with each of
//! its packets; so a mistake here mends itself.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_common::service::sockets;

use super::{
    error::FastPathError,
    image::{Image, TCP},
    kernel::Maps,
    net::ports::{self, Listening, PortSet},
};

/// How long none of a service's packets must have been passed up: longer than Linux retransmits a SYN-ACK
/// (`tcp_synack_retries` 5).
const QUIET: Duration = Duration::from_secs(70);

/// What is known of services, by the index of their turn counters.
#[derive(Default)]
pub(super) struct Sockets {
    watched: BTreeMap<u32, Instant>,
}

impl Sockets {
    /// Goes over all services. `busy` are the ports of frontends with userspace connections.
    ///
    /// # Errors
    ///
    /// [`FastPathError`] if the map cannot be read or written.
    pub(super) fn look(
        &mut self,
        maps: &mut Maps,
        image: &Image,
        busy: &PortSet,
        now: Instant,
    ) -> Result<(), FastPathError> {
        let services: BTreeMap<u32, (u16, u16)> = image.service_ports().collect();
        self.watched.retain(|id, _| services.contains_key(id));
        let mut due = Vec::new();
        for (&id, &(proto, port)) in &services {
            let state = maps.sockets.get(&id, 0)?;
            match next(state, busy.contains(port), self.watched.get(&id), now) {
                Next::Stay => {}
                Next::Watch => {
                    maps.sockets.set(id, sockets::WATCHED, 0)?;
                    self.watched.insert(id, now);
                }
                Next::Doubt => {
                    maps.sockets.set(id, sockets::MAYBE, 0)?;
                    self.watched.remove(&id);
                }
                Next::Ask => due.push((id, proto, port)),
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        // Without an answer nothing is lost but time.
        let connected = ports::connected().unwrap_or_else(|_| everything());
        for (id, proto, port) in due {
            let ports = if proto == TCP {
                &connected.tcp
            } else {
                &connected.udp
            };
            self.watched.remove(&id);
            let mut state = sockets::MAYBE;
            // Once more, since one may have been passed up meanwhile.
            if !ports.contains(port) && maps.sockets.get(&id, 0)? == sockets::WATCHED {
                state = sockets::NONE;
            }
            maps.sockets.set(id, state, 0)?;
        }
        Ok(())
    }
}

/// All ports, as if each had a connection.
fn everything() -> Listening {
    let all = || PortSet::from_iter([0..=u16::MAX]);
    Listening {
        tcp: all(),
        udp: all(),
    }
}

/// What to do about a service.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Stay,
    /// Begin to watch it.
    Watch,
    /// It may have connections.
    Doubt,
    /// Ask the host.
    Ask,
}

fn next(state: u32, busy: bool, watched: Option<&Instant>, now: Instant) -> Next {
    match (state, watched) {
        (sockets::MAYBE, _) if busy => Next::Stay,
        (_, _) if busy => Next::Doubt,
        (sockets::MAYBE, _) => Next::Watch,
        // An earlier agent's watch.
        (sockets::WATCHED, None) => Next::Watch,
        (sockets::WATCHED, Some(since)) if now.duration_since(*since) >= QUIET => Next::Ask,
        _ => Next::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_free_of_sockets_after_a_quiet_time_and_a_look() {
        let then = Instant::now();
        let soon = then + Duration::from_secs(20);
        let late = then + QUIET;
        assert_eq!(next(sockets::MAYBE, false, None, then), Next::Watch);
        assert_eq!(next(sockets::WATCHED, false, Some(&then), soon), Next::Stay);
        assert_eq!(next(sockets::WATCHED, false, Some(&then), late), Next::Ask);
        assert_eq!(next(sockets::NONE, false, None, late), Next::Stay);
    }

    #[test]
    fn userspace_connections_and_passed_up_packets_begin_it_anew() {
        let then = Instant::now();
        let late = then + QUIET;
        assert_eq!(next(sockets::NONE, true, None, late), Next::Doubt);
        assert_eq!(next(sockets::WATCHED, true, Some(&then), late), Next::Doubt);
        assert_eq!(next(sockets::MAYBE, true, None, late), Next::Stay);
        assert_eq!(
            next(sockets::MAYBE, false, Some(&then), late),
            Next::Watch,
            "the program has withdrawn it"
        );
    }
}
