//! What operators get wrong, and what they are told.

use super::{
    super::{Options, import},
    imported,
};
use crate::config::source::Source;

/// A file that is right.
const RIGHT: &str = "global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    bind :80
    acl is_api path_beg /api
    acl office src 192.0.2.0/24
    http-request deny deny_status 403 if is_api !office
    http-request set-header X-Host %[req.hdr(host),lower]
    redirect scheme https if { hdr(x-proto) http }
    use_backend api if is_api
    default_backend app
backend app
    balance leastconn
    option redispatch
    cookie SRV insert indirect
    server one 192.0.2.1:80 check inter 2s cookie a
    server two 192.0.2.2:80 check cookie b
backend api
    stick-table type ip size 10k store http_req_rate(10s)
    server one 192.0.2.3:80 maxconn 100
";

/// What it is told with one thing changed: each error with its place and its mend.
fn told(of: &str, to: &str) -> Vec<String> {
    assert_eq!(RIGHT.matches(of).count(), 1, "{of}");
    let source = Source::new("haproxy.cfg", &RIGHT.replace(of, to));
    let (_, said) = import(&source, &|_| None, &Options::default());
    let said = said.iter().map(|d| {
        let (line, column) = d.span.map_or((0, 0), |s| (s.start.line, s.start.column));
        let mend = d.mend.as_deref().unwrap_or("-");
        format!(
            "{line}:{column} {}: {} => {mend}",
            d.severity.as_str(),
            d.message
        )
    });
    said.collect()
}

#[test]
fn slips_are_explained() {
    assert_eq!(imported(RIGHT).1, [""; 0]);
    let mut wrong = Vec::new();
    for (of, to, said) in [
        (
            "default_backend",
            "defaut_backend",
            "16:5 error: there is no keyword `defaut_backend` => did you mean `default_backend`?",
        ),
        (
            "option redispatch",
            "option redispach",
            "19:12 error: there is no `redispach` of `option` => did you mean `redispatch`?",
        ),
        (
            "timeout client",
            "timeout cleint",
            "6:13 error: there is no `cleint` of `timeout` => did you mean `client`?",
        ),
        (
            "maxconn 100\n",
            "maxcon 100\n",
            "25:29 error: there is no `maxcon` of `server` => did you mean `maxconn`?",
        ),
        (
            "check inter",
            "chek inter",
            "21:29 error: there is no `chek` of `server` => did you mean `check`?",
        ),
        (
            "set-header",
            "set-heder",
            "13:18 error: there is no `set-heder` of `http-request` => did you mean `set-header`?",
        ),
        (
            "redirect scheme",
            "redirect sceme",
            "14:14 error: there is no `sceme` of `redirect` => did you mean `scheme`?",
        ),
        (
            "maxconn 1000",
            "maxcon 1000",
            "2:5 error: there is no keyword `maxcon` => did you mean `maxconn`?",
        ),
        (
            "backend api\n    stick",
            "backnd api\n    stick",
            "23:1 error: there is no keyword `backnd` => did you mean `backend`?",
        ),
        (
            "global\n",
            "globl\n",
            "1:1 error: `globl` before any section => did you mean `global`?",
        ),
        (
            "if is_api !office",
            "is_api",
            "12:39 error: a condition without `if` or `unless` => write `if is_api`",
        ),
        (
            "https if {",
            "https {",
            "14:47 error: a condition without `if` or `unless` => write `if` or `unless` before `{`",
        ),
        (
            "api if is_api",
            "api is_api",
            "15:21 error: a condition without `if` or `unless` => write `if is_api`",
        ),
        (
            "if is_api\n",
            "if is_apy\n",
            "15:24 error: there is no acl `is_apy` in this proxy => did you mean `is_api`?",
        ),
        (
            "is_api !office",
            "is_api | office",
            "12:49 error: there is no acl `|` in this proxy => write `||` or `or` between alternatives",
        ),
        (
            "backend api\n    stick",
            "backend app\n    stick",
            "23:9 error: a second proxy is called `app` => give each a name of its own",
        ),
        (
            "connect 5s",
            "connect 5sec",
            "5:21 error: `5sec` is no time => write a number and `us`, `ms`, `s`, `m`, `h` or `d`",
        ),
        (
            "192.0.2.3:80",
            "192.0.2.3:800000",
            "25:16 error: `800000` is no port => write a number from 1 to 65535",
        ),
    ] {
        let found = told(of, to);
        if !found.contains(&said.to_owned()) {
            wrong.push(format!("{of} as {to}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
