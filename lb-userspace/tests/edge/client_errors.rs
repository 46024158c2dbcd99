//! Clients' certificates that something is wrong with, beside HAProxy: who gets in, and what rules are told of it.

use std::net::SocketAddr;

use rcgen::KeyPair;

use crate::{
    beside::{haproxy, until},
    certificates::Authority,
    clients::{curl, installed, s_client, write},
    daemon::{Daemon, free},
    operators::ask,
};

/// Options of a bind each.
const BINDS: &[&str] = &[
    "verify required ca-file FOLDER/ca.pem",
    "verify optional ca-file FOLDER/ca.pem crt-ignore-err all ca-ignore-err all",
    "verify required ca-file FOLDER/ca.pem crt-ignore-err 10",
    "verify required ca-file FOLDER/ca.pem crt-ignore-err 18,20,21 ca-ignore-err 19",
    "verify optional ca-file FOLDER/ca.pem crl-file FOLDER/crl.pem",
    "verify required ca-file FOLDER/ca.pem crl-file FOLDER/crl.pem crt-ignore-err 23",
    "verify required ca-file FOLDER/ca.pem crl-file FOLDER/old.pem crt-ignore-err 12,23 ca-ignore-err 12",
    "verify required ca-file FOLDER/ca.pem crl-file FOLDER/old.pem",
    "verify required ca-file FOLDER/other.pem ca-verify-file FOLDER/ca.pem",
    "verify required ca-file FOLDER/ca.pem no-ca-names tls-ticket-keys FOLDER/keys",
    "verify required ca-verify-file FOLDER/ca.pem",
    "verify required ca-file FOLDER/other.pem crl-file FOLDER/crl.pem crt-ignore-err all ca-ignore-err all",
];

/// Asked of both.
const COMMANDS: &str = "show ssl ca-file
show ssl ca-file FOLDER/ca.pem
show ssl ca-file zz
show ssl crl-file
show ssl crl-file FOLDER/crl.pem
show ssl crl-file zz
show tls-keys
show tls-keys *
show tls-keys #0
show tls-keys #1
show tls-keys FOLDER/keys
show tls-keys zz
";

/// Certificates that clients show.
const CLIENTS: &[&str] = &[
    "",
    "known",
    "stranger",
    "chained",
    "expired",
    "strange-expired",
    "early",
    "itself",
    "revoked",
    "server-only",
    "signed-by-none",
];

fn file(folder: &str, socket: &str, ports: &[SocketAddr]) -> String {
    let mut text = format!(
        "global\n stats socket {folder}/{socket} level admin\n ca-base {folder}\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\nfrontend f\n"
    );
    for (options, port) in BINDS.iter().zip(ports) {
        let options = options.replace("FOLDER", folder);
        text += &format!(" bind {port} ssl crt {folder}/a.pem alpn http/1.1 {options}\n");
    }
    text += " http-request return status 200 content-type text/plain lf-string \"used %[ssl_c_used] \
             err %[ssl_c_err] ca %[ssl_c_ca_err] at %[ssl_c_ca_err_depth] verify %[ssl_c_verify]\"\n";
    text
}

/// What a client is told: the answer, or the number of the alert.
fn told(at: SocketAddr, folder: &str, client: &str) -> String {
    let url = format!("https://{at}/");
    let path = format!("{folder}/{client}.pem");
    let mut arguments = vec!["-k", "-v", &*url];
    if !client.is_empty() {
        arguments.extend(["--cert", &*path]);
    }
    let (said, status) = curl(&arguments);
    match status {
        Some(0) => said,
        _ => "refused".to_owned(),
    }
}

#[test]
fn what_is_wrong_with_clients_certificates_is_passed_over_as_haproxy_does() {
    if !installed("haproxy") || !installed("curl") || !installed("openssl") {
        return;
    }
    let (ca, other) = (Authority::new(), Authority::called("Other CA"));
    let folder = Daemon::folder();
    let put = |name: &str, text: String| write(&folder, name, &text);
    put("ca.pem", ca.pem());
    put("other.pem", other.pem());
    put("a.pem", ca.issue(&["a.example"]).both());
    put("known.pem", ca.issue(&["known"]).both());
    let stranger = other.issue(&["stranger"]);
    put("stranger.pem", stranger.both());
    put(
        "chained.pem",
        format!("{}{}{}", stranger.cert, other.pem(), stranger.key),
    );
    put("expired.pem", ca.expired(&["expired"]).both());
    put("strange-expired.pem", other.expired(&["expired"]).both());
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        ca.issue_with(&["some"], KeyPair::generate().unwrap(), change)
    };
    let early = with(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    put("early.pem", early.both());
    let revoked = with(|params| params.serial_number = Some(7.into()));
    put("revoked.pem", revoked.both());
    let server = with(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    put("server-only.pem", server.both());
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["itself".to_owned()]).unwrap();
    let itself = params.self_signed(&key).unwrap();
    put(
        "itself.pem",
        format!("{}{}", itself.pem(), key.serialize_pem()),
    );
    // Somebody else's signature below the CA's name.
    let none = Authority::new().issue(&["none"]);
    put("signed-by-none.pem", none.both());
    put("crl.pem", ca.revoke(&[7], 2090));
    let keys = ["B", "C", "D", "E"].map(|digit| digit.repeat(64) + "\n");
    put("keys", keys.concat());
    put("old.pem", ca.revoke(&[7], 2021));
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
    let sockets = ["haproxy.sock", "admin.sock"].map(|name| folder.join(name));
    until("sockets", || sockets.iter().all(|s| s.exists()));
    let mut differ = Vec::new();
    for command in COMMANDS.lines() {
        let line = command.replace("FOLDER", &text) + "\n";
        let [theirs, ours] = sockets.each_ref().map(|socket| {
            // HAProxy has read all that the system trusts.
            let said = ask(socket, &line);
            let lines = said.lines().filter(|line| !line.starts_with("@system-ca"));
            lines.collect::<Vec<_>>().join("\n")
        });
        if theirs != ours {
            differ.push(format!(
                "{line}  haproxy: {theirs:?}\n  ours:    {ours:?}\n"
            ));
        }
    }
    for (at, options) in BINDS.iter().enumerate() {
        for client in CLIENTS {
            let [theirs, ours] = [0, 1].map(|side| told(ports[side][at], &text, client));
            if theirs != ours {
                differ.push(format!(
                    "{options}: {client}\n  haproxy: {theirs}\n  ours:    {ours}\n"
                ));
            }
        }
        // Whom a client is told of.
        let [theirs, ours] = [0, 1].map(|side| {
            let said = s_client(ports[side][at], &[]);
            let names = said.split_once("Acceptable client certificate CA names\n");
            let names = names.and_then(|(_, rest)| rest.split_once("\nRequested"));
            names.map(|(names, _)| names.to_owned())
        });
        if theirs != ours {
            differ.push(format!(
                "{options}\n  haproxy: {theirs:?}\n  ours:    {ours:?}\n"
            ));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}
