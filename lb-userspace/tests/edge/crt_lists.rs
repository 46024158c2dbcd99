//! Lists of certificates in files, beside HAProxy: the same commands about them, and the same clients afterwards.

use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};

use crate::{
    beside::{haproxy, until},
    certificates::Authority,
    clients::{installed, s_client, write},
    daemon::{Daemon, free},
    operators::ask,
};

const FILE: &str = "
global
  stats socket SOCKET level admin
  ca-base FOLDER
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  mode http
frontend f
  bind FIRST ssl crt-list FOLDER/list.txt alpn h2,http/1.1
  http-request return status 200
frontend strict
  bind SECOND ssl crt-list FOLDER/list.txt strict-sni alpn h2
  http-request return status 200
";

const LIST: &str = "# a comment
FOLDER/a.pem
FOLDER/b.pem [ssl-max-ver TLSv1.2 alpn http/1.1] *.b.example !no.b.example

FOLDER/b.pem [ verify required ca-file ca.pem  ssl-min-ver TLSv1.3 ] b.example B.EXAMPLE
FOLDER/c.pem []
";

/// Asked of both one after the other.
const COMMANDS: &str = "show ssl crt-list
show ssl crt-list FOLDER/list.txt
show ssl crt-list -n FOLDER/list.txt
show ssl crt-list -n
show ssl crt-list zz
add ssl crt-list FOLDER/list.txt
add ssl crt-list FOLDER/list.txt FOLDER/zz.pem
add ssl crt-list FOLDER/list.txt FOLDER/c.pem
add ssl crt-list FOLDER/list.txt <<\\nFOLDER/c.pem [alpn h2] *.c.example !not.c.example\\n
show ssl crt-list -n FOLDER/list.txt
new ssl cert FOLDER/new.pem
add ssl crt-list FOLDER/list.txt FOLDER/new.pem
set ssl cert FOLDER/new.pem <<\\nPEM
commit ssl cert FOLDER/new.pem
add ssl crt-list FOLDER/list.txt <<\\nFOLDER/new.pem new.example\\n
show ssl crt-list -n FOLDER/list.txt
del ssl crt-list FOLDER/list.txt FOLDER/b.pem
del ssl crt-list FOLDER/list.txt FOLDER/b.pem:3
del ssl crt-list FOLDER/list.txt FOLDER/b.pem:x
del ssl crt-list FOLDER/list.txt FOLDER/b.pem:5
del ssl crt-list FOLDER/list.txt FOLDER/b.pem:5
del ssl crt-list FOLDER/list.txt FOLDER/zz.pem
show ssl crt-list -n FOLDER/list.txt
show ssl cert FOLDER/c.pem
del ssl cert FOLDER/c.pem
";

/// What a client sees that asks for `name`: the certificate, the version, the protocol, or how it is refused.
fn seen(at: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let said = s_client(at, &[arguments, &["-alpn", "h2,http/1.1"]].concat());
    let of = |line: &&str| {
        let starts = ["subject=", "ALPN", "No ALPN", "New, ", "Acceptable client"];
        starts.iter().any(|start| line.starts_with(start)) || line.contains("alert")
    };
    let told = |line: &str| {
        // The number of the alert, without where in OpenSSL it was met.
        let alert = line.split("SSL alert number ").nth(1);
        alert.map_or_else(|| line.to_owned(), |number| format!("alert {number}"))
    };
    let mut seen: Vec<String> = said.lines().filter(of).map(told).collect();
    // In TLS 1.3 a client is through before it hears that its certificate is missing: whether openssl still does is chance.
    if seen.iter().any(|line| line.starts_with("New, TLSv1.3")) {
        seen.retain(|line| !line.starts_with("alert"));
    }
    seen
}

#[test]
fn a_file_of_certificates_is_served_and_changed_as_haproxys() {
    if !installed("haproxy") || !installed("openssl") {
        return;
    }
    let authority = Authority::new();
    let folder = Daemon::folder();
    write(&folder, "ca.pem", &authority.pem());
    for (name, names) in [
        ("a.pem", &["a.example"][..]),
        ("b.pem", &["b.example"]),
        ("c.pem", &["c.example"]),
        ("client.pem", &["client"]),
    ] {
        write(&folder, name, &authority.issue(names).both());
    }
    let within = |text: &str| text.replace("FOLDER", &folder.display().to_string());
    write(&folder, "list.txt", &within(LIST));
    let places = [[free(), free()], [free(), free()]];
    let text = |socket: &str, at: [SocketAddr; 2]| {
        within(FILE)
            .replace("SOCKET", &folder.join(socket).display().to_string())
            .replace("FIRST", &at[0].to_string())
            .replace("SECOND", &at[1].to_string())
    };
    let path = write(&folder, "haproxy.cfg", &text("haproxy.sock", places[0]));
    let _haproxy = haproxy(&path, &[], &places[0]);
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let text = text("admin.sock", places[1]);
    let _daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &text), places[1][0]);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    until("sockets", || sockets.iter().all(|s| s.exists()));
    let client = folder.join("client.pem");
    let client = ["-cert", &client.display().to_string()].map(str::to_owned);
    let mut differ = Vec::new();
    let mut compare = |names: &[&str]| {
        for name in names {
            for bind in [0, 1] {
                for known in [false, true] {
                    let mut arguments = match *name {
                        "" => vec!["-noservername"],
                        name => vec!["-servername", name],
                    };
                    if known {
                        arguments.extend(client.iter().map(String::as_str));
                    }
                    let [theirs, ours] = [0, 1].map(|at| seen(places[at][bind], &arguments));
                    if theirs != ours {
                        differ.push(format!(
                            "{name:?} at {bind}, {known}\nhaproxy: {theirs:?}\nours:    {ours:?}\n"
                        ));
                    }
                }
            }
        }
    };
    let names = [
        "",
        "a.example",
        "A.example",
        "b.example",
        "x.b.example",
        "no.b.example",
        "c.example",
        "x.c.example",
        "not.c.example",
        "new.example",
        "y.x.b.example",
        "other.example",
    ];
    compare(&names);
    let pem = authority.issue(&["made.example"]).both();
    let mut said = Vec::new();
    for line in COMMANDS.lines() {
        let command = within(line).replace("\\n", "\n").replace("PEM", &pem) + "\n";
        // HAProxy has a NUL behind protocols.
        let [theirs, ours] = [0, 1].map(|at| ask(&sockets[at], &command).replace('\0', ""));
        if theirs != ours {
            said.push(format!("{line}\nhaproxy: {theirs:?}\nours:    {ours:?}\n"));
        }
    }
    compare(&names);
    differ.extend(said);
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
    live(&folder, places[1][0], &within(LIST));
}

/// A list that has changed is read again.
fn live(folder: &Path, at: SocketAddr, list: &str) {
    let gets = |name: &str| {
        let seen = seen(at, &["-servername", name]);
        seen.into_iter().find(|line| line.starts_with("subject="))
    };
    let before = gets("later.example");
    write(
        folder,
        "later.pem",
        &fs::read_to_string(folder.join("c.pem")).unwrap(),
    );
    let line = format!("{}/later.pem later.example\n", folder.display());
    write(folder, "list.txt", &format!("{list}{line}"));
    until("the new list", || gets("later.example") != before);
    // One that is wrong is not taken.
    write(folder, "list.txt", &format!("{list}{line}{line}[\n"));
    thread::sleep(Duration::from_millis(50));
    assert_ne!(gets("later.example"), before);
}
