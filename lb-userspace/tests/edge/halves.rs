//! Connections of mode tcp of which one side has ended and the other goes on, with TLS on either side, both or none; and
//! answers in mode http that end with their connection.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::{
    certificates::{Authority, Made},
    clients::{read_all, write},
    daemon::{Daemon, PATIENCE, free},
};

/// Bulk, so that it goes through a pipe where both sides are plain.
const MUCH: usize = 1_000_000;
/// So much of it at a time.
const STEP: usize = 16 * 1024;

/// What one side does.
#[derive(Debug, Clone, Copy)]
struct Part {
    says: usize,
    /// Not before the other side has ended.
    after: bool,
    /// TLS's goodbye is left out.
    rude: bool,
}

const AT_ONCE: Part = Part {
    says: MUCH,
    after: false,
    rude: false,
};
const AFTER: Part = Part {
    after: true,
    ..AT_ONCE
};
const RUDE: Part = Part {
    rude: true,
    ..AT_ONCE
};

/// Each is what the client does, and the server.
const COURSES: &[(Part, Part)] = &[
    (AT_ONCE, AT_ONCE),
    (AT_ONCE, AFTER),
    (AFTER, AT_ONCE),
    (RUDE, AFTER),
    (AFTER, RUDE),
    (RUDE, RUDE),
];

/// One side of a connection.
struct End {
    socket: TcpStream,
    tls: Option<Connection>,
    part: Part,
    said: usize,
    heard: usize,
    has_ended: bool,
    hears: bool,
}

/// What is said from `at` on, of which there are at most 16 KiB at a time.
fn said(at: usize, length: usize) -> &'static [u8] {
    const ROUND: usize = 251;
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let all = (0..ROUND + STEP).map(|at| u8::try_from(at % ROUND).unwrap());
        all.collect()
    });
    let at = at % ROUND;
    &ALL[at..at + length]
}

impl End {
    fn new(socket: TcpStream, tls: Option<Connection>, part: Part) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            tls,
            part,
            said: 0,
            heard: 0,
            has_ended: false,
            hears: true,
        }
    }

    fn is_over(&self) -> bool {
        self.has_ended && !self.hears
    }

    /// Does what can be done; whether that was anything.
    fn step(&mut self) -> io::Result<bool> {
        let mut moved = false;
        if self.hears {
            moved |= waits(self.hear())?.is_some();
        }
        if let Some(tls) = &mut self.tls
            && tls.wants_write()
        {
            return Ok(waits(tls.write_tls(&mut self.socket))?.is_some() || moved);
        }
        if !self.has_ended && (!self.part.after || !self.hears) {
            moved |= waits(self.say())?.is_some();
        }
        Ok(moved)
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut part = [0; STEP];
        let n = match &mut self.tls {
            None => self.socket.read(&mut part)?,
            Some(tls) => loop {
                match tls.reader().read(&mut part) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        // An end without TLS's own is an error of the next look.
                        tls.read_tls(&mut self.socket)?;
                        tls.process_new_packets().map_err(io::Error::other)?;
                        if tls.is_handshaking() {
                            return Ok(());
                        }
                    }
                    read => break read?,
                }
            },
        };
        assert!(
            part[..n] == *said(self.heard, n),
            "other bytes after {}",
            self.heard
        );
        self.heard += n;
        self.hears = n > 0;
        Ok(())
    }

    fn say(&mut self) -> io::Result<()> {
        let left = self.part.says - self.said;
        if left == 0 {
            match &mut self.tls {
                Some(tls) if !self.part.rude => tls.send_close_notify(),
                _ => self.socket.shutdown(Shutdown::Write)?,
            }
            self.has_ended = true;
            return Ok(());
        }
        let next = said(self.said, left.min(STEP));
        self.said += match &mut self.tls {
            None => self.socket.write(next)?,
            Some(tls) if tls.is_handshaking() => return Err(ErrorKind::WouldBlock.into()),
            Some(tls) => tls.writer().write(next)?,
        };
        Ok(())
    }
}

/// `None` if it has to wait.
fn waits<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

type Version = &'static SupportedProtocolVersion;

fn client_of(ca: &Authority, version: Version) -> Connection {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "site.example".try_into().unwrap();
    ClientConnection::new(config.into(), name).unwrap().into()
}

fn server_of(made: &Made, version: Version) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(made.cert.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    config.unwrap().into()
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

#[test]
fn who_has_ended_still_hears_the_rest() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    let made = ca.issue(&["site.example"]);
    write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &made.both());
    let versions: [Option<Version>; 3] = [None, Some(&TLS12), Some(&TLS13)];
    let ((plain_server, plain_at), (tls_server, tls_at)) = (listen(), listen());
    let binds = [(), (), (), ()].map(|()| free());
    let [plain_plain, plain_tls, tls_plain, tls_tls] = binds;
    let daemon = Daemon::start(
        folder,
        &format!(
            "defaults: {{ mode: tcp }}
frontends:
  plain-plain: {{ bind: '{plain_plain}', default_backend: plain }}
  plain-tls: {{ bind: '{plain_tls}', default_backend: tls }}
  tls-plain: {{ bind: {{ address: '{tls_plain}', tls: {{ certificates: site.pem }} }}, default_backend: plain }}
  tls-tls: {{ bind: {{ address: '{tls_tls}', tls: {{ certificates: site.pem }} }}, default_backend: tls }}
backends:
  plain: {{ servers: [{{ name: s, address: '{plain_at}' }}] }}
  tls: {{ servers: [{{ name: s, address: '{tls_at}', tls: {{ ca: ca.pem, sni: site.example }} }}] }}
"
        ),
        plain_plain,
    );
    let mut done = [0; 4];
    for client_version in versions {
        for server_version in versions {
            let way =
                usize::from(client_version.is_some()) * 2 + usize::from(server_version.is_some());
            let listener = match server_version {
                None => &plain_server,
                Some(_) => &tls_server,
            };
            // What was only to see whether it accepts has come by.
            if way == 0 {
                while waits(listener.accept()).unwrap().is_none() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            let config = server_version.map(|version| server_of(&made, version));
            for &(ours, theirs) in COURSES {
                let what = format!("{client_version:?} {ours:?} {server_version:?} {theirs:?}");
                let socket = TcpStream::connect(binds[way]).unwrap();
                let tls = client_version.map(|version| client_of(&ca, version));
                let mut client = End::new(socket, tls, ours);
                let mut server: Option<End> = None;
                let deadline = Instant::now() + PATIENCE;
                loop {
                    assert!(Instant::now() < deadline, "{what} does not end");
                    let mut moved = client
                        .step()
                        .unwrap_or_else(|e| panic!("{what}: client: {e}"));
                    match &mut server {
                        Some(server) => {
                            moved |= server
                                .step()
                                .unwrap_or_else(|e| panic!("{what}: server: {e}"));
                            if server.is_over() && client.is_over() {
                                break;
                            }
                        }
                        None => {
                            let came = waits(listener.accept()).unwrap();
                            server = came.map(|(socket, _)| {
                                let tls = config.clone().map(ServerConnection::new);
                                End::new(socket, tls.map(|tls| tls.unwrap().into()), theirs)
                            });
                        }
                    }
                    if !moved {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
                let heard = (client.heard, server.unwrap().heard);
                assert_eq!(heard, (MUCH, MUCH), "{what}");
                done[way] += 1;
            }
        }
    }
    for (name, count) in ["plain-plain", "plain-tls", "tls-plain", "tls-tls"]
        .iter()
        .zip(done)
    {
        let csv = daemon.ask("show stat\n");
        let row = csv
            .lines()
            .find(|line| line.starts_with(&format!("{name},FRONTEND,")))
            .unwrap();
        let cells: Vec<&str> = row.split(',').collect();
        assert_eq!(cells[8..10], [&(count * MUCH).to_string(); 2], "{name}");
    }
}

#[test]
fn an_answer_that_tls_does_not_end_is_not_whole() {
    let folder = Daemon::folder();
    let config = server_of(&Authority::new().issue(&["site.example"]), &TLS13);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (app, at) = (listener.local_addr().unwrap(), free());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, socket);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                } else {
                    break;
                }
            }
            let length: &[u8] = match head.starts_with(b"GET /length") {
                true => b"content-length: 5\r\n",
                false => b"",
            };
            let answer = [b"HTTP/1.1 200 OK\r\n", length, b"\r\nhello"].concat();
            let _ = stream.write_all(&answer);
            if head.starts_with(b"GET /polite") {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        }
    });
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends: {{ web: {{ bind: '{at}', default_backend: app }} }}
backends: {{ app: {{ servers: [{{ name: s1, address: '{app}', tls: {{ verify: none }} }}] }} }}
"
        ),
        at,
    );
    for (path, end, flags) in [
        ("/polite", "\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "----"),
        ("/length", "\r\n\r\nhello", "----"),
        // Whoever is told nothing takes what came for all of it.
        ("/rude", "\r\n\r\n5\r\nhello\r\n", "SD--"),
    ] {
        let mut client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&read_all(&mut client)).into_owned();
        assert!(answer.ends_with(end), "{path}: {answer:?}");
        let line = daemon.logged(&format!("\"GET {path} "));
        assert!(line.contains(" 200 ") && line.contains(flags), "{line}");
    }
}
