//! What is wrong with servers' keys.

use super::{Case, check};

#[test]
fn is_explained_at_its_place() {
    check(CASES);
}

const CASES: &[Case] = &[Case {
    name: "a queue where nobody waits",
    text: r#"frontends:
  web: { bind: "*:80", default_backend: app }
backends:
  app:
    default_server: { max_queue: 9 }
    servers:
      - { name: s1, address: "192.0.2.1:80" }
      - { name: s2, address: "192.0.2.2:80", maxconn: 1 }
      - { name: s3, address: "192.0.2.3:80", max_queue: 0 }
"#,
    found: &[
        "5:23 warning: `max_queue` has no effect on `s1`, which has no `maxconn`: nobody waits for it => write `maxconn` as well, or remove it",
        "9:57 error: `max_queue` must be a whole number from 1 to 4294967295, not `0` => write a number in that range",
    ],
}];
