//! Idle listeners from one configuration to the next.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
};

use super::*;
use crate::{
    config::{Config, model::Balance},
    observe::log::Sink,
    proxy::{Proxy, fixtures::wait_until},
    topology::{Topology, fixtures},
};

fn config(binds: &[(&str, SocketAddr)]) -> Config {
    let frontends = binds.iter();
    let frontends = frontends.map(|(name, bind)| fixtures::frontend(name, *bind, "b"));
    let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
    fixtures::config(frontends.collect(), vec![backend])
}

fn shared(config: Config) -> Arc<Shared> {
    let topology = Arc::new(Topology::new(&config));
    let (log, _) = Sink::start(&[]).unwrap();
    Arc::new(Shared::new(topology, Arc::new(config), log, 100))
}

fn next(before: &Shared, config: Config) -> Arc<Shared> {
    let topology = Arc::new(before.topology.next(&config));
    topology.take_over(&before.topology);
    let log = before.log.clone();
    Arc::new(before.next(topology, Arc::new(config), log, 100))
}

fn address(listeners: &Listeners) -> SocketAddr {
    listeners.sockets[0].1.local_addr().unwrap()
}

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

#[tokio::test]
async fn a_listener_that_nobody_connects_to_keeps_no_earlier_configuration() {
    let first = shared(config(&[("f", ANY.into())]));
    let listeners = Listeners::open(&first.topology, 1).unwrap();
    let at = address(&listeners[0]);
    let mut proxy = Proxy::start(&first, listeners).unwrap();
    // It has no server; once that is told, the listener waits for the next client.
    let _ = TcpStream::connect(at).unwrap().read(&mut [0; 1]);
    let second = next(&first, config(&[("f", ANY.into())]));
    let more = proxy.open_more(&second.topology).unwrap();
    proxy.install(&second, more).await;
    proxy.close_removed(&second).await;
    let before = Arc::downgrade(&first);
    drop(first);
    wait_until("the first configuration is gone", || {
        before.strong_count() == 0
    });
}

#[tokio::test]
async fn all_sockets_of_one_bind_are_closed_with_it() {
    let first = shared(config(&[("f", ANY.into())]));
    // As a service manager's are that passes on more than there are threads.
    let mut each = Listeners::open(&first.topology, 3).unwrap();
    let mut all = each.remove(0);
    let at = address(&all);
    for other in each {
        all.sockets.extend(other.sockets);
    }
    let mut proxy = Proxy::start(&first, vec![all]).unwrap();
    assert!(TcpStream::connect(at).is_ok());
    let second = next(&first, config(&[]));
    let more = proxy.open_more(&second.topology).unwrap();
    proxy.install(&second, more).await;
    proxy.close_removed(&second).await;
    wait_until("nobody listens any more", || {
        TcpStream::connect(at).is_err()
    });
}
