//! Why the kernel program did what it did with a packet: one per-CPU counter a reason, each with a name and a sentence
//! that operators read in `lb status`, on the stats page and in `/metrics`.

/// What became of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Sent on by the kernel.
    Forwarded,
    /// Given to the host's own stack.
    PassedUp,
    /// Thrown away.
    Dropped,
    /// Turned into an answer to its sender.
    Answered,
    /// Something else happened beside.
    Noted,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $outcome:ident, $help:literal;)+) => {
        /// A reason, also the index of its counter.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Reason::ALL.len();

            /// The reason with this counter.
            pub const fn from_index(index: u32) -> Option<Reason> {
                if index >= Reason::COUNT as u32 {
                    return None;
                }
                // SAFETY: `repr(u32)` without gaps from 0, and the index is below their number.
                Some(unsafe { core::mem::transmute::<u32, Reason>(index) })
            }

            /// Name in metrics and status.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            /// What it says of a packet.
            pub const fn outcome(self) -> Outcome {
                match self { $(Reason::$variant => Outcome::$outcome,)+ }
            }

            /// A sentence for people.
            pub const fn help(self) -> &'static str {
                match self { $(Reason::$variant => $help,)+ }
            }
        }
    };
}

reasons! {
    /// A packet of a known flow, towards its server.
    ForwardedIn = "forwarded_in", Forwarded, "packets sent on to servers";
    /// A packet of a known flow, towards its client.
    ForwardedOut = "forwarded_out", Forwarded, "packets sent back to clients";
    /// Not Ethernet unicast IPv4 or IPv6, or not TCP or UDP.
    NotForUs = "not_for_us", PassedUp, "packets that are no business of any service";
    /// Too short for the headers it announces.
    Malformed = "malformed", PassedUp, "packets shorter than their headers say; the host discards them";
    /// A fragment of no flow.
    Fragment = "fragment", PassedUp, "IP fragments of no known flow";
    /// More IPv6 extension headers than are walked, or one that is not known.
    ExtensionHeaders = "extension_headers", PassedUp, "IPv6 packets with more extension headers than four, or unknown ones";
    /// An ICMP error about a packet of no known flow.
    IcmpNoFlow = "icmp_no_flow", PassedUp, "ICMP errors about packets of no known flow";
    /// An ICMP error about a packet of a known flow.
    IcmpForwarded = "icmp_forwarded", Forwarded, "ICMP errors about packets of known flows, sent on to whom they concern";
    /// Another processor is sending another copy of the same SYN at this moment.
    DuplicateSyn = "duplicate_syn", Dropped, "second copies of a SYN that another processor was just sending on";
    /// Loose or strict source routing.
    SourceRoute = "source_route", Dropped, "packets with an IP source route option";
    /// A segment of no known flow to a service, that some socket of this host owns.
    UserspaceOwned = "userspace_owned", PassedUp, "segments of connections that userspace serves";
    /// A segment of no known flow to a service; the host answers RST.
    NoFlow = "no_flow", PassedUp, "segments of no known flow to a service; the host answers with a reset";
    /// As before while settling.
    Settling = "settling", Dropped, "segments of no known flow while maps are being taken over, or to an address that has come a moment ago; clients retransmit";
    /// The source is denied.
    Denied = "denied", Dropped, "new flows from denied prefixes";
    /// The source opens flows faster than it may.
    RateLimited = "rate_limited", Dropped, "new flows above `new_flows_per_source`";
    /// TTL 1 on a packet of no known flow.
    TtlExceededUp = "ttl_exceeded_up", PassedUp, "new flows whose first packet could not be sent any further";
    /// No server may take a new flow.
    NoServer = "no_server", PassedUp, "new flows that found no server up with a free slot";
    /// The chosen server's neighbour is not known.
    NoNextHop = "no_next_hop", PassedUp, "new flows whose server's MAC address is not known yet";
    /// The way back to the client is not one we know.
    NoSide = "no_side", PassedUp, "new flows from an interface or VLAN that the agent has not described";
    /// The frame is for a station that this host is not (RFC 894, `PACKET_OTHERHOST`).
    OtherStation = "other_station", PassedUp, "new flows in frames for another station's MAC address; the host discards them";
    /// Nobody can be answered at the source address (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).
    MartianSource = "martian_source", PassedUp, "new flows from addresses that no host has; the host discards them";
    /// The flow table is full.
    TableFull = "table_full", PassedUp, "new flows that found the flow table full";
    /// All source NAT ports tried were taken.
    NoSnatPort = "no_snat_port", PassedUp, "new flows that found no free source port";
    /// Another client's connection to the same server has the same tuple.
    TupleTaken = "tuple_taken", PassedUp, "new flows whose addresses and ports at the server are in use already";
    /// The agent is stopping.
    Draining = "draining", PassedUp, "new flows that came while the fast path was being stopped";
    /// A new flow that would have been passed up, but for `overflow: drop`.
    OverflowDropped = "overflow_dropped", Dropped, "new flows refused by `overflow: drop`";
    /// TTL 1 on a known flow.
    TtlExceeded = "ttl_exceeded", Dropped, "packets of known flows whose time to live ran out here";
    /// A known flow whose next hop is lost.
    HopLost = "hop_lost", Dropped, "packets of known flows whose next hop is not known at present";
    /// A packet of a half-open flow that does not acknowledge the server's SYN.
    BadHandshake = "bad_handshake", Dropped, "segments of half-open flows that do not fit the server's answer";
    /// Too big for the way out, and its sender cannot be told.
    TooBigDropped = "too_big_dropped", Dropped, "packets too big for their way out whose senders cannot be told";
    /// Too big for the way out; its sender is told.
    TooBigAnswered = "too_big_answered", Answered, "packets too big for their way out, answered with ICMP";
    /// A segment of a flow that is being reset.
    ResetAnswered = "reset_answered", Answered, "segments of flows being reset, answered with a reset";
    /// A flow being reset: what is no acknowledgement by itself.
    ResetDropped = "reset_dropped", Dropped, "segments of flows being reset that cannot be answered";
    /// There is no room in front of the packet for another header.
    NoHeadroom = "no_headroom", Dropped, "packets whose buffer has no room for the header to be added";
    /// A reply to a source NAT port of no flow.
    StrayReply = "stray_reply", Dropped, "segments to a reserved source port of no flow";
    /// The flow has two entries and only one was found.
    HalfMissing = "half_missing", Dropped, "packets of a flow whose other half is gone";
    /// A flow was opened, half at first.
    FlowOpened = "flow_opened", Noted, "flows opened, half-open ones included";
    /// A flow entered the table of established ones.
    FlowEstablished = "flow_established", Noted, "flows whose handshake was completed, or that were answered";
    /// As before, but there was no room.
    NotEstablished = "not_established", Noted, "completed handshakes that found the flow table full; the flow goes on as half-open";
    /// A segment in mid-connection opened a flow: its server was recomputed.
    FlowAdopted = "flow_adopted", Noted, "flows taken over in mid-connection, whose server was computed anew";
    /// A half-open flow made room for a newer one.
    HalfOpenEvicted = "half_open_evicted", Noted, "half-open flows that made room for newer ones";
    /// A half-open flow grew too old.
    HalfOpenExpired = "half_open_expired", Noted, "half-open flows forgotten because nobody completed them";
    /// A flow was marked as being reset.
    FlowReset = "flow_reset", Noted, "flows reset by order";
    /// A flow was closed and removed.
    FlowClosed = "flow_closed", Noted, "flows removed after they closed";
    /// A flow was removed because it was idle.
    FlowExpired = "flow_expired", Noted, "flows removed because they were idle";
    /// A reverse entry without its forward one was removed.
    OrphanRemoved = "orphan_removed", Noted, "reverse entries removed because their flow was gone";
    /// The ring buffer was full.
    EventLost = "event_lost", Noted, "flows whose end is not in the access log, since the agent was away";
    /// A closed flow's tuple was used again.
    FlowReopened = "flow_reopened", Noted, "flows balanced anew because the client used the port of a closed one";
    /// A trace record found no room, or there were too many.
    TraceLost = "trace_lost", Noted, "packets of a traced client that were not shown";
    /// The client's packets now come from another interface, tag or MAC address.
    SideRelearnt = "side_relearnt", Noted, "flows whose client moved to another interface or MAC address";
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn names_are_unique_and_indices_dense() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reason::COUNT);
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert_eq!(Reason::from_index(i as u32), Some(*reason));
        }
        assert_eq!(Reason::from_index(Reason::COUNT as u32), None);
    }
}
