//! The runtime commands that have the configuration say otherwise: rates, cookies' values, names, TLS and certificates.
//! HAProxy reads the same file, is asked the same, and answers the same.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use crate::{
    beside::{haproxy, until},
    certificates::Authority,
    clients::{installed, s_client, write},
    daemon::{Daemon, free},
    dns::{Dns, at},
    operators::{ask, server, who},
};

const FILE: &str = "
global
  stats socket SOCKET level admin
  set-var proc.x str(file)
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  mode http
  retries 0
resolvers r
  nameserver n1 DNS
  timeout resolve 20ms
  hold valid 20ms
frontend f
  bind ADDRESS
  http-request return status 200 if { path /r }
  http-request redirect location /s if { path /s }
  http-request deny if { path /d }
  default_backend b
frontend tls
  bind TLS ssl crt FOLDER/certs
  default_backend b
backend b
  cookie C insert dynamic
  dynamic-cookie-key secret
  server s1 SERVER1
  server s2 SERVER1 cookie own disabled
backend named
  server n1 app.example:1 resolvers r init-addr none resolve-prefer ipv4
backend secure
  server t1 SERVER2 ssl verify none
backend follows
  server f1 SERVER1 check inter 1h
  server f2 SERVER1 track f1
";

/// Asked of both one after the other; the answers are the same, but for frontends' names in the last.
const COMMANDS: &str = "set rate-limit connections global
set rate-limit connections global x
set rate-limit connections global -1
set rate-limit connections global 1000
set rate-limit sessions global 1000
set rate-limit sessions global
set rate-limit ssl-sessions global 1000
set rate-limit connections global 0; set rate-limit sessions global 0
enable dynamic-cookie
enable dynamic-cookie backend
enable dynamic-cookie backend zz
enable dynamic-cookie backend b
enable dynamic-cookie backend f
enable dynamic-cookie backend named
enable dynamic-cookie foo
disable dynamic-cookie
set dynamic-cookie-key
set dynamic-cookie-key backend
set dynamic-cookie-key backend b
set dynamic-cookie-key backend zz key2
set server named/n1 fqdn
set server named/n1 fqdn app.example
set server named/n1 fqdn b@d..name
set server named/n1 fqdn other.example
set server b/s1 fqdn foo.example
set server zz/s1 fqdn foo.example
set server named/n1 fqdn app.example
set server secure/t1 ssl
set server secure/t1 ssl xx
set server secure/t1 ssl off
set server secure/t1 ssl off
set server secure/t1 ssl on
set server b/s1 ssl on
disable server follows/f1
del server follows/f1
del server follows/f2
experimental-mode on; set var proc.x str(operator)
add server b/n1 127.0.0.1:1
get var proc.x
experimental-mode on; set var proc.y str(root),map_str(/etc/passwd)
get var proc.y
new ssl cert
new ssl cert FOLDER/certs/a.pem
new ssl cert FOLDER/certs/n.pem
new ssl cert FOLDER/certs/n.pem
new ssl cert FOLDER/elsewhere.pem
show ssl cert
show ssl cert FOLDER/certs/a.pem
show ssl cert FOLDER/certs/b.pem
show ssl cert FOLDER/certs/n.pem
show ssl cert *FOLDER/certs/n.pem
show ssl cert zz
show ssl crt-list
show ssl crt-list FOLDER/certs
show ssl crt-list FOLDER/certs/
show ssl crt-list zz
add ssl crt-list
add ssl crt-list FOLDER/certs
add ssl crt-list zz zz
add ssl crt-list FOLDER/certs zz
add ssl crt-list FOLDER/certs FOLDER/elsewhere.pem
add ssl crt-list FOLDER/certs FOLDER/certs/a.pem
add ssl crt-list FOLDER/certs FOLDER/certs/n.pem
set ssl cert FOLDER/certs/n.pem <<\\nPEM
show ssl cert *FOLDER/certs/n.pem
show ssl cert FOLDER/certs/n.pem
commit ssl cert FOLDER/certs/n.pem
show ssl cert FOLDER/certs/n.pem
add ssl crt-list FOLDER/certs FOLDER/certs/n.pem
add ssl crt-list FOLDER/certs FOLDER/certs/n.pem
show ssl crt-list FOLDER/certs
show ssl cert FOLDER/certs/n.pem
del ssl cert
del ssl cert FOLDER/certs/n.pem
del ssl cert FOLDER/certs/zz.pem
del ssl crt-list
del ssl crt-list zz zz
del ssl crt-list FOLDER/certs zz
del ssl crt-list FOLDER/certs FOLDER/elsewhere.pem
del ssl crt-list FOLDER/certs FOLDER/certs/b.pem
show ssl cert FOLDER/certs/b.pem
show ssl crt-list FOLDER/certs
del ssl crt-list FOLDER/certs FOLDER/certs/b.pem
del ssl cert FOLDER/certs/b.pem
del ssl cert FOLDER/elsewhere.pem
show ssl cert
show resolvers zz
user; set rate-limit connections global 5; new ssl cert x; enable dynamic-cookie backend b
";

/// The cookie that the answer sets.
fn cookie(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut lines = answer.lines();
    let set = lines.find_map(|line| line.strip_prefix("set-cookie: "));
    set.unwrap_or_default().to_owned()
}

/// Which certificate `name` gets.
fn certificate(at: SocketAddr, name: &str) -> String {
    let said = s_client(at, &["-servername", name]);
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="));
    subject.unwrap_or_default().replace(' ', "")
}

struct Places {
    address: SocketAddr,
    tls: SocketAddr,
}

fn places() -> Places {
    Places {
        address: free(),
        tls: free(),
    }
}

fn file(folder: &Path, socket: &str, at: &Places, dns: &Dns, servers: [SocketAddr; 2]) -> String {
    FILE.replace("SOCKET", &folder.join(socket).display().to_string())
        .replace("FOLDER", &folder.display().to_string())
        .replace("ADDRESS", &at.address.to_string())
        .replace("TLS", &at.tls.to_string())
        .replace("DNS", &dns.address.to_string())
        .replace("SERVER1", &servers[0].to_string())
        .replace("SERVER2", &servers[1].to_string())
}

/// A folder with two certificates in another one.
fn folder(authority: &Authority) -> std::path::PathBuf {
    let folder = Daemon::folder();
    std::fs::create_dir(folder.join("certs")).unwrap();
    let certs = folder.join("certs");
    write(&certs, "a.pem", &authority.issue(&["a.example"]).both());
    let rsa = authority.issue_rsa(&["b.example", "*.b.example"]);
    let chain = format!("{}{}{}", rsa.cert, authority.pem(), rsa.key);
    write(&certs, "b.pem", &chain);
    folder
}

#[test]
fn what_the_configuration_is_made_to_say_is_answered_as_haproxy_does() {
    if !installed("haproxy") {
        return;
    }
    let (authority, dns) = (Authority::new(), Dns::start());
    let folder = folder(&authority);
    let (theirs, ours) = (places(), places());
    let servers = [server("one"), server("two")];
    let text = file(&folder, "haproxy.sock", &theirs, &dns, servers);
    let path = write(&folder, "haproxy.cfg", &text);
    let _haproxy = haproxy(&path, &[], &[theirs.address]);
    let text = file(&folder, "admin.sock", &ours, &dns, servers);
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &text), ours.address);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    until("sockets", || sockets.iter().all(|s| s.exists()));
    let pem = authority.issue(&["n.example"]).both();
    let mut differ = Vec::new();
    for line in COMMANDS.lines() {
        let command = line
            .replace("FOLDER", &folder.display().to_string())
            .replace("\\n", "\n")
            .replace("PEM", &pem)
            + "\n";
        let [theirs, ours] = [0, 1].map(|at| ask(&sockets[at], &command));
        if theirs != ours {
            differ.push(format!("{line}\nhaproxy: {theirs:?}\nours:    {ours:?}\n"));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
    // What is answered without a server.
    let intercepted = |at: SocketAddr, socket: &Path| {
        for path in ["/r", "/s", "/s", "/d"] {
            let mut stream = TcpStream::connect(at).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_string(&mut String::new()).unwrap();
        }
        let table = ask(socket, "show stat f 1 -1\n");
        let mut lines = table.lines().map(|line| line.split(','));
        let at = lines.next().unwrap().position(|name| name == "intercepted");
        lines.next().unwrap().nth(at.unwrap()).unwrap().to_owned()
    };
    let theirs_and_ours = [theirs.address, ours.address];
    for (at, socket) in theirs_and_ours.into_iter().zip(&sockets) {
        assert_eq!(intercepted(at, socket), "3");
    }
    // Values of cookies.
    let both = |command: &str| {
        for socket in &sockets {
            assert_eq!(ask(socket, command), "\n", "{command}");
        }
        let [theirs, ours] = [cookie(theirs.address), cookie(ours.address)];
        assert_eq!(theirs, ours, "{command}");
        ours
    };
    let first = both("enable dynamic-cookie backend b\n");
    assert!(first.starts_with("C="), "{first}");
    let second = both("set dynamic-cookie-key backend b other\n");
    assert_ne!(first, second);
    assert!(daemon.ask("reload\n").starts_with("Success=1\n"));
    assert_eq!(cookie(ours.address), second);
    let removed = both("disable dynamic-cookie backend b\n");
    assert!(removed.starts_with("C=; Expires="), "{removed}");
}

#[test]
fn names_tls_and_certificates_are_others_from_then_on_and_stay_so() {
    let (authority, dns) = (Authority::new(), Dns::start());
    let folder = folder(&authority);
    let at_ours = places();
    let plain = server("plain");
    dns.set("app.example", at(&["127.0.0.2"]));
    dns.set("other.example", at(&["127.0.0.3"]));
    let text = file(&folder, "admin.sock", &at_ours, &dns, [plain, plain]);
    let named = TcpListener::bind("127.0.0.1:0").unwrap();
    let way = named.local_addr().unwrap();
    drop(named);
    let text = format!("{text}frontend secure\n  bind {way}\n  default_backend secure\n");
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &text), at_ours.address);
    let reload = || assert!(daemon.ask("reload\n").starts_with("Success=1\n"));
    // A name leads elsewhere.
    let address = || daemon.ask("show servers state named\n");
    until("its address", || address().contains(" n1 127.0.0.2 "));
    daemon.ask("set server named/n1 fqdn other.example\n");
    until("the other's", || address().contains(" n1 127.0.0.3 "));
    assert!(address().contains(" other.example "), "{}", address());
    reload();
    assert!(address().contains(" other.example "), "{}", address());
    let asked = daemon.ask("show resolvers r\n");
    assert!(
        asked.starts_with("Resolvers section r\n nameserver "),
        "{asked}"
    );
    assert!(!asked.contains("  sent:        0\n"), "{asked}");
    // Who speaks no TLS is understood without.
    assert_eq!(who(way), "503");
    daemon.ask("set server secure/t1 ssl off\n");
    assert_eq!(who(way), "plain");
    reload();
    assert_eq!(who(way), "plain");
    daemon.ask("set server secure/t1 ssl on\n");
    assert_eq!(who(way), "503");
    // A certificate comes, and goes.
    if !installed("openssl") {
        return;
    }
    let file = folder.join("certs/n.pem").display().to_string();
    let list = folder.join("certs").display().to_string();
    assert!(certificate(at_ours.tls, "n.example").ends_with("CN=a.example"));
    let pem = authority.issue(&["n.example"]).both();
    let said = daemon.ask(&format!(
        "new ssl cert {file}; set ssl cert {file} <<\n{pem}\n"
    ));
    assert!(said.contains("Transaction created"), "{said}");
    let said = daemon.ask(&format!(
        "commit ssl cert {file}; add ssl crt-list {list} {file}\n"
    ));
    assert!(said.ends_with("Success!\n\n"), "{said}");
    assert!(certificate(at_ours.tls, "n.example").ends_with("CN=n.example"));
    reload();
    assert!(certificate(at_ours.tls, "n.example").ends_with("CN=n.example"));
    assert!(certificate(at_ours.tls, "x.b.example").ends_with("CN=b.example"));
    daemon.ask(&format!("del ssl crt-list {list} {list}/b.pem\n"));
    assert!(certificate(at_ours.tls, "x.b.example").ends_with("CN=a.example"));
}

#[test]
fn it_shows_how_it_looks_inside() {
    let (folder, at) = (Daemon::folder(), free());
    let one = server("one");
    let config = format!(
        "frontends: {{ f: {{ bind: '{at}', mode: tcp, default_backend: b }} }}\n\
         backends: {{ b: {{ mode: tcp, servers: [{{ name: s1, address: '{one}' }}] }} }}\n"
    );
    let daemon = Daemon::start(folder, &config, at);
    let mut client = TcpStream::connect(at).unwrap();
    client.write_all(b"x").unwrap();
    assert!(client.read(&mut [0; 512]).unwrap() > 0);
    let descriptors = daemon.ask("show fd\n");
    let own = client.local_addr().unwrap();
    assert!(
        descriptors.contains(&format!("local={at} remote={own}\n")),
        "{descriptors}"
    );
    let listens = format!("tcp l.st=RDY fe=f fam=ipv4 local={at} ");
    let line = descriptors.lines().find(|line| line.contains(&listens));
    let number = line.unwrap().split(':').next().unwrap().trim();
    let only = daemon.ask(&format!("show fd {number}\n"));
    assert_eq!(only.trim_end(), line.unwrap());
    assert!(daemon.ask("show threads\n").contains("cpu_ns: ran="));
    let activity = daemon.ask("show activity\n");
    let sessions = activity.lines().find(|line| line.starts_with("sessions: "));
    assert!(
        sessions.is_some_and(|line| line.starts_with("sessions: 1 [ ")),
        "{activity}"
    );
    // A rate that all have to keep to, until it is lifted; whoever waits is served then.
    assert_eq!(daemon.ask("set rate-limit connections global 1\n"), "\n");
    assert!(daemon.ask("show info\n").contains("\nConnRateLimit: 1\n"));
    let waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
    assert_eq!(daemon.ask("set rate-limit connections global 0\n"), "\n");
    for mut client in waiting {
        client.write_all(b"x").unwrap();
        assert!(client.read(&mut [0; 512]).unwrap() > 0);
    }
}
