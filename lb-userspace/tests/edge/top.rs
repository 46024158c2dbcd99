//! `lb top` on a terminal of its own, with a daemon.

use std::{
    fs::File,
    io::{Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, PATIENCE, free},
    server::server,
};

/// To the other screen, and back.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A terminal with a command on it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    bytes: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

fn size(rows: u16, columns: u16) -> libc::winsize {
    libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let (mut master, mut slave) = (0, 0);
        let size = size(24, 80);
        // SAFETY: both numbers are written to, the size is read, no name and no settings are wanted.
        let made = unsafe {
            libc::openpty(
                &mut master,
                &mut slave,
                std::ptr::null_mut(),
                std::ptr::null(),
                &size,
            )
        };
        assert_eq!(made, 0);
        // SAFETY: it has just made them for us.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command
            .args(arguments)
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end());
        // SAFETY: two system calls, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let mut reader = master.try_clone().unwrap();
        let (give, bytes) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if give.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            master,
            slave,
            child,
            bytes,
            seen: String::new(),
        }
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` was painted in one piece since the last time.
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(wait) {
                Ok(more) => self.seen.push_str(&String::from_utf8_lossy(&more)),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = size(rows, columns);
        // SAFETY: the size is read.
        let done = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(done, 0);
    }

    /// Whether lines are edited and echoed, as a shell wants it.
    fn is_as_before(&self) -> bool {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: it fills all of it in, or fails.
        let settings = unsafe {
            assert_eq!(
                libc::tcgetattr(self.slave.as_raw_fd(), settings.as_mut_ptr()),
                0
            );
            settings.assume_init()
        };
        let flags = libc::ICANON | libc::ECHO | libc::ISIG;
        settings.c_lflag & flags == flags
    }

    /// Waits until it has ended; whether that went well.
    fn ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemon() -> (Daemon, String) {
    let (one, _) = server();
    let web = free();
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:\n  web: {{ mode: http, bind: '{web}', default_backend: app }}\n\
             backends:\n  app: {{ mode: http, servers: [{{ name: first, address: '{one}' }}] }}\n"
        ),
        web,
    );
    daemon.ask("show version\n");
    let socket = daemon.folder.join("admin.sock").display().to_string();
    (daemon, socket)
}

fn state(daemon: &Daemon) -> String {
    let table = daemon.ask("show stat\n");
    let row = table
        .lines()
        .find(|line| line.starts_with("app,first,"))
        .unwrap();
    row.split(',').nth(17).unwrap().to_owned()
}

#[test]
fn a_server_is_drained_from_a_terminal_which_is_then_as_before() {
    let (daemon, socket) = daemon();
    let mut terminal = Terminal::run(&["top", "--socket", &socket], &[]);
    terminal.sees(ENTER);
    terminal.sees("first");
    assert!(!terminal.is_as_before());
    terminal.keys("Gd");
    terminal.sees("drain app/first? [y/N]");
    terminal.keys("y");
    terminal.sees("done: drain app/first");
    assert_eq!(state(&daemon), "DRAIN");
    terminal.resize(40, 140);
    terminal.sees("ADDRESS");
    terminal.keys("q");
    terminal.sees(LEAVE);
    assert!(terminal.ended());
    assert!(terminal.is_as_before());
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    let (_daemon, socket) = daemon();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut terminal = Terminal::run(&["top", "--socket", &socket], &[("NO_COLOR", "1")]);
        terminal.sees(ENTER);
        terminal.sees("first");
        let pid = i32::try_from(terminal.child.id()).unwrap();
        // SAFETY: plain numbers; the child has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        terminal.sees(LEAVE);
        assert!(terminal.ended(), "{signal}");
        assert!(terminal.is_as_before(), "{signal}");
        assert!(
            !terminal.seen.contains("\u{1b}[38;5"),
            "{:?}",
            terminal.seen
        );
    }
    let mut terminal = Terminal::run(&["top", "--socket", &socket], &[]);
    terminal.sees("first");
    // Ctrl-C.
    terminal.keys("\u{3}");
    terminal.sees(LEAVE);
    assert!(terminal.ended() && terminal.is_as_before());
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    let (_daemon, socket) = daemon();
    let lb = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = lb(&["top", "--socket", &socket]);
    assert_eq!(code, Some(1));
    assert!(said.contains("needs a terminal"), "{said}");
    let (code, said) = lb(&["status", "--socket", &socket]);
    assert!(
        code == Some(0) && said.contains("first") && !said.contains('\u{1b}'),
        "{said}"
    );
    let mut coloured = Terminal::run(&["status", "--socket", &socket], &[]);
    coloured.sees("\u{1b}[1mlb ");
    let mut plain = Terminal::run(&["status", "--socket", &socket], &[("NO_COLOR", "1")]);
    plain.sees("first");
    assert!(plain.ended() && !plain.seen.contains('\u{1b}'));
    let mut nobody = Terminal::run(&["top", "--socket", "/nonexistent/lb"], &[]);
    nobody.sees("no lb answers");
    assert!(!nobody.ended() && nobody.is_as_before());
}
