//! What a connection costs that only waits: memory of the daemon for each of thousands of idle keep-alive connections,
//! beside that of HAProxy and nginx where they are installed.
//!
//! `cargo test --release -p lb-userspace --test edge idle -- --ignored --nocapture`; `LB_BIN` is another build to
//! measure, `LB_IDLE` another number of connections.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::{
    certificates::Authority,
    clients::write,
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

/// Most bytes that an idle connection may take.
const MOST: u64 = 6 * 1024;
/// The same over TLS, on either version of HTTP.
const MOST_TLS: u64 = 24 * 1024;

/// What a client of HTTP/2 begins with, and a request: GET / of site.example.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x11\x01\x05\x00\x00\x00\x01\x82\x87\x84\x41\x0csite.example";
/// The answer to the other's settings.
const SETTINGS_ACK: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";

/// What keeps a connection open.
enum Idle {
    Plain(#[expect(dead_code, reason = "open as long as it lives")] TcpStream),
    Tls(
        #[expect(dead_code, reason = "open as long as it lives")]
        Box<StreamOwned<ClientConnection, TcpStream>>,
    ),
}

/// Another proxy; ends with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "a measurement: wants a release build and half a minute"]
fn thousands_of_idle_connections_take_little_memory() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let pem = folder.join("site.pem").display().to_string();
    let (app, _) = server();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http_2 = tls.clone();
    http_2.alpn_protocols = vec![b"h2".to_vec()];
    let tls = [Arc::new(tls), Arc::new(http_2)];
    // A proxy reckons with two descriptors for each.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = most.map_or(10_000, |limit| {
        (limit.saturating_sub(1_000) / 2).min(10_000)
    });
    let count = std::env::var("LB_IDLE").map_or(most, |count| count.parse().unwrap());
    let maxconn = count + 150;
    println!("{count} idle keep-alive connections, KiB each over baseline:");

    let (plain, secure) = (free(), free());
    let haproxy = format!(
        "global\n  maxconn {maxconn}\n  nbthread 2\ndefaults\n  mode http\n  timeout client 600s\n  timeout server 600s\n  \
         timeout connect 5s\nfrontend f\n  bind {plain}\n  bind {secure} ssl crt {pem} alpn h2,http/1.1\n  default_backend b\n\
         backend b\n  server s {app}\n"
    );
    if let Some(peer) = start("haproxy", &["-db", "-f"], &folder, &haproxy, plain) {
        report("haproxy", peer.0.id(), plain, secure, &tls, count);
    }
    let (plain, secure) = (free(), free());
    let path = folder.display();
    let nginx = format!(
        "daemon off; master_process off; pid {path}/nginx.pid; error_log {path}/error.log;\n\
         events {{ worker_connections 19000; }}\nhttp {{ access_log off; keepalive_timeout 600s;\n\
         client_body_temp_path {path}/c; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;\n\
         uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
         upstream b {{ server {app}; keepalive 16; }}\nserver {{ listen {plain}; listen {secure} ssl http2;\n\
         ssl_certificate {pem}; ssl_certificate_key {pem};\n\
         location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}\n"
    );
    if let Some(peer) = start("nginx", &["-c"], &folder, &nginx, plain) {
        report("nginx", peer.0.id(), plain, secure, &tls, count);
    }

    let (plain, secure) = (free(), free());
    let binary = std::env::var("LB_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lb").to_owned());
    let daemon = Daemon::start_binary(
        binary.as_ref(),
        folder,
        &format!(
            "frontends:
  plain: {{ bind: '{plain}', timeouts: {{ client: 600s }}, default_backend: app }}
  tls: {{ bind: {{ address: '{secure}', tls: {{ certificates: site.pem }} }}, timeouts: {{ client: 600s }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        plain,
    );
    let [plain, tls, http_2] = report("lb", daemon.pid(), plain, secure, &tls, count);
    if cfg!(debug_assertions) && std::env::var_os("LB_BIN").is_none() {
        return;
    }
    assert!(plain <= MOST, "{plain} bytes each");
    assert!(tls <= MOST_TLS, "{tls} bytes each over TLS");
    assert!(http_2 <= MOST_TLS, "{http_2} bytes each over TLS on HTTP/2");
}

/// Starts a peer with `config`; `None` if it is not there.
fn start(
    program: &str,
    arguments: &[&str],
    folder: &Path,
    config: &str,
    ready: SocketAddr,
) -> Option<Peer> {
    let path = write(folder, &format!("{program}.conf"), config);
    let program = [
        format!("/usr/sbin/{program}"),
        format!("/usr/local/sbin/{program}"),
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
    .or_else(|| {
        println!("skipped: {program} is not installed");
        None
    })?;
    let child = Command::new(program)
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer(child);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(ready).is_err() {
        assert!(Instant::now() < deadline, "it does not accept");
        thread::sleep(Duration::from_millis(5));
    }
    Some(peer)
}

/// Prints what a connection costs `name`, and gives it in bytes: as it is, over TLS, and there on HTTP/2.
fn report(
    name: &str,
    pid: u32,
    plain: SocketAddr,
    secure: SocketAddr,
    [tls, http_2]: &[Arc<ClientConfig>; 2],
    count: u64,
) -> [u64; 3] {
    let bare = each(pid, count, || open(plain, None));
    let over_tls = each(pid, count, || open(secure, Some(tls)));
    let http_2 = each(pid, count, || open(secure, Some(http_2)));
    println!(
        "{name:8} {:>6} plain {:>6} TLS {:>6} TLS with HTTP/2",
        kib(bare),
        kib(over_tls),
        kib(http_2)
    );
    [bare, over_tls, http_2]
}

fn kib(bytes: u64) -> String {
    format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024)
}

/// Memory of each of `count` connections of process `pid`.
fn each(pid: u32, count: u64, mut open: impl FnMut() -> Idle) -> u64 {
    // What the first ones bring into memory is not theirs.
    drop((0..100).map(|_| open()).collect::<Vec<_>>());
    let before = settled(pid);
    let idle: Vec<Idle> = (0..count).map(|_| open()).collect();
    let taken = settled(pid).saturating_sub(before);
    drop(idle);
    settled(pid);
    taken / count
}

/// Resident memory of process `pid` once it does not change any more.
fn settled(pid: u32) -> u64 {
    let (mut last, mut same) = (0, 0);
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(250));
        let now = resident(pid);
        same = if now.abs_diff(last) < 64 * 1024 {
            same + 1
        } else {
            0
        };
        last = now;
        if same == 6 {
            break;
        }
    }
    last
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

/// A connection that has carried one request.
fn open(at: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Idle {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let Some(config) = tls else {
        let mut stream = stream;
        ask(&mut stream);
        return Idle::Plain(stream);
    };
    let name = ServerName::try_from("site.example").unwrap();
    let client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = Box::new(StreamOwned::new(client, stream));
    match config.alpn_protocols.is_empty() {
        true => ask(&mut stream),
        false => ask_http_2(&mut stream),
    }
    Idle::Tls(stream)
}

fn ask_http_2(stream: &mut (impl Read + Write)) {
    stream.write_all(HTTP_2).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        let [.., kind, flags, _, _, _, stream_id] = head;
        match (kind, flags) {
            // Settings.
            (4, 0) => stream.write_all(SETTINGS_ACK).unwrap(),
            // Headers or data that end the stream.
            (0 | 1, flags) if stream_id == 1 && flags & 1 != 0 => return,
            // A reset, or a farewell.
            (3 | 7, _) => panic!("refused: {head:?} {payload:?}"),
            _ => {}
        }
    }
}

fn ask(stream: &mut (impl Read + Write)) {
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: site.example\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n",
        )
        .unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.ends_with(b"hello") {
        let n = stream.read(&mut part).unwrap();
        assert!(n > 0, "it closed after {answer:?}");
        answer.extend_from_slice(&part[..n]);
    }
}
