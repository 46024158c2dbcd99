//! Another process takes the daemon's place: nothing is lost, what is known goes along, and what comes to nothing changes
//! nothing.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use crate::{
    daemon::{Daemon, PATIENCE, free},
    killed::{between, without_python},
    world::{Client, Server, ask, file, name, stat, wait_until},
};

/// A daemon whose successors go with the test as well.
pub(crate) struct Upgraded(pub(crate) Daemon);

impl Upgraded {
    /// `global` is more of that section, a line each; `rest` all other sections.
    pub(crate) fn start(at: SocketAddr, global: &str, rest: &str) -> Self {
        let lb = Self(Daemon::start(Daemon::folder(), &whole(global, rest), at));
        // It accepts a moment before it has its socket.
        lb.0.ask("show version\n");
        lb
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (String, bool) {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(arguments)
            .arg("--socket")
            .arg(self.0.folder.join("admin.sock"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (said, output.status.success())
    }

    pub(crate) fn upgrade(&self) -> u32 {
        let before = self.pid();
        let (said, good) = self.run(&["upgrade"]);
        assert!(good, "{said}");
        let pid = self.pid();
        assert_ne!(pid, before, "{said}");
        assert!(said.contains(&format!("process {pid} serves")), "{said}");
        pid
    }

    /// The process that answers on the admin socket.
    pub(crate) fn pid(&self) -> u32 {
        let info = self.0.ask("show info\n");
        let line = info.lines().find_map(|line| line.strip_prefix("Pid: "));
        line.unwrap().parse().unwrap()
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.0.folder.join("other");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // Its last connections are the test's own.
        let _ = self.run(&["stop", "--now"]);
    }
}

pub(crate) fn whole(global: &str, rest: &str) -> String {
    let more: String = global.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "global:\n  admin_socket: FOLDER/admin.sock\n  threads: 2\n  fast_path: {{ attach: off }}\n  log: [{{ target: FOLDER/log, level: debug }}]\n{more}{rest}"
    )
}

#[test]
fn nothing_is_lost_and_every_connection_is_served_to_its_end() {
    let one = Server::start("one");
    let at = free();
    let lb = Upgraded::start(at, "grace: 20s", &file(at, "", "", &[&one]));
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU32::new(0));
    let mut clients = Vec::new();
    for keeps in [true, true, false] {
        let (over, served) = (Arc::clone(&over), Arc::clone(&served));
        clients.push(thread::spawn(move || {
            let mut client = Client::connect(at);
            while !over.load(SeqCst) {
                let answer = client.get("/");
                assert_eq!(name(&answer), "one");
                served.fetch_add(1, SeqCst);
                if !keeps || answer.to_ascii_lowercase().contains("connection: close") {
                    client = Client::connect(at);
                }
            }
        }));
    }
    let mut idle = Client::connect(at);
    idle.get("/");
    let mut tunnel = Client::connect(at);
    tunnel.get_with("/", "connection: upgrade\r\nupgrade: echo\r\n");
    for round in 0..4 {
        let before = served.load(SeqCst);
        lb.upgrade();
        tunnel.echo(format!("round {round}").as_bytes());
        wait_until("requests go on", || served.load(SeqCst) > before + 20);
    }
    over.store(true, SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let said = idle.get("/").to_ascii_lowercase();
    assert!(said.contains("connection: close"), "{said}");
    assert!(idle.byte().is_none());
    wait_until("the first process is told of", || {
        lb.run(&["status"])
            .0
            .contains(&format!("process {} serves 1", lb.0.pid()))
    });
    drop(tunnel);
    wait_until("it is gone", || {
        !lb.run(&["status"]).0.contains("before the upgrade")
    });
}

#[test]
fn what_is_known_goes_along() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let at = free();
    let table = "stick_table: { key: ip, size: 1000, expire: 1h, store: [http_req_cnt] }\n\
                 rules:\n  - { track: source }";
    let cookie = "cookie: { name: C, dynamic: true, dynamic_cookie_key: key }";
    let rest = file(at, table, cookie, &[&one, &two]);
    let lb = Upgraded::start(at, "", &rest);
    let of_the_file = stat(&lb.0, "app", "two", "cookie");
    assert_ne!(of_the_file, "");
    lb.0.ask("set server app/one state drain\n");
    lb.0.ask("set weight app/two 9\n");
    lb.0.ask("set rate-limit sessions global 12345\n");
    lb.0.ask("disable dynamic-cookie backend app\n");
    lb.0.ask("set dynamic-cookie-key backend app other\n");
    lb.0.ask("set table web key 192.0.2.7 data.http_req_cnt 41\n");
    for _ in 0..3 {
        ask(at, "/");
    }
    let of = |column: &str| stat(&lb.0, "app", "two", column);
    wait_until("three are counted", || of("stot") == "3");
    let mut late = Client::connect(at);
    late.send("/wait", "");
    wait_until("it waits", || two.waiting() == 1);
    let columns = ["bin", "bout", "hrsp_2xx", "lbtot", "smax"];
    let before = columns.map(of);
    lb.upgrade();
    assert_eq!(stat(&lb.0, "app", "one", "status"), "DRAIN");
    assert_eq!(of("weight"), "9");
    assert!(lb.0.ask("show info\n").contains("\nSessRateLimit: 12345\n"));
    assert_eq!(of("cookie"), "");
    lb.0.ask("enable dynamic-cookie backend app\n");
    assert_ne!(of("cookie"), "");
    assert_ne!(of("cookie"), of_the_file, "it is computed of the other key");
    for (before, after) in before.iter().zip(columns.map(of)) {
        assert_eq!(*before, after);
    }
    let entries = lb.0.ask("show table web\n");
    assert!(entries.contains("key=192.0.2.7"), "{entries}");
    assert!(entries.contains("http_req_cnt=41"), "{entries}");
    // What ends in the old process is counted in the new one.
    two.release();
    assert_eq!(name(&late.answer().unwrap()), "two");
    wait_until("the fourth is counted", || {
        (of("stot"), of("hrsp_2xx")) == ("4".into(), "4".into())
    });
}

#[test]
fn who_is_nobody_names_no_binary() {
    let one = Server::start("one");
    let (at, admin) = (free(), free());
    let folder = Daemon::folder();
    let rest = file(at, "", "", &[&one]);
    let text = whole("", &rest).replace(
        "admin_socket: FOLDER/admin.sock",
        &format!("admin_socket: [FOLDER/admin.sock, {{ bind: '{admin}', level: admin }}]"),
    );
    let lb = Upgraded(Daemon::start(folder, &text, at));
    lb.0.ask("show version\n");
    let (script, made) = (
        lb.script("touch \"$(dirname \"$0\")/made\""),
        lb.0.folder.join("made"),
    );
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let command = format!("upgrade timeout 5 binary {}\n", script.display());
    stream.write_all(command.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("`--binary` is for root"), "{said}");
    assert!(!made.exists());
}

#[test]
fn what_comes_to_nothing_changes_nothing() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let lb = Upgraded::start(at, "", &rest);
    let mut client = Client::connect(at);
    let pid = lb.pid();
    lb.0.ask("set weight app/one 9\n");
    let mut refused = |binary: Option<PathBuf>, why: &[&str]| {
        let mut arguments = vec!["upgrade".to_owned(), "--timeout".into(), "2".into()];
        if let Some(binary) = binary {
            arguments.extend(["--binary".into(), binary.display().to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (said, good) = lb.run(&arguments);
        assert!(!good, "{said}");
        for why in why {
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(lb.pid(), pid);
        assert_eq!(name(&client.get("/")), "one", "its connections go on");
        assert_eq!(name(&ask(at, "/")), "one");
        assert_eq!(stat(&lb.0, "app", "one", "weight"), "9");
    };
    let script = |text| Some(lb.script(text));
    refused(
        script("echo no licence >&2; exit 7"),
        &["exit status: 7", "no licence"],
    );
    refused(script("sleep 60"), &["does not serve after 2s"]);
    refused(script("exec <&-; exec sleep 60"), &["has closed its end"]);
    refused(Some("/bin/true".into()), &["exit status: 0"]);
    refused(
        Some("/nonexistent/lb".into()),
        &["/nonexistent/lb cannot be started"],
    );
    refused(
        Some("/etc/passwd".into()),
        &["/etc/passwd cannot be started"],
    );
    lb.0.write(&whole("", &rest.replace("address", "adress")));
    refused(None, &["unknown key", "did you mean"]);
    // It is valid, and cannot be had.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = taken.local_addr().unwrap();
    let both = format!("['{at}', '{other}']");
    lb.0.write(&whole("", &rest.replace(&format!("'{at}'"), &both)));
    refused(None, &["is in use by another process"]);
    drop(taken);
    lb.upgrade();
    assert_eq!(name(&ask(other, "/")), "one", "the file is the new one's");
}

#[test]
fn who_comes_while_the_new_one_fails_is_served_to_the_end() {
    if without_python() {
        return;
    }
    let one = Server::start("one");
    let at = free();
    let lb = Upgraded::start(at, "", &file(at, "", "", &[&one]));
    let silent = between(&lb.0.folder, "Ready", "hold");
    let (pid, ready) = (lb.pid(), lb.0.folder.join("there"));
    thread::scope(|scope| {
        let asked = scope.spawn(|| lb.run(&["upgrade", "--timeout", "4", "--binary", &silent]));
        wait_until("the new one is ready", || ready.exists());
        let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(at)).collect();
        for client in &mut clients {
            assert_eq!(name(&client.get("/")), "one");
        }
        let (said, good) = asked.join().unwrap();
        assert!(!good && said.contains("does not serve after 4s"), "{said}");
        for client in &mut clients {
            assert_eq!(name(&client.get("/")), "one", "whoever it was accepted by");
        }
    });
    assert_eq!(lb.pid(), pid);
}

#[test]
fn what_operators_change_while_it_goes_on_goes_along() {
    if without_python() {
        return;
    }
    let one = Server::start("one");
    let at = free();
    let lb = Upgraded::start(at, "", &file(at, "", "", &[&one]));
    lb.0.ask("set rate-limit sessions global 12345\n");
    let slow = between(&lb.0.folder, "Ready", "wait");
    let ready = lb.0.folder.join("there");
    thread::scope(|scope| {
        let asked = scope.spawn(|| lb.run(&["upgrade", "--binary", &slow]));
        wait_until("the new one is ready", || ready.exists());
        lb.0.ask("set rate-limit sessions global 54321\n");
        fs::write(lb.0.folder.join("go"), "").unwrap();
        let (said, good) = asked.join().unwrap();
        assert!(good, "{said}");
    });
    let info = lb.0.ask("show info\n");
    assert!(info.contains("\nSessRateLimit: 54321\n"), "{info}");
}

#[test]
fn more_threads_and_fewer_share_what_is_listened_on() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let lb = Upgraded::start(at, "", &rest);
    for threads in [5, 1, 3] {
        lb.0.write(&whole("", &rest).replace("threads: 2", &format!("threads: {threads}")));
        lb.upgrade();
        // The kernel spreads them over all the sockets there are.
        for _ in 0..40 {
            assert_eq!(name(&ask(at, "/")), "one");
        }
        let info = lb.0.ask("show info\n");
        assert!(info.contains(&format!("Nbthread: {threads}\n")), "{info}");
    }
}

#[test]
fn wishes_wait_for_an_upgrade_and_a_stop_ends_it() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let mut lb = Upgraded::start(at, "", &rest);
    let stuck = lb.script("echo stuck >&2; exec sleep 60");
    let stuck = stuck.to_str().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| lb.run(&["upgrade", "--timeout", "1", "--binary", stuck]));
        lb.0.logged("the new lb: stuck");
        // One upgrade after the other, and a reload after both.
        let second = scope.spawn(|| lb.run(&["upgrade"]));
        let (said, good) = first.join().unwrap();
        assert!(!good && said.contains("does not serve after 1s"), "{said}");
        let (said, good) = second.join().unwrap();
        assert!(good, "{said}");
    });
    let (said, good) = lb.0.reload();
    assert!(good, "{said}");
    lb.0.ended();

    let at = free();
    let mut lb = Upgraded::start(at, "", &file(at, "", "", &[&one]));
    let stuck = lb.script("echo $$ > \"$(dirname \"$0\")/pid\"; exec sleep 60");
    let pid = lb.0.folder.join("pid");
    thread::scope(|scope| {
        let asked = scope.spawn(|| lb.run(&["upgrade", "--binary", stuck.to_str().unwrap()]));
        wait_until("it is stuck", || {
            fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
        });
        lb.0.stop();
        let (said, good) = asked.join().unwrap();
        assert!(!good && said.contains("is stopping"), "{said}");
    });
    lb.0.ended();
    let pid = fs::read_to_string(pid).unwrap();
    let left = PathBuf::from(format!("/proc/{}", pid.trim()));
    wait_until("nothing is left", || !left.exists());
}

#[test]
fn who_asks_amid_an_upgrade_is_answered_by_whoever_comes_of_it() {
    let one = Server::start("one");
    let at = free();
    let rest = file(at, "", "", &[&one]);
    let lb = Upgraded::start(at, "", &rest);
    // A conversation that goes on: what it sets is set, or it is told.
    let mut conversation =
        std::os::unix::net::UnixStream::connect(lb.0.folder.join("admin.sock")).unwrap();
    conversation.set_read_timeout(Some(PATIENCE)).unwrap();
    conversation.write_all(b"prompt\n").unwrap();
    let mut prompt = [0; 3];
    conversation.read_exact(&mut prompt).unwrap();
    let slow = lb.script(&format!(
        "until [ -e \"$(dirname \"$0\")/go\" ]; do sleep 0.01; done; exec {} \"$@\"",
        env!("CARGO_BIN_EXE_lb")
    ));
    let slow = slow.to_str().unwrap();
    let (old, limit) = (lb.pid(), "maxconn: 77");
    thread::scope(|scope| {
        let upgrades = [(); 2].map(|()| scope.spawn(|| lb.run(&["upgrade", "--binary", slow])));
        lb.0.logged("upgrading to ");
        // It has not read the file yet, and neither has who asks to.
        lb.0.write(&whole(limit, &rest));
        let reload = scope.spawn(|| lb.run(&["reload"]));
        fs::write(lb.0.folder.join("go"), "").unwrap();
        let (said, good) = reload.join().unwrap();
        assert!(good, "{said}");
        let upgrades = upgrades.map(|upgrade| upgrade.join().unwrap());
        // The other has come to one whose place was taken, or to whoever took it.
        let good = upgrades.iter().filter(|(_, good)| *good).count();
        assert!(good >= 1, "{upgrades:?}");
        for (said, good) in &upgrades {
            assert!(
                *good || said.contains("has taken over: ask again"),
                "{said}"
            );
        }
    });
    let new = lb.pid();
    assert_ne!(new, old);
    assert!(lb.0.ask("show info\n").contains("Maxconn: 77\n"));
    let _ = conversation.write_all(b"set weight app/one 9\n");
    let mut said = String::new();
    conversation.read_to_string(&mut said).unwrap();
    assert!(said.is_empty() || said.contains("ask again"), "{said}");
    assert_eq!(stat(&lb.0, "app", "one", "weight"), "1");
}

#[test]
fn a_stop_ends_those_before_as_well() {
    let one = Server::start("one");
    let at = free();
    let mut lb = Upgraded::start(at, "grace: 60s", &file(at, "", "", &[&one]));
    let mut tunnel = Client::connect(at);
    tunnel.get_with("/", "connection: upgrade\r\nupgrade: echo\r\n");
    let new = lb.upgrade();
    tunnel.echo(b"still here");
    let (said, good) = lb.run(&["stop", "--now"]);
    assert!(good, "{said}");
    assert!(tunnel.byte_or_reset().is_none());
    lb.0.ended();
    assert!(!PathBuf::from(format!("/proc/{new}/exe")).exists());
}

#[test]
fn descriptors_do_not_pile_up() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let path = folder.join("web.sock");
    let rest = file(at, "", "", &[&one]);
    let both = format!("['{at}', 'unix:{}']", path.display());
    let rest = rest.replace(&format!("'{at}'"), &both);
    let stats = free();
    let rest = format!("stats:\n  bind: '{stats}'\n{rest}");
    let lb = Upgraded(Daemon::start(
        folder,
        &whole("pidfile: FOLDER/pid", &rest),
        at,
    ));
    let count = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let first = lb.upgrade();
    let few = count(first);
    let mut last = first;
    for _ in 0..4 {
        last = lb.upgrade();
    }
    assert!(count(last) <= few + 3, "{} of {few}", count(last));
    assert_eq!(lb.0.ask("show version\n").lines().count(), 2);
    let file = fs::read_to_string(lb.0.folder.join("pid")).unwrap();
    assert_eq!(file, format!("{last}\n"));
    let mut by_unix = std::os::unix::net::UnixStream::connect(&path).unwrap();
    by_unix
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    by_unix.read_to_string(&mut answer).unwrap();
    assert_eq!(name(&answer), "one");
    assert!(TcpStream::connect(stats).is_ok());
    let folder = lb.0.folder.clone();
    drop(lb);
    for gone in ["web.sock", "admin.sock", "pid"] {
        assert!(!folder.join(gone).exists(), "{gone}");
    }
}

#[test]
fn a_socket_without_its_file_is_no_reason_to_stay() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let path = folder.join("web.sock");
    let rest = file(at, "", "", &[&one]);
    let both = format!("['{at}', 'unix:{}']", path.display());
    let rest = rest.replace(&format!("'{at}'"), &both);
    let lb = Upgraded(Daemon::start(folder.clone(), &whole("", &rest), at));
    lb.0.ask("show version\n");
    fs::remove_file(&path).unwrap();
    lb.upgrade();
    assert_eq!(name(&ask(at, "/")), "one");
    // What another has made there meanwhile is the other's.
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    lb.upgrade();
    let (said, good) = lb.run(&["stop", "--now"]);
    assert!(good, "{said}");
    wait_until("it has ended", || !folder.join("admin.sock").exists());
    assert!(path.exists());
}

#[test]
fn datagrams_go_on() {
    let at = free();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let (asks, asked) = mpsc::channel();
    let late = server.try_clone().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            // One is answered later, by the test.
            let _ = match &buffer[..length] {
                b"late" => asks.send(from).map(|()| 0).map_err(|_| ()),
                text => server.send_to(text, from).map_err(|_| ()),
            };
        }
    });
    let one = Server::start("one");
    let rest = file(at, "", "", &[&one]).replacen(
        "frontends:\n",
        &format!(
            "frontends:\n  dns:\n    mode: tcp\n    bind: 'udp:{at}'\n    default_backend: far\n"
        ),
        1,
    );
    let rest = format!(
        "{rest}  far:\n    mode: tcp\n    servers:\n      - {{ name: s, address: '{to}' }}\n"
    );
    let lb = Upgraded::start(at, "", &rest);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(at).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let round_trip = |text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut buffer = [0; 64];
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], text.as_bytes());
    };
    round_trip("one");
    lb.upgrade();
    round_trip("two");
    // Who is answered once another process reads what comes.
    client.send(b"late").unwrap();
    let from = asked.recv_timeout(PATIENCE).unwrap();
    lb.upgrade();
    late.send_to(b"at last", from).unwrap();
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"at last");
    round_trip("three");
}
