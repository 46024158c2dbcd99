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
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ty,)*) => {
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
    pxname: Text,
    /// `FRONTEND`, `BACKEND` or the server's name.
    svname: Text,
    /// Waiting for a slot now.
    qcur: Number,
    /// Most that waited at a time.
    qmax: Number,
    /// Sessions now.
    scur: Number,
    /// Most sessions at a time.
    smax: Number,
    /// Most sessions allowed.
    slim: Number,
    /// Sessions so far.
    stot: Number,
    /// Bytes from clients.
    bin: Number,
    /// Bytes to clients.
    bout: Number,
    /// Requests denied.
    dreq: Number,
    /// Responses denied.
    dresp: Number,
    /// Requests that were none.
    ereq: Number,
    /// Connections to servers that failed.
    econ: Number,
    /// Responses that were none.
    eresp: Number,
    /// Connections tried again.
    wretr: Number,
    /// Connections given to another server.
    wredis: Number,
    /// State in HAProxy's words.
    status: Text,
    /// Weight that balancing uses; of a backend the sum.
    weight: Number,
    /// Whether it is an ordinary server; of a backend how many are up.
    act: Number,
    /// Whether it is a backup; of a backend how many are up.
    bck: Number,
    /// Checks that failed while it was up.
    chkfail: Number,
    /// Times it went down.
    chkdown: Number,
    /// Seconds since it last went up or down.
    lastchg: Number,
    /// Seconds spent down.
    downtime: Number,
    /// Most that may wait.
    qlimit: Number,
    /// Number of the process, always 1.
    pid: Number,
    /// Number of the proxy.
    iid: Number,
    /// Number of the server in its backend, from 1.
    sid: Number,
    /// Share of its weight during slow start, in percent.
    throttle: Number,
    /// Times that balancing chose it.
    lbtot: Number,
    /// Server whose state it follows.
    tracked: Text,
    /// 0 frontend, 1 backend, 2 server.
    r#type: Number,
    /// Sessions in the last second.
    rate: Number,
    /// Most sessions a second allowed.
    rate_lim: Number,
    /// Most sessions in a second.
    rate_max: Number,
    /// The last check's result.
    check_status: Text,
    /// The last check's code, such as an HTTP status.
    check_code: Number,
    /// The last check's time in milliseconds.
    check_duration: Number,
    /// Responses 1xx.
    hrsp_1xx: Number,
    /// Responses 2xx.
    hrsp_2xx: Number,
    /// Responses 3xx.
    hrsp_3xx: Number,
    /// Responses 4xx.
    hrsp_4xx: Number,
    /// Responses 5xx.
    hrsp_5xx: Number,
    /// Other responses.
    hrsp_other: Number,
    /// Failures that traffic showed.
    hanafail: Number,
    /// Requests in the last second.
    req_rate: Number,
    /// Most requests in a second.
    req_rate_max: Number,
    /// Requests so far.
    req_tot: Number,
    /// Transfers that clients broke off.
    cli_abrt: Number,
    /// Transfers that servers broke off.
    srv_abrt: Number,
    /// Bytes given to compression.
    comp_in: Number,
    /// Bytes that compression gave.
    comp_out: Number,
    /// Bytes that passed compression by.
    comp_byp: Number,
    /// Responses compressed.
    comp_rsp: Number,
    /// Seconds since the last session; -1 for never.
    lastsess: Signed,
    /// What the last check said.
    last_chk: Text,
    /// What the last agent check said.
    last_agt: Text,
    /// Mean milliseconds in the queue.
    qtime: Number,
    /// Mean milliseconds to connect.
    ctime: Number,
    /// Mean milliseconds to the response.
    rtime: Number,
    /// Mean milliseconds in all.
    ttime: Number,
    /// The last agent check's result.
    agent_status: Text,
    /// The last agent check's code.
    agent_code: Number,
    /// The last agent check's time in milliseconds.
    agent_duration: Number,
    /// The last check's result in words.
    check_desc: Text,
    /// The last agent check's result in words.
    agent_desc: Text,
    /// Successes that make it up.
    check_rise: Number,
    /// Failures that make it down.
    check_fall: Number,
    /// The health counter, from 0 to rise + fall - 1.
    check_health: Number,
    /// The agent's `rise`.
    agent_rise: Number,
    /// The agent's `fall`.
    agent_fall: Number,
    /// The agent's health counter.
    agent_health: Number,
    /// The server's address.
    addr: Text,
    /// The server's cookie value, or the backend's cookie name.
    cookie: Text,
    /// `tcp` or `http`.
    mode: Text,
    /// The backend's algorithm.
    algo: Text,
    /// Connections in the last second.
    conn_rate: Number,
    /// Most connections in a second.
    conn_rate_max: Number,
    /// Connections so far.
    conn_tot: Number,
    /// Requests answered by the proxy itself.
    intercepted: Number,
    /// Connections denied.
    dcon: Number,
    /// Sessions denied.
    dses: Number,
    /// Headers that could not be rewritten.
    wrew: Number,
    /// Attempts to connect.
    connect: Number,
    /// Times that a connection was used again.
    reuse: Number,
    /// Looks into the cache.
    cache_lookups: Number,
    /// Answers from the cache.
    cache_hits: Number,
    /// Idle connections to the server.
    srv_icur: Number,
    /// Most idle connections allowed.
    src_ilim: Number,
    /// Longest milliseconds in the queue.
    qtime_max: Number,
    /// Longest milliseconds to connect.
    ctime_max: Number,
    /// Longest milliseconds to the response.
    rtime_max: Number,
    /// Longest milliseconds in all.
    ttime_max: Number,
    /// Internal errors.
    eint: Number,
    /// Idle connections that may be used for anyone.
    idle_conn_cur: Number,
    /// Idle connections that may be used safely.
    safe_conn_cur: Number,
    /// Connections in use.
    used_conn_cur: Number,
    /// Connections needed, estimated.
    need_conn_est: Number,
    /// The weight as configured or set.
    uweight: Number,
    /// Servers by state, aggregated.
    agg_server_status: Number,
    /// Servers by check, aggregated.
    agg_server_check_status: Number,
    /// Servers by check state, aggregated.
    agg_check_status: Number,
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
