//! The statistics over TLS, and who may see them.

use crate::{
    certificates::Authority,
    clients::{curl, installed, resolve, write},
    daemon::{Daemon, free},
    server::server,
};

/// `secret`, as `openssl passwd -6` and Argon2's own program write it.
const SHA512: &str = "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.";
const ARGON: &str =
    "$argon2id$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$OLeWCvLwvsLRPgRDUFsaPr4TPYfqZKBxQuyYI2VLP2w";

#[test]
fn statistics_are_served_over_tls_to_who_knows_the_password_of_a_hash() {
    if !installed("curl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let ca_file = write(&folder, "ca.pem", &ca.pem());
    write(&folder, "site.pem", &ca.issue(&["site.example"]).both());
    let (web, plain) = (free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "stats:
  bind: ['{plain}', {{ address: '{web}', tls: {{ certificates: site.pem }} }}]
  auth: {{ sha: '{SHA512}', argon: '{ARGON}', clear: secret }}
"
        ),
        web,
    );
    let url = format!("https://site.example:{}/stats;csv", web.port());
    let resolve = resolve("site.example", web);
    let secure = |user: &str| {
        let arguments = ["--cacert", &ca_file, "--resolve", &resolve, "-u", user];
        curl(
            &[
                &arguments[..],
                &[
                    "-w",
                    "%{http_code} %{http_version}",
                    "-o",
                    "/dev/null",
                    &url,
                ],
            ]
            .concat(),
        )
        .0
    };
    let bare = format!("http://{plain}/stats;csv");
    for user in ["sha", "argon", "clear"] {
        for _ in 0..2 {
            assert_eq!(secure(&format!("{user}:secret")), "200 1.1", "{user}");
            assert_eq!(secure(&format!("{user}:Secret")), "401 1.1", "{user}");
        }
        let user = format!("{user}:secret");
        let code = curl(&["-u", &user, "-w", "%{http_code}", "-o", "/dev/null", &bare]).0;
        assert_eq!(code, "200");
    }
    let (_, code) = curl(&["--cacert", &ca_file, &format!("http://{web}/stats")]);
    assert_ne!(code, Some(0), "TLS alone is spoken there");
    // A certificate that changes is taken here too.
    write(
        &daemon.folder,
        "site.pem",
        &ca.issue(&["other.example"]).both(),
    );
    daemon.logged(&format!(
        "stats: {web}: the changed certificates are in use"
    ));
    let (_, code) = curl(&["--cacert", &ca_file, "--resolve", &resolve, &url]);
    assert_eq!(code, Some(60), "the name is not the certificate's any more");
}

#[test]
fn statistics_are_shown_among_a_frontends_traffic() {
    if !installed("curl") {
        return;
    }
    let web = free();
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front:
    bind: '{web}'
    stats: {{ uri: '/haproxy?stats', realm: Mine, refresh: 7s, auth: {{ admin: secret }} }}
    rules: [{{ if: {{ header: {{ name: X-From, value: outside }} }}, deny: 403 }}]
    default_backend: none
backends:
  none: {{ servers: [] }}
"
        ),
        web,
    );
    let url = |target: &str| format!("http://{web}{target}");
    let code = |arguments: &[&str]| {
        let head = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
        curl(&[&head[..], arguments].concat()).0
    };
    let (page, csv) = (url("/haproxy?stats"), url("/haproxy?stats;csv"));
    assert_eq!(code(&[&page]), "401");
    assert_eq!(code(&["-u", "admin:secret", &page]), "200");
    let outside = ["-u", "admin:secret", "-H", "X-From: outside", &page];
    assert_eq!(code(&outside), "403", "a rule goes before it");
    for other in ["/metrics", "/healthz", "/haproxy"] {
        assert_eq!(code(&[&url(other)]), "503", "{other} is traffic");
    }
    let (rows, _) = curl(&["-s", "-u", "admin:secret", &csv]);
    assert!(rows.starts_with("# pxname,svname,"), "{rows}");
    assert!(rows.contains("\nfront,FRONTEND,"), "{rows}");
    let (head, _) = curl(&["-s", "-I", "-u", "admin:secret", &page]);
    assert!(head.to_ascii_lowercase().contains("refresh: 7"), "{head}");
    daemon.logged("front front/<STATS> ");
}

#[test]
fn rules_and_pages_find_the_password_of_a_hash_right_or_wrong() {
    if !installed("curl") {
        return;
    }
    let web = free();
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "userlists: {{ ops: {{ admin: '{SHA512}' }} }}
frontends:
  web:
    bind: '{web}'
    stats: {{ uri: /stats, auth: {{ admin: '{SHA512}' }} }}
    rules:
      - {{ if: {{ path: /auth }}, auth: {{ users: ops }} }}
      - {{ if: {{ path: /fetch, expr: {{ of: http_auth(ops) }} }}, return: {{ status: 204 }} }}
      - {{ if: {{ not: {{ path_prefix: /stats }} }}, return: {{ status: 200, body: fine }} }}
"
        ),
        web,
    );
    let get = |path: &str, more: &[&str]| {
        let url = format!("http://{web}{path}");
        let fixed = ["-o", "/dev/null", "-w", "%{http_code}", url.as_str()];
        curl(&[more, &fixed[..]].concat()).0
    };
    // The second time the right one is remembered.
    for _ in 0..2 {
        for (path, right, wrong) in [
            ("/auth", "200", "401"),
            ("/fetch", "204", "200"),
            ("/stats", "200", "401"),
        ] {
            assert_eq!(get(path, &["-u", "admin:secret"]), right, "{path}");
            assert_eq!(get(path, &["-u", "admin:Secret"]), wrong, "{path}");
            assert_eq!(get(path, &["-u", "nobody:secret"]), wrong, "{path}");
            assert_eq!(get(path, &[]), wrong, "{path}");
        }
    }
    drop(daemon);
}

#[test]
fn counters_go_on_after_a_restart() {
    if !installed("curl") {
        return;
    }
    let (app, _) = server();
    let (front, stats) = (free(), free());
    let text = format!(
        "global:
  admin_socket: FOLDER/admin.sock
  fast_path: {{ attach: off }}
  stats_file: FOLDER/stats.json
  log: [{{ target: FOLDER/log }}]
frontends:
  front: {{ bind: '{front}', default_backend: web }}
backends:
  web: {{ servers: [{{ name: s1, address: '{app}' }}] }}
stats: {{ bind: '{stats}' }}
"
    );
    let url = format!("http://{front}/");
    let counted = || {
        let table = curl(&[&format!("http://{stats}/stats;csv")]).0;
        let row = table.lines().find(|row| row.starts_with("web,s1,"));
        let row: Vec<String> = row.unwrap().split(',').map(str::to_owned).collect();
        // `stot`, `bin` and `hrsp_2xx`.
        [7, 8, 40].map(|column| row[column].parse::<u64>().unwrap())
    };
    let mut first = Daemon::start(Daemon::folder(), &text, front);
    for _ in 0..3 {
        curl(&[&url]);
    }
    let before = counted();
    assert_eq!((before[0], before[2]), (3, 3));
    first.stop();
    first.ended();
    let second = Daemon::start(first.folder.clone(), &text, front);
    assert_eq!(counted(), before);
    let metrics = curl(&[&format!("http://{stats}/metrics")]).0;
    let histogram = "lb_backend_total_time_seconds_count{backend=\"web\",path=\"userspace\"} 3\n";
    assert!(metrics.contains(histogram), "{metrics}");
    curl(&[&url]);
    assert_eq!(counted()[0], 4);
    drop(second);
}

#[test]
fn what_is_answered_on_purpose_is_no_error() {
    if !installed("curl") {
        return;
    }
    let front = free();
    let _daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front:
    bind: '{front}'
    rules:
      - {{ if: {{ path: /no }}, deny: 403 }}
      - {{ if: {{ path: /away }}, redirect: {{ location: /there }} }}
    stats: {{ uri: /stats }}
    default_backend: web
backends:
  web: {{ servers: [{{ name: s1, address: '127.0.0.1:1' }}] }}
"
        ),
        front,
    );
    let get = |path: &str| curl(&[&format!("http://{front}{path}")]).0;
    let counted = || {
        let table = get("/stats;csv");
        let row = table.lines().find(|row| row.starts_with("front,FRONTEND,"));
        let row: Vec<String> = row.unwrap().split(',').map(str::to_owned).collect();
        // `dreq` and `ereq`.
        [10, 12].map(|column| row[column].parse::<u64>().unwrap())
    };
    // Whoever looked whether it accepts has asked for nothing.
    let [_, before] = counted();
    get("/no");
    get("/away");
    assert_eq!(counted(), [1, before]);
    curl(&["-H", "Host: a b", &format!("http://{front}/")]);
    assert_eq!(counted(), [1, before + 1]);
}
