use std::{net::UdpSocket, os::unix::net::UnixDatagram, path::PathBuf};

use super::{super::fixture::common, *};
use crate::config::model::LogOptions;
use crate::observe::log::{CookieSeen, CookieSet, Path, RequestLine};

fn target(target: LogDestination, level: Level, format: LogFormat) -> LogTarget {
    LogTarget::new(target, 16, level as u8, format)
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
fn a_line_that_no_datagram_holds_goes_out_cut() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    udp.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    let path = temporary("long");
    let unix = UnixDatagram::bind(&path).expect("bound");
    unix.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    let targets = [
        LogDestination::Udp(udp.local_addr().expect("bound")),
        LogDestination::Unix(path.clone()),
    ];
    let targets = targets.map(|to| target(to, Level::Info, LogFormat::Text));
    let (sink, writer) = Sink::start(&targets).expect("started");
    sink.event(Level::Notice, &"x".repeat(300_000));
    sink.event(Level::Notice, "the next");
    let mut buffer = vec![0; 70_000];
    for receive in [
        &(|buffer: &mut [u8]| udp.recv(buffer)) as &dyn Fn(&mut [u8]) -> std::io::Result<usize>,
        &|buffer| unix.recv(buffer),
    ] {
        let length = receive(&mut buffer).expect("a datagram");
        assert_eq!(length, 65_507);
        assert!(buffer.starts_with(b"<133>"));
        assert!(buffer[..length].ends_with(b"x\n"));
        let length = receive(&mut buffer).expect("a datagram");
        assert!(buffer[..length].ends_with(b"the next\n"));
    }
    drop(writer);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(sink.totals().lost(), 0);
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
    let deadline = Instant::now() + Duration::from_secs(10);
    while !path.exists() && Instant::now() < deadline {
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
fn what_a_worker_keeps_back_comes_before_what_it_says_next_and_all_of_it_in_the_end() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let deadline = Some(Duration::from_secs(5));
    socket.set_read_timeout(deadline).expect("set");
    let to = LogDestination::Udp(socket.local_addr().expect("bound"));
    let (sink, _writer) = Sink::start(&[target(to, Level::Info, LogFormat::Raw)]).expect("started");
    let status = |status| {
        sink.http(&HttpRecord {
            status: Some(status),
            ..request()
        });
    };
    let expect = |texts: &[&str]| {
        // Those that are sent together go by their length.
        let mut come: Vec<_> = texts.iter().map(|_| receive(&socket)).collect();
        come.sort();
        for (line, text) in come.iter().zip(texts) {
            assert!(line.contains(text), "{text} in {line}");
        }
    };
    let holding = held::Holding::begin(&sink);
    status(201);
    sink.event(Level::Alert, "Server a/b is DOWN");
    expect(&[" 201 ", "DOWN"]);
    status(202);
    status(203);
    held::deliver();
    expect(&[" 202 ", " 203 "]);
    status(204);
    drop(holding);
    expect(&[" 204 "]);
    status(205);
    expect(&[" 205 "]);
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

/// The lines that were received, in whatever pieces.
fn lines(stream: &mut std::net::TcpStream, count: usize) -> Vec<String> {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(stream).lines().take(count);
    lines
        .map(|line| line.expect("a line within the deadline"))
        .collect()
}

#[test]
fn tcp_gets_lines_and_again_after_its_server_was_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let at = listener.local_addr().expect("bound");
    let accept = || {
        let (stream, _) = listener.accept().expect("a connection");
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("set");
        stream
    };
    let to = target(LogDestination::Tcp(at), Level::Info, LogFormat::Text);
    let (sink, writer) = Sink::start(&[to]).expect("started");
    sink.event(Level::Alert, "first");
    let mut stream = accept();
    let got = lines(&mut stream, 1);
    assert!(
        got[0].starts_with("<129>") && got[0].ends_with("]: first"),
        "{got:?}"
    );
    drop(stream);
    // Whatever is on the way when a server goes is lost; what comes after it has been missed is not.
    let deadline = Instant::now() + Duration::from_secs(20);
    listener.set_nonblocking(true).expect("set");
    let mut stream = loop {
        sink.event(Level::Alert, "second");
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) => assert!(Instant::now() < deadline, "it connects again"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    stream.set_nonblocking(false).expect("set");
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).expect("set");
    let got = lines(&mut stream, 1);
    assert!(
        got[0].starts_with("<129>") && got[0].ends_with("]: second"),
        "{got:?}"
    );
    drop(writer);
}

#[test]
fn a_tcp_server_that_does_not_read_costs_lines_and_nothing_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let path = temporary("beside");
    let at = listener.local_addr().expect("bound");
    let (sink, writer) = Sink::start(&[
        target(LogDestination::Tcp(at), Level::Info, LogFormat::Text),
        target(
            LogDestination::File(path.clone()),
            Level::Info,
            LogFormat::Text,
        ),
    ])
    .expect("started");
    let long = "x".repeat(32 * 1024);
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while sink.totals().failed == 0 {
        assert!(Instant::now() < deadline, "the stream is full at some time");
        sink.event(Level::Notice, &long);
        sent += 1;
        // Slowly enough that the queue itself loses nothing.
        while sink.totals().written < sent {
            assert!(
                Instant::now() < deadline,
                "a slow server does not hold the thread"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
    drop(writer);
    let written = std::fs::read_to_string(&path).expect("a file");
    assert_eq!(
        written.lines().count() as u64,
        sent,
        "the other target has all"
    );
    assert_eq!(sink.totals().dropped, 0);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_frontend_says_which_sessions_it_wants_logged() {
    let path = temporary("options");
    let to = target(
        LogDestination::File(path.clone()),
        Level::Info,
        LogFormat::Text,
    );
    let (sink, writer) = Sink::start(&[to]).expect("started");
    let failed = |mut record: HttpRecord<'static>| {
        record.status = Some(502);
        record
    };
    let options = |no_null, no_normal, separate_errors| LogOptions {
        off: false,
        no_null,
        no_normal,
        separate_errors,
        ..LogOptions::default()
    };
    let log = |options, bytes_in, record: HttpRecord<'static>| {
        sink.http(&HttpRecord {
            common: Common {
                options,
                bytes_in,
                ..record.common
            },
            ..record
        });
    };
    log(options(true, false, false), 0, request());
    log(options(false, true, false), 1, request());
    log(options(true, true, true), 1, failed(request()));
    log(options(true, false, true), 2, request());
    log(options(false, true, false), 0, failed(request()));
    drop(writer);
    let written = std::fs::read_to_string(&path).expect("a file");
    let seen: Vec<String> = written
        .lines()
        .map(|line| {
            let level = line.split_whitespace().nth(2).unwrap_or_default();
            let status = line.split(' ').find(|word| matches!(*word, "200" | "502"));
            format!("{level} {}", status.unwrap_or_default())
        })
        .collect();
    assert_eq!(seen, ["err 502", "info 200", "info 502"], "{written}");
    let _ = std::fs::remove_file(&path);
}

#[test]
fn proxies_have_targets_of_their_own() {
    let file = |name: &str| LogDestination::File(temporary(name));
    let raw = |name: &str| LogTarget::new(file(name), 16, 7, LogFormat::Raw);
    let (all, own, half) = (raw("all"), raw("own"), raw("half"));
    let half = LogTarget {
        sample: Some(crate::config::model::LogSample { wanted: 1, of: 2 }),
        len: Some(9),
        ..half
    };
    let proxies = [
        ProxyLog {
            to: LogTo::frontend("a"),
            targets: vec![own.clone(), half.clone()],
        },
        ProxyLog {
            to: LogTo::backend("silent"),
            targets: Vec::new(),
        },
    ];
    let opened = Opened::open_all(std::slice::from_ref(&all), &proxies).expect("opened");
    let (sink, writer) = opened.start().expect("started");
    for number in 1..=3 {
        let text = format!("number {number} of a");
        sink.event_of(LogTo::frontend("a"), Level::Info, &text);
    }
    sink.event_of(
        LogTo::frontend("b"),
        Level::Info,
        "of one that says nothing",
    );
    sink.event_of(LogTo::backend("silent"), Level::Alert, "of nobody");
    sink.event(Level::Debug, "of all");
    drop((sink, writer));
    let read = |target: &LogTarget| match &target.target {
        LogDestination::File(path) => {
            let text = std::fs::read_to_string(path).expect("written");
            let _ = std::fs::remove_file(path);
            text
        }
        _ => String::new(),
    };
    assert_eq!(read(&all), "of one that says nothing\nof all\n");
    assert_eq!(read(&own), "number 1 of a\nnumber 2 of a\nnumber 3 of a\n");
    assert_eq!(read(&half), "number 1 \nnumber 3 \n");
}
