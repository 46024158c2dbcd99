//! What is refused changes nothing and says why; what takes a restart says so; and the other ways to ask for it.

use std::{fs, net::TcpListener};

use crate::{
    certificates::Authority,
    daemon::{Daemon, PATIENCE, free},
    world::{Client, Server, ask, file, name, take, wait_until, web},
};

#[test]
fn a_file_that_is_not_valid_changes_nothing_and_says_where() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    client.get("/");
    daemon.write(&file(at, "", "balance: leastcon", &[&one]).replace("'127", "'999"));
    let (said, good) = daemon.reload();
    assert!(!good);
    let path = daemon.folder.join("lb.yaml");
    let at_line = |line: u32| said.contains(&format!("{}:{line}:", path.display()));
    assert!(at_line(8) && at_line(12), "{said}");
    assert!(said.contains("did you mean `leastconn`"), "{said}");
    assert!(
        said.ends_with("The running configuration stays.\n"),
        "{said}"
    );
    daemon.logged("not taken, the running configuration stays");
    daemon.logged("lb.yaml:12:14: error: ");
    assert_eq!(name(&client.get("/")), "one");
    assert_eq!(name(&ask(at, "/")), "one");
    // Nor does one that is not there.
    fs::remove_file(path).unwrap();
    let (said, good) = daemon.reload();
    assert!(!good && said.contains("cannot be read"), "{said}");
    assert_eq!(name(&client.get("/")), "one");
}

#[test]
fn what_cannot_be_had_changes_nothing() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = free();
    for (bind, why) in [
        (
            format!("['{at}', '{other}', '{}']", taken.local_addr().unwrap()),
            "is in use by another process",
        ),
        (
            format!("['{other}', {{ address: '{at}', tls: {{ certificates: no.pem }} }}]"),
            "no.pem",
        ),
    ] {
        let text =
            file(at, "", "", &[&two]).replace(&format!("bind: '{at}'"), &format!("bind: {bind}"));
        daemon.write(&text);
        let (said, good) = daemon.reload();
        assert!(!good && said.contains(why), "{said}");
        assert_eq!(name(&ask(at, "/")), "one");
        // What had been opened until then is closed again.
        assert!(std::net::TcpStream::connect(other).is_err());
    }
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_is_taken() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let head = "global:\n  threads: 3\n  pidfile: FOLDER/lb.pid\n  admin_socket: FOLDER/admin.sock\n  \
                fast_path: { attach: off }\n  log: [{ target: FOLDER/log, level: debug }]\n";
    let said = take(&daemon, &format!("{head}{}", file(at, "", "", &[&two])));
    assert_eq!(
        said,
        "global changed: pidfile, threads\nserver app/one removed\nserver app/two added\n\
         warning: global.threads has changed, which takes a restart; the running value stays\n\
         warning: global.pidfile has changed, which takes a restart; the running value stays\n"
    );
    daemon.logged("global.threads has changed, which takes a restart");
    assert_eq!(name(&ask(at, "/")), "two");
    assert!(!daemon.folder.join("lb.pid").exists());
}

#[test]
fn signals_and_the_files_change_do_the_same() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let served_by = |server: &str| name(&ask(at, "/")) == server;
    for (signal, server) in [(libc::SIGHUP, &two), (libc::SIGUSR2, &one)] {
        daemon.write(&file(at, "", "", &[server]));
        let pid = i32::try_from(daemon.pid()).unwrap();
        // SAFETY: plain numbers; the process is a child of ours that has not been waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let expected = if server.at == two.at { "two" } else { "one" };
        wait_until("the signal is heeded", || served_by(expected));
    }
    let watched = |server: &Server| {
        format!(
            "global:\n  threads: 2\n  watch_config: true\n  admin_socket: FOLDER/admin.sock\n  \
             fast_path: {{ attach: off }}\n  log: [{{ target: FOLDER/log, level: debug }}]\n{}",
            file(at, "", "", &[server])
        )
    };
    take(&daemon, &watched(&one));
    daemon.write(&watched(&two));
    wait_until("the change is seen", || served_by("two"));
    daemon.logged("has changed and is read again");
    // A bad one is told of, and the next good one taken.
    daemon.write("frontends: [");
    daemon.logged("not taken, the running configuration stays");
    daemon.write(&watched(&one));
    wait_until("the change is seen", || served_by("one"));
}

#[test]
fn log_targets_change() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    ask(at, "/first");
    daemon.logged("/first");
    let head = "global:\n  threads: 2\n  admin_socket: FOLDER/admin.sock\n  fast_path: { attach: off }\n  \
                log: [{ target: FOLDER/other, level: info }]\n";
    take(&daemon, &format!("{head}{}", file(at, "", "", &[&one])));
    ask(at, "/second");
    let other = daemon.folder.join("other");
    wait_until("the new target has it", || {
        fs::read_to_string(&other).is_ok_and(|log| log.contains("/second"))
    });
    let log = fs::read_to_string(daemon.folder.join("log")).unwrap();
    assert!(!log.contains("/second"), "{log}");
}

#[test]
fn the_service_manager_learns_of_a_reload_and_of_its_end() {
    let one = Server::start("one");
    let (folder, at) = (Daemon::folder(), free());
    let manager = std::os::unix::net::UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = |wanted: &str| loop {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(wanted) {
            return text;
        }
    };
    let notify = folder.join("notify").display().to_string();
    let daemon = Daemon::start_with(
        folder,
        &file(at, "", "", &[&one]),
        at,
        &[("NOTIFY_SOCKET", &notify)],
    );
    told("READY=1\n");
    for good in [true, false] {
        if !good {
            daemon.write("nonsense");
        }
        assert_eq!(daemon.reload().1, good);
        let reloading = told("RELOADING=1\n");
        let since = reloading.split_once("MONOTONIC_USEC=").unwrap().1;
        assert!(since.parse::<u64>().unwrap() > 0);
        told("READY=1\n");
    }
}

#[test]
fn a_key_that_only_the_start_could_read_stays_in_use() {
    use std::os::unix::fs::PermissionsExt as _;

    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let folder = Daemon::folder();
    let permit = |name: &str, mode: u32| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.join(name), permissions).unwrap();
    };
    permit("", 0o777);
    let made = Authority::new().issue(&["a.example"]);
    fs::write(folder.join("a.crt"), &made.cert).unwrap();
    fs::write(folder.join("a.key"), &made.key).unwrap();
    permit("a.key", 0o600);
    let (at, plain) = (free(), free());
    let text = |alpn: &str, body: &str| {
        let path = folder.display();
        format!(
            "global: {{ threads: 1, user: nobody, admin_socket: {path}/admin.sock, fast_path: {{ attach: off }}, log: [{{ target: \
             {path}/log, level: debug }}] }}
frontends:
  f:
    bind: ['{plain}', {{ address: '{at}', tls: {{ certificates: {path}/a.crt, alpn: {alpn} }} }}]
    rules: [{{ return: {{ status: 200, body: {body} }} }}]
"
        )
    };
    let binary = env!("CARGO_BIN_EXE_lb").as_ref();
    let first = text("[http/1.1]", "one");
    let daemon = Daemon::start_file(binary, folder.clone(), ("lb.yaml", &first), plain);
    let line = daemon.logged("nobody may not read ");
    assert!(line.contains("a.key, which the start has read"), "{line}");
    assert!(line.contains("chgrp nobody /"), "{line}");
    fs::write(folder.join("lb.yaml"), text("[http/1.1]", "two")).unwrap();
    let (said, good) = daemon.reload();
    assert!(good, "{said}");
    daemon.logged_with(&[
        "a.key` cannot be read: permission denied for the user `nobody`",
        "what was read before stays in use",
    ]);
    assert!(ask(plain, "/").ends_with("two"));
    // What is served otherwise has to be read anew.
    fs::write(folder.join("lb.yaml"), text("[h2]", "three")).unwrap();
    let (said, good) = daemon.reload();
    assert!(
        !good && said.contains("let the user `nobody` read it"),
        "{said}"
    );
    // A renewed key that it may not read neither.
    let renewed = Authority::new().issue(&["a.example"]);
    fs::write(folder.join("a.crt"), &renewed.cert).unwrap();
    fs::write(folder.join("a.key"), &renewed.key).unwrap();
    daemon.logged("the changed certificates are not used, the old ones stay");
    fs::write(folder.join("lb.yaml"), text("[http/1.1]", "four")).unwrap();
    let (said, good) = daemon.reload();
    assert!(good, "{said}");
    assert!(ask(plain, "/").ends_with("four"));
}
