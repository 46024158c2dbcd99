//! HAProxy's words, so that one that is none is told from one that lb has nothing for.

use crate::rules::suggest;

/// Each kind of word with those that HAProxy 2.6 has of it. docs/haproxy.md says what becomes of them.
pub(super) const VOCABULARY: &[(&str, &str)] = &[
    (
        "section",
        "backend cache crt-store defaults fcgi-app frontend global http-errors listen log-forward mailers \
         peers program resolvers ring traces userlist",
    ),
    (
        "global",
        "busy-polling ca-base chroot close-spread-time cpu-map crt-base crt-list daemon default-path \
         description expose-experimental-directives external-check fd-hard-limit gid grace group \
         h1-accept-payload-with-any-method h1-case-adjust h1-case-adjust-file hard-stop-after \
         httpclient.resolvers.id httpclient.resolvers.prefer httpclient.ssl.ca-file httpclient.ssl.verify \
         insecure-fork-wanted insecure-setuid-wanted issuers-chain-path localpeer log log-send-hostname \
         log-tag lua-load lua-load-per-thread lua-prepend-path master-worker max-spread-checks maxconn \
         maxconnrate maxpipes maxsessrate maxsslconn maxsslrate mworker-max-reloads nbthread \
         no-memory-trimming node noepoll nogetaddrinfo nopoll noreuseport nosplice numa-cpu-mapping pidfile \
         pp2-never-send-local presetenv profiling.tasks quiet resetenv server-state-base server-state-file \
         set-dumpable set-var set-var-fmt setenv spread-checks ssl-default-bind-ciphers \
         ssl-default-bind-ciphersuites ssl-default-bind-curves ssl-default-bind-options \
         ssl-default-server-ciphers ssl-default-server-ciphersuites ssl-default-server-options \
         ssl-dh-param-file ssl-load-extra-del-ext ssl-load-extra-files ssl-mode-async ssl-propquery \
         ssl-provider ssl-provider-path ssl-skip-self-issued-ca stats strict-limits thread-group \
         thread-groups tune.fail-alloc tune.fd.edge-triggered tune.h2.header-table-size \
         tune.h2.initial-window-size tune.h2.max-concurrent-streams tune.h2.max-frame-size \
         tune.idle-pool.shared tune.listener.multi-queue tune.lua.forced-yield tune.lua.maxmem \
         tune.lua.service-timeout tune.lua.session-timeout tune.lua.task-timeout \
         tune.peers.max-updates-at-once tune.pool-high-fd-ratio tune.pool-low-fd-ratio tune.sched.low-latency \
         tune.ssl.cachesize tune.ssl.capture-buffer-size tune.ssl.capture-cipherlist-size \
         tune.ssl.default-dh-param tune.ssl.force-private-cache tune.ssl.hard-maxrecord tune.ssl.keylog \
         tune.ssl.lifetime tune.ssl.maxrecord tune.ssl.ssl-ctx-cache-size tune.vars.check-max-size \
         tune.vars.global-max-size tune.vars.proc-max-size tune.vars.reqres-max-size tune.vars.sess-max-size \
         tune.vars.txn-max-size uid ulimit-n unix-bind unsetenv user zero-warning",
    ),
    (
        "proxy",
        "acl backlog balance bind capture clitcpka-cnt clitcpka-idle clitcpka-intvl compression cookie \
         declare default-server default_backend description disabled dispatch dynamic-cookie-key email-alert \
         enabled error-log-format errorfile errorfiles errorloc errorloc302 errorloc303 filter force-persist \
         fullconn hash-balance-factor hash-type http-after-response http-check http-error http-request \
         http-response http-reuse http-send-name-header id ignore-persist load-server-state-from-file log \
         log-format log-format-sd log-tag max-keep-alive-queue max-session-srv-conns maxconn mode monitor \
         monitor-uri option persist rate-limit redirect retries retry-on server server-state-file-name \
         server-template source srvtcpka-cnt srvtcpka-idle srvtcpka-intvl stats stick stick-table tcp-check \
         tcp-request tcp-response timeout transparent unique-id-format unique-id-header use-fcgi-app \
         use-server use_backend",
    ),
    (
        "option",
        "abortonclose accept-invalid-http-request accept-invalid-http-response allbackups checkcache clitcpka \
         contstats disable-h2-upgrade dontlog-normal dontlognull external-check forwarded forwardfor \
         h1-case-adjust-bogus-client h1-case-adjust-bogus-server http-buffer-request http-ignore-probes \
         http-keep-alive http-no-delay http-pretend-keepalive http-restrict-req-hdr-names http-server-close \
         http-use-proxy-header httpchk httpclose httplog httpslog idle-close-on-response independent-streams \
         ldap-check log-health-checks log-separate-errors logasap mysql-check nolinger originalto persist \
         pgsql-check prefer-last-server redis-check redispatch smtpchk socket-stats splice-auto \
         splice-request splice-response spop-check srvtcpka ssl-hello-chk tcp-check tcp-smart-accept \
         tcp-smart-connect tcpka tcplog transparent",
    ),
    (
        "timeout",
        "check client client-fin connect http-keep-alive http-request queue server server-fin tarpit tunnel",
    ),
    (
        "bind",
        "accept-netscaler-cip accept-proxy allow-0rtt alpn backlog ca-file ca-ignore-err ca-sign-file \
         ca-sign-pass ca-verify-file ciphers ciphersuites crl-file crt crt-ignore-err crt-list curves \
         defer-accept ecdhe expose-fd force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 force-tlsv13 \
         generate-certificates gid group id interface level maxconn mode mss name namespace nice no-alpn \
         no-ca-names no-sslv3 no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 npn \
         prefer-client-ciphers process proto severity-output shards ssl ssl-max-ver ssl-min-ver strict-sni \
         tcp-ut tfo thread tls-ticket-keys transparent uid user v4v6 v6only verify",
    ),
    (
        "server",
        "addr agent-addr agent-check agent-inter agent-port agent-send allow-0rtt alpn backup ca-file check \
         check-alpn check-proto check-send-proxy check-sni check-ssl check-via-socks4 ciphers ciphersuites \
         cookie crl-file crt disabled downinter enabled error-limit fall fastinter force-sslv3 force-tlsv10 \
         force-tlsv11 force-tlsv12 force-tlsv13 id init-addr inter log-proto max-reuse maxconn maxqueue \
         minconn namespace no-agent-check no-backup no-check no-check-send-proxy no-check-ssl no-send-proxy \
         no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-ssl no-ssl-reuse no-sslv3 no-tfo \
         no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 non-stick npn observe on-error on-marked-down \
         on-marked-up pool-low-conn pool-max-conn pool-purge-delay port proto proxy-v2-options redir \
         resolve-net resolve-opts resolve-prefer resolvers rise send-proxy send-proxy-v2 send-proxy-v2-ssl \
         send-proxy-v2-ssl-cn slowstart sni socks4 source ssl ssl-max-ver ssl-min-ver ssl-reuse tcp-ut tfo \
         tls-tickets track verify verifyhost weight ws",
    ),
    (
        "http-request",
        "add-acl add-header allow auth cache-use capture del-acl del-header del-map deny disable-l7-retry \
         do-resolve early-hint normalize-uri ot-group redirect reject replace-header replace-path \
         replace-pathq replace-uri replace-value return sc-add-gpc sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 \
         sc-set-gpt sc-set-gpt0 send-spoe-group set-dst set-dst-port set-header set-log-level set-map \
         set-mark set-method set-nice set-path set-pathq set-priority-class set-priority-offset set-query \
         set-src set-src-port set-timeout set-tos set-uri set-var set-var-fmt silent-drop strict-mode tarpit \
         track-sc0 unset-var use-service wait-for-body wait-for-handshake",
    ),
    (
        "http-response",
        "add-acl add-header allow cache-store capture del-acl del-header del-map deny ot-group redirect \
         replace-header replace-value return sc-add-gpc sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt \
         sc-set-gpt0 send-spoe-group set-header set-log-level set-map set-mark set-nice set-status set-tos \
         set-var set-var-fmt silent-drop strict-mode track-sc0 unset-var wait-for-body",
    ),
    (
        "http-after-response",
        "add-header allow capture del-header ot-group replace-header replace-value set-header set-status \
         set-var set-var-fmt strict-mode unset-var",
    ),
    (
        "tcp-request connection",
        "accept capture expect-netscaler-cip expect-proxy reject sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 \
         sc-set-gpt sc-set-gpt0 set-dst set-dst-port set-mark set-src set-src-port set-tos set-var \
         set-var-fmt silent-drop track-sc0 unset-var",
    ),
    (
        "tcp-request session",
        "accept reject sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 set-dst set-dst-port \
         set-mark set-src set-src-port set-tos set-var set-var-fmt silent-drop track-sc0 unset-var",
    ),
    (
        "tcp-request content",
        "accept capture do-resolve ot-group reject sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 \
         send-spoe-group set-dst set-dst-port set-log-level set-mark set-nice set-priority-class \
         set-priority-offset set-src set-src-port set-tos set-var set-var-fmt silent-drop switch-mode \
         track-sc0 unset-var use-service",
    ),
    (
        "tcp-response content",
        "accept close ot-group reject sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 \
         send-spoe-group set-log-level set-mark set-nice set-tos set-var set-var-fmt silent-drop unset-var",
    ),
    (
        "http-check",
        "comment connect disable-on-404 expect send send-state set-var set-var-fmt unset-var",
    ),
    (
        "tcp-check",
        "comment connect expect send send-binary send-binary-lf send-lf set-var set-var-fmt unset-var",
    ),
    (
        "stats",
        "admin auth enable hide-version http-request realm refresh scope show-desc show-legends show-modules \
         show-node uri",
    ),
];

/// What follows a keyword that has no table of its own.
const FURTHER: &[(&str, &str)] = &[
    (
        "redirect …",
        "location prefix scheme code drop-query append-slash ignore-empty set-cookie clear-cookie",
    ),
    (
        "cookie …",
        "rewrite insert prefix indirect nocache postonly preserve httponly secure domain maxidle maxlife \
         dynamic attr",
    ),
];

/// The keyword that `what` seems to mean, if it is none: `option redispach`, `server … chek`, `defaut_backend`. `Some(None)`
/// if it is like nothing that there is.
pub(super) fn meant(what: &str) -> Option<Option<&'static str>> {
    let (kind, word) = match what.rsplit_once(' ') {
        None => ("proxy", what),
        Some((kind, word)) => (kind, word),
    };
    let kind = match kind {
        "server …" => "server",
        "bind …" => "bind",
        other => other,
    };
    let tables = VOCABULARY.iter().chain(FURTHER);
    // Those of programs that HAProxy would be given.
    if word.starts_with("lua.") {
        return None;
    }
    let (_, words) = tables.clone().find(|(known, _)| *known == kind)?;
    let sections = VOCABULARY.iter().find(|(kind, _)| *kind == "section");
    let sections = sections
        .filter(|_| kind == "proxy")
        .map_or("", |(_, words)| *words);
    let all = || words.split(' ').chain(sections.split(' '));
    // Those of the other kind of section are known as well.
    let elsewhere = |name: &str| {
        VOCABULARY.iter().any(|(kind, words)| {
            matches!(*kind, "global" | "proxy") && words.split(' ').any(|word| word == name)
        })
    };
    let known = all().any(|known| known == word) || (kind == "proxy" && elsewhere(word));
    (!known).then(|| suggest::nearest(word, all()))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn whatever_the_document_has_is_a_word() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/haproxy.md");
        let text = fs::read_to_string(path).unwrap();
        for (kind, words) in VOCABULARY {
            let (_, part) = text.split_once(&format!("### {kind}\n")).unwrap();
            let part = part.split("\n### ").next().unwrap();
            let mut told: Vec<&str> = part.split('`').skip(1).step_by(2).collect();
            told.sort_unstable();
            assert_eq!(told, words.split(' ').collect::<Vec<_>>(), "{kind}");
        }
    }

    #[test]
    fn what_is_no_word_is_told_from_what_is_one() {
        for (what, near) in [
            ("defaut_backend", Some(Some("default_backend"))),
            ("backnd", Some(Some("backend"))),
            ("option redispach", Some(Some("redispatch"))),
            ("server … chek", Some(Some("check"))),
            ("http-request authe", Some(Some("auth"))),
            ("redirect … locaton", Some(Some("location"))),
            ("xyzzy", Some(None)),
            ("dispatch", None),
            ("server … socks4", None),
            ("a thing of its own", None),
        ] {
            assert_eq!(meant(what), near, "{what}");
        }
    }
}
