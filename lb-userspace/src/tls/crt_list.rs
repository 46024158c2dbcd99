//! `crt-list`: files of HAProxy's that name a certificate a line, with options of its own in brackets and the names that it
//! is for behind them: `site.pem [alpn h2 ssl-min-ver TLSv1.3] *.example.org !old.example.org`.

use std::path::{Path, PathBuf};

use super::{
    error::TlsError,
    files::Reader,
    options::{BindOptions, CertificateList, ClientAuth, Version},
    policy::{self, Policy},
};

/// HAProxy's own limit of a line.
const LONGEST: usize = 65_536;

/// A line that names a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, counted from 1.
    pub(super) number: usize,
    /// The certificate, as it is written.
    pub(super) certificate: String,
    pub(super) settings: Settings,
    /// Names that it is for, `!` before those that it is not for; none: those in it.
    pub(super) filters: Vec<String>,
}

/// What a line says otherwise than its bind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// The options in HAProxy's order, as `show ssl crt-list` has them; `None` without brackets.
    pub(super) written: Option<String>,
    alpn: Option<Vec<String>>,
    min: Option<Version>,
    max: Option<Version>,
    auth: Option<ClientAuth>,
    ca: Option<PathBuf>,
    ca_verify: Option<PathBuf>,
    crl: Option<PathBuf>,
    no_ca_names: bool,
    policy: Policy,
}

impl Settings {
    /// What `bind` is for the certificate of this line.
    pub(super) fn applied(&self, bind: &BindOptions) -> BindOptions {
        let mut options = bind.clone();
        if let Some(alpn) = &self.alpn {
            options.alpn.clone_from(alpn);
        }
        options.min_version = self.min.or(options.min_version);
        options.max_version = self.max.or(options.max_version);
        options.client_auth = self.auth.unwrap_or(options.client_auth);
        options.client_ca = self.ca.clone().or(options.client_ca);
        options.client_ca_verify = self.ca_verify.clone().or(options.client_ca_verify);
        options.client_crl = self.crl.clone().or(options.client_crl);
        options.no_ca_names |= self.no_ca_names;
        options.policy = self.policy.or(options.policy);
        options
    }
}

impl CertificateList {
    /// The lines of the file.
    pub(super) fn read(&self, reader: &mut Reader<'_>) -> Result<Vec<Line>, TlsError> {
        let bytes = reader.read(&self.file)?;
        let text = String::from_utf8_lossy(&bytes);
        let wrong = |number: usize, why: String| TlsError::List {
            path: self.file.clone(),
            line: number,
            why,
        };
        if let Some(at) = text.lines().position(|line| line.contains('\0')) {
            return Err(wrong(at + 1, "there is a NUL in it".to_owned()));
        }
        // One without an end may have been cut off: HAProxy takes none either.
        if !text.is_empty() && !text.ends_with('\n') {
            let last = text.lines().count();
            return Err(wrong(
                last,
                "the last line does not end: the file may have been cut off".to_owned(),
            ));
        }
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            if line.starts_with('#') {
                continue;
            }
            let line = self.parse(line, number);
            lines.extend(line.map_err(|why| wrong(number, why))?);
        }
        Ok(lines)
    }

    /// Where a certificate of the list is.
    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.below(self.base.as_deref(), name)
    }

    /// A line without its end; `None` if it is empty.
    pub(super) fn parse(&self, line: &str, number: usize) -> Result<Option<Line>, String> {
        parse(line, number, &self.below(self.ca_base.as_deref(), ""))
    }

    fn below(&self, base: Option<&Path>, name: &str) -> PathBuf {
        let beside = || self.file.parent().unwrap_or(Path::new(""));
        base.unwrap_or_else(beside).join(name)
    }
}

/// The same, where files of CAs are below `base`.
fn parse(line: &str, number: usize, base: &Path) -> Result<Option<Line>, String> {
    if line.len() >= LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let (before, rest) = match line.split_once('[') {
        Some((before, rest)) => (before, Some(rest)),
        None => (line, None),
    };
    let (options, behind) = match rest {
        None => (None, ""),
        Some(rest) => match rest.split_once(']') {
            Some((options, behind)) => (Some(options), behind),
            None => return Err("`[` without `]`".to_owned()),
        },
    };
    if options.is_some_and(|options| options.contains('[')) || behind.contains(['[', ']']) {
        return Err("it has more than one pair of brackets".to_owned());
    }
    if rest.is_none() && before.contains(']') {
        return Err("`]` without `[`".to_owned());
    }
    let mut names = before.split_ascii_whitespace();
    let Some(certificate) = names.next() else {
        return match options {
            Some(_) => Err("a certificate has to come first".to_owned()),
            None => Ok(None),
        };
    };
    let mut filters: Vec<String> = names.map(str::to_owned).collect();
    if options.is_some() && !filters.is_empty() {
        return Err("names come behind the brackets".to_owned());
    }
    filters.extend(behind.split_ascii_whitespace().map(str::to_owned));
    Ok(Some(Line {
        number,
        certificate: certificate.to_owned(),
        settings: match options {
            Some(options) => settings(options, base)?,
            None => Settings::default(),
        },
        filters,
    }))
}

/// What stands between the brackets.
fn settings(text: &str, base: &Path) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let mut shown = Vec::new();
    let mut words = text.split_ascii_whitespace();
    while let Some(option) = words.next() {
        let mut value = || {
            let value = words.next();
            value.ok_or_else(|| format!("`{option}` without a value"))
        };
        match option {
            "alpn" => {
                let list = value()?;
                settings.alpn = Some(list.split(',').map(str::to_owned).collect());
                shown.push((1, format!("alpn {list}")));
            }
            "verify" => {
                let how = value()?;
                settings.auth = Some(match how {
                    "none" => ClientAuth::None,
                    "optional" => ClientAuth::Optional,
                    "required" => ClientAuth::Required,
                    other => return Err(format!("`verify` cannot be `{other}`")),
                });
                shown.push((2, format!("verify {how}")));
            }
            "ca-file" | "ca-verify-file" | "crl-file" => {
                let file = base.join(value()?);
                let (place, slot) = match option {
                    "ca-file" => (5, &mut settings.ca),
                    "crl-file" => (6, &mut settings.crl),
                    // HAProxy does not show these.
                    _ => {
                        settings.ca_verify = Some(file);
                        continue;
                    }
                };
                shown.push((place, format!("{option} {}", file.display())));
                *slot = Some(file);
            }
            "no-ca-names" => {
                settings.no_ca_names = true;
                shown.push((3, option.to_owned()));
            }
            // What lb does without, as on a bind.
            "allow-0rtt" => shown.push((4, option.to_owned())),
            "npn" => shown.push((0, format!("npn {}", value()?))),
            "ciphers" | "ciphersuites" | "curves" | "ecdhe" => {
                let list = value()?;
                let (place, slot) = match option {
                    "ciphers" => (7, &mut settings.policy.ciphers),
                    "ciphersuites" => (8, &mut settings.policy.suites),
                    "curves" => (9, &mut settings.policy.curves),
                    _ => (10, &mut settings.policy.curves),
                };
                *slot = Some(policy::names(list).map(str::to_owned).collect());
                shown.push((place, format!("{option} {list}")));
            }
            "ssl-min-ver" | "ssl-max-ver" => {
                let name = value()?;
                let is_min = option == "ssl-min-ver";
                let version = match (name, is_min) {
                    ("TLSv1.2", _) => Some(Version::Tls12),
                    ("TLSv1.3", _) => Some(Version::Tls13),
                    // What is older is not offered anyway.
                    ("SSLv3" | "TLSv1.0" | "TLSv1.1", true) => None,
                    ("SSLv3" | "TLSv1.0" | "TLSv1.1", false) => {
                        return Err(format!("`{option} {name}`: lb has TLS 1.2 and 1.3 alone"));
                    }
                    _ => return Err(format!("`{name}` is no version of TLS")),
                };
                match is_min {
                    true => settings.min = version,
                    false => settings.max = version,
                }
                shown.push((11 + usize::from(!is_min), format!("{option} {name}")));
            }
            other => return Err(format!("there is no option `{other}` of a certificate")),
        }
    }
    shown.sort_by_key(|(place, _)| *place);
    let shown: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    settings.written = Some(shown.join(" "));
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_certificate_options_and_names() {
        let read = |text| parse(text, 7, Path::new("/ca")).unwrap().unwrap();
        let line = read(
            "a.pem [alpn h2,http/1.1  ssl-min-ver TLSv1.3 verify none] *.a.example !b.a.example\r",
        );
        assert_eq!(line.certificate, "a.pem");
        assert_eq!(line.number, 7);
        assert_eq!(line.filters, ["*.a.example", "!b.a.example"]);
        assert_eq!(
            line.settings.written.as_deref(),
            Some("alpn h2,http/1.1 verify none ssl-min-ver TLSv1.3")
        );
        let bind = BindOptions {
            alpn: vec!["http/1.1".to_owned()],
            client_auth: ClientAuth::Required,
            ..BindOptions::default()
        };
        let own = line.settings.applied(&bind);
        assert_eq!(own.alpn, ["h2", "http/1.1"]);
        assert_eq!(own.min_version, Some(Version::Tls13));
        assert_eq!(own.client_auth, ClientAuth::None);
        let line = read("a.pem\tx.example");
        assert_eq!((line.filters.len(), &line.settings.written), (1, &None));
        assert_eq!(line.settings.applied(&bind), bind);
        assert_eq!(read("a.pem[]").settings.written.as_deref(), Some(""));
        assert_eq!(parse("  ", 1, Path::new("")), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        for (line, said) in [
            ("[alpn h2]", "a certificate has to come first"),
            ("a [alpn h2", "`[` without `]`"),
            ("a ]", "`]` without `[`"),
            ("a [] []", "it has more than one pair of brackets"),
            ("a b []", "names come behind the brackets"),
            ("a [alpn]", "`alpn` without a value"),
            ("a [verify x]", "`verify` cannot be `x`"),
            (
                "a [strict-sni]",
                "there is no option `strict-sni` of a certificate",
            ),
            (
                "a [ssl-max-ver TLSv1.1]",
                "`ssl-max-ver TLSv1.1`: lb has TLS 1.2 and 1.3 alone",
            ),
            ("a [ssl-min-ver 1.2]", "`1.2` is no version of TLS"),
        ] {
            assert_eq!(parse(line, 1, Path::new("")).unwrap_err(), said, "{line}");
        }
    }
}
