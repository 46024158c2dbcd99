//! Options about versions of TLS.

use super::{
    lines::Line,
    options_of::Options,
    says::Says,
    value::{Map, Value},
    words::Word,
};

/// Options about TLS that `bind` and `ssl-default-bind-options` share: versions for the most part. Whether it is one.
pub(super) fn versions(
    option: &Word,
    words: &mut Options<'_>,
    tls: &mut Map,
    says: &mut Says,
) -> bool {
    let span = option.span;
    let mut limit = |key: &str, version: &str| tls.set(key, Value::text(version, span));
    match option.text.as_str() {
        "ssl-min-ver" | "ssl-max-ver" => {
            let is_min = option.text == "ssl-min-ver";
            let Some(version) = words.argument(option, says) else {
                return true;
            };
            match version.text.strip_prefix("TLSv") {
                Some(number) if matches!(number, "1.2" | "1.3") => {
                    let key = if is_min { "min_version" } else { "max_version" };
                    tls.set(key, Value::text(number, version.span));
                }
                _ if is_min => says.warn(
                    version.span,
                    "lb has TLS 1.2 and 1.3 alone: older ones are not offered",
                ),
                _ => says.error(
                    version.span,
                    "lb has TLS 1.2 and 1.3 alone",
                    "remove the limit",
                ),
            }
        }
        "force-tlsv12" => {
            limit("min_version", "1.2");
            limit("max_version", "1.2");
        }
        "force-tlsv13" | "no-tlsv12" => limit("min_version", "1.3"),
        "no-tlsv13" => limit("max_version", "1.2"),
        "force-sslv3" | "force-tlsv10" | "force-tlsv11" => says.error(
            span,
            format!(
                "unsupported: `{}`: TLS before 1.2 is not built into lb",
                option.text
            ),
            "remove it, or write `ssl-min-ver TLSv1.2`; who speaks nothing newer needs another balancer between",
        ),
        "allow-0rtt" => says.warn(
            span,
            format!("`{}` is left out: lb does without", option.text),
        ),
        "npn" => {
            let _ = words.argument(option, says);
            says.warn(span, "`npn` is left out: `alpn` has taken its place");
        }
        "no-tls-tickets" => tls.set("tickets", Value::plain("false", span)),
        "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "v4v6" => {}
        _ => return false,
    }
    true
}

/// `ssl-default-bind-options`, `ssl-default-server-options`: adds to what all of them have.
pub(super) fn tls_options(line: &Line, says: &mut Says) -> Map {
    let mut tls = Map::default();
    let mut words = Options::of(&line.words[1..]);
    while let Some(option) = words.next() {
        let known = match option.text.as_str() {
            "prefer-client-ciphers" => {
                let yes = Value::plain("true", option.span);
                tls.set("prefer_client_ciphers", yes);
                true
            }
            _ => versions(option, &mut words, &mut tls, says),
        };
        if !known {
            let what = format!("{} … {}", line.keyword(), option.text);
            says.unsupported(option.span, &what);
        }
    }
    tls
}
