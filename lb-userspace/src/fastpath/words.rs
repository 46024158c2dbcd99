//! States, flags and reasons in words.

use lb_common::{
    flow::flags,
    tcp::{
        flag,
        state::{
            ANSWERED, ESTABLISHED, FIN_BOTH, FIN_CLIENT, FIN_SERVER, OPEN, RST_CLIENT, RST_SERVER,
        },
    },
};

use super::image::{TCP, UDP};

/// A protocol's name.
pub(super) fn protocol(number: u32) -> String {
    const ICMP: u32 = libc::IPPROTO_ICMP as u32;
    const ICMPV6: u32 = libc::IPPROTO_ICMPV6 as u32;
    if number == u32::from(TCP) {
        return "tcp".into();
    }
    if number == u32::from(UDP) {
        return "udp".into();
    }
    match number {
        ICMP => "icmp".into(),
        ICMPV6 => "icmpv6".into(),
        _ => number.to_string(),
    }
}

/// A flow's state.
pub(super) fn state(protocol: u32, state: u8, leg_flags: u8, half_open: bool) -> &'static str {
    if leg_flags & flags::RESETTING != 0 {
        return "being reset";
    }
    if protocol != u32::from(TCP) {
        return if state & ANSWERED != 0 {
            "answered"
        } else {
            "unanswered"
        };
    }
    if state & RST_SERVER != 0 {
        "reset by server"
    } else if state & RST_CLIENT != 0 {
        "reset by client"
    } else if state & FIN_BOTH == FIN_BOTH {
        "closed"
    } else if state & FIN_CLIENT != 0 {
        "client has finished"
    } else if state & FIN_SERVER != 0 {
        "server has finished"
    } else if half_open && state & ANSWERED == 0 {
        "half-open, unanswered"
    } else if half_open {
        "half-open, answered"
    } else if state & ESTABLISHED == ESTABLISHED || state & OPEN != 0 {
        "established"
    } else {
        "opening"
    }
}

/// TCP flags by their first letters.
pub(super) fn tcp_flags(bits: u8) -> String {
    const PSH: u8 = 0x08;
    const URG: u8 = 0x20;
    let letters = [
        (flag::SYN, 'S'),
        (flag::FIN, 'F'),
        (flag::RST, 'R'),
        (PSH, 'P'),
        (flag::ACK, 'A'),
        (URG, 'U'),
    ];
    let set = letters.iter().filter(|(bit, _)| bits & bit != 0);
    let text: String = set.map(|(_, letter)| *letter).collect();
    if text.is_empty() { "-".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_people_say_them() {
        assert_eq!(state(6, ESTABLISHED, 0, false), "established");
        assert_eq!(state(6, 0, 0, true), "half-open, unanswered");
        assert_eq!(
            state(6, ESTABLISHED | FIN_CLIENT, 0, false),
            "client has finished"
        );
        assert_eq!(
            state(6, ESTABLISHED, flags::RESETTING, false),
            "being reset"
        );
        assert_eq!(state(17, 0, 0, true), "unanswered");
        assert_eq!(tcp_flags(flag::SYN | flag::ACK), "SA");
        assert_eq!(tcp_flags(0), "-");
    }
}
