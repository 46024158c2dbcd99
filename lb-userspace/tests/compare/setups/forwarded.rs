//! Where servers are told of clients, and where not: the arguments of `option forwardfor`.

use crate::{
    case::{Setup, get},
    run::compare,
};

#[test]
fn clients_addresses() {
    let mut cases = Vec::new();
    for path in ["/plain", "/own/plain", "/if-none/plain", "/except/plain"] {
        for (fields, proxy) in [
            ("", "PROXY TCP4 192.0.2.5 192.0.2.1 4242 80\r\n"),
            ("", "PROXY TCP4 198.51.100.5 192.0.2.1 4242 80\r\n"),
            ("", "PROXY TCP6 2001:db8::5 2001:db8::1 4242 80\r\n"),
            (
                "X-Forwarded-For: 203.0.113.1\n",
                "PROXY TCP4 192.0.2.5 192.0.2.1 4242 80\r\n",
            ),
            (
                "X-Forwarded-For: 203.0.113.1\nX-Forwarded-For: 203.0.113.2\nX-Client-IP: 203.0.113.3\n",
                "PROXY TCP4 198.51.100.5 192.0.2.1 4242 80\r\n",
            ),
            (
                "X-Client-IP: 203.0.113.3\n",
                "PROXY TCP4 192.0.2.5 192.0.2.1 4242 80\r\n",
            ),
        ] {
            for at in ["web", "web2"] {
                cases.push(get(path, fields).after(proxy.as_bytes()).at(at));
            }
        }
    }
    compare(&Setup {
        name: "forwarded",
        yaml: r#"
frontends:
  silent:
    bind: { address: "{web}", accept_proxy: true }
    rules: &rules
      - { if: { path_prefix: /own/ }, use_backend: own }
      - { if: { path_prefix: /if-none/ }, use_backend: if-none }
      - { if: { path_prefix: /except/ }, use_backend: except }
    default_backend: app
  front:
    bind: { address: "{web2}", accept_proxy: true }
    forwarded_for: { if_none: true }
    rules: *rules
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "{s1}" }] }
  own: { forwarded_for: { header: X-Client-IP }, servers: [{ name: s1, address: "{s1}" }] }
  if-none: { forwarded_for: { if_none: true, header: X-Client-IP }, servers: [{ name: s1, address: "{s1}" }] }
  except: { forwarded_for: { except: 198.51.100.0/24 }, servers: [{ name: s1, address: "{s1}" }] }
"#,
        cfg: "
frontend silent
    bind {web} accept-proxy
    use_backend own if { path_beg /own/ }
    use_backend if-none if { path_beg /if-none/ }
    use_backend except if { path_beg /except/ }
    default_backend app
frontend front
    bind {web2} accept-proxy
    option forwardfor if-none
    use_backend own if { path_beg /own/ }
    use_backend if-none if { path_beg /if-none/ }
    use_backend except if { path_beg /except/ }
    default_backend app
backend app
    server s1 {s1}
backend own
    option forwardfor header X-Client-IP
    server s1 {s1}
backend if-none
    option forwardfor header X-Client-IP if-none
    server s1 {s1}
backend except
    option forwardfor except 198.51.100.0/24
    server s1 {s1}
",
        files: &[],
        cases,
        parallel: false,
        deviations: &[],
    });
}
