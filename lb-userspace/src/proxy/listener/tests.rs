use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsRawFd,
    time::Duration,
};

use super::*;
use crate::{
    config::model::{Balance, Dialling, Habits, KeepAlive, Sockets},
    topology::{Topology, fixtures},
    wire::dial::{self, Origin},
};

fn topology(bind: SocketAddr) -> Topology {
    let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
    Topology::new(&fixtures::config(
        vec![fixtures::frontend("f", bind, "b")],
        vec![backend],
    ))
}

#[test]
fn every_worker_listens_on_the_same_port() {
    let listeners = Listeners::open(&topology(([127, 0, 0, 1], 0).into()), 3).unwrap();
    let ports: Vec<u16> = listeners
        .iter()
        .map(|l| l.sockets[0].1.local_addr().unwrap().port())
        .collect();
    assert_eq!(ports.len(), 3);
    assert!(
        ports[0] != 0 && ports.iter().all(|&port| port == ports[0]),
        "{ports:?}"
    );
}

#[test]
fn a_port_in_use_is_refused_even_if_its_holder_would_share_it() {
    let holder = Listeners::open(&topology(([127, 0, 0, 1], 0).into()), 1).unwrap();
    let taken = holder[0].sockets[0].1.local_addr().unwrap();
    let error = Listeners::open(&topology(taken), 1).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[test]
fn an_address_of_another_host_is_named() {
    let error = Listeners::open(&topology(([192, 0, 2, 1], 0).into()), 1).unwrap_err();
    assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
}

/// An option that is a whole number.
fn option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> libc::c_int {
    let mut value: libc::c_int = -1;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` has the length that is said, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    value
}

fn tcp(socket: &impl AsRawFd, name: libc::c_int) -> libc::c_int {
    option(socket, libc::IPPROTO_TCP, name)
}

#[test]
fn sockets_are_as_their_bind_says() {
    let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
    let mut frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
    frontend.binds[0].sockets = Sockets {
        backlog: Some(17),
        mss: Some(1000),
        user_timeout: Some(Duration::from_millis(1234)),
        defer_accept: true,
        fast_open: true,
        ..Sockets::default()
    };
    let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
    let listeners = Listeners::open(&topology, 1).unwrap();
    let socket = &listeners[0].sockets[0].1;
    assert_eq!(tcp(socket, libc::TCP_USER_TIMEOUT), 1234);
    assert_ne!(tcp(socket, libc::TCP_DEFER_ACCEPT), 0);
    assert_ne!(tcp(socket, libc::TCP_FASTOPEN), 0);
    // What was opened before is as it was, and so is what says nothing.
    let plain = Listeners::open(&self::topology(([127, 0, 0, 1], 0).into()), 1).unwrap();
    let plain = &plain[0].sockets[0].1;
    for name in [
        libc::TCP_USER_TIMEOUT,
        libc::TCP_DEFER_ACCEPT,
        libc::TCP_FASTOPEN,
    ] {
        assert_eq!(tcp(plain, name), 0, "{name}");
    }

    let mut client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    // Who has said nothing is not there yet.
    client.write_all(b"x").unwrap();
    socket.set_nonblocking(false).unwrap();
    let (accepted, _) = socket.accept().unwrap();
    assert_eq!(tcp(&accepted, libc::TCP_USER_TIMEOUT), 1234);
    let told = tcp(&client, libc::TCP_MAXSEG);
    assert!((900..=1000).contains(&told), "{told}");
}

#[test]
fn clients_connections_are_as_the_frontend_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let keepalive = KeepAlive {
        idle: Some(Duration::from_secs(61)),
        interval: Some(Duration::from_secs(7)),
        count: Some(3),
    };
    let habits = Habits {
        keepalive: Some(keepalive),
        resets: true,
        independent: false,
    };
    sockopt::habits(&accepted, &habits);
    let keeps = option(&accepted, libc::SOL_SOCKET, libc::SO_KEEPALIVE);
    assert_eq!(keeps, 1);
    let times = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    assert_eq!(times.map(|name| tcp(&accepted, name)), [61, 7, 3]);
    drop(accepted);
    let end = client.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn connections_to_servers_are_as_their_backend_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dialling = Dialling {
        habits: Habits {
            keepalive: Some(KeepAlive::default()),
            resets: true,
            independent: false,
        },
        user_timeout: Some(Duration::from_secs(9)),
        fast_open: true,
        interface: None,
        spoof: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = |speaks| {
        let origin = Origin {
            options: Some(&dialling),
            speaks,
            ..Origin::default()
        };
        runtime
            .block_on(dial::connect(&address.into(), origin))
            .unwrap()
    };
    let stream = connect(false);
    assert_eq!(tcp(&stream, libc::TCP_USER_TIMEOUT), 9000);
    assert_eq!(tcp(&stream, libc::TCP_FASTOPEN_CONNECT), 0);
    assert_eq!(option(&stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    let (mut server, _) = listener.accept().unwrap();
    drop(stream);
    let end = server.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    // Who speaks first need not wait for the handshake.
    let stream = connect(true);
    assert_eq!(tcp(&stream, libc::TCP_FASTOPEN_CONNECT), 1);
}

#[test]
fn an_address_of_another_host_is_had_where_that_is_said() {
    let backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
    let mut frontend = fixtures::frontend("f", ([192, 0, 2, 1], 0).into(), "b");
    frontend.binds[0].sockets.transparent = true;
    frontend.binds[0].sockets.interface = Some("lo".into());
    let topology = Topology::new(&fixtures::config(vec![frontend], vec![backend]));
    match Listeners::open(&topology, 1) {
        Ok(listeners) => {
            let socket = &listeners[0].sockets[0].1;
            let device = socket2::SockRef::from(socket).device().unwrap();
            assert_eq!(device.as_deref(), Some(&b"lo"[..]));
        }
        // It takes a right that not everybody has.
        Err(error) => assert!(matches!(error, ListenError::Denied { .. }), "{error}"),
    }
}
