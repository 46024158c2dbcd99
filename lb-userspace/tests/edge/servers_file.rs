//! A file of servers that is followed: `servers_from`.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use crate::{
    beside::until,
    clients::read_all,
    daemon::{Daemon, PATIENCE, free},
};

/// A server that answers each request with its name.
fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                use std::io::Read;
                while !head.ends_with(b"\r\n\r\n") && reader.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let length = name.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
                );
            });
        }
    });
    address
}

fn ask(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let answer = String::from_utf8_lossy(&read_all(&mut stream)).into_owned();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    match answer.split(' ').nth(1) {
        Some("200") => body.to_owned(),
        status => status.unwrap_or_default().to_owned(),
    }
}

#[test]
fn servers_follow_their_file_and_a_broken_one_leaves_them() {
    let (one, two) = (named("one"), named("two"));
    let web = free();
    let folder = Daemon::folder();
    let file = folder.join("web.json");
    let list =
        |name: &str, at: SocketAddr| format!("[{{ \"name\": \"{name}\", \"address\": \"{at}\" }}]");
    fs::write(&file, "[]").unwrap();
    let rest = format!(
        "frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: app }}\n\
         backends:\n  app: {{ mode: http, servers_from: {{ file: web.json, limit: 3 }} }}\n"
    );
    let daemon = Daemon::start(folder, &rest, web);
    let servers = || {
        let table = daemon.ask("show stat\n");
        let rows = table.lines().filter_map(|row| row.strip_prefix("app,"));
        let names = rows.map(|row| row.split(',').next().unwrap_or_default().to_owned());
        names
            .filter(|name| name != "BACKEND")
            .collect::<Vec<_>>()
            .join(" ")
    };
    let has = |names: &str| until(names, || servers() == names);
    assert_eq!(ask(web), "503");
    // Replaced at once, as it should be.
    let new = daemon.folder.join("web.json.new");
    fs::write(&new, list("first", one)).unwrap();
    fs::rename(&new, &file).unwrap();
    has("first");
    assert_eq!(ask(web), "one");
    daemon.ask("set server app/first weight 7\n");
    // Written in place.
    let both = list("first", one).replace(']', ",") + &list("second", two)[1..];
    fs::write(&file, &both).unwrap();
    has("first second");
    let weight = daemon.ask("get weight app/first\n");
    assert!(
        weight.starts_with("7 "),
        "what an operator has set stays: {weight}"
    );

    fs::write(&file, "[{ \"name\": \"first\" ").unwrap();
    daemon.logged_with(&["web.json:1:", "error:"]);
    let status = || {
        let socket = daemon.folder.join("admin.sock");
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["status", "--socket"])
            .arg(socket)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = "A file of servers was not taken";
    until(refused, || {
        status().contains(refused) && status().contains("web.json:1:")
    });
    assert_eq!(servers(), "first second");
    assert!(["one", "two"].contains(&ask(web).as_str()));

    // What is in the configuration meanwhile waits for a reload.
    daemon.write(&rest.replace("limit: 3", "limit: 1"));
    fs::write(&file, list("second", two)).unwrap();
    has("second");
    assert_eq!(ask(web), "two");
    assert!(!status().contains(refused), "{}", status());
    fs::write(&file, &both).unwrap();
    // One that comes back is a server like any other.
    until("both", || servers().split(' ').count() == 2);
    let (said, taken) = daemon.reload();
    assert!(
        !taken && said.contains("more than the limit of 1"),
        "{said}"
    );
    assert_eq!(servers().split(' ').count(), 2);
}
