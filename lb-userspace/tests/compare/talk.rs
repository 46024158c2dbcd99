//! Clients that send what a case says, and note what comes back.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::{
    case::{Case, Step, Via},
    h2_client,
    server::Record,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names and values, comparable.
pub(crate) type Fields = Vec<(String, String)>;

/// Where and how a case is carried out.
pub(crate) struct Place<'a> {
    pub(crate) address: SocketAddr,
    /// The address that the client comes from, by which log lines are told apart.
    pub(crate) source: IpAddr,
    /// By which servers tell whose request it is.
    pub(crate) tag: &'a str,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) record: &'a Record,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Place<'_> {
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let socket = bound(self.source)?;
        socket.connect_timeout(&self.address.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn open(&self, case: &Case) -> io::Result<(Box<dyn Wire>, TcpStream)> {
        let stream = self.connect()?;
        let raw = stream.try_clone()?;
        Ok(match case.via {
            Via::Tls(name) | Via::Known(name) => {
                let mut config = ClientConfig::clone(&self.tls);
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                let name = name.try_into().map_err(io::Error::other)?;
                let connection =
                    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
                (Box::new(StreamOwned::new(connection, stream)), raw)
            }
            _ => (Box::new(stream), raw),
        })
    }

    /// The text of a request as it is sent.
    pub(crate) fn text(&self, text: &str) -> String {
        let tag = format!("X-Case: {}\n", self.tag);
        let text = if text.contains("\nHost: ") {
            text.replace("\nHost: ", &format!("\n{tag}Host: "))
        } else {
            text.replacen(" HTTP/1.0\n", &format!(" HTTP/1.0\n{tag}"), 1)
        };
        text.replace('\n', "\r\n")
            .replace("{source}", &self.source.to_string())
    }
}

/// A socket with a port that no other side has: who goes to servers as its client goes from there as well, and two from one
/// port would be one connection.
fn bound(source: IpAddr) -> io::Result<Socket> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Relaxed) % 40_000;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        match socket.bind(&SocketAddr::new(source, port).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|()| socket),
        }
    }
}

/// Carries a case out.
pub(crate) fn run(place: &Place<'_>, case: &Case) -> Fields {
    let mut fields = Fields::new();
    let mut busy = Vec::new();
    for (i, request) in case.busy.iter().enumerate() {
        let mut stream = place.connect().unwrap();
        stream.write_all(place.text(request).as_bytes()).unwrap();
        place.record.wait_for(place.tag, i + 1);
        busy.push(BufReader::new(stream));
    }
    for request in &case.queued {
        let mut stream = place.connect().unwrap();
        stream.write_all(place.text(request).as_bytes()).unwrap();
        busy.push(BufReader::new(stream));
        // Nobody but the proxy knows that it waits.
        thread::sleep(Duration::from_millis(300));
    }
    if let Err(error) = match case.via {
        Via::H2 | Via::H2Tls(_) => h2_client::talk(place, case, &mut fields),
        _ => talk(place, case, &mut fields),
    } {
        fields.push(("error".into(), error.kind().to_string()));
    }
    for mut stream in busy {
        place.record.release(place.tag);
        let mut response = Fields::new();
        let _ = read_response(&mut stream, "GET", &mut response);
        fields.extend(
            response
                .into_iter()
                .map(|(name, value)| (format!("busy {name}"), value)),
        );
    }
    fields
}

fn talk(place: &Place<'_>, case: &Case, fields: &mut Fields) -> io::Result<()> {
    let (stream, raw) = place.open(case)?;
    let mut stream = BufReader::new(stream);
    let mut number = 0;
    let mut open = true;
    let read = |stream: &mut BufReader<Box<dyn Wire>>,
                method: &str,
                fields: &mut Fields,
                number: &mut u32| {
        *number += 1;
        let mut response = Fields::new();
        let open = read_response(stream, method, &mut response);
        fields.extend(
            response
                .into_iter()
                .map(|(name, value)| (format!("{number} {name}"), value)),
        );
        open
    };
    for step in &case.steps {
        match step {
            // The other side may have closed already, having said why.
            Step::Send(text) => {
                let _ = stream.get_mut().write_all(place.text(text).as_bytes());
            }
            Step::Bytes(bytes) => {
                let _ = stream.get_mut().write_all(bytes);
            }
            Step::Read(method) => open = open && read(&mut stream, method, fields, &mut number),
            Step::Expect(text) => {
                let mut bytes = vec![0; text.len()];
                stream.read_exact(&mut bytes)?;
                fields.push((
                    "expected".into(),
                    String::from_utf8_lossy(&bytes).into_owned(),
                ));
            }
            Step::Pause(time) => thread::sleep(Duration::from_millis(*time)),
            Step::Release => place.record.release(place.tag),
            Step::Shut => raw.shutdown(std::net::Shutdown::Write)?,
            Step::Rest => {
                let mut bytes = Vec::new();
                let end = stream.read_to_end(&mut bytes);
                fields.push(("rest".into(), alike(&String::from_utf8_lossy(&bytes))));
                fields.push((
                    "end".into(),
                    end.map_or_else(|e| e.kind().to_string(), |_| "closed".into()),
                ));
                open = false;
            }
        }
    }
    if case.probe {
        let another = "GET /another HTTP/1.1\nHost: a\n\n";
        let kept = open
            && stream
                .get_mut()
                .write_all(place.text(another).as_bytes())
                .is_ok()
            && {
                let mut response = Fields::new();
                read_response(&mut stream, "GET", &mut response);
                response.iter().any(|(name, _)| name == "status")
            };
        fields.push(("kept".into(), kept.to_string()));
    }
    Ok(())
}

/// Reads one response; whether another may follow it.
fn read_response<S: Read>(stream: &mut BufReader<S>, method: &str, fields: &mut Fields) -> bool {
    loop {
        let Some((first, headers)) = head(stream, fields) else {
            return false;
        };
        let mut words = first.splitn(2, ' ');
        let version = words.next().unwrap_or("").to_owned();
        let status = words.next().unwrap_or("").to_owned();
        let code: u16 = status
            .split(' ')
            .next()
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        if code < 200 && code != 101 {
            fields.push(("interim".into(), status));
            fields.extend(
                headers
                    .into_iter()
                    .map(|(name, value)| (format!("interim {name}"), value)),
            );
            continue;
        }
        fields.push(("version".into(), version));
        fields.push(("status".into(), status));
        let of = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
        };
        let (length, coding) = (of("content-length"), of("transfer-encoding"));
        let closes = headers
            .iter()
            .any(|(name, value)| name == "connection" && value == "close");
        fields.extend(
            headers
                .into_iter()
                .map(|(name, value)| (format!("header {name}"), value)),
        );
        if method == "HEAD" || code < 200 || code == 204 || code == 304 {
            return !closes;
        }
        let mut body = Vec::new();
        let whole = match (coding, length.and_then(|length| length.parse::<u64>().ok())) {
            (Some(_), _) => chunks(stream, &mut body, fields).unwrap_or(false),
            (None, Some(length)) => stream
                .take(length)
                .read_to_end(&mut body)
                .is_ok_and(|read| read as u64 == length),
            (None, None) => {
                let end = stream.read_to_end(&mut body);
                fields.push((
                    "body ends".into(),
                    end.map_or_else(|e| e.kind().to_string(), |_| "closed".into()),
                ));
                false
            }
        };
        fields.push(("body".into(), String::from_utf8_lossy(&body).into_owned()));
        fields.push(("whole".into(), whole.to_string()));
        return whole && !closes;
    }
}

type Head = (String, Fields);

/// A head; its absence is noted.
fn head<S: Read>(stream: &mut BufReader<S>, fields: &mut Fields) -> Option<Head> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = stream.read_until(b'\n', &mut line);
        if !line.ends_with(b"\n") {
            let end = match read {
                Ok(_) if line.is_empty() && lines.is_empty() => "closed".to_owned(),
                Ok(_) => format!(
                    "closed after {lines:?} {:?}",
                    String::from_utf8_lossy(&line)
                ),
                Err(error) => error.kind().to_string(),
            };
            fields.push(("no answer".into(), end));
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Some((first, headers.collect()))
}

fn chunks<S: Read>(
    stream: &mut BufReader<S>,
    body: &mut Vec<u8>,
    fields: &mut Fields,
) -> io::Result<bool> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Ok(size) = u64::from_str_radix(line.trim_end(), 16) else {
            return Ok(false);
        };
        if size == 0 {
            break;
        }
        if stream.by_ref().take(size).read_to_end(body)? as u64 != size {
            return Ok(false);
        }
        line.clear();
        stream.read_line(&mut line)?;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end() {
            "" => return Ok(line.ends_with('\n')),
            trailer => fields.push(("trailer".into(), trailer.to_ascii_lowercase())),
        }
    }
}

/// A response whose header lines are in no order and case of theirs.
fn alike(text: &str) -> String {
    let Some((head, body)) = text
        .split_once("\r\n\r\n")
        .filter(|_| text.starts_with("HTTP/"))
    else {
        return text.to_owned();
    };
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_ascii_lowercase).collect();
    lines[1..].sort();
    format!("{} / {body}", lines.join(" / "))
}
