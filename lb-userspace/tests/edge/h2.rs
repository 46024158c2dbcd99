//! HTTP/2 as TLS agrees on it, on both sides.

use std::process::Command;

use crate::{
    certificates::Authority,
    clients::{curl, installed, resolve, write},
    daemon::{Daemon, free},
    server::server,
};

#[test]
fn http_2_is_what_both_sides_agree_on() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let ((app, seen), front, inner, old) = (server(), free(), free(), free());
    let server = |at, more: &str| {
        format!(
            "servers: [{{ name: s1, address: '{at}', tls: {{ ca: ca.pem, sni: site.example }}{more} }}]"
        )
    };
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  front:
    bind: {{ address: '{front}', tls: {{ certificates: site.pem }} }}
    rules:
      - {{ if: {{ path_prefix: /auto }}, use_backend: auto }}
      - {{ if: {{ path_prefix: /old }}, use_backend: old }}
      - {{ if: {{ path_prefix: /h2 }}, use_backend: h2 }}
    default_backend: h1
  inner: {{ bind: {{ address: '{inner}', tls: {{ certificates: site.pem }} }}, default_backend: app }}
  older: {{ bind: {{ address: '{old}', tls: {{ certificates: site.pem, alpn: [http/1.1] }} }}, default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{app}' }}] }}
  auto: {{ {} }}
  old: {{ {} }}
  h2: {{ {} }}
  h1: {{ {} }}
",
            server(inner, ", protocol: auto"),
            server(old, ", protocol: auto"),
            server(inner, ", protocol: h2"),
            server(inner, ""),
        ),
        front,
    );
    let resolve = resolve("site.example", front);
    for (path, inside) in [
        ("auto", "https://site.example:PORT/auto HTTP/2.0"),
        ("old", "/old HTTP/1.1"),
        ("h2", "https://site.example:PORT/h2 HTTP/2.0"),
        ("h1", "/h1 HTTP/1.1"),
    ] {
        let url = format!("https://site.example:{}/{path}", front.port());
        for version in ["--http2", "--http1.1"] {
            let arguments = [
                "--cacert",
                &ca_file,
                "--resolve",
                &resolve,
                "-w",
                " %{http_version}",
            ];
            let spoken = if version == "--http2" { "2" } else { "1.1" };
            assert_eq!(
                curl(&[&arguments[..], &[version, &url]].concat()),
                (format!("hello {spoken}"), Some(0)),
                "{path} {version}"
            );
        }
        let inside = inside.replace("PORT", &front.port().to_string());
        let frontend = if path == "old" { "older~" } else { "inner~" };
        // The outer frontend's line may be the same but for the names, and come first.
        daemon.logged_with(&[
            &format!("\"GET {inside}\""),
            &format!("] {frontend} app/s1 "),
        ]);
        let outer = format!("\"GET {url} HTTP/2.0\"");
        let line = daemon.logged(&outer);
        assert!(line.contains(" 200 "), "{line}");
    }
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|head| head.contains(&format!("host: site.example:{}\r\n", front.port())))
    );
    if installed("h2load") {
        let url = format!("https://{front}/auto");
        let out = Command::new("h2load")
            .args(["-n", "2000", "-c", "4", "-m", "20", &url])
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.contains("2000 succeeded, 0 failed"), "{out}");
    }
}
