//! Suites, curves and sessions at a bind, beside HAProxy, as openssl meets them.

use std::{net::SocketAddr, path::Path, process::Command};

use crate::{
    beside::haproxy,
    certificates::Authority,
    clients::{installed, s_client, write},
    daemon::{Daemon, free},
};

/// Options of a bind each.
const BINDS: &[&str] = &[
    "",
    "curves P-384:P-521",
    "ecdhe P-256",
    "ciphers ECDHE+AESGCM:!AES256 ssl-max-ver TLSv1.2",
    "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384 ssl-max-ver TLSv1.2",
    "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384 ssl-max-ver TLSv1.2 prefer-client-ciphers",
    "ciphersuites TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
    "no-tls-tickets",
    "no-tls-tickets ssl-max-ver TLSv1.2",
    "tls-ticket-keys FOLDER/keys",
    "tls-ticket-keys FOLDER/keys ssl-max-ver TLSv1.2",
];

/// What clients say.
const CLIENTS: &[&[&str]] = &[
    &[],
    &["-groups", "X25519:P-256"],
    &["-groups", "P-256:P-384"],
    &[
        "-tls1_2",
        "-cipher",
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
    ],
    &[
        "-ciphersuites",
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
    ],
];

fn file(folder: &str, socket: &str, ports: &[SocketAddr]) -> String {
    let mut text = format!("global\n stats socket {folder}/{socket} level admin\n")
        + "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\nfrontend f\n";
    for (options, port) in BINDS.iter().zip(ports) {
        let options = options.replace("FOLDER", folder);
        text += &format!(" bind {port} ssl crt {folder}/a.pem alpn http/1.1 {options}\n");
    }
    text + " http-request return status 200 if { path / }\n http-request return status 200 content-type text/plain lf-string \"%[ssl_fc_is_resumed]\"\n"
}

fn seen(at: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let said = s_client(at, arguments);
    let starts = ["New, ", "Reused, ", "Server Temp Key", "SSL alert number"];
    let lines = said
        .lines()
        .filter(|line| starts.iter().any(|start| line.starts_with(start)));
    lines.map(str::to_owned).collect()
}

/// Whether openssl goes on at `second` with the session that it has of `first`.
fn goes_on(folder: &Path, first: SocketAddr, second: SocketAddr) -> bool {
    let session = folder.join("session").display().to_string();
    let _ = std::fs::remove_file(&session);
    let ask = |at: SocketAddr, what: &str| {
        // A session of TLS 1.3 comes behind the handshake.
        let script = format!(
            "(printf 'GET / HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n'; sleep 0.2) | \
             openssl s_client -connect {at} -ign_eof {what} {session} 2>&1"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ask(first, "-sess_out");
    ask(second, "-sess_in").contains("\nReused, ")
}

#[test]
fn suites_curves_and_sessions_are_those_that_haproxy_has() {
    if !installed("haproxy") || !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    write(
        &folder,
        "a.pem",
        &Authority::new().issue(&["a.example"]).both(),
    );
    // 48 bytes each in base64.
    let keys = ["B", "C", "D"].map(|digit| digit.repeat(64));
    write(&folder, "keys", &format!("{}\n", keys.join("\n")));
    let text = folder.display().to_string();
    let ports = [0, 1].map(|_| BINDS.iter().map(|_| free()).collect::<Vec<_>>());
    let path = write(
        &folder,
        "haproxy.cfg",
        &file(&text, "haproxy.sock", &ports[0]),
    );
    let _haproxy = haproxy(&path, &[], &ports[0]);
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let ours = file(&text, "admin.sock", &ports[1]);
    let _daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &ours), ports[1][0]);
    let mut differ = Vec::new();
    for (at, options) in BINDS.iter().enumerate() {
        let mut compare = |client: &str, theirs: Vec<String>, ours: Vec<String>| {
            if theirs != ours {
                differ.push(format!(
                    "{options}: {client}\n  haproxy: {theirs:?}\n  ours:    {ours:?}\n"
                ));
            }
        };
        for client in CLIENTS {
            // Without a word about suites the order is the client's.
            let orders = options.contains("cipher");
            if !orders && client.iter().any(|word| word.contains("cipher")) {
                continue;
            }
            let [theirs, ours] = [0, 1].map(|side| seen(ports[side][at], client));
            compare(&client.join(" "), theirs, ours);
        }
        let [theirs, ours] = [0, 1].map(|side| {
            let resumed = goes_on(&folder, ports[side][at], ports[side][at]);
            vec![format!("resumed: {resumed}")]
        });
        compare("twice", theirs, ours);
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
    // Another with the same keys reads its tickets, one with keys of its own does not.
    let other = free();
    let text = format!(
        "frontends:\n  f:\n    bind: {{ address: \"{other}\", tls: {{ certificates: {0}/a.pem, ticket_keys: {0}/keys, max_version: 1.2 }} }}\n    \
         default_backend: b\nbackends:\n  b:\n    servers: [{{ name: s, address: \"127.0.0.1:1\" }}]\n",
        folder.display()
    );
    let second = Daemon::folder();
    let _second = Daemon::start_binary(binary, second, &text, other);
    assert!(goes_on(&folder, ports[1][10], other), "the same keys");
    assert!(!goes_on(&folder, ports[1][8], other), "no tickets");
}
