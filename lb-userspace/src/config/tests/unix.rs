//! Unix sockets that are listened on, and servers behind them.

use std::path::Path;

use super::{
    super::{model::Permissions, path::kernel_path},
    Case, check, valid,
};

#[test]
fn what_is_wrong_is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "unix sockets to listen on",
        text: r#"frontends:
  web:
    bind:
      - { address: "unix:/run/a.sock", mode: rw, user: "", tls: { certificates: a.pem } }
      - { address: "*:80", mode: 660, user: www, group: www }
      - "unix:"
      - "unix:/run/"
      - "unix:/run/a.sock"
      - "unix:/run/a-path-that-is-longer-than-the-hundred-and-seven-bytes-that-the-system-has-room-for-in-the-address-of-one"
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "unix:" }] }
stats: { bind: "unix:/run/stats.sock", auth: { admin: x } }
"#,
        found: &[
            "4:46 error: `mode`: `rw` are no permissions of a file => write three octal digits, such as `660`",
            "4:56 error: `user` is empty => write a text, or remove the key",
            "5:28 error: `mode` is a unix socket's: `*:80` has no file => remove it, or listen on `unix:PATH`",
            "5:39 error: `user` is a unix socket's: `*:80` has no file => remove it, or listen on `unix:PATH`",
            "5:50 error: `group` is a unix socket's: `*:80` has no file => remove it, or listen on `unix:PATH`",
            "6:9 error: `bind`: `unix:` names no socket => write a path such as `unix:/run/app.sock`",
            "7:9 error: `bind`: `unix:/run/` names no socket => write a path such as `unix:/run/app.sock`",
            "8:9 error: `unix:/run/a.sock` is bound twice => choose another path, or remove one",
            "9:9 error: `bind`: `/run/a-path-that-is-longer-than-the-hundred-and-seven-bytes-that-the-system-has-room-for-in-the-address-of-one` has 110 bytes: a unix socket's path has 107 at most => choose a shorter one",
            "12:41 error: `address`: `unix:` names no socket => write a path such as `unix:/run/app.sock`",
            "13:16 error: unsupported: a unix socket for the statistics is not built yet => write an address such as `\"127.0.0.1:1080\"`, or ask `global.admin_socket`",
        ],
    },
    Case {
        name: "servers that only userspace reaches",
        text: r#"frontends:
  a: { mode: tcp, bind: "*:81", default_backend: dsr }
  b: { mode: tcp, bind: "*:82", default_backend: drop }
  c: { mode: tcp, bind: "udp:*:83", default_backend: udp }
  d: { mode: tcp, bind: "*:84", default_backend: check }
backends:
  dsr: { forward: dsr, servers: [{ name: s1, address: "unix:/run/a" }] }
  drop: { overflow: drop, servers: [{ name: s1, address: "unix:/run/a" }] }
  udp: { servers: [{ name: s1, address: "unix:/run/a" }] }
  check:
    health_check: { type: tcp, port: 80 }
    servers: [{ name: s1, address: "unix:/run/a" }, { name: s2, address: "unix:/run/b", agent_check: { port: 81 } }]
"#,
        found: &[
            "7:55 error: `forward: dsr` cannot reach server `s1`, which is a unix socket => write `forward: proxy`",
            "8:58 error: server `s1` is a unix socket, which userspace alone reaches: with `overflow: drop` nothing would be served => write `forward: proxy`",
            "9:41 error: datagrams of `udp:*:83` cannot reach server `s1`, which is a unix socket => give the server's address and port",
            "12:36 error: the check of server `s1`, which is a unix socket, has an `address` or a `port` alone => give both, or neither",
            "12:74 error: the check of server `s2`, which is a unix socket, has an `address` or a `port` alone => give both, or neither",
            "12:74 error: the agent of server `s2`, which is a unix socket, has an `address` or a `port` alone => give both, or neither",
        ],
    },
];

#[test]
fn they_are_below_the_files_folder_and_never_the_kernels() {
    let config = valid(
        r#"frontends:
  web: { bind: { address: "unix:web.sock", mode: 0660, user: www, group: "33" }, default_backend: app }
  raw: { mode: tcp, bind: "unix:/run/raw.sock", default_backend: raw }
  both: { mode: tcp, bind: ["unix:/run/both.sock", "*:80"], default_backend: raw }
  out: { mode: tcp, bind: "*:81", default_backend: out }
backends:
  app: { servers: [{ name: s1, address: "unix:app.sock" }] }
  raw: { servers: [{ name: s1, address: "192.0.2.1:80" }] }
  out: { servers: [{ name: s1, address: "192.0.2.1:80" }, { name: s2, address: "unix:/run/app.sock" }] }
"#,
    );
    let bind = &config.frontends[0].binds[0];
    assert_eq!(bind.address.path(), Some(Path::new("/etc/lb/web.sock")));
    assert_eq!(bind.text, "unix:web.sock");
    assert_eq!(
        bind.permissions,
        Permissions {
            mode: Some(0o660),
            user: Some("www".into()),
            group: Some("33".into()),
        }
    );
    let server = &config.backends[0].servers[0];
    assert_eq!(server.address.to_string(), "unix:/etc/lb/app.sock");
    let why = |index: usize| {
        let path = kernel_path(&config, &config.frontends[index]);
        path.map(|backend| backend.name.clone())
    };
    let userspace = |what: &str| Err(format!("{what} is a unix socket, which needs userspace"));
    assert_eq!(why(1), userspace("unix:/run/raw.sock"));
    assert_eq!(why(2), Ok("raw".into()));
    assert_eq!(why(3), userspace("server out/s2"));
    let both = super::super::path::remark(&config.frontends[2], &config.backends[1]);
    assert_eq!(
        both.unwrap().text,
        "userspace serves clients of unix:/run/both.sock"
    );
}
