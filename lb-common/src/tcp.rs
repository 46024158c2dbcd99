//! A TCP connection as a balancer in the middle sees it: a set of facts, not a copy of either end's state.
//!
//! A state is a set of bits. Sequence numbers are not checked here, the two ends do that; therefore a single forged
//! segment must not do lasting harm: FIN and RST only shorten the time after which an idle flow is forgotten, and an
//! ordinary segment from the same side takes that back. Only what the server itself sent is taken as proof that a
//! connection is over ([`is_over`]): a client's segments can be forged by anyone, a server's cannot.

/// TCP header flag bits (RFC 9293 §3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// Those that can change a flow's state by themselves.
    pub const CONTROL: u8 = FIN | SYN | RST;
}

/// State bits.
pub mod state {
    /// The client's SYN was seen; nothing else yet.
    pub const NEW: u8 = 0;
    /// The server answered SYN-ACK.
    pub const ANSWERED: u8 = 0x01;
    /// The client acknowledged the answer.
    pub const OPEN: u8 = 0x02;
    /// The client sent FIN.
    pub const FIN_CLIENT: u8 = 0x04;
    /// The server sent FIN.
    pub const FIN_SERVER: u8 = 0x08;
    /// The client sent RST.
    pub const RST_CLIENT: u8 = 0x10;
    /// The server sent RST.
    pub const RST_SERVER: u8 = 0x20;
    /// Only the client's packets are seen (`dsr`): the server answers it directly. Set when the flow opens, for good.
    pub const ONE_SIDED: u8 = 0x40;
    /// The entry is being removed: whoever set this, under the flow's lock, settles its counts.
    pub const GONE: u8 = 0x80;
    /// Data flows both ways, the state of nearly every packet.
    pub const ESTABLISHED: u8 = ANSWERED | OPEN;
    /// Both ends have said that they are done.
    pub const FIN_BOTH: u8 = FIN_CLIENT | FIN_SERVER;
}

/// What is known of a client's SYN on a flow, beside the flow's state.
pub mod syn {
    /// That it is one, and acknowledges nothing.
    pub const OPENS: u8 = 1;
    /// The flow's server takes no new connections of this service, or there is no such service any more.
    pub const ASTRAY: u8 = 2;
    /// Neither end has said anything for [`QUIET_TICKS`].
    pub const QUIET: u8 = 4;
    /// A little less than the second after which a client sends its SYN again. An end that lives has answered an earlier one
    /// by then, and may answer this one: Linux sends two challenges within half a second to nobody.
    pub const QUIET_TICKS: u32 = 800 / crate::abi::TICK_MS;
}

use state::{
    ANSWERED, ESTABLISHED, FIN_BOTH, FIN_CLIENT, FIN_SERVER, ONE_SIDED, OPEN, RST_CLIENT,
    RST_SERVER,
};

/// The state after a segment.
///
/// `flags` are the segment's, `data` whether it carries any payload. A SYN on a flow that [`is_over`] is not for this
/// function: the flow is opened anew. A SYN on one that is closing by the client's word alone opens it again on the same
/// server.
#[inline(always)]
pub const fn next(old: u8, from_client: bool, flags: u8, data: bool) -> u8 {
    let (fin, rst, answer) = if from_client {
        (FIN_CLIENT, RST_CLIENT, OPEN)
    } else {
        (FIN_SERVER, RST_SERVER, ANSWERED)
    };
    if flags & flag::RST != 0 {
        return old | rst;
    }
    if flags & flag::SYN != 0 {
        if !from_client {
            return if flags & flag::ACK != 0 {
                old | answer
            } else {
                old
            };
        }
        // Nobody opens a connection by answering: a SYN-ACK from the client's side is forged or astray.
        return if is_closing(old) && flags & flag::ACK == 0 {
            old & ONE_SIDED
        } else {
            old
        };
    }
    // An ordinary segment shows that its sender has not reset the connection; data, that it has not finished either,
    // unless both have: then it is a retransmission on the way out.
    let mut new = old & !rst;
    if data && new & FIN_BOTH == fin && flags & flag::FIN == 0 {
        new &= !fin;
    }
    if flags & flag::ACK != 0 {
        if !from_client || new & ANSWERED != 0 {
            // From the server not only a SYN-ACK: to a forged RST and SYN it answers with an ordinary segment.
            new |= answer;
        } else if new & ONE_SIDED != 0 {
            // The answer went another way: the client acknowledges it.
            new |= ESTABLISHED;
        }
    }
    if flags & flag::FIN != 0 {
        new |= fin;
    }
    new
}

/// Whether the flow carries data both ways and has nothing to decide: the state of nearly every packet.
#[inline(always)]
pub const fn is_established(s: u8) -> bool {
    s & !ONE_SIDED == ESTABLISHED
}

/// Whether the flow no longer counts as an active connection of its server: both ends have finished, or either reset.
/// Where only the client is seen, its FIN is all there is to see: every orderly end has one.
#[inline(always)]
pub const fn is_closing(s: u8) -> bool {
    s & FIN_BOTH == FIN_BOTH
        || s & (RST_CLIENT | RST_SERVER) != 0
        || s & (ONE_SIDED | FIN_CLIENT) == ONE_SIDED | FIN_CLIENT
}

/// Whether a SYN may move the flow to another server: the server itself has finished with the connection.
#[inline(always)]
pub const fn is_over(s: u8) -> bool {
    s & FIN_BOTH == FIN_BOTH || s & RST_SERVER != 0
}

/// Whether a client's SYN, of which is known what [`syn`] has bits for, ends a flow in state `s`, so that it is a new one's.
///
/// Where the server takes no new connections, and so the same server will not do, less proof is asked for than its own word:
/// that the client has ended the connection, or that the server has left a SYN before this one unanswered. Both take more
/// than one segment of somebody who forges them.
#[inline(always)]
pub const fn ends_by(s: u8, known: u8) -> bool {
    if known & syn::OPENS == 0 {
        return false;
    }
    let unanswered = s & ANSWERED == 0 && known & syn::QUIET != 0;
    is_over(s) || known & syn::ASTRAY != 0 && (is_closing(s) || unanswered)
}

/// The state after a client's SYN that ends nothing. Where the same server will not do, and it is silent, it is asked whether
/// it knows the connection: one that does answers with an ordinary segment, which settles it.
#[inline(always)]
pub const fn next_by_syn(old: u8, known: u8) -> u8 {
    const DOUBTED: u8 = syn::ASTRAY | syn::QUIET;
    // Where the server is not seen it cannot be asked.
    if known & DOUBTED == DOUBTED && old & (ONE_SIDED | ANSWERED) == ANSWERED {
        return old & !ANSWERED;
    }
    next(old, true, flag::SYN, false)
}

/// Idle time after which a flow in state `s` is forgotten, in ticks of [`crate::abi::TICK_MS`], where `established` is
/// the configured one. The others are conntrack's (`nf_conntrack_proto_tcp.c`: SYN_SENT 120 s cut to the client's
/// patience of some 60 s, FIN_WAIT 120 s, TIME_WAIT cut to the 60 s that Linux itself keeps it, CLOSE 10 s), and never
/// longer than `established`.
#[inline(always)]
pub const fn idle_ticks(s: u8, established: u32) -> u32 {
    const SECOND: u32 = 1000 / crate::abi::TICK_MS;
    let limit = if s & (RST_CLIENT | RST_SERVER) != 0 {
        10 * SECOND
    } else if is_closing(s) {
        return 60 * SECOND;
    } else if s & FIN_BOTH != 0 {
        120 * SECOND
    } else if s & OPEN == 0 {
        60 * SECOND
    } else {
        return established;
    };
    if limit < established {
        limit
    } else {
        established
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::{flag::*, state::*, *};

    /// Runs segments `(from client, flags, data)` from a fresh SYN.
    fn run(segments: &[(bool, u8, bool)]) -> u8 {
        segments
            .iter()
            .fold(NEW, |s, (c, f, d)| next(s, *c, *f, *d))
    }

    const HANDSHAKE: [(bool, u8, bool); 3] = [
        (true, SYN, false),
        (false, SYN | ACK, false),
        (true, ACK, false),
    ];

    #[test]
    fn a_connection_opens_and_closes() {
        let mut s = HANDSHAKE.to_vec();
        assert_eq!(run(&s), ESTABLISHED);
        s.push((true, FIN | ACK, false));
        assert!(!is_closing(run(&s)), "half-closed still counts");
        s.push((false, ACK, true));
        assert_eq!(
            run(&s),
            ESTABLISHED | FIN_CLIENT,
            "the server's data says nothing about the client"
        );
        s.push((false, FIN | ACK, false));
        s.push((true, ACK, false));
        assert!(is_closing(run(&s)) && is_over(run(&s)));
    }

    #[test]
    fn a_forged_reset_is_taken_back_by_the_next_segment_and_moves_nothing() {
        let mut s = HANDSHAKE.to_vec();
        s.push((true, RST, false));
        assert!(is_closing(run(&s)));
        assert!(
            !is_over(run(&s)),
            "a client's RST alone never lets a SYN move the flow"
        );
        s.push((false, ACK, true));
        assert!(
            is_closing(run(&s)),
            "the server's segment says nothing about the client's RST"
        );
        s.push((true, ACK, false));
        assert_eq!(run(&s), ESTABLISHED);
    }

    #[test]
    fn a_forged_fin_is_taken_back_by_data() {
        let mut s = HANDSHAKE.to_vec();
        s.push((true, FIN | ACK, false));
        s.push((true, ACK, true));
        assert_eq!(run(&s), ESTABLISHED);
    }

    #[test]
    fn retransmitted_data_on_the_way_out_does_not_reopen() {
        let mut s = HANDSHAKE.to_vec();
        s.extend([
            (true, FIN | ACK, false),
            (false, FIN | ACK, false),
            (false, ACK, true),
            (true, ACK, true),
        ]);
        assert!(is_over(run(&s)));
    }

    #[test]
    fn a_refused_connection_is_over() {
        assert!(is_over(run(&[
            (true, SYN, false),
            (false, RST | ACK, false)
        ])));
    }

    #[test]
    fn a_syn_after_the_clients_own_reset_opens_again() {
        let mut s = HANDSHAKE.to_vec();
        s.extend([(true, RST, false), (true, SYN, false)]);
        assert_eq!(run(&s), NEW);
    }

    #[test]
    fn a_syn_ack_from_the_clients_side_opens_nothing() {
        let mut s = HANDSHAKE.to_vec();
        s.extend([(true, FIN | ACK, false), (false, FIN | ACK, false)]);
        let closed = run(&s);
        s.push((true, SYN | ACK, false));
        assert_eq!(run(&s), closed);
    }

    #[test]
    fn a_forged_reset_and_a_forged_syn_are_taken_back_too() {
        let mut s = HANDSHAKE.to_vec();
        s.extend([
            (true, RST, false),
            (true, SYN, false),
            // The server's challenge (RFC 5961 §4) and the true client's next segment.
            (false, ACK, false),
            (true, ACK, true),
        ]);
        assert_eq!(run(&s), ESTABLISHED);
    }

    #[test]
    fn a_syn_on_a_live_flow_changes_nothing() {
        let mut s = HANDSHAKE.to_vec();
        s.push((true, SYN, false));
        assert_eq!(run(&s), ESTABLISHED);
        assert_eq!(
            run(&[(true, SYN, false), (true, SYN, false)]),
            NEW,
            "nor does a retransmitted one"
        );
    }

    #[test]
    fn a_syn_leaves_a_server_that_takes_no_new_connections_once_the_old_one_has_ended() {
        use syn::{ASTRAY, OPENS, QUIET};
        let mut s = HANDSHAKE.to_vec();
        assert!(!ends_by(run(&s), OPENS | ASTRAY | QUIET), "it lives");
        s.push((true, RST, false));
        assert!(!ends_by(run(&s), OPENS), "the server is as good as any");
        assert!(!ends_by(run(&s), ASTRAY | QUIET), "it is no SYN");
        assert!(ends_by(run(&s), OPENS | ASTRAY));
        s.push((true, SYN, false));
        assert!(!ends_by(run(&s), OPENS | ASTRAY), "it has just been asked");
        assert!(ends_by(run(&s), OPENS | ASTRAY | QUIET), "and is dead");
        s.push((false, SYN | ACK, false));
        assert!(!ends_by(run(&s), OPENS | ASTRAY | QUIET), "it answers");
    }

    #[test]
    fn a_silent_server_that_takes_no_new_connections_is_asked_by_a_syn() {
        use syn::{ASTRAY, OPENS, QUIET};
        let open = run(&HANDSHAKE);
        for known in [OPENS, OPENS | ASTRAY, OPENS | QUIET] {
            assert_eq!(next_by_syn(open, known), open);
        }
        let asked = next_by_syn(open, OPENS | ASTRAY | QUIET);
        assert!(!is_established(asked) && !is_closing(asked));
        assert!(!ends_by(asked, OPENS | ASTRAY), "it has its time");
        assert!(ends_by(asked, OPENS | ASTRAY | QUIET));
        assert_eq!(next(asked, false, ACK, false), ESTABLISHED, "it answers");
        assert_eq!(next(asked, true, ACK, true), asked, "the client lives");
        assert_eq!(
            next_by_syn(open | ONE_SIDED, OPENS | ASTRAY | QUIET),
            open | ONE_SIDED,
            "nobody would hear its answer"
        );
    }

    #[test]
    fn a_flow_of_which_only_the_client_is_seen_opens_and_closes_by_its_segments() {
        let one = |segments: &[(bool, u8, bool)]| {
            segments
                .iter()
                .fold(ONE_SIDED, |s, (c, f, d)| next(s, *c, *f, *d))
        };
        let mut s = vec![(true, SYN, false), (true, ACK, false)];
        assert!(is_established(one(&s)));
        s.push((true, FIN | ACK, false));
        assert!(
            is_closing(one(&s)) && !is_over(one(&s)),
            "no longer active, but a SYN must not move it"
        );
        s.push((true, ACK, false));
        assert!(
            is_closing(one(&s)),
            "acknowledging what the server still sends"
        );
        s.push((true, SYN, false));
        assert_eq!(
            one(&s),
            ONE_SIDED,
            "the port is used again, on the same server"
        );
    }

    #[test]
    fn idle_times_never_exceed_the_configured_one() {
        for s in 0..=0x7f {
            if !is_closing(s) || s & (RST_CLIENT | RST_SERVER) != 0 {
                assert!(idle_ticks(s, 50) <= 50);
            }
            assert!(idle_ticks(s, u32::MAX) > 0);
        }
    }
}
