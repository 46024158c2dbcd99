//! What is wrong with what servers are told of clients, and with whom we believe.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[Case {
    name: "what is told of clients",
    text: r#"defaults: { client_ip_from: X-Forwarded-For }
frontends:
  web:
    bind: "*:80"
    forwarded_for: { header: "a b", except: [1.2.3.4/33], trusted: [1.2.3.4] }
    forwarded: { by_port: true }
    trusted_proxies: []
    client_ip_from: Content-Length
    default_backend: app
  own: { bind: "*:81", trusted_proxies: [], client_ip_from: Forwarded, default_backend: app }
  inherited: { bind: "*:82", default_backend: app }
  raw:
    mode: tcp
    bind: "*:83"
    forwarded_proto: true
    forwarded_port: false
    forwarded: true
    trusted_proxies: 192.0.2.1
    default_backend: raw
backends:
  app: { forwarded: { host: false }, servers: [{ name: s1, address: "192.0.2.1:80" }] }
  raw: { mode: tcp, forwarded_host: true, servers: [{ name: s1, address: "192.0.2.1:80" }] }
"#,
    found: &[
        "1:13 error: `client_ip_from` would let every client choose its own address => add `trusted_proxies: [192.0.2.0/24]`: those whose word is taken",
        "5:30 error: `a b` cannot be a header field's name => write letters, digits and `-`",
        "5:46 error: `except`: `/33` is no length of a prefix of 32 bits => write a number from 0 to 32: `1.2.3.4/32` is one address",
        "5:59 error: unknown key `trusted` in `forwarded_for` => whose word is taken is said by `trusted_proxies`, beside `forwarded_for`",
        "6:5 error: `forwarded` with nothing to tell => write `forwarded: true` for `proto` and `for`, or name what is to be told",
        "6:18 error: a port alone says nothing: `by_port` needs `by` => add `by: true`",
        "8:21 error: `Content-Length` says where a message ends or what becomes of its connection => leave it to the balancer",
        "10:45 error: `client_ip_from` would let every client choose its own address => add `trusted_proxies: [192.0.2.0/24]`: those whose word is taken",
        "15:5 error: `forwarded_proto` has no effect in mode tcp => write `mode: http`, or remove it",
        "17:5 error: `forwarded` has no effect in mode tcp => write `mode: http`, or remove it",
        "18:5 error: `trusted_proxies` has no effect in mode tcp => write `mode: http`, or remove it",
        "21:10 error: `forwarded` with nothing to tell => write `forwarded: true` for `proto` and `for`, or name what is to be told",
        "22:21 error: `forwarded_host` has no effect in mode tcp => remove it",
    ],
}];
