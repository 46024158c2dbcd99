//! A server that remembers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

/// Length of the answer to `GET /big`.
pub(crate) const BIG: usize = 20_000_000;

/// What a server has got, connection by connection: the bytes before the request, and the request's head.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// A server that keeps every request's head, PROXY header included, and answers `hello` to each connection's requests.
pub(crate) fn server() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keep = Arc::clone(&keep);
            thread::spawn(move || serve(stream, &keep));
        }
    });
    (address, seen)
}

/// The same on a unix socket.
pub(crate) fn unix_server(path: &Path) -> Seen {
    let listener = UnixListener::bind(path).unwrap();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keep = Arc::clone(&keep);
            // What is done with it goes by the descriptor.
            let stream = TcpStream::from(OwnedFd::from(stream));
            thread::spawn(move || serve(stream, &keep));
        }
    });
    seen
}

fn serve(stream: TcpStream, seen: &Seen) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") || head.ends_with(b"\r\n\r\n\0\r\n") || head.len() < 12 {
            match reader.read_until(b'\n', &mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if head.len() == 4 => {
                    // The signature of a PROXY header; the rest has no line ends but its own.
                    let mut rest = [0; 12];
                    if head == b"\r\n\r\n" && reader.read_exact(&mut rest).is_ok() {
                        head.extend_from_slice(&rest);
                        let length = usize::from(u16::from_be_bytes([rest[10], rest[11]]));
                        let mut ends = vec![0; length];
                        reader.read_exact(&mut ends).unwrap();
                        head.extend_from_slice(&ends);
                    }
                }
                Ok(_) => {}
            }
        }
        seen.lock()
            .unwrap()
            .push(String::from_utf8_lossy(&head).into_owned());
        let body = match head.windows(9).any(|part| part == b"GET /big ") {
            true => vec![b'x'; BIG],
            false => b"hello".to_vec(),
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        if writer
            .write_all(&[answer.as_bytes(), &body].concat())
            .is_err()
        {
            return;
        }
    }
}
