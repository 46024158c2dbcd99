//! Every directive that lb says it reads stands in a file that is read by both, with conversations beside it. Whether these
//! would miss it, [`crate::mutation`] finds out.

use std::{fs, path::Path};

use crate::{
    corpus::{GROUPS, folder, group},
    script,
};

/// Lines that begin so.
const LINES: &[&str] = &[
    // global
    "maxconn",
    "log",
    "nbthread",
    "stats socket",
    "ssl-default-bind-options",
    "ssl-default-bind-ciphers",
    "tune.",
    // proxies
    "mode",
    "bind",
    "server",
    "default-server",
    "server-template",
    "acl",
    "use_backend",
    "default_backend",
    "use-server",
    "balance roundrobin",
    "balance leastconn",
    "balance source",
    "balance uri",
    "balance url_param",
    "balance hdr(",
    "balance random(",
    "balance first",
    "balance static-rr",
    "hash-type consistent",
    "hash-type map-based",
    "cookie",
    "stick-table",
    "stick on",
    "stick match",
    "stick store-request",
    "stick store-response",
    "retries",
    "retry-on",
    "errorfile",
    "errorfiles",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "spread-checks",
    "max-spread-checks",
    "http-errors",
    "http-error",
    "log-format",
    "log-format-sd",
    "unique-id-format",
    "unique-id-header",
    "capture request header",
    "capture response header",
    "capture cookie",
    "declare capture",
    "userlist",
    "user",
    "monitor-uri",
    "monitor fail",
    "stats uri",
    "stats auth",
    "stats scope",
    "stats http-request",
    "stats hide-version",
    "stats show-node",
    "stats show-desc",
    "stats realm",
    "stats refresh",
    "fullconn",
    "dynamic-cookie-key",
    "http-reuse",
    "redirect",
    "timeout connect",
    "timeout client",
    "timeout server",
    "timeout http-request",
    "timeout http-keep-alive",
    "timeout queue",
    "timeout tarpit",
    "timeout tunnel",
    "timeout check",
    // options
    "option httplog",
    "option tcplog",
    "option dontlognull",
    "option logasap",
    "option http-ignore-probes",
    "option http-pretend-keepalive",
    "option http-restrict-req-hdr-names",
    "option dontlog-normal",
    "option log-separate-errors",
    "option forwardfor",
    "option forwarded",
    "option http-server-close",
    "option httpclose",
    "option http-keep-alive",
    "option redispatch",
    "option httpchk",
    "option tcp-check",
    "option ssl-hello-chk",
    "option mysql-check",
    "option pgsql-check",
    "option redis-check",
    "option smtpchk",
    "option ldap-check",
    "option abortonclose",
    "option allbackups",
    "option persist",
    "option originalto",
    "option http-buffer-request",
    "http-check send",
    "http-check expect",
    "http-check connect",
    "http-check set-var(",
    "http-check set-var-fmt(",
    "http-check unset-var(",
    "tcp-check set-var(",
    "tcp-check unset-var(",
    "tcp-check send-lf",
    "tcp-check send-binary-lf",
    "tcp-check connect",
    "tcp-check send",
    "tcp-check expect",
    "tcp-check send-binary",
    // rules
    "http-request set-header",
    "http-request add-header",
    "http-request del-header",
    "http-request replace-header",
    "http-request replace-value",
    "http-request set-path",
    "http-request set-pathq",
    "http-request set-uri",
    "http-request replace-path",
    "http-request replace-pathq",
    "http-request replace-uri",
    "http-request set-query",
    "http-request set-method",
    "http-request redirect",
    "http-request deny",
    "http-request tarpit",
    "http-request return",
    "http-request auth",
    "http-request set-var(",
    "http-request set-var-fmt(",
    "http-request unset-var(",
    "http-request track-sc0",
    "http-request track-sc1",
    "http-request sc-inc-gpc0(",
    "http-request sc-inc-gpc1(",
    "http-request sc-set-gpt0(",
    "http-request capture",
    "http-request early-hint",
    "http-request strict-mode",
    "http-request wait-for-body",
    "http-request allow",
    "http-request reject",
    "http-request silent-drop",
    "http-request normalize-uri",
    "http-request set-src",
    "http-request disable-l7-retry",
    "http-request set-log-level",
    "http-request set-priority-class",
    "http-request set-priority-offset",
    "tcp-request content set-priority-class",
    "http-response set-header",
    "http-response add-header",
    "http-response del-header",
    "http-response replace-header",
    "http-response replace-value",
    "http-response set-status",
    "http-response deny",
    "http-response return",
    "http-response redirect",
    "http-response capture",
    "http-response set-var(",
    "http-response track-sc",
    "http-after-response set-header",
    "tcp-request connection",
    "tcp-request session",
    "tcp-request content",
    "tcp-request inspect-delay",
    "tcp-response content",
    "tcp-response content close",
    "http-response wait-for-body",
    "http-response silent-drop",
    "tcp-response inspect-delay",
];

/// Words in lines: fetches, converters, ways of matching, options of `bind`, `server` and `cookie`, counters.
const WORDS: &[&str] = &[
    "src",
    "src_port",
    "dst",
    "dst_port",
    "path",
    "path_beg",
    "path_end",
    "path_dir",
    "path_sub",
    "path_reg",
    "path_len",
    "pathq",
    "url",
    "url_beg",
    "url_param",
    "method",
    "hdr",
    "hdr_beg",
    "hdr_end",
    "hdr_dom",
    "hdr_sub",
    "hdr_reg",
    "hdr_cnt",
    "hdr_val",
    "hdr_ip",
    "req.hdr",
    "req.fhdr",
    "req.hdr_cnt",
    "req.ver",
    "req.cook",
    "req.len",
    "req.payload",
    "res.body",
    "res.body_len",
    "res.body_size",
    "res.hdr",
    "query",
    "urlp",
    "cook",
    "prio_class",
    "prio_offset",
    "ssl_fc",
    "ssl_fc_sni",
    "ssl_fc_protocol",
    "ssl_fc_cipher",
    "ssl_fc_alpn",
    "ssl_c_used",
    "ssl_c_verify",
    "ssl_c_s_dn",
    "ssl_bc",
    "ssl_bc_protocol",
    "ssl_bc_cipher",
    "ssl_bc_alpn",
    "ssl_s_s_dn",
    "ssl_s_i_dn",
    "ssl_s_notafter",
    "ssl_s_serial",
    "fe_id",
    "be_id",
    "srv_id",
    "req.ssl_sni",
    "req.ssl_hello_type",
    "nbsrv",
    "connslots",
    "be_conn",
    "fe_conn",
    "srv_is_up",
    "rand",
    "str",
    "int",
    "bool",
    "always_true",
    "var",
    "base",
    "status",
    "http_auth",
    "capture.req.hdr",
    "lower",
    "upper",
    "regsub",
    "field",
    "word",
    "map",
    "map_beg",
    "map_dom",
    "map_end",
    "map_reg",
    "map_ip",
    "map_str",
    "base64",
    "b64dec",
    "hex",
    "sha1",
    "sha2",
    "crc32",
    "djb2",
    "xxh32",
    "xxh64",
    "concat",
    "length",
    "in_table",
    "mod",
    "add",
    "sub",
    "iif",
    "json_query",
    "url_dec",
    "ltime",
    "language",
    "mul",
    "div",
    "neg",
    "and",
    "or",
    "xor",
    "bytes",
    "ipmask",
    "utime",
    "sdbm",
    "wt6",
    "table_http_req_rate",
    "table_gpc0",
    "-i",
    "-f",
    "-M",
    "-n",
    "-m str",
    "-m beg",
    "-m end",
    "-m sub",
    "-m dir",
    "-m dom",
    "-m reg",
    "-m int",
    "-m ip",
    "-m found",
    "-m len",
    "-m bin",
    "unless",
    "or",
    "||",
    "ssl",
    "crt",
    "alpn",
    "ca-file",
    "verify",
    "accept-proxy",
    "ssl-min-ver",
    "interface",
    "check",
    "weight",
    "backup",
    "maxconn",
    "maxqueue",
    "minconn",
    "cookie",
    "inter",
    "fastinter",
    "downinter",
    "rise",
    "fall",
    "port",
    "addr",
    "send-proxy",
    "send-proxy-v2",
    "check-ssl",
    "sni",
    "slowstart",
    "disabled",
    "observe",
    "error-limit",
    "on-error",
    "on-marked-down",
    "agent-check",
    "agent-port",
    "check-send-proxy",
    "proto",
    "track",
    "no-check",
    "insert",
    "rewrite",
    "prefix",
    "indirect",
    "nocache",
    "postonly",
    "preserve",
    "httponly",
    "secure",
    "domain",
    "maxidle",
    "maxlife",
    "attr",
    "dynamic",
    "except",
    "if-none",
    "use_domain_only",
    "conn_cnt",
    "conn_cur",
    "conn_rate",
    "http_req_cnt",
    "http_req_rate",
    "http_err_rate",
    "http_err_cnt",
    "bytes_in_rate",
    "bytes_out_rate",
    "gpc0",
    "gpc1",
    "gpc0_rate",
    "gpt0",
    "gpc",
    "gpt",
];

/// Section heads.
const SECTIONS: &[&str] = &[
    "defaults",
    "listen",
    "frontend",
    "backend",
    "userlist",
    "http-errors",
    "resolvers",
];

/// What is in no file that is asked, and the test that would fail instead: its file below `src`, its name.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    // HAProxy has it since 2.8.
    ("option forwarded", MEANING, CARRIED),
    ("downinter", MEANING, CARRIED),
    ("slowstart", MEANING, CARRIED),
    ("on-marked-down", MEANING, CARRIED),
];
const MEANING: &str = "config/haproxy/tests/meaning.rs";
const CARRIED: &str = "lines_become_the_keys_that_are_tested_elsewhere";

/// What is not read yet: files with it say so themselves, and are not asked.
const NOT_READ: &[&str] = &["interface"];

/// Lines of files that are asked, words parted by one blank, without comments.
fn lines() -> Vec<String> {
    let mut found = Vec::new();
    let mut take = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.split(" #").next().unwrap_or_default());
        found.extend(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
    };
    for (name, path) in GROUPS.iter().flat_map(|name| group(name)) {
        let talk = fs::read_to_string(path.with_extension("talk")).unwrap();
        if script::read(&name, &talk).not_read.is_empty() {
            take(&fs::read_to_string(&path).unwrap());
        }
    }
    // The others stand in code, beside their YAML.
    let setups: &Path = &folder().join("../setups");
    for entry in fs::read_dir(setups).unwrap() {
        take(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    found.retain(|line| !line.starts_with(['#', '/']));
    found
}

/// Whether a word stands there that is no part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[test]
fn every_directive_that_is_read_is_asked_for() {
    if std::env::var_os("LB_COMPARE_ONLY").is_some() {
        eprintln!("skipped: some of the files alone are looked at");
        return;
    }
    let lines = lines();
    let begins = |what: &str| {
        lines.iter().any(|line| {
            let rest = line.strip_prefix(what);
            rest.is_some_and(|rest| {
                what.ends_with(['(', '.'])
                    || rest.is_empty()
                    || rest.starts_with(' ')
                    || what.ends_with("track-sc")
            })
        })
    };
    let mut missing: Vec<&str> = LINES
        .iter()
        .chain(SECTIONS)
        .copied()
        .filter(|what| !begins(what))
        .collect();
    missing.extend(
        WORDS
            .iter()
            .filter(|word| !lines.iter().any(|line| has_word(line, word))),
    );
    missing.retain(|what| {
        !ELSEWHERE.iter().any(|(name, ..)| name == what) && !NOT_READ.contains(what)
    });
    assert!(
        missing.is_empty(),
        "no file that is asked has: {missing:#?}"
    );
    for (what, file, test) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let text = fs::read_to_string(path).unwrap();
        let body = text
            .split_once(&format!("fn {test}("))
            .map(|(_, rest)| rest.split("\n}\n").next().unwrap_or_default());
        let word = what.rsplit(' ').next().unwrap_or_default();
        assert!(
            body.is_some_and(|body| body.contains(word)),
            "{test} does not ask for {what}"
        );
    }
}
