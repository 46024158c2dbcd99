//! One line `server`, as the runtime socket takes it: read and checked by what reads and checks files.

use std::path::Path;

use super::{Options, Source, parse};
use crate::config::{
    decode,
    diagnostic::Severity,
    model::{Address, HealthCheck, Mode, Server},
};

/// A server, and how one in a backend without a check of its own would be checked.
#[derive(Debug)]
pub struct OneServer {
    /// The server.
    pub server: Server,
    /// Its check, if it is to be checked and does not bring its own.
    pub check: Option<HealthCheck>,
}

/// Reads the server called `name` of what follows its name on a line. Its address is one, for nobody asks for names here.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn one_server(name: &str, words: &[&str], http: bool) -> Result<OneServer, String> {
    let quoted = |word: &str| {
        // A quote is all that means something between quotes.
        format!("'{}'", word.replace('\'', r"'\''"))
    };
    if name.contains(char::is_control) || words.iter().any(|word| word.contains(char::is_control)) {
        return Err("a control character is no part of a server".to_owned());
    }
    // A value of a sticky cookie is the backend's to use.
    let cookie = match http && words.contains(&"cookie") {
        true => "  cookie c insert\n",
        false => "",
    };
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let mode = if http { "http" } else { "tcp" };
    let text = format!(
        "frontend f\n  mode {mode}\n  bind 127.0.0.1:1\n  default_backend b\n  timeout client 1s\n\
         backend b\n  mode {mode}\n  timeout connect 1s\n  timeout server 1s\n{cookie}  server {} {}\n",
        quoted(name),
        words.join(" ")
    );
    let source = Source::new("the command", &text);
    let parsed = parse(&source, &|_| None, &Options::default());
    // A line that is not wholly understood is none.
    let found = |diagnostics: &super::Diagnostics| {
        let told = diagnostics.iter();
        let mut told =
            told.filter(|told| told.severity == Severity::Error || told.message.contains("server"));
        told.next().map(|told| told.message.clone())
    };
    let read = decode(source, parsed, Path::new("/"), &|_| None);
    let loaded = read.map_err(|rejected| {
        let message = found(&rejected.diagnostics);
        message.unwrap_or_else(|| "it cannot be read".to_owned())
    })?;
    let backend = loaded.config.backends.first();
    let server = backend.and_then(|backend| Some((backend, backend.servers.first()?)));
    let (backend, server) = server.ok_or("it is no server")?;
    debug_assert_eq!(backend.mode == Mode::Http, http);
    if matches!(server.address, Address::Name(..)) {
        return Err(format!(
            "could not resolve address '{}': write an IP address",
            server.address
        ));
    }
    let check = backend.check_of(server).cloned();
    Ok(OneServer {
        server: Server {
            check: check.is_some(),
            ..server.clone()
        },
        check,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(line: &str) -> Result<OneServer, String> {
        let words: Vec<&str> = line.split(' ').collect();
        one_server("s", &words, true)
    }

    #[test]
    fn a_server_has_what_its_line_says() {
        let OneServer { server, check } =
            of("192.0.2.1:80 weight 7 check inter 3s maxconn 9 cookie c1").unwrap();
        assert_eq!((server.name.as_str(), server.weight), ("s", 7));
        assert_eq!(server.maxconn, Some(9));
        assert_eq!(server.cookie.as_deref(), Some("c1"));
        let check = server.health_check.or(check).unwrap();
        assert_eq!(check.interval, Duration::from_secs(3));
        assert!(!of("192.0.2.1:80").unwrap().server.check);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "",
            "nonsense nonsense",
            "192.0.2.1:80 nonsense",
            "name.example:80",
            "1:2:3",
        ] {
            assert!(of(line).is_err(), "{line}");
        }
        assert!(one_server("s\nx", &["192.0.2.1:80"], false).is_err());
    }
}
