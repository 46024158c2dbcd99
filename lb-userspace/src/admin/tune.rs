//! `lb tune`: kernel settings worth having, with the present value and a reason for each.
//!
//! What is printed is a file for `/etc/sysctl.d`. The kernel's own documentation of each is in
//! `Documentation/networking/ip-sysctl.rst` and `Documentation/admin-guide/sysctl/net.rst`.

use std::{fmt::Write as _, fs, io, path::PathBuf, process::ExitCode};

use clap::Args;

use super::cli::{fail, print};

/// Arguments of `lb tune`.
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// Set those that differ, until the next boot
    #[arg(long)]
    pub apply: bool,
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// This or more.
    AtLeast(u64),
    /// This or less.
    AtMost(u64),
    /// This.
    Exactly(u64),
    /// A range of ports at least as wide.
    Ports(u16, u16),
}

struct Setting {
    name: &'static str,
    wanted: Wanted,
    why: &'static str,
}

const fn setting(name: &'static str, wanted: Wanted, why: &'static str) -> Setting {
    Setting { name, wanted, why }
}

const SETTINGS: &[Setting] = &[
    setting(
        "net.core.somaxconn",
        Wanted::AtLeast(16_384),
        "connections that may wait to be accepted, a listener; more than that are lost when many clients come at once",
    ),
    setting(
        "net.ipv4.tcp_max_syn_backlog",
        Wanted::AtLeast(16_384),
        "handshakes that may be under way, a listener, before cookies stand in for them",
    ),
    setting(
        "net.ipv4.tcp_syncookies",
        Wanted::Exactly(1),
        "a flood of SYNs then costs userspace no connections; the kernel path does without",
    ),
    setting(
        "net.ipv4.ip_local_port_range",
        Wanted::Ports(32_768, 65_023),
        "source ports of userspace's connections to servers: about as many at a time to each of them. \
         fast_path.snat_ports lie apart from these",
    ),
    setting(
        "net.ipv4.tcp_tw_reuse",
        Wanted::Exactly(1),
        "a port whose connection has ended is used again after a second, not after a minute (RFC 6191)",
    ),
    setting(
        "net.ipv4.tcp_max_tw_buckets",
        Wanted::AtLeast(262_144),
        "ended connections that are remembered; a port forgotten too early may meet its old packets",
    ),
    setting(
        "net.ipv4.tcp_max_orphans",
        Wanted::AtLeast(65_536),
        "connections that lb has closed and clients have not: beyond it the kernel resets them",
    ),
    setting(
        "net.ipv4.tcp_synack_retries",
        Wanted::AtMost(3),
        "a client that does not answer is forgotten after 15 seconds, not after a minute",
    ),
    setting(
        "net.ipv4.tcp_slow_start_after_idle",
        Wanted::Exactly(0),
        "a kept connection to a server that was silent goes on as fast as it was (against RFC 2861)",
    ),
    setting(
        "net.core.bpf_jit_enable",
        Wanted::AtLeast(1),
        "the kernel path is compiled, not interpreted",
    ),
    setting(
        "net.ipv4.ip_nonlocal_bind",
        Wanted::Exactly(1),
        "the standby of a pair listens on the address that it will get; `*:PORT` needs it not",
    ),
    setting(
        "net.ipv6.ip_nonlocal_bind",
        Wanted::Exactly(1),
        "the same for IPv6",
    ),
    setting(
        "fs.nr_open",
        Wanted::AtLeast(1_048_576),
        "the most files a process may be allowed: two for each connection of global.maxconn",
    ),
];

impl Wanted {
    /// Whether `now` will do, as far as it can be read.
    fn holds(self, now: &str) -> bool {
        let mut numbers = now.split_ascii_whitespace().map(str::parse::<u64>);
        let Some(Ok(first)) = numbers.next() else {
            return false;
        };
        match self {
            Wanted::AtLeast(least) => first >= least,
            Wanted::AtMost(most) => first <= most,
            Wanted::Exactly(value) => first == value,
            Wanted::Ports(low, high) => {
                let Some(Ok(last)) = numbers.next() else {
                    return false;
                };
                last.saturating_sub(first) >= u64::from(high - low)
            }
        }
    }

    fn text(self) -> String {
        match self {
            Wanted::AtLeast(value) | Wanted::AtMost(value) | Wanted::Exactly(value) => {
                value.to_string()
            }
            Wanted::Ports(low, high) => format!("{low} {high}"),
        }
    }
}

/// Where the kernel shows a setting.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

impl TuneArgs {
    /// Prints the settings, or sets them.
    pub fn run(&self) -> ExitCode {
        let read = |name: &str| fs::read_to_string(path(name));
        let write = |name: &str, value: &str| fs::write(path(name), value);
        let (text, failed) = tune(self.apply, read, write);
        let printed = print(&text, false);
        match failed.as_slice() {
            [] => printed,
            failed => fail(&failed.join("\nlb: ")),
        }
    }
}

/// The text, and what could not be set.
fn tune(
    apply: bool,
    read: impl Fn(&str) -> io::Result<String>,
    write: impl Fn(&str, &str) -> io::Result<()>,
) -> (String, Vec<String>) {
    let mut out = String::from(
        "# Kernel settings for lb. `lb tune --apply` sets them until the next boot, this file in /etc/sysctl.d for good.\n",
    );
    let mut failed = Vec::new();
    for Setting { name, wanted, why } in SETTINGS {
        let now = read(name);
        let now = now.as_ref().map(|text| text.trim().replace('\t', " "));
        // A String takes everything.
        let _ = match &now {
            Err(error) => write!(out, "\n# {why}\n# {name} is not there: {error}\n"),
            Ok(now) if wanted.holds(now) => {
                write!(
                    out,
                    "\n# {why}\n# It is {now}, which will do.\n# {name} = {}\n",
                    wanted.text()
                )
            }
            Ok(now) => write!(
                out,
                "\n# {why}\n# It {} {now}.\n{name} = {}\n",
                if apply { "was" } else { "is" },
                wanted.text()
            ),
        };
        if apply
            && now.is_ok_and(|now| !wanted.holds(&now))
            && let Err(error) = write(name, &wanted.text())
        {
            failed.push(format!(
                "{name} could not be set to {}: {error}",
                wanted.text()
            ));
        }
    }
    (out, failed)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_value_that_is_better_already_will_do() {
        assert!(Wanted::AtLeast(5).holds("5"));
        assert!(!Wanted::AtLeast(5).holds("4"));
        assert!(Wanted::AtMost(3).holds("2"));
        assert!(!Wanted::Exactly(1).holds("2"));
        assert!(Wanted::Ports(32_768, 65_023).holds("1024 65535"));
        assert!(!Wanted::Ports(32_768, 65_023).holds("32768 60999"));
        assert!(!Wanted::Ports(1, 2).holds("1"));
        assert!(!Wanted::AtLeast(0).holds("some"));
    }

    #[test]
    fn what_differs_is_set_and_what_cannot_be_is_told() {
        let set = RefCell::new(Vec::new());
        let read = |name: &str| match name {
            "net.core.somaxconn" => Ok("65535\n".to_owned()),
            "net.ipv4.tcp_tw_reuse" => Ok("2\n".to_owned()),
            "net.ipv4.tcp_synack_retries" => Ok("5\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let write = |name: &str, value: &str| {
            set.borrow_mut().push(format!("{name}={value}"));
            match name {
                "net.ipv4.tcp_tw_reuse" => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            }
        };
        let (text, failed) = tune(false, read, write);
        assert!(set.borrow().is_empty() && failed.is_empty());
        assert!(text.contains("\n# net.core.somaxconn = 16384\n"), "{text}");
        assert!(
            text.contains("# It is 2.\nnet.ipv4.tcp_tw_reuse = 1\n"),
            "{text}"
        );
        assert!(
            text.contains("# net.core.bpf_jit_enable is not there"),
            "{text}"
        );
        // Each line is a comment, a setting or nothing: a file for sysctl(8).
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            assert!(
                line.split_once(" = ")
                    .is_some_and(|(name, _)| name.contains('.')),
                "{line}"
            );
        }
        let (_, failed) = tune(true, read, write);
        assert_eq!(
            *set.borrow(),
            ["net.ipv4.tcp_tw_reuse=1", "net.ipv4.tcp_synack_retries=3"]
        );
        assert_eq!(
            failed,
            ["net.ipv4.tcp_synack_retries could not be set to 3: permission denied"]
        );
    }
}
