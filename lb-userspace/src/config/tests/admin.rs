//! Sockets of the administration.

use super::{Case, check, valid};
use crate::config::model::AdminLevel;

#[test]
fn two_cannot_be_at_the_same_place() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "one in the place of the one that lb has by itself",
        text: r#"global: { admin_socket: { bind: "unix:/run/lb/admin.sock", mode: 660 } }
stats: { bind: "127.0.0.1:1080" }
"#,
        found: &[
            "1:25 error: `unix:/run/lb/admin.sock` is where lb listens by itself, with the level `admin`, as long as no other socket has that level => write `level: admin`, or another path",
        ],
    },
    Case {
        name: "one twice, after one that cannot be read",
        text: r#"global:
  admin_socket:
    - { bind: nowhere }
    - /run/a.sock
    - { bind: "/run/b.sock" }
    - { bind: "/run/a.sock", level: user }
stats: { bind: "127.0.0.1:1080" }
"#,
        found: &[
            "3:15 error: `bind`: `nowhere` has no port => write address and port, such as `\"*:80\"`",
            "6:7 error: `unix:/run/a.sock` is listened on twice => remove one of them",
        ],
    },
];

#[test]
fn one_with_the_level_admin_takes_the_place_of_the_one_that_lb_has_by_itself() {
    let config = valid(
        r#"global: { admin_socket: { bind: "unix:/run/lb/admin.sock", mode: 660, level: admin } }
stats: { bind: "127.0.0.1:1080" }
"#,
    );
    let [socket] = config.global.admin_sockets.as_slice() else {
        panic!("{:?}", config.global.admin_sockets);
    };
    assert_eq!(socket.level, AdminLevel::Admin);
    assert_eq!(socket.permissions.mode, Some(0o660));
}
