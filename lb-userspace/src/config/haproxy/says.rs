//! What the reader of haproxy.cfg has to say, and small readers of words.

use std::collections::BTreeMap;

use super::{
    lines::Line,
    value::{Map, Value},
    vocabulary,
};
use crate::config::{diagnostic::Diagnostic, source::Span};

/// Findings.
#[derive(Debug, Default)]
pub(super) struct Says {
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) bases: Bases,
}

/// What `global` and the like set for the lines below: folders that files are looked for in (`crt-base`, `ca-base`), …
#[derive(Debug, Default, Clone)]
pub(super) struct Bases {
    pub(super) certificates: Option<String>,
    pub(super) authorities: Option<String>,
    /// `ssl-server-verify none`: servers that do not say otherwise are taken for whom they say they are.
    pub(super) trusts_servers: bool,
    /// `description` of `global`.
    pub(super) description: Option<String>,
    /// Pages of each `http-errors` section, by status.
    pub(super) pages: BTreeMap<String, Map>,
    /// `ssl-default-bind-…`: keys of `tls:` for binds that do not say these themselves.
    pub(super) tls: Map,
    /// `ssl-default-server-…`: likewise for servers.
    pub(super) server_tls: Map,
}

impl Bases {
    /// Completes the TLS of a bind by what holds for all that do not say otherwise.
    pub(super) fn bound_tls(&self, tls: &mut Map) {
        complete(tls, &self.tls);
    }

    /// The same of a server.
    pub(super) fn served_tls(&self, tls: &mut Map) {
        complete(tls, &self.server_tls);
    }
}

fn complete(tls: &mut Map, by: &Map) {
    let says = |key: &str| ["min_version", "max_version"].contains(&key);
    let limited = tls.0.iter().any(|key| says(&key.name));
    for key in by.0.iter().filter(|key| !limited || !says(&key.name)) {
        if tls.get(&key.name).is_none() {
            tls.set_at(&key.name, key.span, key.value.clone());
        }
    }
}

/// A file's name as it is below its base; one that begins with `/` or `.` stands for itself.
pub(super) fn below(base: Option<&String>, name: &str) -> String {
    match base {
        Some(base) if !name.starts_with(['/', '.', '@']) => {
            format!("{}/{name}", base.trim_end_matches('/'))
        }
        _ => name.to_owned(),
    }
}

impl Says {
    pub(super) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.diagnostics
            .push(Diagnostic::error(span, message).mend(mend));
    }

    pub(super) fn warn(&mut self, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(span, message));
    }

    /// A keyword of HAProxy's that lb has nothing for.
    pub(super) fn unsupported(&mut self, span: Span, what: &str) {
        // What is no word of HAProxy's is a slip of the pen.
        if let Some(near) = vocabulary::meant(what) {
            let word = what.rsplit(' ').next().unwrap_or(what);
            let after = what.strip_suffix(word).unwrap_or_default().trim_end();
            let message = match after.trim_end_matches(" …") {
                "" => format!("there is no keyword `{word}`"),
                after => format!("there is no `{word}` of `{after}`"),
            };
            let mend = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "HAProxy's manual has all there are; remove what is none".to_owned(),
            };
            return self.error(span, message, mend);
        }
        let message = format!("unsupported: `{what}` has no counterpart in lb yet");
        self.error(span, message, "remove it, or keep HAProxy for this proxy");
    }

    /// A word that must be there.
    pub(super) fn need<'l>(&mut self, line: &'l Line, index: usize, what: &str) -> Option<&'l str> {
        let word = line.words.get(index);
        if word.is_none() {
            let message = format!("`{}` without {what}", line.keyword());
            self.error(line.span(), message, format!("write {what} behind it"));
        }
        word.map(|word| word.text.as_str())
    }

    /// A duration as YAML writes it. HAProxy's are milliseconds unless a unit is there (section 2.5).
    pub(super) fn duration(&mut self, text: &str, span: Span) -> Option<Value> {
        match duration(text) {
            Some(text) => Some(Value::plain(text, span)),
            None => {
                let message = format!("`{text}` is no time");
                self.error(
                    span,
                    message,
                    "write a number and `us`, `ms`, `s`, `m`, `h` or `d`",
                );
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self, text: &str, span: Span) -> Option<Value> {
        match text.parse::<i64>() {
            Ok(number) => Some(Value::plain(number, span)),
            Err(_) => {
                self.error(span, format!("`{text}` is no number"), "write digits");
                None
            }
        }
    }
}

/// `5000` → `5s`
pub(super) fn duration(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "" | "ms" => 1_000,
        "us" => 1,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    let ms = number.checked_mul(unit)?.div_ceil(1000);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let fits = units
        .iter()
        .find(|(size, _)| ms != 0 && ms.is_multiple_of(*size));
    Some(match fits {
        // As people say it: 90 seconds, 50 seconds, not parts of an hour.
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => format!("{ms}ms"),
    })
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_are_milliseconds_unless_they_say_otherwise() {
        for (text, yaml) in [
            ("5000", Some("5s")),
            ("5000ms", Some("5s")),
            ("1500", Some("1500ms")),
            ("90s", Some("90s")),
            ("120s", Some("2m")),
            ("24h", Some("1d")),
            ("1", Some("1ms")),
            ("10us", Some("1ms")),
            ("0", Some("0ms")),
            ("5x", None),
            ("", None),
            ("-5", None),
            ("99999999999999999999", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(duration(text).as_deref(), yaml, "{text}");
        }
    }
}
