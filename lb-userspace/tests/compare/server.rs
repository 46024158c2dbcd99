//! Servers that remember what they saw, and answer as the last part of the path asks them to.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long connections may take to end: those of proxies that have ended are at their end.
const QUIET: Duration = Duration::from_secs(3);

/// What servers have seen: the case that it belongs to, and what of it is compared.
#[derive(Default)]
pub(crate) struct Record {
    seen: Mutex<Vec<Seen>>,
    released: Mutex<Vec<String>>,
    /// Connections that are being served.
    open: AtomicUsize,
    changed: Condvar,
}

/// A connection that is being served; gone with its end, however that comes.
struct Served(Arc<Record>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// One request: whose it is, and what of it is compared.
struct Seen {
    case: String,
    fields: Vec<(String, String)>,
}

impl Record {
    /// Waits until no connection is left: of one that was cut it is then known what had come.
    pub(crate) fn wait_for_quiet(&self) {
        let deadline = Instant::now() + QUIET;
        while self.open.load(Relaxed) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until `count` requests of a case have come.
    pub(crate) fn wait_for(&self, case: &str, count: usize) {
        let seen = self.seen.lock().unwrap();
        let come = |seen: &mut Vec<Seen>| seen.iter().filter(|s| s.case == case).count() < count;
        let (_seen, timeout) = self
            .changed
            .wait_timeout_while(seen, PATIENCE, come)
            .unwrap();
        assert!(!timeout.timed_out(), "{case}: no server has seen it");
    }

    /// Lets `/hold` of this case be answered.
    pub(crate) fn release(&self, case: &str) {
        self.released.lock().unwrap().push(case.to_owned());
        self.changed.notify_all();
    }

    fn hold(&self, case: &str) {
        let released = self.released.lock().unwrap();
        let held = |released: &mut Vec<String>| !released.iter().any(|r| r == case);
        let _ = self.changed.wait_timeout_while(released, PATIENCE, held);
    }

    /// What was seen of a case, request by request.
    pub(crate) fn of(&self, case: &str) -> Vec<Vec<(String, String)>> {
        let seen = self.seen.lock().unwrap();
        let of = seen.iter().filter(|seen| seen.case == case);
        of.map(|seen| seen.fields.clone()).collect()
    }
}

/// Starts a server on a port of the kernel's choice.
pub(crate) fn start(
    ip: IpAddr,
    name: &'static str,
    tls: Option<Arc<ServerConfig>>,
    record: &Arc<Record>,
) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let record = Arc::clone(record);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (record, tls) = (Arc::clone(&record), tls.clone());
            record.open.fetch_add(1, Relaxed);
            thread::spawn(move || {
                let record = Served(record);
                let record = &record.0;
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let _ = stream.set_nodelay(true);
                let raw = stream.try_clone().unwrap();
                let _ = match tls {
                    None => serve(name, stream, &raw, record),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(name, StreamOwned::new(connection, stream), &raw, record)
                    }
                };
            });
        }
    });
    address
}

/// One step of an answer.
enum Act {
    Write(Vec<u8>),
    Sleep(u64),
    Hold,
    Echo,
    Reset,
    Close,
}

fn serve<S: Read + Write>(
    name: &'static str,
    stream: S,
    raw: &TcpStream,
    record: &Record,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut introduction = introduction(&mut stream)?;
    loop {
        let Some((line, headers)) = head(&mut stream)? else {
            return Ok(());
        };
        let header = |wanted: &str| {
            let mut found = headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.next().map(|(_, value)| value.as_str())
        };
        let mut fields = vec![
            ("server".to_owned(), name.to_owned()),
            ("line".to_owned(), line.clone()),
        ];
        fields.extend(introduction.take().map(|i| ("introduction".to_owned(), i)));
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let last = target
            .split('?')
            .next()
            .unwrap_or("")
            .rsplit('/')
            .next()
            .unwrap_or("");
        if header("expect").is_some() && last != "refuse" {
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Vec::new();
        let mut complete = true;
        if last != "refuse" && last != "eager" {
            complete = read_body(
                &mut stream,
                header("content-length"),
                header("transfer-encoding"),
                &mut body,
                &mut fields,
            )
            .is_ok();
        }
        fields.push(("body".into(), String::from_utf8_lossy(&body).into_owned()));
        if !complete {
            fields.push(("body".into(), "cut".into()));
        }
        let case = header("x-case").unwrap_or("").to_owned();
        let give: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-give"))
            .map(|(_, value)| value.clone())
            .collect();
        let status = header("x-status").map_or_else(|| "200 OK".to_owned(), str::to_owned);
        for (name, value) in &headers {
            if !name.eq_ignore_ascii_case("x-case") {
                fields.push((
                    format!("header {}", name.to_ascii_lowercase()),
                    value.clone(),
                ));
            }
        }
        record.seen.lock().unwrap().push(Seen {
            case: case.clone(),
            fields,
        });
        record.changed.notify_all();
        if !complete {
            return Ok(());
        }
        for act in acts(last, method == "HEAD", name, &status, &give) {
            match act {
                Act::Write(bytes) => {
                    stream.get_mut().write_all(&bytes)?;
                    stream.get_mut().flush()?;
                }
                Act::Sleep(time) => thread::sleep(Duration::from_millis(time)),
                Act::Hold => record.hold(&case),
                Act::Echo => loop {
                    let length = {
                        let bytes = stream.fill_buf()?;
                        let bytes = bytes.to_vec();
                        stream.get_mut().write_all(&bytes)?;
                        bytes.len()
                    };
                    if length == 0 {
                        return Ok(());
                    }
                    stream.consume(length);
                },
                Act::Reset => {
                    let _ = socket2::SockRef::from(raw).set_linger(Some(Duration::ZERO));
                    return Ok(());
                }
                Act::Close => {
                    let _ = raw.shutdown(std::net::Shutdown::Write);
                    return Ok(());
                }
            }
        }
    }
}

/// What the last part of the path asks for.
fn acts(last: &str, head: bool, server: &str, status: &str, give: &[String]) -> Vec<Act> {
    let mut fields: String = give.iter().map(|line| format!("{line}\r\n")).collect();
    fields.push_str(&format!("X-Server: {server}\r\n"));
    let whole = |rest: &str| vec![Act::Write(rest.replace('\n', "\r\n").into_bytes())];
    // The body goes unless the request was HEAD.
    let message = |start: &str, more: &str, body: &str| {
        let body = if head { "" } else { body };
        Act::Write(
            format!(
                "{start}\r\n{fields}{}\r\n{body}",
                more.replace('\n', "\r\n")
            )
            .into_bytes(),
        )
    };
    let ok = format!("HTTP/1.1 {status}");
    let cut = |more: &str, body: &str| vec![message(&ok, more, body), Act::Close];
    let normal = || message(&ok, "Content-Length: 5\n", "hello");
    match last {
        "mixed" => vec![message(&ok, "X-Mixed-Case: Kept  Value\nDate: now\nServer: me\nContent-Type: text/plain\nContent-Length: 5\n", "hello")],
        "empty" => vec![message(&ok, "Content-Length: 0\n", "")],
        "chunked" => vec![message(&ok, "Transfer-Encoding: chunked\n", "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n")],
        "trailers" => vec![message(&ok, "Transfer-Encoding: chunked\nTrailer: X-Sum\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")],
        "unannounced" => vec![message(&ok, "Transfer-Encoding: chunked\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")],
        "until-close" => cut("", "hello"),
        "closing" => cut("Content-Length: 5\nConnection: close\n", "hello"),
        "old" => vec![message("HTTP/1.0 200 OK", "", "hello"), Act::Close],
        "old-length" => vec![message("HTTP/1.0 200 OK", "Content-Length: 5\n", "hello"), Act::Close],
        "old-kept" => vec![message("HTTP/1.0 200 OK", "Content-Length: 5\nConnection: keep-alive\n", "hello")],
        "nothing-new" => vec![message("HTTP/1.1 304 Not Modified", "ETag: \"x\"\n", "")],
        "no-content" => vec![message("HTTP/1.1 204 No Content", "", "")],
        "no-reason" => vec![message("HTTP/1.1 200 ", "Content-Length: 5\n", "hello")],
        "own-reason" => vec![message("HTTP/1.1 200 As you wish", "Content-Length: 5\n", "hello")],
        "unusual" => vec![message("HTTP/1.1 299 Unusual", "Content-Length: 5\n", "hello")],
        "hop" => vec![message(&ok, "Connection: X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nProxy-Connection: x\nContent-Length: 5\n", "hello")],
        "hints" => vec![Act::Write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec()), normal()],
        "hold" => vec![Act::Hold, normal()],
        "late" => vec![Act::Sleep(1500), normal()],
        "soon" => vec![Act::Sleep(300), normal()],
        "stalling" => vec![message(&ok, "Content-Length: 10\n", "hello"), Act::Sleep(1500), Act::Close],
        "switch" => [whole("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: x\n\n"), vec![Act::Write(b"first".to_vec()), Act::Echo]].concat_acts(),
        "switch-other" => [whole("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: other/1\n\n"), vec![Act::Echo]].concat_acts(),
        // Answers that are none, or not all of one.
        "garbage" => [whole("garbage\n\n"), vec![Act::Close]].concat_acts(),
        "silent" => vec![Act::Close],
        "reset" => vec![Act::Reset],
        "half-head" => [whole("HTTP/1.1 200 OK\nContent-Le"), vec![Act::Close]].concat_acts(),
        "short" => cut("Content-Length: 10\n", "hello"),
        "bad-chunk" => cut("Transfer-Encoding: chunked\n", "5\r\nhello\r\nzz\r\n"),
        "cut-chunk" => cut("Transfer-Encoding: chunked\n", "5\r\nhello\r\n6\r\nwo"),
        "two-lengths" => cut("Content-Length: 5\nContent-Length: 6\n", "hello"),
        "same-lengths" => vec![message(&ok, "Content-Length: 5\nContent-Length: 5\n", "hello")],
        "both-lengths" => cut("Content-Length: 5\nTransfer-Encoding: chunked\n", "5\r\nhello\r\n0\r\n\r\n"),
        "bad-name" => cut("Bad Name: x\nContent-Length: 5\n", "hello"),
        "bad-status" => cut_raw("HTTP/1.1 99 Low\nContent-Length: 5\n\nhello"),
        "letters" => cut_raw("HTTP/1.1 abc OK\nContent-Length: 5\n\nhello"),
        "no-version" => cut_raw("HTTP 200 OK\nContent-Length: 5\n\nhello"),
        "huge" => cut_raw(&format!("HTTP/1.1 200 OK\nX-Huge: {}\nContent-Length: 5\n\nhello", "x".repeat(20_000))),
        "gzip-chunked" => cut("Transfer-Encoding: gzip\n", "hello"),
        "refuse" => vec![message("HTTP/1.1 417 Expectation Failed", "Content-Length: 2\n", "no"), Act::Close],
        "eager" => vec![message("HTTP/1.1 413 Too much", "Content-Length: 2\nConnection: close\n", "no"), Act::Close],
        _ => vec![normal()],
    }
}

fn cut_raw(text: &str) -> Vec<Act> {
    vec![
        Act::Write(text.replace('\n', "\r\n").into_bytes()),
        Act::Close,
    ]
}

trait Concat {
    fn concat_acts(self) -> Vec<Act>;
}

impl Concat for [Vec<Act>; 2] {
    fn concat_acts(self) -> Vec<Act> {
        self.into_iter().flatten().collect()
    }
}

/// The PROXY header that a connection begins with, if it does: version 1 as it is, version 2 in hexadecimal.
fn introduction(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let start = stream.fill_buf()?.to_vec();
    if start.starts_with(b"PROXY ") {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        return Ok(Some(line.trim_end().to_owned()));
    }
    if start.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
        stream.read_exact(&mut rest)?;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        // Destination address and port are each balancer's own.
        return Ok(Some(format!(
            "{} {} source {}",
            hex(&head[12..]),
            rest.len(),
            hex(rest.get(..4).unwrap_or_default())
        )));
    }
    Ok(None)
}

type Head = (String, Vec<(String, String)>);

fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes)?;
    if !bytes.ends_with(b"\n") {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn fields(stream: &mut impl BufRead) -> io::Result<Option<Vec<(String, String)>>> {
    let mut fields = Vec::new();
    while let Some(line) = line(stream)? {
        if line.is_empty() {
            return Ok(Some(fields));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(None)
}

fn head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let Some(first) = line(stream)? else {
        return Ok(None);
    };
    Ok(fields(stream)?.map(|fields| (first, fields)))
}

/// Reads a body as it is framed; trailers become fields of what was seen.
fn read_body(
    stream: &mut impl BufRead,
    length: Option<&str>,
    coding: Option<&str>,
    body: &mut Vec<u8>,
    seen: &mut Vec<(String, String)>,
) -> io::Result<()> {
    if coding.is_none() {
        let length: u64 = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let read = stream.take(length).read_to_end(body)?;
        return if read as u64 == length {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
    }
    loop {
        let size = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or("");
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            let trailers = fields(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            seen.extend(
                trailers
                    .into_iter()
                    .map(|(n, v)| (format!("trailer {}", n.to_ascii_lowercase()), v)),
            );
            return Ok(());
        }
        if stream.by_ref().take(size).read_to_end(body)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line(stream)?;
    }
}
