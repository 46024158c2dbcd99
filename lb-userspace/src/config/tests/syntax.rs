//! Text that is not the YAML that was meant.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "an empty file",
        text: "",
        found: &[
            "1:1 error: the file is empty => write at least `frontends:` and `backends:`; `conf/` has examples",
        ],
    },
    Case {
        name: "comments alone",
        text: "# frontends:
#   web:
",
        found: &[
            "1:1 error: the file is empty => write at least `frontends:` and `backends:`; `conf/` has examples",
        ],
    },
    Case {
        name: "a single word",
        text: "frontends
",
        found: &[
            "1:1 error: the configuration must be a mapping of keys and values, this is a single value => write `key: value` lines, indented, or `{ key: value }`",
        ],
    },
    Case {
        name: "a list at the top",
        text: "- frontends
",
        found: &[
            "1:1 error: the configuration must be a mapping of keys and values, this is a list => write `key: value` lines, indented, or `{ key: value }`",
        ],
    },
    Case {
        name: "an unquoted wildcard bind",
        text: r#"frontends:
  web:
    bind: *:9001
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[r#"3:11 error: `*:9001` without quotes is a YAML alias => quote it: `"*:9001"`"#],
    },
    Case {
        name: "several unquoted wildcards and another error",
        text: r#"frontends:
  web:
    bind: [*:9001, "*:9002"]
    maxconn: many
    default_backend: ap
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
stats: { bind: *:1080, uri: stats }
"#,
        found: &[
            r#"3:12 error: `*:9001` without quotes is a YAML alias => quote it: `"*:9001"`"#,
            "4:14 error: `maxconn` must be a whole number from 1 to 4294967295, not `many` => write decimal digits alone",
            "5:22 error: there is no backend `ap` => did you mean `app`?",
            r#"10:16 error: `*:1080` without quotes is a YAML alias => quote it: `"*:1080"`"#,
            "10:29 error: `stats` is no path: it begins with `/` and has no blanks, `#` or `;` => write `/stats`",
        ],
    },
    Case {
        name: "an unquoted IPv6 bind",
        text: r#"frontends:
  web:
    bind: [::]:80
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"3:11 error: `[::]:80` without quotes begins a YAML list => quote it: `"[::]:80"`"#,
        ],
    },
    Case {
        name: "an unquoted IPv6 address in a list and inline",
        text: "frontends:
  web:
    bind:
      - [::1]:80
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: [2001:db8::1]:80 }
",
        found: &[
            r#"4:9 error: `[::1]:80` without quotes begins a YAML list => quote it: `"[::1]:80"`"#,
            r#"9:30 error: `[2001:db8::1]:80` without quotes begins a YAML list => quote it: `"[2001:db8::1]:80"`"#,
        ],
    },
    Case {
        name: "an unquoted host wildcard",
        text: r#"frontends:
  web:
    bind: "*:80"
    rules:
      - { if: { host: *.example.org }, use_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"5:23 error: `*.example.org` without quotes is a YAML alias => quote it: `"*.example.org"`"#,
        ],
    },
    Case {
        name: "an alias of nothing",
        text: r#"frontends:
  web:
    bind: "*:80"
    timeouts: *slow
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            r#"4:15 error: `*slow` is an alias, but nothing above is marked `&slow` => mark the value meant with `&slow`, or quote `"*slow"` if it is text"#,
        ],
    },
    Case {
        name: "tabs",
        text: "frontends:\n\tweb:\n\t\tbind: \"*:80\"\n",
        found: &[
            "2:1 error: a tab in the indentation => YAML indents with spaces only: write two spaces a level",
            "3:1 error: a tab in the indentation => YAML indents with spaces only: write two spaces a level",
        ],
    },
    Case {
        name: "a tab after good lines",
        text: "global:\n  maxcon: 3\nfrontends:\n  web:\n  \tbind: \"*:80\"\n",
        found: &[
            "2:3 error: unknown key `maxcon` in `global` => did you mean `maxconn`?",
            "5:3 error: a tab in the indentation => YAML indents with spaces only: write two spaces a level",
        ],
    },
    Case {
        name: "no space after a colon",
        text: "global:
  maxconn:300
  user: lb
",
        found: &["2:3 error: a space is missing after the colon => write `maxconn: 300`"],
    },
    Case {
        name: "no colon",
        text: "global:
  maxconn 300
  user: lb
",
        found: &["2:3 error: this is neither `key: value` nor a list item => write `maxconn: 300`"],
    },
    Case {
        name: "a line that is too deep",
        text: "global:
  maxconn: 300
    user: lb
",
        found: &[
            "3:5 error: this line is indented deeper than line 2, which has a value already => indent it by 2 spaces like line 2",
        ],
    },
    Case {
        name: "a line between two levels",
        text: r#"frontends:
    web:
        bind: "*:80"
      default_backend: app
"#,
        found: &[
            "4:7 error: the indentation of 6 spaces is that of no line above => line it up with the keys that it belongs beside",
        ],
    },
    Case {
        name: "a colon in a value",
        text: r#"stats:
  bind: "*:1080"
  realm: LB: statistics
"#,
        found: &[
            r#"3:10 error: a value that has `: ` in it needs quotes => write `"LB: statistics"`"#,
        ],
    },
    Case {
        name: "a variable in an inline mapping",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: ${APP}:80 }
"#,
        found: &[
            r#"6:30 error: a variable inside `{ … }` or `[ … ]` needs quotes => quote it: `"${APP}:80"`"#,
        ],
    },
    Case {
        name: "a bracket that is never closed",
        text: "global:
  log: [{ target: stderr }
frontends:
  web: {}
",
        found: &[
            "2:8 error: this `[` is not closed before line 3, or a comma is missing in it => write the missing `]` or `,`; a text that has brackets or commas in it wants quotes",
        ],
    },
    Case {
        name: "a brace that is never closed",
        text: r#"stats: { bind: "*:1080"
"#,
        found: &[
            "1:8 error: this `{` is not closed before line 2, or a comma is missing in it => write the missing `}` or `,`; a text that has brackets or commas in it wants quotes",
        ],
    },
    Case {
        name: "a bracket too many",
        text: r#"stats: { bind: "*:1080" }}
"#,
        found: &[
            "1:26 error: this bracket closes nothing => remove it, or quote the value it is part of",
        ],
    },
    Case {
        name: "a quote that is never closed",
        text: r#"global:
  user: "lb
  group: lb
"#,
        found: &[
            "2:9 error: this quote is not closed before the next key => write the closing quote",
        ],
    },
    Case {
        name: "an apostrophe in single quotes",
        text: r#"stats:
  bind: "*:1080"
  realm: 'LB's page'
"#,
        found: &[
            "3:14 error: there is text after the closing quote => quote the whole value; inside '…' an apostrophe is written twice ('it''s')",
        ],
    },
    Case {
        name: "a backslash in double quotes",
        text: r#"global:
  pidfile: "C:\pid"
"#,
        found: &[
            r#"2:12 error: inside double quotes a backslash begins an escape, and this one is unknown => write `\\` for a backslash, or use single quotes, where it is an ordinary character"#,
        ],
    },
    Case {
        name: "a value that begins with a percent sign",
        text: "global:
  user: %lb
",
        found: &[
            "1:1 error: `frontends` is missing in the configuration => write `frontends:` with a `bind` and a `default_backend` each",
            r#"2:9 error: a value cannot begin with `%` => quote it: `"%lb"`"#,
        ],
    },
    Case {
        name: "a list item on the key's line",
        text: r#"frontends:
  web:
    bind: - "*:80"
"#,
        found: &[
            "3:11 error: a list item cannot begin here => put `- …` on a line of its own below the key, or write the list inline: `[a, b]`",
        ],
    },
    Case {
        name: "two documents",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
---
frontends:
  web: { bind: "*:80", default_backend: app }
"#,
        found: &[
            "7:1 error: a second YAML document begins here => a configuration is one document: remove this `---` line, or put the rest into a file of its own",
        ],
    },
    Case {
        name: "a key twice",
        text: r#"frontends:
  web:
    bind: "*:80"
    mode: http
    bind: "*:81"
    default_backend: app
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "5:5 error: `bind` is written twice in one mapping, in lines 3 and 5 => keep one of them",
        ],
    },
    Case {
        name: "a frontend twice",
        text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
  web: { bind: "*:81", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "3:3 error: `web` is written twice in one mapping, in lines 2 and 3 => keep one of them",
        ],
    },
    Case {
        name: "a key that is a list",
        text: r#"? [a, b]
: 1
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:3 error: a key must be a name, this is a list => write `name: value`; a text that begins with `[` or `{` wants quotes",
        ],
    },
    Case {
        name: "an alias in itself",
        text: "frontends: &f
  web: *f
",
        found: &[
            "2:8 error: this alias is inside the value that it stands for => write the value out where it is needed",
        ],
    },
    Case {
        name: "a tag",
        text: r#"global: { user: !secret lb }
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "1:17 error: the tag `!secret` means nothing here => remove it, or quote the value if it begins with an exclamation mark",
        ],
    },
    Case {
        name: "a control character",
        text: "global:\n  user: l\u{1}b\n",
        found: &[
            "2:10 error: control character U+0001 => remove it; if the whole file looks like this, save it as UTF-8 text",
        ],
    },
    Case {
        name: "merge of something else",
        text: r#"global:
  <<: [1]
frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    servers:
      - { name: s1, address: "192.0.2.1:80" }
"#,
        found: &[
            "2:7 error: `<<` merges mappings, this is a list => write `<<: *name`, where `&name` marks a mapping above",
        ],
    },
    Case {
        name: "nesting without end",
        text: "global: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
",
        found: &[
            "1:9 error: `global` must be a mapping of keys and values, this is a list => write `key: value` lines, indented, or `{ key: value }`",
            "1:40 error: nested more than 32 levels deep => no part of a configuration is that deep: look for a bracket too many",
        ],
    },
];
