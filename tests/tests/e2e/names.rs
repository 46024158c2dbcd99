//! A server's name that leads elsewhere while the kernel forwards to it.

use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, client, skip, wait};

use crate::dns::{Dns, Does, at};
use crate::kernel::{kernel_takes_over, reasons, server_status};
use crate::setup::{BACKEND, accepted_in_userspace, assert_alive, held, servers, service};

#[test]
fn the_kernel_follows_a_name_and_connections_stay_where_they_are() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let [one, two] = [0, 1].map(|i| lab.server_addr(i).to_string());
    let dns = lab
        .balancer()
        .run(|| Dns::start_at(lab.balancer_addr().into()));
    dns.set("app.example", at(&[&one]));
    let body = format!(
        "resolvers: {{ inside: {{ nameservers: ['{}'], timeouts: {{ resolve: 50ms }}, hold: {{ valid: 50ms, nx: 0s }} }} }}\n\
         frontends:\n  web: {{ mode: tcp, bind: \"{}\", default_backend: web }}\n\
         backends:\n  web:\n    mode: tcp\n    servers:\n      \
         - {{ name: s, address: 'app.example:{BACKEND}', init_addr: none, resolve: {{ resolvers: inside, prefer: ipv4 }} }}\n",
        dns.address,
        service(&lab)
    );
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let greeted = || {
        let mut stream = client::connect(lab.client(), service(&lab), None).ok()?;
        client::greeting(&mut stream).ok()
    };
    assert_eq!(greeted().as_deref(), Some("s1"));
    let mut before = held(&lab, 3);
    let userspace = accepted_in_userspace(&lab);
    dns.set("app.example", at(&[&two]));
    wait::until_true("new connections at the new address", || {
        greeted().as_deref() == Some("s2")
    })
    .unwrap_or_else(|error| panic!("{error}; {}; lb said:\n{}", reasons(&daemon), daemon.log()));
    for stream in &mut before {
        client::echo(stream, b"unimpressed").unwrap();
    }
    // The neighbour may have had to be asked for first.
    kernel_takes_over(&lab, &daemon);
    assert_eq!(greeted().as_deref(), Some("s2"));
    assert!(userspace <= accepted_in_userspace(&lab));
    dns.set("app.example", Does::Fail(3));
    wait::until_true("the server to be nowhere", || {
        server_status(&daemon, "s")["row"]["status"] == "MAINT (resolution)"
    })
    .unwrap();
    assert_alive(&mut before);
    dns.set("app.example", at(&[&one]));
    wait::until_true("it to be back", || greeted().as_deref() == Some("s1")).unwrap();
}
