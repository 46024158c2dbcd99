//! Log lines of one's own, with all that HAProxy's have.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    certificates::Authority,
    clients::{curl, installed, resolve, write},
    daemon::{Daemon, free},
    server::server,
};

fn ask(at: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_line_tells_of_addresses_numbers_and_names() {
    let (app, _) = server();
    let (web, raw) = (free(), free());
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  web:
    bind: '{web}'
    unique_id: {{ format: 'id-%[src_port]_%{{+X}}o%ci:%fp_%rt_%{{+Q,-X}}[fe_name]' }}
    log_format: 'web %HP id=%ID bi=%bi:%bp fi=%fi:%fp si=%si:%sp rt=%rt lc=%lc hex=%{{+X}}fi:%{{+X}}fp %[src]/%[path]/%[query,upper]/%[status]/%[be_name]/%[srv_conn(app/s1)]'
    default_backend: app
  raw: {{ mode: tcp, bind: '{raw}', log_format: 'raw %ci fi=%fi:%fp si=%si:%sp bi=%bi lc=%lc hr=%hr', default_backend: raw }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  raw: {{ mode: tcp, servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        web,
    );
    let requests = "GET /one?a=b HTTP/1.1\r\nhost: a\r\n\r\nGET /two HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(ask(web, requests).ends_with("hello"));
    let one = daemon.logged("web /one ");
    let two = daemon.logged("web /two ");
    let of = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    assert!(of(&one, "id").starts_with("id-"), "{one}");
    assert_eq!(of(&one, "fi"), web.to_string());
    assert_eq!(of(&one, "si"), app.to_string());
    let (address, port) = of(&one, "bi")
        .rsplit_once(':')
        .map(|(a, p)| (a.to_owned(), p.to_owned()))
        .unwrap();
    assert_eq!(address, "127.0.0.1");
    assert!(port.parse::<u16>().unwrap() > 0);
    // Both go by the same connection.
    assert_eq!(of(&one, "bi"), of(&two, "bi"));
    let number = |line: &str, name: &str| of(line, name).parse::<u64>().unwrap();
    // The connection that found the daemon ready may end in between, and has numbers as well.
    assert!(number(&two, "rt") > number(&one, "rt"), "{one}\n{two}");
    assert!(number(&two, "lc") > number(&one, "lc"), "{one}\n{two}");
    // The id and the line have the same number.
    for line in [&one, &two] {
        let told = format!(
            "_7F000001:{:04X}_{:04X}_\"web\"",
            web.port(),
            number(line, "rt")
        );
        assert!(of(line, "id").ends_with(&told), "{line}");
    }
    assert_eq!(of(&one, "hex"), format!("7F000001:{:04X}", web.port()));
    assert!(one.ends_with(" 127.0.0.1//one/A=B/200/app/0"), "{one}");
    assert!(two.ends_with(" 127.0.0.1//two/-/200/app/0"), "{two}");

    assert!(ask(raw, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").ends_with("hello"));
    let line = daemon.logged("raw 127.0.0.1 ");
    let told = format!("raw 127.0.0.1 fi={raw} si={app} bi=- lc=");
    assert!(line.contains(&told) && line.ends_with(" hr="), "{line}");
}

#[test]
fn captures_are_in_every_form_of_a_line_also_over_http_2() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["a.example"]).both());
    let (app, _) = server();
    let (web, json) = (free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind: {{ address: '{web}', tls: {{ certificates: site.pem }} }}
    capture: &capture
      request: [{{ header: X-A, len: 5 }}, {{ header: X-B, len: 5 }}]
      response: [{{ header: Content-Length, len: 5 }}]
      cookie: {{ name: A, len: 9 }}
    log_format: 'web %HP %hr %hs %CC %sslv %sslc'
    default_backend: app
  json: {{ bind: '{json}', log_format: json, capture: *capture, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
"
        ),
        json,
    );
    let resolve = resolve("a.example", web);
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://a.example:{}/x{version}", web.port());
        let (body, code) = curl(&[
            "--cacert",
            &ca_file,
            "--resolve",
            &resolve,
            version,
            "-H",
            "x-a: a|123456",
            "-H",
            "cookie: b=1; A=2",
            &url,
        ]);
        assert_eq!((body.as_str(), code), ("hello", Some(0)));
        let line = daemon.logged(&format!("/x{version} "));
        assert!(line.contains(" {a#7C123|} {5} A=2 TLSv1.3 TLS_"), "{line}");
    }
    let request = "GET /json HTTP/1.1\r\nhost: a\r\nx-a: \u{e4}\"\r\n\r\n";
    assert!(ask(json, request).ends_with("hello"));
    let line = daemon.logged("\"/json\"");
    for part in [
        "\"captured_request_headers\":[\"\u{e4}\\\"\",null]",
        "\"captured_response_headers\":[\"5\"]",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("captured_request_cookie"), "{line}");
}
