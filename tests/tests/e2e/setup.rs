//! What most tests start from: servers that name themselves behind an `lb` of some configuration.

use std::fmt::Write as _;
use std::iter;
use std::net::{SocketAddr, TcpStream};

use lb_tests::server::{Protocol, Server};
use lb_tests::{Lab, client};

/// The service that most tests use.
pub(crate) const WEB: u16 = 80;
/// Where servers listen.
pub(crate) const BACKEND: u16 = 8080;

/// Servers `s1`, `s2`, … one a namespace.
pub(crate) fn servers(lab: &Lab, protocol: Protocol) -> Vec<Server> {
    (0..lab.servers())
        .map(|i| {
            let address = SocketAddr::from((lab.server_addr(i), BACKEND));
            Server::start(lab.server(i), &format!("s{}", i + 1), protocol, address).unwrap()
        })
        .collect()
}

/// Where clients connect to.
pub(crate) fn service(lab: &Lab) -> SocketAddr {
    (lab.service_addr(), WEB).into()
}

/// A frontend and a backend in mode tcp over all of the lab's servers, with these weights.
pub(crate) fn tcp(lab: &Lab, balance: &str, weights: &[u16]) -> String {
    let mut text = format!(
        "frontends:\n  web: {{ mode: tcp, bind: \"{}\", default_backend: web }}\n\
         backends:\n  web:\n    mode: tcp\n    balance: {balance}\n    servers:\n",
        service(lab)
    );
    for i in 0..lab.servers() {
        let (n, address) = (i + 1, lab.server_addr(i));
        let weight = weights.get(i).unwrap_or(&1);
        let _ = writeln!(
            text,
            "      - {{ name: s{n}, address: \"{address}:{BACKEND}\", weight: {weight} }}"
        );
    }
    text
}

/// Connections that the balancer's own sockets accepted: the userspace path.
pub(crate) fn accepted_in_userspace(lab: &Lab) -> u64 {
    lab.balancer().snmp("Tcp", "PassiveOpens").unwrap()
}

/// Connections held open, each to a server that has greeted.
pub(crate) fn held(lab: &Lab, count: usize) -> Vec<TcpStream> {
    let one = || {
        let mut stream = client::connect(lab.client(), service(lab), None).unwrap();
        client::greeting(&mut stream).unwrap();
        stream
    };
    iter::repeat_with(one).take(count).collect()
}

/// Each of these connections still has an echo.
#[track_caller]
pub(crate) fn assert_alive(streams: &mut [TcpStream]) {
    for stream in streams {
        client::echo(stream, b"still there?").unwrap();
    }
}
