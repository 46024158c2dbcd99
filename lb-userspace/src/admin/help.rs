//! What commands there are, and what is said to whoever knows none of them.

use std::fmt::Write;

/// What there is, in the order of the help; those that HAProxy has under its words.
const COMMANDS: &[(&str, &str)] = &[
    (
        "abort ssl cert <certfile>",
        "abort a transaction for a certificate file",
    ),
    (
        "add acl [@<ver>] <acl> <pattern>",
        "add a pattern to a file of them, until it changes on the disk",
    ),
    (
        "add deny <prefix>",
        "drop new kernel flows from a prefix and end those that run, until the next start",
    ),
    (
        "add map [@<ver>] <map> <key> <val>",
        "add a line to a map (or a payload), until its file changes on the disk",
    ),
    ("add server <bk>/<srv>", "create a new server"),
    (
        "add ssl crt-list <list> <cert>",
        "add a certificate to those of a folder",
    ),
    ("clear acl [@<ver>] <acl>", "remove all patterns of a file"),
    (
        "clear counters [all]",
        "clear max statistics counters (or all counters)",
    ),
    ("clear map [@<ver>] <map>", "remove all lines of a map"),
    (
        "clear table <table> [<filter>]*",
        "remove entries of a stick table (filter: data or key)",
    ),
    (
        "commit acl @<ver> <acl>",
        "put a prepared version in the place of a file's patterns",
    ),
    (
        "commit map @<ver> <map>",
        "put a prepared version in the place of a map's lines",
    ),
    ("commit ssl cert <certfile>", "commit a certificate file"),
    ("del acl <acl> [<key>|#<ref>]", "remove a pattern"),
    (
        "del deny <prefix>",
        "take flows from a denied prefix again, until the next start",
    ),
    ("del map <map> [<key>|#<ref>]", "remove a map's lines"),
    (
        "del server <bk>/<srv>",
        "remove a server that is in maintenance",
    ),
    (
        "del ssl cert <certfile>",
        "delete an unused certificate file",
    ),
    (
        "del ssl crt-list <list> <cert>",
        "take a certificate from those of a folder",
    ),
    ("disable agent", "disable agent checks"),
    (
        "disable dynamic-cookie backend <bk>",
        "disable dynamic cookies on a specific backend",
    ),
    (
        "disable frontend <frontend>",
        "temporarily disable specific frontend",
    ),
    ("disable health", "disable health checks"),
    (
        "disable server (DEPRECATED)",
        "disable a server for maintenance (use 'set server' instead)",
    ),
    ("enable agent", "enable agent checks"),
    (
        "enable dynamic-cookie backend <bk>",
        "enable dynamic cookies on a specific backend",
    ),
    ("enable frontend <frontend>", "re-enable specific frontend"),
    ("enable health", "enable health checks"),
    (
        "enable server  (DEPRECATED)",
        "enable a disabled server (use 'set server' instead)",
    ),
    (
        "get acl <acl> <value>",
        "report the pattern that a value matches",
    ),
    ("get map <map> <key>", "report what a value leads to"),
    (
        "get var <name>",
        "retrieve contents of a process-wide variable",
    ),
    ("get weight <bk>/<srv>", "report a server's current weight"),
    (
        "new ssl cert <certfile>",
        "create a new certificate file to be used in a crt-list or a directory",
    ),
    (
        "operator",
        "lower the level of the current CLI session to operator",
    ),
    (
        "prepare acl <acl>",
        "begin a new version of a file's patterns",
    ),
    ("prepare map <map>", "begin a new version of a map"),
    ("reload", "read the configuration again"),
    (
        "set dynamic-cookie-key backend <bk> <k>",
        "change a backend secret key for dynamic cookies",
    ),
    (
        "set map <map> [<key>|#<ref>] <value>",
        "have a map's line lead to something else",
    ),
    (
        "set maxconn frontend <frontend> <value>",
        "change a frontend's maxconn setting",
    ),
    (
        "set maxconn global <value>",
        "change the per-process maxconn setting",
    ),
    (
        "set maxconn server <bk>/<srv>",
        "change a server's maxconn setting",
    ),
    (
        "set rate-limit <setting> <value>",
        "change a rate limiting value",
    ),
    (
        "set server <bk>/<srv> [opts]",
        "change a server's state, weight, address or ssl",
    ),
    (
        "set ssl cert <certfile> <payload>",
        "replace a certificate file until it changes on the disk",
    ),
    (
        "set table <table> key <k> [data.* <v>]*",
        "make or change an entry of a stick table",
    ),
    ("set timeout [cli] <delay>", "change a timeout setting"),
    (
        "set var <name> [fmt|expr] {<fmt>|<expr>}",
        "set variable from an expression or a format",
    ),
    (
        "set weight <bk>/<srv>  (DEPRECATED)",
        "change a server's weight (use 'set server' instead)",
    ),
    (
        "show acl [@<ver>] [<acl>]",
        "list the files of patterns, or one's lines",
    ),
    (
        "show activity",
        "show per-thread activity stats (for support/developers)",
    ),
    (
        "show backend",
        "list backends in the current running config",
    ),
    (
        "show cli level",
        "display the level of the current CLI session",
    ),
    ("show cli sockets", "dump list of cli sockets"),
    ("show deny", "list the denied prefixes"),
    (
        "show env [var]",
        "dump environment variables known to the process",
    ),
    (
        "show errors [<px>] [request|response]",
        "report last request and/or response errors for each proxy",
    ),
    (
        "show fd [num]",
        "dump list of file descriptors in use or a specific one",
    ),
    (
        "show flows [json] [<filter>]",
        "list the kernel's flows (frontend, backend, server, client, limit)",
    ),
    (
        "show info [desc|json|typed]*",
        "report information about the running process",
    ),
    ("show map [@<ver>] [<map>]", "list the maps, or one's lines"),
    ("show pools", "report information about the memory usage"),
    (
        "show resolvers [id]",
        "dumps counters from all resolvers section and associated name servers",
    ),
    (
        "show servers conn [<backend>]",
        "dump server connections status (all or for a single backend)",
    ),
    (
        "show servers state [<backend>]",
        "dump volatile server information (all or for a single backend)",
    ),
    (
        "show sess [id]",
        "report the list of current sessions or dump this exact session",
    ),
    (
        "show ssl ca-file [<cafile>]",
        "display the SSL CA files used, or the details of one",
    ),
    (
        "show ssl cert [<certfile>]",
        "display the SSL certificates used in memory, or the details of a file",
    ),
    (
        "show ssl crl-file [<crlfile>]",
        "display the SSL CRL files used, or the details of one",
    ),
    (
        "show ssl crt-list [-n] [<list>]",
        "show the list of crt-lists or the content of a crt-list file <list>",
    ),
    ("show startup-logs", "report logs emitted during startup"),
    (
        "show stat [desc|json|no-maint|typed|up]*",
        "report counters for each proxy and server",
    ),
    (
        "show status json",
        "report everything that the stats page shows, as JSON",
    ),
    (
        "show table <table> [<filter>]*",
        "report table usage stats or dump this table's contents (filter: data/key)",
    ),
    ("show threads", "show some threads debugging information"),
    (
        "show tls-keys [#<id>|*|<file>]",
        "show the files of keys of tickets, or their keys",
    ),
    ("show version", "show version of the current process"),
    ("shutdown frontend <frontend>", "stop a specific frontend"),
    ("shutdown session [id]", "kill a specific session"),
    (
        "shutdown sessions server <bk>/<srv>",
        "kill sessions on a server",
    ),
    (
        "trace client <ip> [opts]",
        "print what the kernel does with a client's packets (json, count, seconds)",
    ),
    (
        "upgrade [timeout <s>] [binary <path>]",
        "have another process take this one's place",
    ),
    ("user", "lower the level of the current CLI session to user"),
    ("help [<command>]", "list matching or all commands"),
    ("prompt", "toggle interactive mode with prompt"),
    ("quit", "disconnect"),
];

/// The last of them stand under every list.
const ALWAYS: usize = 3;

/// The commands that begin with `words`, or all.
pub(super) fn help(words: &[&str]) -> String {
    let mut out = String::from("The following commands are valid at this level:\n");
    let wanted = words.join(" ");
    list(&mut out, |command| command.starts_with(&wanted));
    out
}

/// As HAProxy: what begins with the same words, as many of them as lead anywhere, else everything.
pub(super) fn unknown(words: &[&str]) -> String {
    let same = |count: usize| {
        let words = words.get(..count).unwrap_or_default();
        move |command: &str| {
            command
                .split_whitespace()
                .take(count)
                .eq(words.iter().copied())
        }
    };
    let longest = (1..=words.len())
        .rev()
        .find(|&count| COMMANDS.iter().any(|(command, _)| same(count)(command)));
    let mut out = String::new();
    match longest {
        Some(count) => {
            out.push_str(
                "Unknown command, but maybe one of the following ones is a better match:\n",
            );
            list(&mut out, same(count));
        }
        None => {
            out.push_str("Unknown command. Please enter one of the following commands only:\n");
            list(&mut out, |_| true);
        }
    }
    // The caller ends the line.
    out.pop();
    out
}

fn list(out: &mut String, wanted: impl Fn(&str) -> bool) {
    for (index, (command, help)) in COMMANDS.iter().enumerate() {
        if wanted(command) || index + ALWAYS >= COMMANDS.len() {
            // A String takes everything.
            let _ = writeln!(out, "  {command:<40}: {help}");
        }
    }
}
