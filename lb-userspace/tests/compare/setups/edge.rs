//! PROXY headers from clients and to servers, and what is said of clients.

use crate::{
    case::{Deviation, Setup, Step, get, pipeline, steps},
    run::compare,
};

/// A header of version 2 for TCP over IPv4, of a client that has `source`'s address in the text's stead.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

const ENDS: [u8; 12] = [192, 0, 2, 9, 192, 0, 2, 1, 0x10, 0x92, 0, 80];

#[test]
fn proxy_headers() {
    let mut cases = Vec::new();
    for path in ["/plain", "/v1/plain", "/v2/plain"] {
        // On a plain socket, on one that wants the header, and one where some have to send it.
        cases.push(get(path, ""));
        cases.push(get(path, "X-Forwarded-For: 192.0.2.1\n"));
        cases.push(
            get(path, "")
                .after(b"PROXY TCP4 192.0.2.5 192.0.2.1 4242 80\r\n")
                .at("web2"),
        );
        cases.push(
            get(path, "")
                .after(b"PROXY TCP6 2001:db8::5 2001:db8::1 4242 80\r\n")
                .at("web2"),
        );
        cases.push(get(path, "").after(b"PROXY UNKNOWN\r\n").at("web2"));
        cases.push(get(path, "").after(&v2(1, 0x11, &ENDS)).at("web2"));
        // Of another client, whose connections to servers are others.
        let mut ends = ENDS;
        ends[3] = 10;
        cases.push(
            get(path, "")
                .after(&v2(1, 0x11, &[&ends[..], &[4, 0, 3, 1, 2, 3]].concat()))
                .at("web2"),
        );
        cases.push(get(path, "").after(&v2(0, 0, &[])).at("web2"));
    }
    for bad in [
        b"PROXY TCP4 192.0.2.5\r\n".to_vec(),
        b"PROXY TCP5 192.0.2.5 192.0.2.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.500 192.0.2.1 1 2\r\n".to_vec(),
        b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        v2(1, 0x11, &ENDS[..4]),
        v2(7, 0x11, &ENDS),
    ] {
        let name = format!("bad {}", String::from_utf8_lossy(&bad[..bad.len().min(24)]));
        cases.push(steps(&name, vec![Step::Bytes(bad), Step::Rest]).at("web2"));
    }
    let plain = "GET /plain HTTP/1.1\nHost: a\n\n";
    cases.push(
        pipeline(&[plain, plain])
            .after(b"PROXY TCP4 192.0.2.6 192.0.2.1 4243 80\r\n")
            .at("web2"),
    );
    // The header alone counts: the second of a connection to the server is introduced anew, or not at all.
    cases.push(pipeline(&[
        "GET /v1/plain HTTP/1.1\nHost: a\n\n",
        "GET /v1/plain HTTP/1.1\nHost: a\n\n",
    ]));
    compare(&Setup {
        name: "edge",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    forwarded_for: true
    rules: &rules
      - { set_header: { X-Source: "%[src]" } }
      - { if: { source: 192.0.2.0/24 }, set_header: { X-Known: "1" } }
      - { if: { path_prefix: /v1/ }, use_backend: v1 }
      - { if: { path_prefix: /v2/ }, use_backend: v2 }
    default_backend: app
  wants:
    bind: { address: "{web2}", accept_proxy: true }
    forwarded_for: true
    rules: *rules
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  v1: { servers: [{ name: s1, address: "{s1}", send_proxy: v1 }] }
  v2: { servers: [{ name: s1, address: "{s1}", send_proxy: v2 }] }
"#,
        cfg: "
frontend front
    bind {web}
    option forwardfor
    http-request set-header X-Source %[src]
    http-request set-header X-Known 1 if { src 192.0.2.0/24 }
    use_backend v1 if { path_beg /v1/ }
    use_backend v2 if { path_beg /v2/ }
    default_backend app
frontend wants
    bind {web2} accept-proxy
    option forwardfor
    http-request set-header X-Source %[src]
    http-request set-header X-Known 1 if { src 192.0.2.0/24 }
    use_backend v1 if { path_beg /v1/ }
    use_backend v2 if { path_beg /v2/ }
    default_backend app
backend app
    server s1 {s1}
backend v1
    server s1 {s1} send-proxy
backend v2
    server s1 {s1} send-proxy-v2
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["/v1/"],
        field: "seen 1 introduction",
        ours: "PROXY TCP4 127.200*",
        theirs: "PROXY TCP4 127.200*",
        why: "the ports that clients came from",
    },
    Deviation {
        cases: &["pipeline: GET /v1/"],
        field: "seen 2 introduction",
        ours: "-",
        theirs: "*",
        why: "the connection that introduced the client serves its next request too; HAProxy opens one for each",
    },
    Deviation {
        cases: &["bad PROXY TCP4 192.0.2.500"],
        field: "*",
        ours: "*",
        theirs: "*",
        why: "that is no address; HAProxy goes on without one",
    },
];
