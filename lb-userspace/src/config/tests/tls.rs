//! `tls`, `accept_proxy` and `send_proxy`.

use std::path::Path;

use super::{
    model::{AcceptProxy, ProxyVersion},
    *,
};
use crate::tls::{Certificates, ClientAuth, ServerName, Version};

#[test]
fn forms_and_defaults() {
    let config = valid(
        r#"frontends:
  web:
    bind:
      - { address: "*:443", tls: { certificates: site.pem } }
      - { address: "*:8443", accept_proxy: true, tls: { certificates: [a.pem, { cert: /b.crt, key: b.key }], alpn: [http/1.1], min_version: 1.3, client_ca: ca.pem, client_auth: optional } }
      - { address: "*:81", accept_proxy: { from: [192.0.2.0/24] } }
      - { address: "*:82", accept_proxy: false }
      - { address: "*:444", tls: { certificates: one.pem, ocsp: one.ocsp, max_version: TLSv1.2 } }
    default_backend: app
backends:
  app:
    default_server: { tls: true, send_proxy: v2 }
    servers:
      - { name: s1, address: "192.0.2.1:443" }
      - { name: s2, address: "192.0.2.2:443", tls: { verify: none, sni: "%[host]" }, send_proxy: v1 }
      - { name: s3, address: "192.0.2.3:443", tls: { ca: ca.pem, sni: App.example, client_cert: { cert: c.crt, key: c.key } } }
      - { name: s4, address: "192.0.2.4:80", tls: false, send_proxy: false }
"#,
    );
    let binds = &config.frontends[0].binds;
    let tls = binds[0].tls.as_ref().unwrap();
    assert_eq!(
        tls.certificates,
        Certificates::Path("/etc/lb/site.pem".into())
    );
    assert_eq!(tls.alpn, ["h2", "http/1.1"]);
    assert_eq!((tls.min_version, tls.max_version), (None, None));
    assert_eq!(tls.client_auth, ClientAuth::None);
    let tls = binds[1].tls.as_ref().unwrap();
    let Certificates::Files(files) = &tls.certificates else {
        panic!("{tls:?}");
    };
    assert_eq!(files[0].cert, Path::new("/etc/lb/a.pem"));
    assert_eq!(files[1].key.as_deref(), Some(Path::new("/etc/lb/b.key")));
    assert_eq!(
        (tls.min_version, tls.client_auth),
        (Some(Version::Tls13), ClientAuth::Optional)
    );
    assert_eq!(binds[1].accept_proxy, Some(AcceptProxy::Everyone));
    let Some(AcceptProxy::From(from)) = &binds[2].accept_proxy else {
        panic!("{:?}", binds[2]);
    };
    assert!(from[0].contains([192, 0, 2, 200].into()));
    assert!(!from[0].contains([192, 0, 3, 200].into()));
    assert_eq!(
        (&binds[3].accept_proxy, binds[3].has_preamble()),
        (&None, false)
    );
    let tls = binds[4].tls.as_ref().unwrap();
    let Certificates::Files(files) = &tls.certificates else {
        panic!("{tls:?}");
    };
    assert_eq!(
        files[0].ocsp.as_deref(),
        Some(Path::new("/etc/lb/one.ocsp"))
    );
    assert_eq!(tls.max_version, Some(Version::Tls12));

    let servers = &config.backends[0].servers;
    let tls = |at: usize| servers[at].tls.as_ref().unwrap();
    assert_eq!((tls(0).verify, &tls(0).name), (true, &ServerName::Address));
    assert_eq!(tls(0).alpn, ["http/1.1"]);
    assert_eq!(
        (tls(1).verify, &tls(1).name),
        (false, &ServerName::OfClient)
    );
    assert_eq!(tls(2).name, ServerName::Fixed("app.example".into()));
    assert!(tls(2).client_cert.is_some());
    assert_eq!(servers[3].tls, None);
    let versions: Vec<_> = servers.iter().map(|server| server.send_proxy).collect();
    let (v1, v2) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2));
    assert_eq!(versions, [v2, v1, v2, None]);
}

#[test]
fn frontends_and_backends_of_mode_tcp_leave_the_kernel_path_for_it() {
    for (bind, server, why) in [
        (
            "{ address: '*:443', tls: { certificates: a.pem } }",
            "",
            "TLS on *:443 needs userspace",
        ),
        (
            "{ address: '*:443', accept_proxy: true }",
            "",
            "the PROXY protocol on *:443 needs userspace",
        ),
        (
            "'*:443'",
            ", tls: true",
            "TLS to server app/s1 needs userspace",
        ),
        (
            "'*:443'",
            ", send_proxy: v2",
            "the PROXY protocol to server app/s1 needs userspace",
        ),
        // As are names of connections, which what they bring may be part of.
        (
            "'*:443', unique_id: { format: '%[src]' }",
            "",
            "its unique_id needs userspace",
        ),
    ] {
        let config = valid(&format!(
            "frontends:\n  t: {{ mode: tcp, bind: {bind}, default_backend: app }}\nbackends:\n  \
             app: {{ servers: [{{ name: s1, address: '192.0.2.1:443'{server} }}] }}\n"
        ));
        let path = path::kernel_path(&config, &config.frontends[0]);
        assert_eq!(path.unwrap_err(), why);
    }
}

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "binds",
        text: r#"frontends:
  web:
    bind:
      - { address: "*:1", tls: site.pem }
      - { address: "*:2", tls: {} }
      - { address: "*:3", tls: { certificates: [] } }
      - { address: "*:4", tls: { certificates: a.pem, min_version: 1.1 } }
      - { address: "*:5", tls: { certificates: a.pem, min_version: 1.3, max_version: 1.2 } }
      - { address: "*:6", tls: { certificates: a.pem, client_auth: required } }
      - { address: "*:7", tls: { certificates: a.pem, client_ca: ca.pem } }
      - { address: "*:8", tls: { certificates: [a.pem, b.pem], ocsp: a.ocsp } }
      - { address: "*:9", tls: { certificates: [{ key: a.key }] } }
      - { address: "*:10", accept_proxy: {} }
      - { address: "*:11", accept_proxy: { from: [192.0.2.1/24] } }
    default_backend: app
backends:
  app:
    servers: [{ name: s1, address: "192.0.2.1:80" }]
"#,
        found: &[
            "4:32 error: `tls` of a bind must be a mapping, this is a single value => write `tls: { certificates: site.pem }`",
            "5:27 error: `certificates` is missing in `tls` => write `certificates: [{ cert: FILE, key: FILE }]`, or the name of a folder",
            "6:48 error: `certificates` is an empty list => write `[{ cert: FILE, key: FILE }]`, or the name of a folder",
            "7:68 error: `min_version` cannot be `1.1`: TLS before 1.2 is not built into lb => write `1.2` or `1.3`; clients that know neither need another balancer in front",
            "8:86 error: `max_version` is older than `min_version` => exchange them, or remove one",
            "9:68 error: `client_auth` has no `client_ca` to verify by => write `client_ca: FILE` with the CA's certificate in PEM",
            "10:55 error: `client_ca` without `client_auth` has no effect => write `client_auth: required` or `optional`",
            "11:64 error: `ocsp` is one certificate's => write it beside its certificate: `{ cert: FILE, key: FILE, ocsp: FILE }`, or put NAME.ocsp into the folder",
            "12:49 error: `cert` is missing in a certificate => write `{ cert: FILE, key: FILE }`",
            "13:28 error: `from` is missing in `accept_proxy` => write `accept_proxy: true`, or `{ from: [192.0.2.0/24] }`",
            "14:51 error: `from`: `192.0.2.1/24` has bits set beyond its length => write `192.0.2.0/24`, or `192.0.2.1/32` for the one address",
        ],
    },
    Case {
        name: "where nothing can come of it",
        text: r#"frontends:
  web:
    bind: { address: "*:443", tls: { certificates: a.pem, alpn: [foo] } }
    default_backend: app
  dns:
    mode: tcp
    bind: [{ address: "udp:*:53", accept_proxy: true }, "*:53"]
    default_backend: dns
  quic: { mode: tcp, bind: "udp:*:443", default_backend: quic }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80", tls: { verify: none, ca: ca.pem } }
      - { name: s2, address: "192.0.2.2:80", tls: { sni: "no name" } }
      - { name: s3, address: "192.0.2.3:80", send_proxy: true }
  dns:
    servers: [{ name: s1, address: "192.0.2.1:53" }]
  quic:
    health_check: { type: none }
    default_server: { send_proxy: v2 }
    servers: [{ name: s1, address: "192.0.2.1:443", tls: true }]
stats: { bind: { address: "127.0.0.1:1", accept_proxy: true, tls: { certificates: a.pem, alpn: h2 } } }
"#,
        found: &[
            "3:22 error: mode http cannot speak `foo` => write `alpn: [h2, http/1.1]`, or use mode tcp",
            "7:23 error: neither TLS nor a PROXY header comes before datagrams => remove `tls` and `accept_proxy`, or listen on TCP",
            "13:67 error: `ca` has no effect: `verify` is none => remove one of them",
            "14:58 error: `no name` is no name of a server => write a host name, or an expression such as `\"%[host]\"`, the request's",
            "15:58 error: `send_proxy` cannot be `true` => write `v1`, `v2` or `false`",
            "20:23 error: `send_proxy` has no effect: `quic` is reached by UDP alone => remove it, or listen on TCP too",
            "21:53 error: `tls` has no effect: `quic` is reached by UDP alone => remove it, or listen on TCP too",
            "22:27 error: unsupported: `accept_proxy` of the statistics is not built yet => bind to `127.0.0.1` and let a frontend in mode http bring clients there",
            "22:27 error: statistics are not served over `h2` => remove `alpn`: it is http/1.1",
        ],
    },
];
