//! Fetches by HAProxy's names.

use std::{net::IpAddr, sync::Arc};

use http::HeaderName;

use super::{
    CertificatePart, Fact, FaultPart, Fetch, HeadPart, LinePart, Link, Occurrence, Side, TlsFact,
    Value, Whose, counter::counter, list, payload::Payload,
};
use crate::rules::{
    PriorityPart,
    args::Call,
    body::BodyPart,
    convert::{Converter, Digest, More},
    matching::How,
    named::Named,
    problem::Problem,
    registry::Registry,
    scene::TRACKED,
    suggest,
};

/// A fetch by its name and arguments.
pub(in crate::rules) fn parse(call: &Call, registry: &mut Registry<'_>) -> Result<Fetch, Problem> {
    let (fetch, most) = match simple(&call.name) {
        Some(fetch) => (fetch, 0),
        None => several(call, registry)?,
    };
    call.most(most)?;
    match &fetch {
        Fetch::ServerTls(_)
        | Fetch::NamePart {
            whose: Whose::Server,
            ..
        } => registry.links_mut().tls = true,
        _ => {}
    }
    Ok(fetch)
}

/// Those that take arguments, by what they are about; with how many.
fn several(call: &Call, registry: &mut Registry<'_>) -> Result<(Fetch, usize), Problem> {
    if let Some(found) = message(call)? {
        return Ok(found);
    }
    if let Some(found) = constant(call)? {
        return Ok(found);
    }
    if let Some(found) = counter(call, registry)? {
        return Ok(found);
    }
    if let Some((side, part, most)) = BodyPart::parse(call)? {
        return Ok((Fetch::Body(side, part), most));
    }
    if let Some((part, most)) = HeadPart::parse(call)? {
        return Ok((Fetch::Head(part), most));
    }
    if let Some((link, most)) = Link::parse(call, registry)? {
        return Ok((Fetch::Link(link), most));
    }
    if let Some((payload, most)) = Payload::parse(call)? {
        return Ok((Fetch::Payload(payload), most));
    }
    other(call, registry)
}

/// Gives a fetch that is another one with converters behind it that one's name; those converters.
pub(in crate::rules) fn alias(call: &mut Call) -> Vec<Converter> {
    let (name, converters) = match call.name.as_str() {
        "url32" => (
            "host_and_target",
            vec![Converter::Digest(Digest::Sdbm(true))],
        ),
        "url32+src" => (
            "host_and_target",
            vec![
                Converter::Digest(Digest::Sdbm(true)),
                Converter::More(More::BesideSource),
            ],
        ),
        "base32+src" => (
            "base",
            vec![
                Converter::Digest(Digest::Sdbm(true)),
                Converter::More(More::BesideSource),
            ],
        ),
        "base32" => ("base", vec![Converter::Digest(Digest::Sdbm(true))]),
        "urlp_val" | "url_param_val" => ("urlp", vec![Converter::More(More::Leading)]),
        "cook_val" | "req.cook_val" => ("req.cook", vec![Converter::More(More::Leading)]),
        "scook_val" | "res.cook_val" => ("res.cook", vec![Converter::More(More::Leading)]),
        old => match OLD.iter().find(|(known, _)| *known == old) {
            Some((_, new)) => (*new, Vec::new()),
            None => return Vec::new(),
        },
    };
    call.name = name.to_owned();
    converters
}

/// Names that HAProxy has had before, and those that it has now.
const OLD: &[(&str, &str)] = &[
    ("req_ssl_sni", "req.ssl_sni"),
    ("rep_ssl_hello_type", "res.ssl_hello_type"),
    ("shdr_ip", "res.hdr_ip"),
    ("shdr_val", "res.hdr_val"),
];

/// Those without arguments.
fn simple(name: &str) -> Option<Fetch> {
    Some(match name {
        "src" => Fetch::Source,
        "src_port" => Fetch::SourcePort,
        "dst" => Fetch::Destination,
        "dst_port" => Fetch::DestinationPort,
        "always_true" => Fetch::Constant(Value::Bool(true)),
        "always_false" => Fetch::Constant(Value::Bool(false)),
        "method" => Fetch::Method,
        "path" => Fetch::Path,
        "pathq" => Fetch::PathQuery,
        "url" => Fetch::Url,
        "base" => Fetch::Base,
        "query" => Fetch::Query,
        "host" => Fetch::Host,
        "scheme" => Fetch::Scheme,
        "status" => Fetch::Status,
        "req.ver" | "req_ver" => Fetch::Version(Side::Request),
        "res.ver" | "resp_ver" => Fetch::Version(Side::Response),
        "uuid" => Fetch::Uuid,
        "prio_class" => Fetch::Priority(PriorityPart::Class),
        "prio_offset" => Fetch::Priority(PriorityPart::Offset),
        "capture.req.method" => Fetch::Line(LinePart::Method),
        "capture.req.uri" => Fetch::Line(LinePart::Uri),
        "capture.req.ver" => Fetch::Line(LinePart::Version),
        "capture.res.ver" => Fetch::ResponseVersion,
        "unique-id" => Fetch::UniqueId,
        "fe_name" => Fetch::FrontendName,
        "be_name" => Fetch::BackendName,
        "http_auth_user" => Fetch::Credentials { password: false },
        "http_auth_pass" => Fetch::Credentials { password: true },
        "date_us" => Fetch::Date {
            offset: 0,
            factor: 1_000_000,
        },
        "ssl_fc" => Fetch::Tls(TlsFact::Used),
        "ssl_fc_sni" | "req.ssl_sni" => Fetch::Tls(TlsFact::Sni),
        "ssl_fc_protocol" => Fetch::Tls(TlsFact::Protocol),
        "fc_http_major" => Fetch::Major,
        "last_rule_file" => Fetch::LastRule { line: false },
        "last_rule_line" => Fetch::LastRule { line: true },
        "ssl_fc_has_sni" => Fetch::Tls(TlsFact::HasSni),
        "ssl_fc_alpn" => Fetch::Tls(TlsFact::Alpn),
        "ssl_fc_cipher" => Fetch::Tls(TlsFact::Cipher),
        "ssl_fc_has_crt" | "ssl_c_used" => Fetch::Tls(TlsFact::CertificateUsed),
        "ssl_c_verify" => Fetch::Tls(TlsFact::Verify),
        "ssl_c_err" => Fetch::Tls(TlsFact::Error),
        "ssl_c_ca_err" => Fetch::Tls(TlsFact::AuthorityError),
        "ssl_c_ca_err_depth" => Fetch::Tls(TlsFact::AuthorityDepth),
        "ssl_fc_is_resumed" => Fetch::Tls(TlsFact::Resumed),
        "host_and_target" => Fetch::HostAndTarget,
        "url_ip" => Fetch::Authority { port: false },
        "url_port" => Fetch::Authority { port: true },
        "srv_name" => Fetch::ServerName,
        "req.hdrs" => Fetch::Fields(Side::Request),
        "res.hdrs" => Fetch::Fields(Side::Response),
        "ssl_fc_alg_keysize" | "ssl_fc_use_keysize" => Fetch::Tls(TlsFact::KeySize),
        other => match of_certificate(other).or_else(|| of_server(other)) {
            Some(fetch) => fetch,
            None => return FaultPart::named(other).map(Fetch::Fault),
        },
    })
}

/// `ssl_c_sha1`, `ssl_f_serial`, …
fn of_certificate(name: &str) -> Option<Fetch> {
    let (whose, part) = name.strip_prefix("ssl_")?.split_once('_')?;
    let part = CertificatePart::named(part)?;
    Some(match whose {
        "c" => Fetch::Tls(TlsFact::Of(Whose::Client, part)),
        // Of ours HAProxy has no chain.
        "f" if part != CertificatePart::Chain => Fetch::Tls(TlsFact::Of(Whose::Ours, part)),
        "s" => Fetch::ServerTls(TlsFact::Of(Whose::Server, part)),
        _ => return None,
    })
}

/// `ssl_bc`, `ssl_bc_cipher`, …
fn of_server(name: &str) -> Option<Fetch> {
    Some(Fetch::ServerTls(match name.strip_prefix("ssl_bc")? {
        "" => TlsFact::Used,
        "_protocol" => TlsFact::Protocol,
        "_cipher" => TlsFact::Cipher,
        "_alpn" => TlsFact::Alpn,
        "_is_resumed" => TlsFact::Resumed,
        "_alg_keysize" | "_use_keysize" => TlsFact::KeySize,
        _ => return None,
    }))
}

/// Header fields, cookies and parameters; with how many arguments they take.
fn message(call: &Call) -> Result<Option<(Fetch, usize)>, Problem> {
    if let "capture.req.hdr" | "capture.res.hdr" = call.name.as_str() {
        let side = match call.name.as_str() {
            "capture.req.hdr" => Side::Request,
            _ => Side::Response,
        };
        let place = call.need(0, "the number of a capture, counted from 0")?;
        let place = place
            .trim()
            .parse()
            .map_err(|_| Problem::bare(format!("`{place}` is no number of a capture")))?;
        return Ok(Some((Fetch::Captured(side, place), 1)));
    }
    let (side, rest) = match call.name.split_once('.') {
        Some(("req", rest)) => (Side::Request, rest),
        Some(("res", rest)) => (Side::Response, rest),
        Some(_) => return Ok(None),
        None => match call.name.strip_prefix('s') {
            // HAProxy's old names of a response's.
            Some(rest @ ("hdr" | "hdr_cnt" | "cook")) => (Side::Response, rest),
            _ => (Side::Request, call.name.as_str()),
        },
    };
    let name = |index| -> Result<HeaderName, Problem> {
        let text = call.need(index, "a header field's name")?;
        HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Problem::bare(format!("`{text}` cannot be a header field's name")))
    };
    let fetch = match rest {
        "hdr" | "fhdr" | "hdr_ip" | "hdr_val" => {
            let occurrence = match call.number(1)? {
                None => None,
                Some(which) => Some(Occurrence::new(which).ok_or_else(|| {
                    Problem::new(
                        format!("`{which}` is no occurrence"),
                        "count from 1, or from -1 to -10 backwards",
                    )
                })?),
            };
            Fetch::Header {
                side,
                name: name(0)?,
                whole: rest == "fhdr",
                occurrence,
            }
        }
        "hdr_cnt" | "fhdr_cnt" => Fetch::HeaderCount {
            side,
            name: match call.optional(0) {
                Some(_) => Some(name(0)?),
                None => None,
            },
            whole: rest == "fhdr_cnt",
        },
        "hdr_names" => Fetch::HeaderNames(side, call.optional(0).unwrap_or(",").to_owned()),
        "cook" | "cookie" => Fetch::Cookie(side, call.need(0, "a cookie's name")?.to_owned()),
        "cook_cnt" if side == Side::Request => {
            Fetch::CookieCount(call.need(0, "a cookie's name")?.to_owned())
        }
        "urlp" | "url_param" if side == Side::Request => Fetch::Parameter {
            name: call.optional(0).map(str::to_owned),
            delimiter: call
                .optional(1)
                .and_then(|d| d.bytes().next())
                .unwrap_or(b'?'),
        },
        _ => return Ok(None),
    };
    Ok(Some((fetch, 2)))
}

/// The same value always.
fn constant(call: &Call) -> Result<Option<(Fetch, usize)>, Problem> {
    let value = match call.name.as_str() {
        "int" => Value::Int(call.number(0)?.unwrap_or_default()),
        "bool" => match call.need(0, "true or false")? {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            other => {
                return Err(Problem::new(
                    format!("`{other}` is no boolean"),
                    "write `true` or `false`",
                ));
            }
        },
        "str" => Value::Str(
            call.args
                .first()
                .cloned()
                .unwrap_or_default()
                .into_bytes()
                .into(),
        ),
        "ipv4" | "ipv6" => {
            let text = call.need(0, "an address")?;
            let address: IpAddr = text
                .parse()
                .map_err(|_| Problem::bare(format!("`{text}` is no address")))?;
            Value::Ip(address)
        }
        "bin" => {
            let text = call.need(0, "hexadecimal digits")?;
            let bytes = crate::rules::convert::unhex(text.as_bytes())
                .ok_or_else(|| Problem::bare(format!("`{text}` is not hexadecimal")))?;
            Value::Bin(bytes.into())
        }
        "env" => {
            let name = call.need(0, "a variable's name")?;
            Value::Str(std::env::var(name).unwrap_or_default().into_bytes().into())
        }
        "hostname" => {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            Value::Str(name.trim_end().as_bytes().to_vec().into())
        }
        "pid" => Value::Int(i64::from(std::process::id())),
        // There is one process, and nobody measures how long tasks take.
        "nbproc" | "proc" => Value::Int(1),
        "lat_ns_avg" | "lat_ns_tot" | "cpu_ns_avg" | "cpu_ns_tot" => Value::Int(0),
        "meth" => Value::Str(call.need(0, "a method")?.to_owned().into_bytes().into()),
        _ => return Ok(None),
    };
    let most = usize::from(matches!(
        call.name.as_str(),
        "int" | "bool" | "str" | "ipv4" | "ipv6" | "bin" | "env" | "meth"
    ));
    Ok(Some((Fetch::Constant(value), most)))
}

/// The number of a counter.
pub(in crate::rules) fn sticky(text: &str) -> Result<u8, Problem> {
    text.parse()
        .ok()
        .filter(|sc| usize::from(*sc) < TRACKED)
        .ok_or_else(|| {
            Problem::new(
                format!("there is no counter `{text}`"),
                format!("write a number from 0 to {}", TRACKED - 1),
            )
        })
}

/// Variables, proxies, servers, and the rest.
fn other(call: &Call, registry: &mut Registry<'_>) -> Result<(Fetch, usize), Problem> {
    let name = || call.optional(0).map(Named::new);
    let server = || -> Result<(Named, Named), Problem> {
        let text = call.need(0, "a server: `backend/server`")?;
        let (backend, server) = text.split_once('/').ok_or_else(|| {
            Problem::new(
                format!("`{text}` names no server"),
                "write `backend/server`",
            )
        })?;
        Ok((Named::new(backend), Named::new(server)))
    };
    let fact = match call.name.as_str() {
        "nbsrv" => Fact::UsableServers(name()),
        "connslots" => Fact::Slots(name()),
        "be_conn" => Fact::BackendConnections(name()),
        "be_conn_free" => Fact::BackendFree(name()),
        "be_sess_rate" => Fact::BackendRate(name()),
        "queue" => Fact::Queue(name()),
        "avg_queue" => Fact::AverageQueue(name()),
        "fe_conn" => Fact::FrontendConnections(name()),
        "fe_sess_rate" => Fact::FrontendRate(name()),
        "fe_req_rate" => Fact::FrontendRequestRate(name()),
        "srv_is_up" => server().map(|(b, s)| Fact::ServerUp(b, s))?,
        "srv_conn" => server().map(|(b, s)| Fact::ServerConnections(b, s))?,
        "srv_conn_free" => server().map(|(b, s)| Fact::ServerFree(b, s))?,
        "srv_iweight" => server().map(|(b, s)| Fact::ServerInitialWeight(b, s))?,
        "srv_sess_rate" => server().map(|(b, s)| Fact::ServerRate(b, s))?,
        "srv_weight" | "srv_uweight" => server().map(|(b, s)| Fact::ServerWeight(b, s))?,
        "srv_queue" => server().map(|(b, s)| Fact::ServerQueue(b, s))?,
        "var" => {
            let id = registry.var(call.need(0, "a variable's name")?)?;
            return Ok((Fetch::Var(id, call.optional(1).map(Into::into)), 2));
        }
        "rand" => {
            let range = call.number(0)?.unwrap_or(1 << 32).clamp(1, u32::MAX.into());
            return Ok((Fetch::Random(u32::try_from(range).unwrap_or(u32::MAX)), 1));
        }
        "date" => {
            let factor = match call.optional(1) {
                None | Some("s") => 1,
                Some("ms") => 1000,
                Some("us") => 1_000_000,
                Some(unit) => {
                    return Err(Problem::new(
                        format!("`{unit}` is no unit"),
                        "write `s`, `ms` or `us`",
                    ));
                }
            };
            let offset = call.number(0)?.unwrap_or_default();
            return Ok((Fetch::Date { offset, factor }, 2));
        }
        "ssl_c_s_dn" | "ssl_c_i_dn" | "ssl_f_s_dn" | "ssl_f_i_dn" | "ssl_s_s_dn" | "ssl_s_i_dn" => {
            let issuer = call.name.ends_with("i_dn");
            let whose = match call.name.as_bytes().get(4) {
                Some(b'c') => Whose::Client,
                Some(b'f') => Whose::Ours,
                _ => Whose::Server,
            };
            let Some(name) = call.optional(0) else {
                let part = match issuer {
                    true => CertificatePart::Issuer,
                    false => CertificatePart::Subject,
                };
                let fact = TlsFact::Of(whose, part);
                return Ok(match whose {
                    Whose::Server => (Fetch::ServerTls(fact), 1),
                    _ => (Fetch::Tls(fact), 1),
                });
            };
            let fetch = Fetch::NamePart {
                whose,
                issuer,
                name: name.to_owned(),
                which: call.number(1)?.filter(|which| *which != 0).unwrap_or(1),
            };
            return Ok((fetch, 2));
        }
        "table_cnt" | "table_avl" => {
            let table = registry.table_or_own(call.optional(0), &call.name)?;
            let free = call.name == "table_avl";
            return Ok((Fetch::Keys { table, free }, 1));
        }
        "http_auth" | "http_auth_group" => {
            let list = call.need(0, "a list of users")?;
            let users = registry.users(list).ok_or_else(|| {
                Problem::new(
                    format!("there is no list of users `{list}`"),
                    "add it below `userlists`",
                )
            })?;
            let fetch = match call.name.as_str() {
                "http_auth" => Fetch::Auth(Arc::clone(&users)),
                _ => Fetch::Groups(Arc::clone(&users)),
            };
            return Ok((fetch, 1));
        }
        unknown => {
            if let Some(why) = list::why_not(unknown) {
                return Err(why);
            }
            let near = suggest::nearest(unknown, list::NAMES.iter().copied());
            return Err(match near {
                Some(near) => Problem::new(
                    format!("there is no fetch `{unknown}`"),
                    format!("did you mean `{near}`?"),
                ),
                None => Problem::bare(format!("there is no fetch `{unknown}`")),
            });
        }
    };
    registry.uses(&fact);
    Ok((Fetch::Fact(fact), 1))
}

/// What `path_beg`, `hdr_dom` and the like stand for: a fetch's name and a way of matching.
pub(in crate::rules) fn shorthand(name: &str) -> Option<(&str, How)> {
    let (fetch, suffix) = name.rsplit_once('_')?;
    let how = match suffix {
        "beg" => How::Prefix,
        "end" => How::Suffix,
        "sub" => How::Contains,
        "dir" => How::Directory,
        "dom" => How::DomainPart,
        "reg" => How::Regex,
        "len" => How::Length,
        _ => return None,
    };
    let known = [
        "path",
        "url",
        "base",
        "hdr",
        "req.hdr",
        "res.hdr",
        "shdr",
        "urlp",
        "url_param",
        "cook",
        "req.cook",
        "res.cook",
        "scook",
        "ssl_fc_sni",
    ];
    known.contains(&fetch).then_some((fetch, how))
}
