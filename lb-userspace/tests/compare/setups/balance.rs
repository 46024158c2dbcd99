//! Which server is asked.

use crate::{
    case::{Deviation, Setup, get},
    run::compare,
};

#[test]
fn which_server_is_asked() {
    let mut cases = Vec::new();
    for i in 0..12 {
        for backend in [
            "rr", "static", "weighted", "first", "least", "backups", "zero",
        ] {
            cases.push(get(&format!("/{backend}/plain"), ""));
        }
        for target in [
            "/uri/a/plain",
            "/uri/b/plain",
            "/param/plain?u=1",
            "/param/plain?u=2",
        ] {
            cases.push(get(
                &format!("{target}{}", if i % 2 == 0 { "" } else { "&x" }),
                "",
            ));
        }
    }
    compare(&Setup {
        name: "balance",
        yaml: r#"
frontends:
  front:
    bind: "{web}"
    rules: [{ use_backend: "%[path,field(2,/)]" }]
    default_backend: rr
backends:
  rr: { balance: roundrobin, servers: &servers [{ name: s1, address: "{s1}" }, { name: s2, address: "{s2}" }, { name: s3, address: "{s3}" }] }
  static: { balance: static-rr, servers: *servers }
  weighted: { balance: roundrobin, servers: [{ name: s1, address: "{s1}", weight: 3 }, { name: s2, address: "{s2}", weight: 1 }] }
  first: { balance: first, servers: *servers }
  least: { balance: leastconn, servers: *servers }
  backups: { servers: [{ name: s1, address: "{s1}", disabled: true }, { name: s2, address: "{s2}", backup: true }, { name: s3, address: "{s3}", backup: true }] }
  zero: { servers: [{ name: s1, address: "{s1}", weight: 0 }, { name: s2, address: "{s2}" }] }
  uri: { balance: uri depth 2, servers: [{ name: s1, address: "{s1}" }] }
  param: { balance: url_param u, servers: [{ name: s1, address: "{s1}" }] }
"#,
        cfg: "
frontend front
    bind {web}
    use_backend %[path,field(2,/)]
    default_backend rr
backend rr
    balance roundrobin
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend static
    balance static-rr
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend weighted
    balance roundrobin
    server s1 {s1} weight 3
    server s2 {s2} weight 1
backend first
    balance first
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend least
    balance leastconn
    server s1 {s1}
    server s2 {s2}
    server s3 {s3}
backend backups
    server s1 {s1} disabled
    server s2 {s2} backup
    server s3 {s3} backup
backend zero
    server s1 {s1} weight 0
    server s2 {s2}
backend uri
    balance uri depth 2
    server s1 {s1}
backend param
    balance url_param u
    server s1 {s1}
",
        files: &[],
        cases,
        parallel: false,
        deviations: DEVIATIONS,
    });
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        cases: &["/weighted/"],
        field: "*",
        ours: "s*",
        theirs: "s*",
        why: "the same shares, in another order",
    },
    Deviation {
        cases: &["/weighted/"],
        field: "log 1 server",
        ours: "weighted/s*",
        theirs: "weighted/s*",
        why: "the same shares, in another order",
    },
];
