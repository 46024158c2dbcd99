//! One row of HAProxy's statistics: what the CSV, the JSON, the page and `lb status` all show.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A number, or nothing where the column does not apply.
type Number = Option<u64>;
/// A number that may be negative, or nothing where the column does not apply.
type Signed = Option<i64>;
/// A text, or nothing where the column does not apply.
type Text = Option<Cow<'static, str>>;

/// Declares the row once, so that fields, header and cells cannot fall out of step.
macro_rules! columns {
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ty, $nature:ident $kind:ident,)*) => {
        /// A row under HAProxy's column names (management guide §9.1), in HAProxy 2.6's order.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub struct Row {
            $(
                $(#[doc = $doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: $ty,
            )*
        }

        impl Row {
            /// The columns' names.
            pub const COLUMNS: &'static [&'static str] = &[$(plain(stringify!($name)),)*];

            /// Origin, nature and scope of each in HAProxy's letters (management guide §9.2), and its type's name.
            pub const NATURES: &'static [(&'static str, &'static str)] =
                &[$((stringify!($nature), stringify!($kind)),)*];

            /// What each of them is.
            pub const DESCRIPTIONS: &'static [&'static str] = &[$(concat!($($doc),*),)*];

            /// Hands each cell to `each`, in the columns' order.
            pub fn cells(&self, mut each: impl FnMut(Cell<'_>)) {
                $(each(self.$name.as_ref().map_or(Cell::Empty, IntoCell::cell));)*
            }
        }
    };
}

columns! {
    /// The proxy's name.
    pxname: Text, KNS str,
    /// `FRONTEND`, `BACKEND` or the server's name.
    svname: Text, KNS str,
    /// Waiting for a slot now.
    qcur: Number, MGP u32,
    /// Most that waited at a time.
    qmax: Number, MMP u32,
    /// Sessions now.
    scur: Number, MGP u32,
    /// Most sessions at a time.
    smax: Number, MMP u32,
    /// Most sessions allowed.
    slim: Number, CLP u32,
    /// Sessions so far.
    stot: Number, MCP u64,
    /// Bytes from clients.
    bin: Number, MCP u64,
    /// Bytes to clients.
    bout: Number, MCP u64,
    /// Requests denied.
    dreq: Number, MCP u64,
    /// Responses denied.
    dresp: Number, MCP u64,
    /// Requests that were none.
    ereq: Number, MCP u64,
    /// Connections to servers that failed.
    econ: Number, MCP u64,
    /// Responses that were none.
    eresp: Number, MCP u64,
    /// Connections tried again.
    wretr: Number, MCP u64,
    /// Connections given to another server.
    wredis: Number, MCP u64,
    /// State in HAProxy's words.
    status: Text, SGP str,
    /// Weight that balancing uses; of a backend the sum.
    weight: Number, MaP u32,
    /// Whether it is an ordinary server; of a backend how many are up.
    act: Number, MGP u32,
    /// Whether it is a backup; of a backend how many are up.
    bck: Number, MGP u32,
    /// Checks that failed while it was up.
    chkfail: Number, MCP u64,
    /// Times it went down.
    chkdown: Number, MCP u64,
    /// Seconds since it last went up or down.
    lastchg: Number, MAP u32,
    /// Seconds spent down.
    downtime: Number, MCP u32,
    /// Most that may wait.
    qlimit: Number, CLS u32,
    /// Number of the process, always 1.
    pid: Number, KGP u32,
    /// Number of the proxy.
    iid: Number, KGS u32,
    /// Number of the server in its backend, from 1.
    sid: Number, KGS u32,
    /// Share of its weight during slow start, in percent.
    throttle: Number, MaP u32,
    /// Times that balancing chose it.
    lbtot: Number, MCP u64,
    /// Server whose state it follows.
    tracked: Text, CNS str,
    /// 0 frontend, 1 backend, 2 server.
    r#type: Number, CGS u32,
    /// Sessions in the last second.
    rate: Number, MRP u32,
    /// Most sessions a second allowed.
    rate_lim: Number, CLP u32,
    /// Most sessions in a second.
    rate_max: Number, MMP u32,
    /// The last check's result.
    check_status: Text, MOP str,
    /// The last check's code, such as an HTTP status.
    check_code: Number, MOP u32,
    /// The last check's time in milliseconds.
    check_duration: Number, MDP u64,
    /// Responses 1xx.
    hrsp_1xx: Number, MCP u64,
    /// Responses 2xx.
    hrsp_2xx: Number, MCP u64,
    /// Responses 3xx.
    hrsp_3xx: Number, MCP u64,
    /// Responses 4xx.
    hrsp_4xx: Number, MCP u64,
    /// Responses 5xx.
    hrsp_5xx: Number, MCP u64,
    /// Other responses.
    hrsp_other: Number, MCP u64,
    /// Failures that traffic showed.
    hanafail: Number, MCP u64,
    /// Requests in the last second.
    req_rate: Number, MRP u32,
    /// Most requests in a second.
    req_rate_max: Number, MMP u32,
    /// Requests so far.
    req_tot: Number, MCP u64,
    /// Transfers that clients broke off.
    cli_abrt: Number, MCP u64,
    /// Transfers that servers broke off.
    srv_abrt: Number, MCP u64,
    /// Bytes given to compression.
    comp_in: Number, MCP u64,
    /// Bytes that compression gave.
    comp_out: Number, MCP u64,
    /// Bytes that passed compression by.
    comp_byp: Number, MCP u64,
    /// Responses compressed.
    comp_rsp: Number, MCP u64,
    /// Seconds since the last session; -1 for never.
    lastsess: Signed, MAP s32,
    /// What the last check said.
    last_chk: Text, MOP str,
    /// What the last agent check said.
    last_agt: Text, MOP str,
    /// Mean milliseconds in the queue.
    qtime: Number, MaP u32,
    /// Mean milliseconds to connect.
    ctime: Number, MaP u32,
    /// Mean milliseconds to the response.
    rtime: Number, MaP u32,
    /// Mean milliseconds in all.
    ttime: Number, MaP u32,
    /// The last agent check's result.
    agent_status: Text, MOP str,
    /// The last agent check's code.
    agent_code: Number, MOP u32,
    /// The last agent check's time in milliseconds.
    agent_duration: Number, MDP u64,
    /// The last check's result in words.
    check_desc: Text, MOP str,
    /// The last agent check's result in words.
    agent_desc: Text, MOP str,
    /// Successes that make it up.
    check_rise: Number, CGS u32,
    /// Failures that make it down.
    check_fall: Number, CGS u32,
    /// The health counter, from 0 to rise + fall - 1.
    check_health: Number, CGS u32,
    /// The agent's `rise`.
    agent_rise: Number, CGS u32,
    /// The agent's `fall`.
    agent_fall: Number, CGS u32,
    /// The agent's health counter.
    agent_health: Number, CGS u32,
    /// The server's address.
    addr: Text, CGS str,
    /// The server's cookie value, or the backend's cookie name.
    cookie: Text, CNS str,
    /// `tcp` or `http`.
    mode: Text, CGS str,
    /// The backend's algorithm.
    algo: Text, CGS str,
    /// Connections in the last second.
    conn_rate: Number, MRP u32,
    /// Most connections in a second.
    conn_rate_max: Number, MMP u32,
    /// Connections so far.
    conn_tot: Number, MCP u64,
    /// Requests answered by the proxy itself.
    intercepted: Number, MCP u64,
    /// Connections denied.
    dcon: Number, MCP u64,
    /// Sessions denied.
    dses: Number, MCP u64,
    /// Headers that could not be rewritten.
    wrew: Number, MCP u64,
    /// Attempts to connect.
    connect: Number, MCP u64,
    /// Times that a connection was used again.
    reuse: Number, MCP u64,
    /// Looks into the cache.
    cache_lookups: Number, MCP u64,
    /// Answers from the cache.
    cache_hits: Number, MCP u64,
    /// Idle connections to the server.
    srv_icur: Number, MGP u32,
    /// Most idle connections allowed.
    src_ilim: Number, CLP u32,
    /// Longest milliseconds in the queue.
    qtime_max: Number, MMP u32,
    /// Longest milliseconds to connect.
    ctime_max: Number, MMP u32,
    /// Longest milliseconds to the response.
    rtime_max: Number, MMP u32,
    /// Longest milliseconds in all.
    ttime_max: Number, MMP u32,
    /// Internal errors.
    eint: Number, MCP u64,
    /// Idle connections that may be used for anyone.
    idle_conn_cur: Number, MGP u32,
    /// Idle connections that may be used safely.
    safe_conn_cur: Number, MGP u32,
    /// Connections in use.
    used_conn_cur: Number, MGP u32,
    /// Connections needed, estimated.
    need_conn_est: Number, MGP u32,
    /// The weight as configured or set.
    uweight: Number, MaP u32,
    /// Servers by state, aggregated.
    agg_server_status: Number, MGP u32,
    /// Servers by check, aggregated.
    agg_server_check_status: Number, MGP u32,
    /// Servers by check state, aggregated.
    agg_check_status: Number, MGP u32,
    /// TLS sessions with clients.
    ssl_sess: Number, MCP u64,
    /// Those of them that go on from earlier ones.
    ssl_reused_sess: Number, MCP u64,
    /// TLS handshakes with clients that failed.
    ssl_failed_handshake: Number, MCP u64,
}

impl Row {
    /// The first column that HAProxy has from a module of a protocol, not of all proxies: in the CSV a dash parts them.
    pub const FIRST_OF_MODULES: &'static str = "ssl_sess";
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// The column does not apply to this row.
    Empty,
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A text.
    Text(&'a str),
}

trait IntoCell {
    fn cell(&self) -> Cell<'_>;
}

impl IntoCell for u64 {
    fn cell(&self) -> Cell<'_> {
        Cell::Number(*self)
    }
}

impl IntoCell for i64 {
    fn cell(&self) -> Cell<'_> {
        Cell::Signed(*self)
    }
}

impl IntoCell for Cow<'static, str> {
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
}

/// A field's name without the mark of a raw identifier.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}
