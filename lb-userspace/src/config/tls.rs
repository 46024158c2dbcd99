//! `tls:` of binds and servers.

use std::{rc::Rc, sync::Arc};

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    elsewhere,
    model::{ComputedName, Mode, Transport},
    resolve::{backend_mode, frontend_mode, users},
    source::{Span, Spanned},
    suites,
    tree::{Entry, Kind, Node},
    verified::Verified,
};
use crate::tls::{
    BindOptions, CertificateFiles, CertificateList, Certificates, ClientAuth, ServerName,
    ServerOptions, Version,
};

/// What a connection in mode http may agree on by ALPN.
pub(super) const HTTP: &[&str] = &["h2", "http/1.1"];
/// Versions that some ask for and nobody should.
const OLD: &[&str] = &["1.0", "1.1", "TLSv1.0", "TLSv1.1", "SSLv3"];

/// TLS settings whose files are to be looked at, and where they are written.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Bind(BindOptions, Span),
    Server(ServerOptions, Span),
}

/// `tls` of a bind.
pub(super) fn bind(d: &mut Decoder<'_>, entry: &Entry) -> Option<BindOptions> {
    let before = d.diagnostics.len();
    if let Kind::Scalar(text) = &entry.value.kind
        && !entry.value.is_null()
    {
        let file = match text.text.as_str() {
            "true" | "yes" | "on" => "FILE",
            file => file,
        };
        let mend = format!("write `tls: {{ certificates: {file} }}`");
        d.error(
            entry.value.span,
            "`tls` of a bind must be a mapping, this is a single value",
            mend,
        );
        return None;
    }
    let mut table = d.table(&entry.value, entry.key_span, "`tls`")?;
    let lists = table.take("crt_list").map(|e| lists(d, e));
    let certificates = match (table.take("certificates"), &lists) {
        (Some(e), _) => certificates(d, e),
        (None, Some(_)) => Some(Certificates::default()),
        (None, None) => {
            d.missing(
                &table,
                "certificates",
                "write `certificates: [{ cert: FILE, key: FILE }]`, or the name of a folder",
            );
            None
        }
    };
    let strict_sni = table.take("strict_sni");
    let strict_sni = strict_sni.and_then(|e| d.boolean(&e.value, "`strict_sni`"));
    let ocsp = table
        .take("ocsp")
        .and_then(|e| Some((d.path(&e.value, "`ocsp`")?, e.key_span)));
    let alpn = table
        .take("alpn")
        .map_or_else(Vec::new, |e| protocols(d, e));
    let min = table.take("min_version").and_then(|e| version(d, e));
    let max = table.take("max_version").and_then(|e| version(d, e));
    let client_ca = table.take("client_ca").and_then(|e| {
        let path = d.path(&e.value, "`client_ca`")?;
        Some(Spanned::new(path, e.key_span))
    });
    let client_auth = table.take("client_auth").and_then(|e| {
        let choices = [
            ("none", ClientAuth::None),
            ("optional", ClientAuth::Optional),
            ("required", ClientAuth::Required),
        ];
        let auth = d.choice(&e.value, "`client_auth`", &choices, &[])?;
        Some(Spanned::new(auth, e.value.span))
    });
    let verified = Verified::take(d, &mut table);
    let policy = suites::policy(d, &mut table);
    let client_order = table
        .take("prefer_client_ciphers")
        .and_then(|e| d.boolean(&e.value, "`prefer_client_ciphers`"));
    let tickets = suites::tickets(d, &mut table);
    let (issuers, skip_self_issued) = suites::issuers(d, &mut table);
    table.finish(d, &[], elsewhere::BIND_TLS);
    in_order(d, min.as_ref(), max.as_ref());
    // A line of a list may name its own, or ask where the bind does not.
    match (&client_auth, &client_ca) {
        _ if lists.is_some() => {}
        (Some(_), None) if verified.further_ca.is_some() => {}
        (Some(auth), None) if auth.value != ClientAuth::None => d.error(
            auth.span,
            "`client_auth` has no `client_ca` to verify by",
            "write `client_ca: FILE` with the CA's certificate in PEM",
        ),
        (None, Some(ca)) => d.error(
            ca.span,
            "`client_ca` without `client_auth` has no effect",
            "write `client_auth: required` or `optional`",
        ),
        (Some(auth), Some(ca)) if auth.value == ClientAuth::None => d.error(
            ca.span,
            "`client_ca` has no effect: `client_auth` is none",
            "remove it, or write `client_auth: required`",
        ),
        _ => {}
    }
    let asks = client_auth
        .as_ref()
        .is_some_and(|auth| auth.value != ClientAuth::None);
    if !asks && lists.is_none() {
        for (key, span) in verified.spans() {
            d.error(
                span,
                format!("`{key}` without `client_auth` has no effect"),
                "write `client_auth: required` or `optional`",
            );
        }
    }
    let certificates = match (certificates?, ocsp) {
        (certificates, None) => certificates,
        (Certificates::Path(cert), Some((ocsp, _))) => {
            Certificates::Files(vec![CertificateFiles {
                cert,
                key: None,
                ocsp: Some(ocsp),
            }])
        }
        (Certificates::Files(mut files), Some((ocsp, _))) if files.len() == 1 => {
            for file in &mut files {
                file.ocsp = Some(ocsp.clone());
            }
            Certificates::Files(files)
        }
        (_, Some((_, span))) => {
            d.error(
                span,
                "`ocsp` is one certificate's",
                "write it beside its certificate: `{ cert: FILE, key: FILE, ocsp: FILE }`, or put NAME.ocsp into the folder",
            );
            return None;
        }
    };
    let options = BindOptions {
        certificates,
        lists: lists.unwrap_or_default(),
        strict_sni: strict_sni.unwrap_or(false),
        issuers,
        skip_self_issued,
        alpn,
        policy,
        client_order: client_order.unwrap_or(false),
        tickets,
        min_version: min.map(|min| min.value),
        max_version: max.map(|max| max.value),
        client_auth: client_auth.map_or(ClientAuth::None, |auth| auth.value),
        client_ca: client_ca.map(|ca| ca.value),
        ignored: verified.ignored(),
        client_ca_verify: verified.further_ca.map(|ca| ca.value),
        no_ca_names: verified.names.is_some_and(|told| !told.value),
        client_crl: verified.revoked.map(|crl| crl.value),
    };
    if d.diagnostics.len() > before {
        return None;
    }
    d.tls.push(Wanted::Bind(options.clone(), entry.value.span));
    Some(options)
}

/// Says that versions exclude each other.
fn in_order(d: &mut Decoder<'_>, min: Option<&Spanned<Version>>, max: Option<&Spanned<Version>>) {
    if let (Some(min), Some(max)) = (min, max)
        && min.value > max.value
    {
        d.error(
            max.span,
            "`max_version` is older than `min_version`",
            "exchange them, or remove one",
        );
    }
}

/// `certificates`: a list of files, one file, or a folder.
fn certificates(d: &mut Decoder<'_>, entry: &Entry) -> Option<Certificates> {
    if let Kind::Scalar(_) = &entry.value.kind {
        return d
            .path(&entry.value, "`certificates`")
            .map(Certificates::Path);
    }
    let nodes = d.list(&entry.value, "`certificates`");
    if nodes.is_empty() {
        if matches!(&entry.value.kind, Kind::Sequence(_)) {
            d.error(
                entry.value.span,
                "`certificates` is an empty list",
                "write `[{ cert: FILE, key: FILE }]`, or the name of a folder",
            );
        }
        return None;
    }
    let read: Vec<_> = nodes
        .iter()
        .map(|node| certificate(d, node, "a certificate"))
        .collect();
    read.into_iter()
        .collect::<Option<Vec<_>>>()
        .map(Certificates::Files)
}

/// `crt_list`: a file, several, or mappings that say where what they name is.
fn lists(d: &mut Decoder<'_>, entry: &Entry) -> Vec<CertificateList> {
    let nodes = d.one_or_more(&entry.value);
    if nodes.is_empty() {
        d.error(
            entry.value.span,
            "`crt_list` is empty",
            "name a file, or remove the key",
        );
    }
    let lists = nodes.iter().filter_map(|node| list(d, node));
    lists.collect()
}

fn list(d: &mut Decoder<'_>, node: &Rc<Node>) -> Option<CertificateList> {
    if let Kind::Scalar(_) = &node.kind {
        return Some(CertificateList {
            file: d.path(node, "`crt_list`")?,
            base: None,
            ca_base: None,
        });
    }
    let mut table = d.table(node, node.span, "`crt_list`")?;
    let file = match table.take("file") {
        Some(e) => d.path(&e.value, "`file`"),
        None => {
            d.missing(&table, "file", "write `{ file: FILE, base: FOLDER }`");
            None
        }
    };
    let base = table.take("base").map(|e| d.path(&e.value, "`base`"));
    let ca_base = table.take("ca_base").map(|e| d.path(&e.value, "`ca_base`"));
    table.finish(d, &[], &[]);
    Some(CertificateList {
        file: file?,
        base: base.map_or(Some(None), |base| base.map(Some))?,
        ca_base: ca_base.map_or(Some(None), |base| base.map(Some))?,
    })
}

/// `{ cert, key, ocsp }`, or one file that has both.
fn certificate(d: &mut Decoder<'_>, node: &Rc<Node>, what: &str) -> Option<CertificateFiles> {
    if let Kind::Scalar(_) = &node.kind {
        return Some(CertificateFiles {
            cert: d.path(node, what)?,
            key: None,
            ocsp: None,
        });
    }
    let mut table = d.table(node, node.span, what)?;
    let cert = match table.take("cert") {
        Some(e) => d.path(&e.value, "`cert`"),
        None => {
            d.missing(&table, "cert", "write `{ cert: FILE, key: FILE }`");
            None
        }
    };
    let key = table.take("key").map(|e| d.path(&e.value, "`key`"));
    let ocsp = table.take("ocsp").map(|e| d.path(&e.value, "`ocsp`"));
    table.finish(d, &[], &[("crt", "it is `cert`")]);
    // A path that could not be read is no path left out.
    Some(CertificateFiles {
        cert: cert?,
        key: key.map_or(Some(None), |key| key.map(Some))?,
        ocsp: ocsp.map_or(Some(None), |ocsp| ocsp.map(Some))?,
    })
}

/// `alpn`
fn protocols(d: &mut Decoder<'_>, entry: &Entry) -> Vec<String> {
    let nodes = d.one_or_more(&entry.value);
    if nodes.is_empty() {
        d.error(
            entry.value.span,
            "`alpn` is an empty list",
            "name a protocol, such as `http/1.1`, or remove the key",
        );
    }
    let mut read = Vec::new();
    for node in nodes {
        let Some(name) = d.line(node, "`alpn`") else {
            continue;
        };
        if name.len() > 255 {
            d.error(
                node.span,
                "a protocol's name has at most 255 bytes",
                "write a shorter one",
            );
        }
        read.push(name);
    }
    read
}

fn version(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Version>> {
    let what = format!("`{}`", entry.key);
    let text = d.word(&entry.value, &what)?;
    if OLD.contains(&text.as_str()) {
        d.error(
            entry.value.span,
            format!("{what} cannot be `{text}`: TLS before 1.2 is not built into lb"),
            "write `1.2` or `1.3`; clients that know neither need another balancer in front",
        );
        return None;
    }
    let choices = [
        ("1.2", Version::Tls12),
        ("1.3", Version::Tls13),
        ("TLSv1.2", Version::Tls12),
        ("TLSv1.3", Version::Tls13),
    ];
    d.choice(&entry.value, &what, &choices, &[])
        .map(|version| Spanned::new(version, entry.value.span))
}

/// `tls` of a server: `true`, `false` or a mapping.
pub(super) fn server(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Option<ServerOptions>>> {
    let before = d.diagnostics.len();
    let mut options = ServerOptions::default();
    if let Kind::Scalar(_) = &entry.value.kind
        && !entry.value.is_null()
    {
        if !d.boolean(&entry.value, "`tls`")? {
            return Some(Spanned::new(None, entry.key_span));
        }
    } else {
        let mut table = d.table(&entry.value, entry.key_span, "`tls`")?;
        let verify = table.take("verify").and_then(|e| {
            let choices = [
                ("required", (true, false)),
                ("true", (true, false)),
                ("chain", (true, true)),
                ("none", (false, false)),
                ("false", (false, false)),
            ];
            d.choice(&e.value, "`verify`", &choices, &[])
        });
        (options.verify, options.any_name) = verify.unwrap_or((true, false));
        if let Some(e) = table.take("ca") {
            options.ca = d.path(&e.value, "`ca`");
            if !options.verify {
                d.error(
                    e.key_span,
                    "`ca` has no effect: `verify` is none",
                    "remove one of them",
                );
            }
        }
        if let Some(e) = table.take("crl") {
            options.crl = d.path(&e.value, "`crl`");
            if !options.verify {
                d.error(
                    e.key_span,
                    "`crl` has no effect: `verify` is none",
                    "remove one of them",
                );
            }
        }
        if let Some(e) = table.take("sni") {
            options.name = server_name(d, e);
        }
        if let Some(e) = table.take("alpn") {
            options.alpn = protocols(d, e);
        }
        if let Some(e) = table.take("client_cert") {
            options.client_cert = certificate(d, &e.value, "`client_cert`");
        }
        options.policy = suites::policy(d, &mut table);
        if let Some(e) = table.take("tickets") {
            options.tickets = d.boolean(&e.value, "`tickets`").unwrap_or(true);
        }
        if let Some(e) = table.take("resume") {
            options.resume = d.boolean(&e.value, "`resume`").unwrap_or(true);
        }
        let min = table.take("min_version").and_then(|e| version(d, e));
        let max = table.take("max_version").and_then(|e| version(d, e));
        in_order(d, min.as_ref(), max.as_ref());
        options.min_version = min.map_or(Version::Tls12, |min| min.value);
        options.max_version = max.map_or(Version::Tls13, |max| max.value);
        table.finish(
            d,
            &[],
            &[
                ("cert", "it is `client_cert: { cert: FILE, key: FILE }`"),
                ("crt", "it is `client_cert`"),
                ("ca_file", "it is `ca`"),
                (
                    "verifyhost",
                    "a server is verified by its `sni`, else by its address",
                ),
            ],
        );
    }
    if d.diagnostics.len() > before {
        return None;
    }
    d.tls
        .push(Wanted::Server(options.clone(), entry.value.span));
    Some(Spanned::new(Some(options), entry.key_span))
}

/// The expression that `sni` of a server's `tls` asks for its name, if it is one.
pub(super) fn server_name_of_client(d: &mut Decoder<'_>, tls: &Entry) -> Option<ComputedName> {
    let Kind::Mapping(keys) = &tls.value.kind else {
        return None;
    };
    let sni = &keys.iter().find(|e| e.key == "sni")?.value;
    match &sni.kind {
        Kind::Scalar(text) if text.text.contains("%[") && text.text != "%[host]" => {
            let template = d.template(sni, "`sni`").map(Arc::new)?;
            let text = text.text.clone();
            Some(ComputedName { text, template })
        }
        _ => None,
    }
}

fn server_name(d: &mut Decoder<'_>, entry: &Entry) -> ServerName {
    let Some(name) = d.line(&entry.value, "`sni`") else {
        return ServerName::Address;
    };
    if name.contains("%[") {
        return ServerName::OfClient;
    }
    match rustls::pki_types::ServerName::try_from(name.as_str()) {
        Ok(_) => ServerName::Fixed(name.to_ascii_lowercase()),
        Err(_) => {
            d.error(
                entry.value.span,
                format!("`{name}` is no name of a server"),
                "write a host name, or an expression such as `\"%[host]\"`, the request's",
            );
            ServerName::Address
        }
    }
}

/// What a frontend's or backend's mode makes of ALPN.
pub(super) fn check(draft: &Draft, found: &mut Vec<Diagnostic>) {
    for backend in &draft.backends {
        if backend_mode(backend, draft) == Mode::Tcp {
            datagrams(backend, draft, found);
        }
    }
    let mut protocols = |protocols: &[String], span: Span| {
        for name in protocols
            .iter()
            .filter(|name| !HTTP.contains(&name.as_str()))
        {
            let message = format!("mode http cannot speak `{name}`");
            found.push(Diagnostic::error(span, message).mend(format!(
                "write `alpn: [{}]`, or use mode tcp",
                HTTP.join(", ")
            )));
        }
    };
    for frontend in &draft.frontends {
        if frontend_mode(frontend, &draft.defaults) == Mode::Http {
            for bind in &frontend.binds {
                if let Some(tls) = &bind.value.tls {
                    protocols(&tls.alpn, bind.span);
                }
            }
        }
    }
    for backend in &draft.backends {
        if backend_mode(backend, draft) != Mode::Http {
            continue;
        }
        let keys = backend.servers.iter().map(|server| &server.keys);
        for keys in keys.chain([&backend.proxy.default_server]) {
            if let Some((tls, span)) = keys
                .tls
                .as_ref()
                .and_then(|tls| Some((tls.value.as_ref()?, tls.span)))
            {
                protocols(&tls.alpn, span);
            }
        }
    }
}

/// Neither TLS nor a PROXY header comes before datagrams: to servers that nothing else comes to they have no effect.
fn datagrams(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mut binds = users(&backend.name.value, draft)
        .flat_map(|frontend| &frontend.binds)
        .peekable();
    let Some(first) = binds.peek().map(|bind| bind.span) else {
        return;
    };
    if binds.any(|bind| bind.value.transport == Transport::Tcp) {
        return;
    }
    let keys = backend.servers.iter().map(|server| &server.keys);
    for keys in keys.chain([&backend.proxy.default_server]) {
        let tls = keys.tls.as_ref().filter(|tls| tls.value.is_some());
        let proxy = keys.send_proxy.filter(|version| version.value.is_some());
        for (span, key) in [
            (tls.map(|tls| tls.span), "tls"),
            (proxy.map(|version| version.span), "send_proxy"),
        ] {
            if let Some(span) = span {
                let name = &backend.name.value;
                found.push(
                    Diagnostic::error(
                        span,
                        format!("`{key}` has no effect: `{name}` is reached by UDP alone"),
                    )
                    .also(first, "the frontend listens here")
                    .mend("remove it, or listen on TCP too"),
                );
            }
        }
    }
}
