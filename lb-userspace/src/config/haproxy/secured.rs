//! What `bind` and `server` say of TLS.

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
                certificate(tls, Value::text(path, at));
            }
        }
        "crt-list" => {
            if let Some((file, at)) = argument(words, says) {
                // As HAProxy, it is no file below `crt-base`: what it names is.
                tls.another("crt_list", list(Value::text(file, at), says));
            }
        }
        "strict-sni" => tls.set("strict_sni", Value::plain("true", span)),
        "ca-file" | "ca-verify-file" => {
            if let Some((file, at)) = argument(words, says) {
                let path = below(says.bases.authorities.as_ref(), &file);
                tls.set("client_ca", Value::text(path, at));
            }
        }
        "verify" => {
            if let Some((how, at)) = argument(words, says) {
                tls.set("client_auth", Value::plain(how, at));
            }
        }
        "alpn" => {
            if let Some((list, at)) = argument(words, says) {
                let names = list.split(',').map(|name| Value::text(name.trim(), at));
                tls.set("alpn", Value::list(names.collect(), at));
            }
        }
        _ => return false,
    }
    true
}

/// A file with certificate and key, or a folder of such.
fn certificate(tls: &mut Map, file: Value) {
    let path = file.as_text().unwrap_or_default();
    if path.ends_with('/') || std::path::Path::new(path).is_dir() {
        return tls.set("certificates", file);
    }
    // Each has both, the certificate and its key; one alone is no list.
    tls.another("certificates", file);
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
    // Without `verify` clients are not asked for certificates, whoever is named that might have signed them. A line of a list
    // may ask for them.
    let asks = tls.get("client_auth").and_then(Value::as_text);
    if asks.is_none_or(|how| how == "none") && tls.get("crt_list").is_none() {
        if let Some(authority) = tls.get("client_ca") {
            let message = "`ca-file` has no effect without `verify required` or `verify optional`, as in HAProxy";
            says.warn(authority.span, message);
        }
        tls.remove("client_ca");
    }
}
