//! Bodies larger than anybody should hold: they pass in memory that does not grow with them, also where the reader is
//! slower than the writer.
//!
//! `LB_BODY` is another size in bytes, of which `LB_BIN`'s build may be asked:
//! `LB_BODY=10737418240 cargo test --release -p lb-userspace --test edge large -- --nocapture`.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use crate::{
    clients::installed,
    daemon::{Daemon, free},
};

/// How much more memory than before the daemon may have taken at any time.
const MOST: u64 = 24 * 1024 * 1024;

/// Takes as much as is sent and tells how much it was; sends as much as is asked for by `GET /N`.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let mut buffer = vec![b'x'; 1024 * 1024];
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let length = head.split("content-length: ").nth(1);
        let mut left: u64 =
            length.map_or(Some(0), |rest| rest.split("\r\n").next()?.parse().ok())?;
        let taken = left;
        while left > 0 {
            let n = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = stream.read(&mut buffer[..n]).ok().filter(|&n| n > 0)?;
            left -= n as u64;
        }
        let asked = head.split(['/', ' ']).nth(2)?.parse().unwrap_or(0_u64);
        let told = format!("{taken}");
        let size = if asked > 0 { asked } else { told.len() as u64 };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").ok()?;
        if asked == 0 {
            stream.write_all(told.as_bytes()).ok()?;
        }
        let mut left = asked;
        while left > 0 {
            let n = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(&buffer[..n]).ok()?;
            left -= n as u64;
        }
    }
}

/// Most memory that the daemon has had.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_body_of_any_size_passes_in_constant_memory() {
    if !installed("curl") {
        return;
    }
    let size = std::env::var("LB_BODY").map_or(40 << 20, |size| size.parse::<u64>().unwrap());
    let (app, front, inner) = (endless(), free(), free());
    let binary = std::env::var("LB_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lb").to_owned());
    let daemon = Daemon::start_binary(
        binary.as_ref(),
        Daemon::folder(),
        &format!(
            "frontends:
  front: {{ bind: '{front}', default_backend: inner }}
  inner: {{ bind: '{inner}', default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  inner: {{ servers: [{{ name: s1, address: '{inner}', protocol: h2 }}] }}
"
        ),
        front,
    );
    let before = peak(&daemon);
    let log = || fs::read_to_string(daemon.folder.join("log")).unwrap_or_default();
    // To HTTP/1, and by way of HTTP/2 to it; down and up.
    for at in [inner, front] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let down = format!("http://{at}/{size}");
            let curl = |arguments: &[&str], stdin: Stdio| {
                let mut command = Command::new("curl");
                command.args(["-sS", version]).args(arguments).stdin(stdin);
                let output = command.output().unwrap();
                let both = [output.stdout, output.stderr].concat();
                String::from_utf8(both).unwrap()
            };
            let got = curl(
                &["-o", "/dev/null", "-w", "%{size_download}", &down],
                Stdio::null(),
            );
            assert_eq!(got, size.to_string(), "down {version} to {at}\n{}", log());
            let mut head = Command::new("head")
                .args(["-c", &size.to_string(), "/dev/zero"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let length = format!("Content-Length: {size}");
            let up = format!("http://{at}/");
            let from = head.stdout.take().unwrap().into();
            let told = curl(
                &["-T", "-", "-H", "Transfer-Encoding:", "-H", &length, &up],
                from,
            );
            head.wait().unwrap();
            assert_eq!(told, size.to_string(), "up {version} to {at}\n{}", log());
        }
    }
    let grown = peak(&daemon) - before;
    println!(
        "{size} bytes: {} KiB at most, {} KiB before",
        peak(&daemon) / 1024,
        before / 1024
    );
    assert!(grown < MOST, "{grown} bytes more");
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    let (app, front) = (endless(), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends: {{ front: {{ bind: '{front}', default_backend: app }} }}
backends: {{ app: {{ servers: [{{ name: s1, address: '{app}' }}] }} }}\n"
        ),
        front,
    );
    let before = peak(&daemon);
    let clients: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut client = TcpStream::connect(front).unwrap();
            let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", 200 << 20);
            client.write_all(request.as_bytes()).unwrap();
            // The beginning has come: now the rest waits.
            client.read_exact(&mut [0; 1000]).unwrap();
            client
        })
        .collect();
    // Another reads as much in the meantime.
    let mut other = TcpStream::connect(front).unwrap();
    let request = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        200 << 20
    );
    other.write_all(request.as_bytes()).unwrap();
    let read = std::io::copy(&mut other, &mut std::io::sink()).unwrap();
    assert!(read > 200 << 20);
    let grown = peak(&daemon) - before;
    assert!(grown < MOST, "{grown} bytes more");
    println!("{} stalled: {} KiB more", clients.len(), grown / 1024);
}
