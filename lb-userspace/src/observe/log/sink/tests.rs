use std::{net::UdpSocket, os::unix::net::UnixDatagram, path::PathBuf};

use super::{super::fixture::common, *};
use crate::observe::log::{CookieSeen, CookieSet, Path, RequestLine};

fn target(target: LogDestination, level: Level, format: LogFormat) -> LogTarget {
    LogTarget {
        target,
        facility: 16,
        level: level as u8,
        format,
    }
}

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("lb-log-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn request() -> HttpRecord<'static> {
    HttpRecord {
        common: common(),
        request_received: Some(Duration::ZERO),
        responded: Some(Duration::ZERO),
        status: Some(200),
        request: Some(RequestLine {
            method: "GET",
            uri: "/",
            version: "HTTP/1.1",
        }),
        cookie_seen: CookieSeen::None,
        cookie_set: CookieSet::Inserted,
    }
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let length = socket
        .recv(&mut buffer)
        .expect("a datagram within the deadline");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn udp_gets_haproxys_frame_and_levels_apply() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    let to = LogDestination::Udp(socket.local_addr().expect("bound"));
    let (sink, writer) = Sink::start(&[target(to, Level::Info, LogFormat::Text)]).expect("started");
    sink.http(&request());
    sink.event(Level::Debug, "not wanted");
    sink.event(Level::Alert, "Server a/b is DOWN");
    let first = receive(&socket);
    assert!(first.starts_with("<134>"), "{first}");
    assert!(
        first.ends_with(" --NI 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"\n"),
        "{first}"
    );
    let second = receive(&socket);
    assert!(
        second.starts_with("<129>") && second.ends_with("]: Server a/b is DOWN\n"),
        "{second}"
    );
    drop(writer);
    assert_eq!(
        sink.totals(),
        Totals {
            written: 2,
            ..Totals::default()
        }
    );
}

#[test]
fn a_file_gets_json_and_an_unreachable_target_is_counted() {
    let file = temporary("json");
    let nobody = LogDestination::Unix(temporary("nobody"));
    let targets = [
        target(
            LogDestination::File(file.clone()),
            Level::Info,
            LogFormat::Json,
        ),
        target(nobody, Level::Info, LogFormat::Text),
    ];
    let (sink, writer) = Sink::start(&targets).expect("started");
    sink.tcp(&TcpRecord {
        common: common(),
        path: Path::Kernel,
    });
    drop(writer);
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::remove_file(&file).expect("removed");
    let value: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(value["path"], "kernel");
    assert_eq!(sink.totals().failed, 1);
}

#[test]
fn a_unix_socket_gets_the_frame() {
    let path = temporary("dgram");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    let (sink, writer) = Sink::start(&[target(
        LogDestination::Unix(path.clone()),
        Level::Notice,
        LogFormat::Text,
    )])
    .expect("started");
    sink.http(&request());
    sink.event(Level::Notice, "up");
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("a datagram");
    assert!(buffer[..length].starts_with(b"<133>"));
    drop(writer);
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let path = temporary("rotate");
    let old = temporary("rotated");
    let (sink, writer) = Sink::start(&[target(
        LogDestination::File(path.clone()),
        Level::Info,
        LogFormat::Text,
    )])
    .expect("started");
    sink.event(Level::Info, "before");
    while sink.totals().written < 1 {
        thread::sleep(Duration::from_millis(1));
    }
    std::fs::rename(&path, &old).expect("renamed");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !path.exists() && std::time::Instant::now() < deadline {
        sink.event(Level::Info, "after");
        thread::sleep(Duration::from_millis(50));
    }
    drop(writer);
    let new = std::fs::read_to_string(&path).expect("there is a new file");
    assert!(new.contains("info    after"), "{new}");
    std::fs::remove_file(&path).expect("removed");
    std::fs::remove_file(&old).expect("removed");
}

#[test]
fn it_is_known_when_nothing_more_is_sent() {
    let (sink, writer) = Sink::start(&[]).expect("started");
    assert!(!sink.is_stopped());
    drop(writer);
    assert!(sink.is_stopped());
}

#[test]
fn a_stalled_writer_costs_lines_not_time() {
    let (sink, writer) = Sink::start(&[target(
        LogDestination::File(PathBuf::from("/dev/null")),
        Level::Info,
        LogFormat::Text,
    )])
    .expect("started");
    let total = 4 * QUEUE as u64;
    for _ in 0..total {
        sink.event(Level::Info, "x");
    }
    drop(writer);
    let totals = sink.totals();
    assert_eq!(totals.written + totals.dropped, total);
}
