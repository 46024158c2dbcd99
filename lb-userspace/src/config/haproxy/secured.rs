//! What `bind` and `server` say of TLS.

use crate::{
    config::source::Span,
    tls::{is_known_suite, names_of_suites},
};

use super::{
    options_of::Options,
    says::{Says, below},
    value::{Map, Value},
    words::Word,
};

/// An option of `bind` about its TLS; whether it is one.
pub(super) fn bind(option: &Word, words: &mut Options<'_>, tls: &mut Map, says: &mut Says) -> bool {
    let span = option.span;
    let argument = |words: &mut Options<'_>, says: &mut Says| {
        let word = words.argument(option, says);
        word.map(|word| (word.text.clone(), word.span))
    };
    match option.text.as_str() {
        "crt" => {
            if let Some((file, at)) = argument(words, says) {
                let path = below(says.bases.certificates.as_ref(), &file);
                // Each has both, the certificate and its key, or is a folder of such; one alone is no list.
                tls.another("certificates", Value::text(path, at));
            }
        }
        "crt-list" => {
            if let Some((file, at)) = argument(words, says) {
                // As HAProxy, it is no file below `crt-base`: what it names is.
                tls.another("crt_list", list(Value::text(file, at), says));
            }
        }
        "strict-sni" => tls.set("strict_sni", Value::plain("true", span)),
        "ca-file" | "ca-verify-file" | "crl-file" => {
            if let Some((file, at)) = argument(words, says) {
                if file == "@system-ca" {
                    says.unsupported(at, &format!("bind … {} @system-ca", option.text));
                    return true;
                }
                let path = below(says.bases.authorities.as_ref(), &file);
                let key = match option.text.as_str() {
                    "ca-file" => "client_ca",
                    "ca-verify-file" => "client_ca_verify",
                    _ => "client_crl",
                };
                tls.set(key, Value::text(path, at));
            }
        }
        "no-ca-names" => tls.set("client_ca_names", Value::plain("false", span)),
        "crt-ignore-err" | "ca-ignore-err" => {
            if let Some((list, at)) = argument(words, says) {
                let key = match option.text.as_str() {
                    "crt-ignore-err" => "ignore_client_errors",
                    _ => "ignore_client_ca_errors",
                };
                let errors = list.split(',').map(|error| Value::plain(error, at));
                let value = match list.as_str() {
                    "all" => Value::plain("all", at),
                    _ => Value::list(errors.collect(), at),
                };
                tls.set(key, value);
            }
        }
        "verify" => {
            if let Some((how, at)) = argument(words, says) {
                tls.set("client_auth", Value::plain(how, at));
            }
        }
        "ciphers" | "ciphersuites" | "curves" | "ecdhe" => {
            if let Some(list) = words.argument(option, says)
                && let Some((key, list)) = suites(option, list, says)
            {
                tls.set(key, list);
            }
        }
        "prefer-client-ciphers" => {
            tls.set("prefer_client_ciphers", Value::plain("true", span));
        }
        "tls-ticket-keys" => {
            if let Some((file, at)) = argument(words, says) {
                tls.set("ticket_keys", Value::text(file, at));
            }
        }
        "alpn" => {
            if let Some((list, at)) = argument(words, says) {
                protocols(&list, at, tls, says);
            }
        }
        _ => return false,
    }
    true
}

/// `alpn` of a list of names, without those that lb has nothing for and clients have others beside.
pub(super) fn protocols(list: &str, at: Span, tls: &mut Map, says: &mut Says) {
    let mut names = Vec::new();
    for name in list.split(',').map(str::trim) {
        match name {
            "h3" => says.warn(at, "`h3` is left out: lb has no HTTP/3 yet"),
            "http/1.0" => says.warn(at, "`http/1.0` is left out: who speaks it needs no ALPN"),
            name => names.push(Value::text(name, at)),
        }
    }
    if !names.is_empty() {
        tls.set("alpn", Value::list(names, at));
    }
}

/// The key that an option about suites or curves is, and those of its list that there are. The others are told of.
pub(super) fn suites(option: &Word, list: &Word, says: &mut Says) -> Option<(&'static str, Value)> {
    let key = match option.text.as_str() {
        word if word.ends_with("ciphersuites") => "ciphersuites",
        word if word.ends_with("ciphers") => "ciphers",
        _ => "curves",
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        names_of_suites(&list.text).partition(|name| is_known_suite(key, name));
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "there is no {} in lb: what else the list has is used",
            names.join(", ")
        );
        says.warn(list.span, message);
    }
    let adds = |name: &&&str| !name.starts_with(['!', '-', '+', '@']);
    if known.iter().filter(adds).count() == 0 {
        let own = match key {
            "curves" => "X25519, P-256, P-384 and X25519MLKEM768",
            _ => "suites with ECDHE and AES-GCM or ChaCha20",
        };
        let message = format!(
            "lb has none of what `{}` names: it offers {own}",
            option.text
        );
        says.warn(list.span, message);
        return None;
    }
    let known = known.into_iter().map(|name| Value::text(name, list.span));
    Some((key, Value::list(known.collect(), list.span)))
}

/// A list of certificates, with where what it names is.
fn list(file: Value, says: &Says) -> Value {
    let bases = [
        ("base", &says.bases.certificates),
        ("ca_base", &says.bases.authorities),
    ];
    let span = file.span;
    let mut map = Map::default();
    for (key, base) in bases {
        if let Some(base) = base {
            map.set(key, Value::text(base.as_str(), span));
        }
    }
    if map.is_empty() {
        return file;
    }
    let mut whole = Map::default();
    whole.set("file", file);
    whole.0.extend(map.0);
    Value::map(whole, span)
}

/// What a bind's options amount to together.
pub(super) fn finish(tls: &mut Map, says: &mut Says) {
    says.bases.bound_tls(tls);
    if tls.get("ticket_keys").is_some() && tls.get("tickets").is_some() {
        tls.remove("ticket_keys");
    }
    // Without `verify` clients are not asked for certificates, whoever is named that might have signed them. A line of a list
    // may ask for them.
    let asks = tls.get("client_auth").and_then(Value::as_text);
    if asks.is_none_or(|how| how == "none") && tls.get("crt_list").is_none() {
        for (key, word) in OF_CLIENTS {
            if let Some(value) = tls.get(key) {
                let message = format!(
                    "`{word}` has no effect without `verify required` or `verify optional`, as in HAProxy"
                );
                says.warn(value.span, message);
            }
            tls.remove(key);
        }
    }
}

/// By which name a server is verified: HAProxy's is that which it is asked for, else that of `verifyhost`, else none.
pub(super) fn name_server(tls: &mut Map, host: Option<&Value>, span: Span, says: &mut Says) {
    let verify = tls.get("verify").and_then(Value::as_text);
    if verify == Some("none") {
        return;
    }
    match (tls.get("sni"), host) {
        (None, None) => {
            if tls.get("ca").is_none() {
                says.warn(
                    span,
                    "whoever has a certificate that the system trusts is taken for this server, as in HAProxy: name it by \
                     `sni` or `verifyhost`",
                );
            }
            tls.set("verify", Value::plain("chain", span));
        }
        (None, Some(host)) => tls.set("sni", host.clone()),
        // Checks go by it where `sni` is an expression.
        (Some(sni), Some(_)) if sni.as_text().is_some_and(|name| name.contains("%[")) => {}
        (Some(sni), Some(host)) if !sni.is_same(host) => says.warn(
            host.span,
            "`verifyhost` has no effect beside `sni`, as in HAProxy",
        ),
        _ => {}
    }
}

/// What a server's options amount to together.
pub(super) fn finish_server(tls: &mut Map, says: &mut Says) {
    says.bases.served_tls(tls);
    let verify = tls.get("verify").and_then(Value::as_text);
    if verify != Some("none") {
        return;
    }
    for (key, word) in [("ca", "ca-file"), ("crl", "crl-file")] {
        if let Some(value) = tls.get(key) {
            let message = format!("`{word}` has no effect with `verify none`, as in HAProxy");
            says.warn(value.span, message);
        }
        tls.remove(key);
    }
}

/// What is of effect only where clients are asked for certificates: our keys, and HAProxy's words.
const OF_CLIENTS: &[(&str, &str)] = &[
    ("client_ca", "ca-file"),
    ("client_ca_verify", "ca-verify-file"),
    ("client_ca_names", "no-ca-names"),
    ("client_crl", "crl-file"),
    ("ignore_client_errors", "crt-ignore-err"),
    ("ignore_client_ca_errors", "ca-ignore-err"),
];
