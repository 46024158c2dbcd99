//! systemd's journal, in its native protocol: a datagram of fields, a line each.

use std::fmt::Write;

use super::{level::Level, rfc3164::push_line};

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Puts an entry into `out`, which is emptied first. The message is kept to one line, so that it is no field of its own.
pub(super) fn entry(
    out: &mut String,
    (facility, level): (u8, Level),
    tag: &str,
    pid: u32,
    message: &str,
) {
    // A String takes everything.
    let _ = write!(
        out,
        "PRIORITY={}\nSYSLOG_FACILITY={facility}\nSYSLOG_IDENTIFIER={tag}\nSYSLOG_PID={pid}\nMESSAGE=",
        level as u8
    );
    push_line(out, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_become_a_field() {
        let mut out = String::new();
        entry(&mut out, (16, Level::Notice), "lb", 7, "up\nPRIORITY=0");
        assert_eq!(
            out,
            "PRIORITY=5\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=lb\nSYSLOG_PID=7\nMESSAGE=up PRIORITY=0\n"
        );
    }
}
