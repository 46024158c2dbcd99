//! Servers that name themselves, a client that keeps its connection, and files to serve them with.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use crate::daemon::{Daemon, PATIENCE, free};

/// A server of HTTP/1 whose answers are its name. `GET /wait` is answered once it is [released](Server::release). It can
/// be taken off the net and put on again.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    released: Mutex<bool>,
    release: Condvar,
    waiting: AtomicUsize,
    /// Fails its checks.
    broken: AtomicBool,
    /// Heads of requests.
    seen: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            at: listener.local_addr().unwrap(),
            name,
            shared: Arc::default(),
        };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                shared.connections.fetch_add(1, SeqCst);
                thread::spawn(move || serve(stream, name, &shared));
            }
        });
        server
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// The last head of a request for `path`.
    pub(crate) fn head_of(&self, path: &str) -> String {
        let seen = self.shared.seen.lock().unwrap();
        let line = format!("GET {path} ");
        let found = seen.iter().rev().find(|head| head.starts_with(&line));
        found.cloned().unwrap_or_default()
    }

    /// Requests that wait to be released.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(SeqCst)
    }

    /// Answers those that wait, and all that are still to come.
    pub(crate) fn release(&self) {
        *self.shared.released.lock().unwrap() = true;
        self.shared.release.notify_all();
    }

    /// From now on its checks fail.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.shared.broken.store(broken, SeqCst);
    }

    /// An entry of `servers`.
    pub(crate) fn entry(&self, more: &str) -> String {
        format!("{{ name: {}, address: '{}'{more} }}", self.name, self.at)
    }
}

fn serve(stream: TcpStream, name: &str, shared: &Shared) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        shared.seen.lock().unwrap().push(head.clone());
        if head.to_ascii_lowercase().contains("upgrade: echo") {
            let _ = writer.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
            );
            let _ = std::io::copy(&mut reader, &mut writer);
            return;
        }
        if head.starts_with("GET /wait ") {
            shared.waiting.fetch_add(1, SeqCst);
            let mut released = shared.released.lock().unwrap();
            while !*released {
                released = shared.release.wait(released).unwrap();
            }
        }
        let status = match shared.broken.load(SeqCst) && head.starts_with("GET /health ") {
            true => "503 Service Unavailable",
            false => "200 OK",
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A client that keeps its connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Asks for `path`; the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> String {
        self.get_with(path, "")
    }

    /// The same with more fields, each with its line end.
    pub(crate) fn get_with(&mut self, path: &str, fields: &str) -> String {
        self.send(path, fields);
        self.answer().unwrap()
    }

    pub(crate) fn send(&mut self, path: &str, fields: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// The next answer; `None` if the connection has ended.
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            match self.reader.read_line(&mut answer) {
                Ok(0) if answer.is_empty() => return None,
                Ok(0) => panic!("it ends within {answer:?}"),
                Err(error) => panic!("{error} after {answer:?}"),
                Ok(_) => {}
            }
        }
        let length = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let length = name.eq_ignore_ascii_case("content-length");
            length.then(|| value.parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body).unwrap();
        answer.push_str(&String::from_utf8_lossy(&body));
        Some(answer)
    }

    /// Sends bytes, and reads as many back.
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        let mut back = vec![0; bytes.len()];
        self.reader.read_exact(&mut back).unwrap();
        assert_eq!(back, bytes);
    }

    /// The next byte; `None` at the end, however it has come.
    pub(crate) fn byte_or_reset(&mut self) -> Option<u8> {
        let mut byte = [0];
        let read = self.reader.read(&mut byte).unwrap_or(0);
        (read > 0).then_some(byte[0])
    }

    /// The next byte; `None` at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.reader.read(&mut byte).unwrap() {
            0 => None,
            _ => Some(byte[0]),
        }
    }
}

/// What a connection of its own is answered.
pub(crate) fn ask(at: SocketAddr, path: &str) -> String {
    Client::connect(at).get(path)
}

/// The last word of an answer: the server's name.
pub(crate) fn name(answer: &str) -> &str {
    answer.rsplit("\r\n").next().unwrap()
}

/// A daemon with one frontend `web` before one backend `app` that has these `servers`.
pub(crate) fn web(servers: &[&Server]) -> (Daemon, SocketAddr) {
    let at = free();
    let daemon = Daemon::start(Daemon::folder(), &file(at, "", "", servers), at);
    (daemon, at)
}

/// The same file with more keys of the frontend and of the backend, a line each.
pub(crate) fn file(at: SocketAddr, frontend: &str, backend: &str, servers: &[&Server]) -> String {
    let entries: Vec<String> = servers.iter().map(|server| server.entry("")).collect();
    file_of(at, frontend, backend, &entries)
}

/// The same with entries of `servers` as they are written.
pub(crate) fn file_of(at: SocketAddr, frontend: &str, backend: &str, servers: &[String]) -> String {
    let lines = |text: &str| -> String { text.lines().map(|l| format!("    {l}\n")).collect() };
    let servers: String = servers.iter().map(|s| format!("      - {s}\n")).collect();
    format!(
        "frontends:\n  web:\n    bind: '{at}'\n    default_backend: app\n{}backends:\n  app:\n{}    servers:\n{servers}",
        lines(frontend),
        lines(backend),
    )
}

/// Has the daemon take `rest`; what `lb reload` said, but for a warning about who the tests are run by.
pub(crate) fn take(daemon: &Daemon, rest: &str) -> String {
    daemon.write(rest);
    let (said, good) = daemon.reload();
    assert!(good, "{said}");
    let lines = said
        .lines()
        .filter(|l| !l.contains("the daemon stays root"));
    lines.map(|line| format!("{line}\n")).collect()
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A column of the line of `proxy` and `server` in `show stat`.
pub(crate) fn stat(daemon: &Daemon, proxy: &str, server: &str, column: &str) -> String {
    let answer = daemon.ask("show stat\n");
    let mut lines = answer.lines();
    let head = lines.next().unwrap().trim_start_matches("# ");
    let at = head.split(',').position(|name| name == column).unwrap();
    let wanted = format!("{proxy},{server},");
    let line = lines.find(|line| line.starts_with(&wanted)).unwrap_or("");
    line.split(',').nth(at).unwrap_or("").to_owned()
}
