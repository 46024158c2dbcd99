//! `lb health`, the file that keepalived watches, and `lb stop`.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Output},
};

use crate::{
    beside::until,
    daemon::{Daemon, free},
};

fn lb(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command
        .args(arguments)
        .arg("--socket")
        .arg(folder.join("admin.sock"));
    command.output().unwrap()
}

fn health(folder: &Path, backends: &[&str]) -> (bool, String) {
    let mut arguments = vec!["health"];
    backends
        .iter()
        .for_each(|&name| arguments.extend(["--backend", name]));
    let output = lb(folder, &arguments);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8(said).unwrap().trim().to_owned(),
    )
}

#[test]
fn whether_it_forwards_is_said_by_a_command_and_by_a_file() {
    let web = free();
    let folder = Daemon::folder();
    let file = folder.join("health");
    let path = file.display();
    let daemon = Daemon::start(
        folder.clone(),
        &format!(
            "  health_file: {{ path: {path}, backends: app, linger: 1h }}
frontends:
  web: {{ bind: '{web}', default_backend: app }}
backends:
  app: {{ servers: [{{ name: s1, address: '{web}' }}, {{ name: s2, address: '{web}' }}] }}
"
        ),
        web,
    );
    let says = |text: &str| {
        until(text, || {
            fs::read_to_string(&file).is_ok_and(|now| now == text)
        });
    };
    says("0\n");
    assert_eq!(
        health(&folder, &["app"]),
        (true, "userspace serves, backend app has a server up".into())
    );
    assert_eq!(
        health(&folder, &["nobody"]),
        (false, "lb: there is no backend nobody".into())
    );
    assert!(lb(&folder, &["server", "maint", "app/s1"]).status.success());
    assert!(health(&folder, &["app"]).0, "one is left");
    assert!(lb(&folder, &["server", "maint", "app/s2"]).status.success());
    says("1\n");
    assert_eq!(
        health(&folder, &["app"]),
        (
            false,
            "lb: backend app has no server up: s1 is MAINT; s2 is MAINT".into()
        )
    );
    assert!(health(&folder, &[]).0, "nobody has asked for a backend");
    assert!(lb(&folder, &["server", "ready", "app/s2"]).status.success());
    says("0\n");
    // A stop says so first, and goes on serving: here for an hour.
    daemon.stop();
    says("1\n");
    assert_eq!(health(&folder, &[]), (false, "lb: lb is stopping".into()));
    assert!(TcpStream::connect(web).is_ok(), "it accepts still");
    // The second signal ends that.
    assert!(lb(&folder, &["stop"]).status.success());
    assert!(TcpStream::connect(web).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
    let (healthy, said) = health(&folder, &[]);
    assert!(
        !healthy && said.starts_with("lb: no lb answers at"),
        "{said}"
    );
}

#[test]
fn stop_ends_the_daemon_and_waits_for_it() {
    let web = free();
    let folder = Daemon::folder();
    let text = format!(
        "frontends:\n  web: {{ bind: '{web}', default_backend: app }}\nbackends:\n  app: {{ servers: [{{ name: s1, address: '{web}' }}] }}\n"
    );
    let _daemon = Daemon::start(folder.clone(), &text, web);
    until("the admin socket", || health(&folder, &[]).0);
    let open = TcpStream::connect(web).unwrap();
    assert!(lb(&folder, &["stop", "--now"]).status.success());
    assert!(TcpStream::connect(web).is_err());
    drop(open);
}
