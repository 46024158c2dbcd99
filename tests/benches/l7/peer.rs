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

/// What lb has more in its full configuration than in its bare one, by the names that `conf/lb.yaml` has for it.
const FEATURES: [&str; 6] = ["rules", "cookie", "checks", "maxconn", "statistics", "log"];

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
    /// The same with one feature more.
    With(&'static str),
    /// With rules, a sticky cookie, checks, statistics, and a line a request to a syslog server.
    Full,
    HaproxyBare,
    /// With the same features as lb's `Full`.
    HaproxyFull,
    Nginx,
    /// With rules, a sticky cookie and a line a request to a syslog server; nginx has no active checks.
    NginxFull,
    Sozu,
    /// With the same as far as it has that: no limit of connections to a server, no page of statistics.
    SozuFull,
}

const ALL: [What; 8] = [
    What::Bare,
    What::Full,
    What::HaproxyBare,
    What::HaproxyFull,
    What::Nginx,
    What::NginxFull,
    What::Sozu,
    What::SozuFull,
];

impl Peer {
    /// lb and whoever else is installed; or lb with each feature by itself, if it is `features` that are asked about.
    pub(crate) fn found(features: bool) -> Vec<Peer> {
        let peers: Vec<_> = match features {
            true => std::iter::once(What::Bare)
                .chain(FEATURES.map(What::With))
                .chain([What::Full])
                .collect(),
            false => {
                let haproxy = !skip::without_tool("haproxy");
                let sozu = !skip::without_tool("sozu");
                ALL.into_iter()
                    .filter(|what| match what {
                        What::HaproxyBare | What::HaproxyFull => haproxy,
                        What::Sozu | What::SozuFull => sozu,
                        _ => true,
                    })
                    .collect()
            }
        };
        peers
            .into_iter()
            .zip((FIRST..).step_by(10))
            .map(|(what, first)| Peer { what, first })
            .collect()
    }

    pub(crate) fn name(&self) -> String {
        let name = match self.what {
            What::Bare => "lb",
            What::With(feature) => return format!("lb +{feature}"),
            What::Full => "lb full",
            What::HaproxyBare => "haproxy",
            What::HaproxyFull => "haproxy full",
            What::Nginx => "nginx",
            What::NginxFull => "nginx full",
            What::Sozu => "sozu",
            What::SozuFull => "sozu full",
        };
        name.to_owned()
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
    pub(crate) fn configuration(&self, dir: &Path) -> (String, String) {
        let lb = include_str!("conf/lb.yaml");
        let sozu = include_str!("conf/sozu.toml");
        let text = match self.what {
            What::Bare => having(lb, |_| false),
            What::With(feature) => having(lb, |part| part == feature),
            What::Full => having(lb, |_| true),
            What::HaproxyBare => include_str!("conf/haproxy-bare.cfg").to_owned(),
            What::HaproxyFull => include_str!("conf/haproxy-full.cfg").to_owned(),
            What::Nginx => include_str!("conf/nginx.conf").to_owned(),
            What::NginxFull => include_str!("conf/nginx-full.conf").to_owned(),
            What::Sozu => having(sozu, |_| false),
            What::SozuFull => having(sozu, |_| true),
        };
        (
            format!("{}.conf", self.first),
            filled(&text, dir, self.first),
        )
    }

    /// The command that serves the configuration in `file`.
    pub(crate) fn command(&self, file: &Path) -> Vec<OsString> {
        let file = file.into();
        match self.what {
            What::Bare | What::With(_) | What::Full => vec![
                daemon::binary().into(),
                "run".into(),
                "--config".into(),
                file,
            ],
            What::HaproxyBare | What::HaproxyFull => {
                vec!["haproxy".into(), "-db".into(), "-f".into(), file]
            }
            What::Nginx | What::NginxFull => vec!["nginx".into(), "-c".into(), file],
            What::Sozu | What::SozuFull => {
                vec!["sozu".into(), "start".into(), "-c".into(), file]
            }
        }
    }
}

/// The lines of `text` without those that belong to a part that is not wanted, which they end with: `#+part`; `#-part`
/// ends what stands there without it.
fn having(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let line = match (line.split_once("#+"), line.split_once("#-")) {
            (Some((line, part)), _) => wanted(part).then_some(line),
            (None, Some((line, part))) => (!wanted(part)).then_some(line),
            (None, None) => Some(line),
        };
        if let Some(line) = line {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
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
