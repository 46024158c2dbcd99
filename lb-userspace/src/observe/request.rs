//! What the runtime socket may ask of the fast path, and what that answers.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::model::Prefix;

/// A request. An answer that nobody waits for any more is dropped.
#[derive(Debug)]
pub enum Request {
    /// Read the counters now; why that cannot be, if it cannot.
    Look(oneshot::Sender<Result<(), String>>),
    /// The flows that the kernel forwards now, in batches.
    Flows {
        /// Which.
        filter: FlowFilter,
        /// Takes them; a receiver that is dropped ends the reading.
        rows: mpsc::Sender<Vec<FlowRow>>,
    },
    /// Drop new flows from a prefix and end those that there are, until the next start; whether that is new, or why it
    /// cannot be.
    Deny(Prefix, oneshot::Sender<Result<bool, String>>),
    /// Take flows from a prefix again, until the next start; whether it was denied, or why that cannot be.
    Allow(Prefix, oneshot::Sender<Result<bool, String>>),
    /// The denied prefixes, and whether the file has them.
    Denied(oneshot::Sender<Vec<(Prefix, bool)>>),
    /// Tell of every packet of a client.
    Trace {
        /// The client's address.
        client: IpAddr,
        /// Whether that has begun; if not, why.
        begun: oneshot::Sender<Result<(), String>>,
        /// Takes the packets; a receiver that is dropped ends the trace.
        packets: mpsc::Sender<TraceRow>,
    },
}

/// Which flows are wanted: those to which all that is said applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// A frontend's name.
    pub frontend: Option<String>,
    /// A backend's name.
    pub backend: Option<String>,
    /// A server's name.
    pub server: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// No more than this many.
    pub limit: Option<usize>,
}

/// A flow that the kernel forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client.
    pub client: SocketAddr,
    /// Where it came to.
    pub service: SocketAddr,
    /// The frontend's name.
    pub frontend: String,
    /// The backend's name.
    pub backend: String,
    /// The server's name.
    pub server: String,
    /// Its state in words.
    pub state: String,
    /// Whether its handshake is not completed.
    pub half_open: bool,
    /// Since it opened, milliseconds.
    pub age_ms: u32,
    /// Since the last packet, milliseconds, to a tenth of a second.
    pub idle_ms: u32,
    /// Packets from the client.
    pub packets_in: u64,
    /// Packets from the server; 0 where the server answers the client directly.
    pub packets_out: u64,
    /// Bytes of payload from the client.
    pub bytes_in: u64,
    /// Bytes of payload from the server, likewise.
    pub bytes_out: u64,
}

/// What the kernel program decided for one packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// When: milliseconds since 1970.
    pub time_ms: u64,
    /// The interface it came in by.
    pub interface: String,
    /// `tcp`, `udp`, `icmp`, or the number.
    pub protocol: String,
    /// Where it came from; port 0 if it has none.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// TCP flags by their first letters, `-` for none.
    pub flags: String,
    /// Length of the IP packet, bytes.
    pub length: u32,
    /// `frontend backend/server` of its flow, if it has one.
    pub server: Option<String>,
    /// The flow's state before the packet, if it has one.
    pub state: Option<String>,
    /// `forwarded`, `passed_up`, `dropped`, `answered` or `other`.
    pub outcome: String,
    /// Name of the counter.
    pub reason: String,
    /// The reason as a sentence.
    pub why: String,
}
