//! The runtime commands about tables and maps, answered byte for byte as HAProxy's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use crate::{
    beside::{haproxy, until},
    clients::{installed, write},
    daemon::{Daemon, free},
};

const HAPROXY: &str = "
global
  stats socket FOLDER/haproxy.sock level admin
defaults
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  mode http
frontend f
  bind ADDRESS
  stick-table type ip size 8k expire 30m store gpt0,gpc0,conn_cnt,conn_cur,http_req_cnt,http_req_rate(1h),http_err_cnt
  http-request track-sc0 src
  http-request set-header x-m %[req.hdr(host),map(FOLDER/m.map,none)]
  http-request set-header x-i %[src,map_ip(FOLDER/ip.map,none)]
  http-request track-sc1 path table s
  http-request deny deny_status 403 if { path -m beg -f FOLDER/p.lst }
  http-request return status 200
backend s
  stick-table type string len 12 size 104 expire 1h store http_req_cnt
backend i
  stick-table type integer size 104 store gpc0
backend bin
  stick-table type binary len 8 size 104 store gpc0
";

/// The same; tables are named by their proxies.
const OURS: &str = "
frontends:
  f:
    bind: 'ADDRESS'
    stick_table: { size: 8192, expire: 30m, store: [gpt0, gpc0, conn_cnt, conn_cur, http_req_cnt, http_req_rate(1h), http_err_cnt] }
    rules:
      - { track: source }
      - { set_header: { request: { x-m: '%[req.hdr(host),map(m.map,none)]' } } }
      - { set_header: { request: { x-i: '%[src,map_ip(ip.map,none)]' } } }
      - { track: { counter: 1, key: '%[path]', table: s } }
      - { if: { path_prefix: [{ file: p.lst }] }, deny: 403 }
      - { return: { status: 200 } }
backends:
  s: { stick_table: { key: string, length: 12, size: 104, expire: 1h, store: http_req_cnt }, servers: [{ name: s1, address: '127.0.0.1:9' }] }
  i: { stick_table: { key: integer, size: 104, store: gpc0 }, servers: [{ name: s1, address: '127.0.0.1:9' }] }
  bin: { stick_table: { key: binary, length: 8, size: 104, store: gpc0 }, servers: [{ name: s1, address: '127.0.0.1:9' }] }
";

const COMMANDS: &str = r#"show table f
show table nope
show table s key /a
show table s key /nope
show table f key 127.0.0.1
show table f data.http_req_cnt gt 1
show table f data.http_req_cnt gt 5
show table f data.nope gt 5
show table f data.http_req_cnt xx 5
show table f data.http_req_cnt gt x
show table f data.conn_rate gt 1
show table f data.http_req_cnt gt 0 data.gpc0 eq 0
show table f foo
show table f data.http_req_cnt
show table f key
set table f key 127.0.0.2 data.gpc0 7
set table f key 127.0.0.2 data.http_req_rate 100 data.gpt0 3
show table f key 127.0.0.2
set table nope key 1 data.gpc0 1
set table f key 127.0.0.2 data.gpc1 1
set table f key 127.0.0.2 data.gpc0 x
set table f key 127.0.0.2 data.gpc0
set table f data.gpc0 gt 1
set table f data.gpc0 1
set table s key averyveryverylongkeyhere data.http_req_cnt 2
show table s data.http_req_cnt gt 1
set table i key 42 data.gpc0 2
set table bin key 0102 data.gpc0 2
show table i
show table bin
clear table f data.gpc0 gt 50
clear table f data.http_req_cnt gt 1
show table f
clear table f key 127.0.0.2
clear table f key 127.0.0.99
show table f
clear table s
show table s
clear table nope
clear table
set table
show map
show map #0
show map #1
show map FOLDER/m.map
show map #77
show map nope
get map FOLDER/m.map a.example
get map #0 b.example
get map #0 zzz
get map #1 10.1.2.3
get map #1 1.1.1.1
get map #1 bad
get map #1
get map nope x
add map #0 d.example four
add map #0 d.example five six
add map #0 e.example
add map #0
add map #1 bad x
add map nope a b
add map #0 <<\nf.example six\ng.example seven eight\n
set map #0 b.example new
set map #0 zzz new
set map #0 zzz
set map nope zzz new
show map #0
del map #0 b.example
del map #0 zzz
del map #0
del map nope x
show map #0
clear map #0
clear map nope
clear map
show map #0
show acl #0
show acl #2
show acl FOLDER/p.lst
get acl #2 /admin
get acl #2 /nope
get acl #2
get map #77 x
add acl #2 /new
add acl #2
add acl nope /new
show acl #2
del acl #2 /new
del acl #2 /new
del acl #2
show acl #2
clear acl
clear acl #2
show acl #2
"#;

fn ask(socket: &Path, command: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(command.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn request(at: SocketAddr, path: &str) {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Without where things lie in memory, how long they have left, and where in the file a map is used.
fn alike(answer: &str) -> String {
    let words = |line: &str| {
        let (line, rest) = match line.split_once(" used by map") {
            Some((line, rest)) => (line, rest.split_once(". ").map_or("", |(_, rest)| rest)),
            None => (line, ""),
        };
        let words = line.split(' ').map(|word| match word {
            _ if word.starts_with("0x") => "ADDRESS",
            _ if word.starts_with("exp=") && word != "exp=0" => "exp=SOON",
            _ => word,
        });
        words.collect::<Vec<_>>().join(" ") + rest
    };
    answer.lines().map(|line| words(line) + "\n").collect()
}

#[test]
fn tables_and_maps_answer_as_haproxys() {
    if !installed("haproxy") {
        return;
    }
    let folder = Daemon::folder();
    write(
        &folder,
        "m.map",
        "a.example one\nb.example two words\n# c\nc.example three\nb.example again\n",
    );
    write(&folder, "p.lst", "# closed\n/adm\n/x\n");
    write(
        &folder,
        "ip.map",
        "10.0.0.0/8 net\n192.0.2.1 host\n2001:db8::/32 six\n",
    );
    let (theirs, ours) = (free(), free());
    let fill = |text: &str, at: SocketAddr| {
        let text = text.replace("ADDRESS", &at.to_string());
        text.replace("FOLDER", &folder.display().to_string())
    };
    let path = write(&folder, "haproxy.cfg", &fill(HAPROXY, theirs));
    let _haproxy = haproxy(&path, &[], &[theirs]);
    let daemon = Daemon::start(folder.clone(), &fill(OURS, ours), ours);
    let sockets = [folder.join("haproxy.sock"), folder.join("admin.sock")];
    until("sockets", || sockets.iter().all(|s| s.exists()));
    // Those that only saw whether it accepts are no requests.
    for (at, socket) in [(theirs, &sockets[0]), (ours, &sockets[1])] {
        assert_eq!(daemon.ask("clear table f\n"), "\n");
        ask(socket, "clear table f\n");
        request(at, "/a");
        request(at, "/b");
        until("the end of a request", || {
            !ask(socket, "show table f\n").contains("conn_cur=1")
        });
    }
    let mut differ = Vec::new();
    for command in COMMANDS.lines() {
        let command = command
            .replace("\\n", "\n")
            .replace("FOLDER", &folder.display().to_string())
            + "\n";
        let [theirs, ours] = [0, 1].map(|at| alike(&ask(&sockets[at], &command)));
        if theirs != ours {
            differ.push(format!("{command}haproxy: {theirs:?}\nours:    {ours:?}\n"));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}

#[test]
fn patterns_come_from_a_file_that_is_read_again_when_it_changes() {
    let folder = Daemon::folder();
    write(&folder, "closed.txt", "/closed\n");
    write(&folder, "networks.txt", "192.0.2.0/24\n");
    let web = free();
    let config = format!(
        "
frontends:
  web:
    bind: '{web}'
    rules:
      - {{ if: {{ path_prefix: [/always, {{ file: closed.txt }}], ignore_case: true }}, return: {{ status: 403 }} }}
      - {{ if: {{ source: {{ file: networks.txt }} }}, return: {{ status: 429 }} }}
      - {{ return: {{ status: 200 }} }}
"
    );
    let daemon = Daemon::start(folder, &config, web);
    let status = |path: &str| {
        let mut stream = TcpStream::connect(web).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    for (path, expected) in [
        ("/closed/x", "403"),
        ("/Closed", "403"),
        ("/always", "403"),
        ("/open", "200"),
    ] {
        assert_eq!(status(path), expected, "{path}");
    }
    write(&daemon.folder, "closed.txt", "/open\n# /closed\n");
    daemon.logged("closed.txt");
    assert_eq!(
        [status("/open"), status("/closed"), status("/always")],
        ["403", "200", "403"]
    );
    write(&daemon.folder, "networks.txt", "192.0.2.0/24\nnonsense\n");
    let said = daemon.logged("networks.txt");
    assert!(said.contains("line 2"), "{said}");
    assert_eq!(status("/closed"), "200", "what there was stays");
    write(&daemon.folder, "networks.txt", "127.0.0.0/8\n");
    daemon.logged("networks.txt has changed");
    assert_eq!(status("/closed"), "429");
    assert_eq!(daemon.ask("clear acl #1\n"), "\n");
    assert_eq!(status("/closed"), "200");
}
