//! Servers that do not speak HTTP, as far as health checks and a client's few words need them.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
};

/// What a server does with a connection.
type Serve = fn(TcpStream) -> io::Result<()>;

/// All of them, with the names that stand for their addresses.
pub(crate) fn start(ip: IpAddr) -> Vec<(&'static str, SocketAddr)> {
    let services: [(&str, Serve); 5] = [
        ("redis", |stream| redis(stream, "master")),
        ("replica", |stream| redis(stream, "slave")),
        ("smtp", |stream| smtp(stream, "one.example")),
        ("smtp2", |stream| smtp(stream, "two.example")),
        ("broken", broken),
    ];
    let start = |(name, serve): (&'static str, Serve)| {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        (name, address)
    };
    services.into_iter().map(start).collect()
}

fn lines(stream: &TcpStream) -> io::Result<impl Iterator<Item = String> + use<>> {
    Ok(BufReader::new(stream.try_clone()?)
        .lines()
        .map_while(Result::ok))
}

/// Inline commands, and those of the protocol as far as one word goes.
fn redis(mut stream: TcpStream, role: &str) -> io::Result<()> {
    for line in lines(&stream)? {
        let answer = match line.trim_end().to_ascii_uppercase().as_str() {
            "PING" => "+PONG\r\n".to_owned(),
            "INFO REPLICATION" => {
                let text = format!("# Replication\r\nrole:{role}\r\n");
                format!("${}\r\n{text}\r\n", text.len())
            }
            "ROLE" => format!("+{role}\r\n"),
            "QUIT" => {
                stream.write_all(b"+OK\r\n")?;
                return Ok(());
            }
            line if line.starts_with(['*', '$']) || line.is_empty() => continue,
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn smtp(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.write_all(format!("220 {name} ESMTP\r\n").as_bytes())?;
    for line in lines(&stream)? {
        let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" => format!("250 {name}\r\n"),
            "QUIT" => {
                stream.write_all(format!("221 {name} closing\r\n").as_bytes())?;
                return Ok(());
            }
            _ => "502 not implemented\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Takes connections and has nothing good to say.
fn broken(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"500 out of order\r\n")
}
