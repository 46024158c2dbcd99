//! What a scraper asks for: in which form, and how much.
//!
//! The query is that of HAProxy's exporter: `scope=global|frontend|backend|server|*`, several times if need be, and
//! `no-maint`, which leaves out servers in maintenance. It may narrow what the configuration lets be seen, never widen it.

use super::encoder::Format;

/// An answer in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The form.
    pub format: Format,
    /// The process and the kernel path.
    pub global: bool,
    /// Frontends.
    pub frontends: bool,
    /// Backends.
    pub backends: bool,
    /// Each server.
    pub servers: bool,
    /// Servers in maintenance as well.
    pub in_maintenance: bool,
}

/// A `scope` that there is none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadScope;

impl Asked {
    /// Everything.
    pub const fn all(format: Format) -> Self {
        Self {
            format,
            global: true,
            frontends: true,
            backends: true,
            servers: true,
            in_maintenance: true,
        }
    }

    /// By a request's query and its `Accept`; `servers` is what the configuration says.
    ///
    /// # Errors
    /// A scope that is none.
    pub fn read(query: &str, accept: Option<&str>, servers: bool) -> Result<Self, BadScope> {
        let mut asked = Self::all(accept.map_or(Format::Text, format));
        let mut narrowed = false;
        for parameter in query.split('&') {
            if parameter == "no-maint" {
                asked.in_maintenance = false;
            }
            let Some(scope) = parameter.strip_prefix("scope=") else {
                continue;
            };
            if !std::mem::replace(&mut narrowed, true) {
                asked = Self {
                    global: false,
                    frontends: false,
                    backends: false,
                    servers: false,
                    ..asked
                };
            }
            match scope {
                "" => {}
                "*" | "%2A" | "%2a" => {
                    asked = Self {
                        in_maintenance: asked.in_maintenance,
                        ..Self::all(asked.format)
                    }
                }
                "global" => asked.global = true,
                "frontend" => asked.frontends = true,
                "backend" => asked.backends = true,
                "server" => asked.servers = true,
                // HAProxy has samples of these, lb has none.
                "listener" | "sticktable" => {}
                _ => return Err(BadScope),
            }
        }
        asked.servers &= servers;
        Ok(asked)
    }
}

/// The form that `accept` likes best. Ours is the text where it does not care.
fn format(accept: &str) -> Format {
    let mut best = (Format::Text, 0.0);
    for offer in accept.split(',') {
        let mut parts = offer.split(';').map(str::trim);
        let format = match parts.next() {
            Some(kind) if kind.eq_ignore_ascii_case("application/openmetrics-text") => {
                Format::OpenMetrics
            }
            Some("text/plain" | "text/*" | "*/*") => Format::Text,
            _ => continue,
        };
        let mut quality = 1.0;
        let mut known = true;
        for part in parts {
            match part.split_once('=') {
                Some(("q", q)) => quality = q.parse().unwrap_or(0.0),
                Some(("version", version)) if format == Format::OpenMetrics => {
                    known = matches!(version, "1.0.0" | "0.0.1");
                }
                _ => {}
            }
        }
        if known && quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_scraper_likes_best() {
        for (accept, expected) in [
            // Prometheus 2 and 3.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
            ("application/json", Format::Text),
            (
                "application/openmetrics-text; version=2.0.0, text/plain; q=0.1",
                Format::Text,
            ),
            (
                "application/openmetrics-text; q=0, text/plain; q=0.1",
                Format::Text,
            ),
            ("application/openmetrics-text; q=rubbish", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[test]
    fn scopes_narrow_and_the_configuration_bounds_them() {
        let flags = |query: &str, servers| {
            let asked = Asked::read(query, None, servers)?;
            Ok([
                asked.global,
                asked.frontends,
                asked.backends,
                asked.servers,
                asked.in_maintenance,
            ])
        };
        assert_eq!(flags("", true), Ok([true; 5]));
        assert_eq!(flags("", false), Ok([true, true, true, false, true]));
        assert_eq!(
            flags("scope=frontend&scope=server&no-maint", true),
            Ok([false, true, false, true, false])
        );
        assert_eq!(
            flags("scope=", true),
            Ok([false, false, false, false, true])
        );
        assert_eq!(
            flags("scope=*&scope=", false),
            Ok([true, true, true, false, true])
        );
        assert_eq!(
            flags("other=1&scope=sticktable", true),
            Ok([false, false, false, false, true])
        );
        assert_eq!(flags("scope=servers", true), Err(BadScope));
    }
}
