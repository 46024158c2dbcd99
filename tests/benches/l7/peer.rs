//! Who is measured, and how he is told what to do.

use std::ffi::OsString;
use std::path::Path;

use lb_tests::{daemon, skip};

use crate::load::{Case, Kind};

/// The ports of the servers and of who takes the log, and the first of those who are measured.
pub(crate) const SERVERS: [u16; 2] = [7001, 7002];
pub(crate) const LOG: u16 = 7514;
const FIRST: u16 = 8000;

/// nginx's module for mode tcp where Debian puts it; built in, it needs no loading.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Somebody to measure.
pub(crate) struct Peer {
    what: What,
    /// Its first port.
    first: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// lb as a mere proxy: X-Forwarded-For, round robin.
    Bare,
    /// With rules, a sticky cookie, checks, statistics, and a line a request to a syslog server.
    Full,
    HaproxyBare,
    /// With the same features as lb's `Full`.
    HaproxyFull,
    Nginx,
    /// With rules, a sticky cookie and a line a request to a syslog server; nginx has no active checks.
    NginxFull,
}

const ALL: [What; 6] = [
    What::Bare,
    What::Full,
    What::HaproxyBare,
    What::HaproxyFull,
    What::Nginx,
    What::NginxFull,
];

impl Peer {
    /// lb and whoever else is installed.
    pub(crate) fn found() -> Vec<Peer> {
        let haproxy = !skip::without_tool("haproxy");
        ALL.into_iter()
            .filter(|what| haproxy || !matches!(what, What::HaproxyBare | What::HaproxyFull))
            .zip((FIRST..).step_by(10))
            .map(|(what, first)| Peer { what, first })
            .collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.what {
            What::Bare => "lb",
            What::Full => "lb full",
            What::HaproxyBare => "haproxy",
            What::HaproxyFull => "haproxy full",
            What::Nginx => "nginx",
            What::NginxFull => "nginx full",
        }
    }

    /// Where it serves `case`.
    pub(crate) fn port(&self, case: &Case) -> u16 {
        self.first
            + match case.kind {
                Kind::Http1 | Kind::Closing => 0,
                Kind::Tls1 | Kind::Tls2 => 1,
                Kind::Tcp => 2,
            }
    }

    fn is_nginx(&self) -> bool {
        matches!(self.what, What::Nginx | What::NginxFull)
    }

    /// Whether it can.
    pub(crate) fn takes(&self, case: &Case) -> bool {
        case.kind != Kind::Tcp || !self.is_nginx() || Path::new(STREAM).exists()
    }

    /// The ports that it listens on.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        let tcp = !self.is_nginx() || Path::new(STREAM).exists();
        self.first..self.first + 2 + u16::from(tcp)
    }

    /// Its configuration's name and text.
    pub(crate) fn configuration(&self, dir: &Path) -> (&'static str, String) {
        let (name, text) = match self.what {
            What::Bare => ("lb-bare.yaml", include_str!("conf/lb-bare.yaml")),
            What::Full => ("lb-full.yaml", include_str!("conf/lb-full.yaml")),
            What::HaproxyBare => ("haproxy-bare.cfg", include_str!("conf/haproxy-bare.cfg")),
            What::HaproxyFull => ("haproxy-full.cfg", include_str!("conf/haproxy-full.cfg")),
            What::Nginx => ("nginx.conf", include_str!("conf/nginx.conf")),
            What::NginxFull => ("nginx-full.conf", include_str!("conf/nginx-full.conf")),
        };
        (name, filled(text, dir, self.first))
    }

    /// The command that serves the configuration in `file`.
    pub(crate) fn command(&self, file: &Path) -> Vec<OsString> {
        let file = file.into();
        match self.what {
            What::Bare | What::Full => vec![
                daemon::binary().into(),
                "run".into(),
                "--config".into(),
                file,
            ],
            What::HaproxyBare | What::HaproxyFull => {
                vec!["haproxy".into(), "-db".into(), "-f".into(), file]
            }
            What::Nginx | What::NginxFull => vec!["nginx".into(), "-c".into(), file],
        }
    }
}

/// The text of a configuration with places and ports in it.
pub(crate) fn filled(text: &str, dir: &Path, first: u16) -> String {
    let [s1, s2] = SERVERS;
    let (module, stream) = match Path::new(STREAM).exists() {
        true => (
            format!("load_module {STREAM};"),
            format!(
                "stream {{\n  upstream app {{ server 127.0.0.1:{s1}; server 127.0.0.1:{s2}; }}\n  \
                 server {{ listen 127.0.0.1:{} backlog=4096; tcp_nodelay on; proxy_pass app; }}\n}}",
                first + 2
            ),
        ),
        false => Default::default(),
    };
    let mut text = text
        .replace("@DIR@", &dir.display().to_string())
        .replace("@MODULE@", &module)
        .replace("@STREAM@", &stream);
    for (name, port) in [
        ("@H1@", first),
        ("@TLS@", first + 1),
        ("@TCP@", first + 2),
        ("@STATS@", first + 3),
        ("@S1@", s1),
        ("@S2@", s2),
        ("@LOG@", LOG),
    ] {
        text = text.replace(name, &port.to_string());
    }
    text
}
