//! Where runtime commands are taken: levels, modes, addresses, and clients that mean no good.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use crate::{
    daemon::{Daemon, free},
    operators::{MOVED, ask, fill, server, who},
};

#[test]
fn sockets_have_levels_modes_and_addresses() {
    let (folder, at, tcp) = (Daemon::folder(), free(), free());
    let servers = [server("one"), server("two")];
    let config = format!(
        "global: {{ threads: 1, fast_path: {{ attach: off }}, admin_socket: [ FOLDER/admin.sock, {{ bind: FOLDER/watch.sock, \
         level: user, mode: 660 }}, {{ bind: '{tcp}' }} ] }}\n{}",
        fill(MOVED, &folder, at, servers)
    );
    let daemon = Daemon::start(folder.clone(), &config, at);
    // It accepts before these sockets are there; who is answered finds all of them.
    assert_eq!(daemon.ask("show cli level\n"), "admin\n\n");
    let watch = folder.join("watch.sock");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(
        [mode(&watch), mode(&folder.join("admin.sock"))],
        [0o660, 0o600]
    );
    assert_eq!(
        ask(&watch, "show cli level;disable server b/s1\n"),
        "user\n\nPermission denied\n\n"
    );
    assert!(ask(&watch, "show stat\n").starts_with("# pxname,"));
    for command in ["cert", "ca-file", "crt-list"] {
        let said = ask(&watch, &format!("show ssl {command}\n"));
        assert_eq!(said, "Permission denied\n\n", "{command}");
    }
    let mut remote = TcpStream::connect(tcp).unwrap();
    remote
        .write_all(b"show cli level;show cli sockets;disable server b/s1\n")
        .unwrap();
    let mut said = String::new();
    remote.read_to_string(&mut said).unwrap();
    let path = folder.display();
    assert_eq!(
        said,
        format!(
            "operator\n\n# socket lvl processes\nunix@{path}/admin.sock admin all\nunix@{path}/watch.sock user all\n\
             ipv4@{tcp} operator all\n\nPermission denied\n\n"
        )
    );
}

#[test]
fn a_file_of_haproxys_says_who_may_what() {
    let (folder, at, tcp) = (Daemon::folder(), free(), free());
    let path = folder.display().to_string();
    let text = format!(
        "global\n  stats socket {path}/admin.sock mode 600 level admin expose-fd listeners\n  stats socket {path}/o.sock\n  \
         stats socket ipv4@{tcp} level user\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  \
         timeout server 5s\nfrontend f\n  bind {at}\n  default_backend b\nbackend b\n  server s1 127.0.0.1:9\n"
    );
    let lb = env!("CARGO_BIN_EXE_lb").as_ref();
    let daemon = Daemon::start_file(lb, folder.clone(), ("lb.cfg", &text), at);
    assert_eq!(daemon.ask("show cli level\n"), "admin\n\n");
    assert_eq!(
        ask(&folder.join("o.sock"), "show cli level\n"),
        "operator\n\n"
    );
    let mut remote = TcpStream::connect(tcp).unwrap();
    remote.write_all(b"show cli level\n").unwrap();
    let mut said = String::new();
    remote.read_to_string(&mut said).unwrap();
    assert_eq!(said, "user\n\n");
}

#[test]
fn hostile_clients_are_survived() {
    let (folder, at) = (Daemon::folder(), free());
    let servers = [server("one"), server("two")];
    let daemon = Daemon::start(folder.clone(), &fill(MOVED, &folder, at, servers), at);
    let socket = folder.join("admin.sock");
    // It is served from now on.
    daemon.ask("show info\n");
    // More than are served at a time, and as many as may wait, say nothing, half a line, or noise; then they go.
    let held: Vec<UnixStream> = (0..90_u8)
        .map(|number| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let text: &[u8] = match number % 4 {
                0 => b"show st",
                1 => &[0xff, 0, 1, 2, b';', 0x80],
                2 => b"set map #0 <<\nhalf a payload",
                _ => b"",
            };
            // Who waits to be served has it in the socket meanwhile.
            let _ = stream.write_all(text);
            stream
        })
        .collect();
    drop(held);
    // One that sends without an end is told so, or cut off.
    let mut endless = UnixStream::connect(&socket).unwrap();
    let noise = vec![b'x'; 1 << 20];
    let _ = endless.write_all(&noise);
    drop(endless);
    assert!(daemon.ask("show info\n").starts_with("Name: "));
    assert_eq!(who(at), "one");
}
