//! Binds of IPv6 alone.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::daemon::Daemon;

#[test]
fn what_listens_on_ipv6_alone_is_not_there_for_ipv4() {
    let free = || Some(TcpListener::bind("[::]:0").ok()?.local_addr().ok()?.port());
    let (Some(alone), Some(both)) = (free(), free()) else {
        eprintln!("skipped: this host has no IPv6");
        return;
    };
    let folder = Daemon::folder();
    let text = format!(
        "global\n stats socket {}/admin.sock\nlisten l\n mode http\n bind :::{alone} v6only\n bind :::{both}\n \
         http-request return status 200\n",
        folder.display()
    );
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let four = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let six = |port| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    let mut daemon = Daemon::start_file(binary, folder, ("lb.cfg", &text), six(alone));
    daemon.accepts(six(both));
    daemon.accepts(four(both));
    TcpStream::connect(four(alone)).unwrap_err();
}
