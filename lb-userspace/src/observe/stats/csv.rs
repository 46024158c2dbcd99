//! HAProxy's CSV.

use std::fmt::Write;

use super::{
    row::{Cell, Row},
    snapshot::Snapshot,
};

/// What parts the columns of all proxies from those of protocols.
const DASH: &str = "-,";

/// The whole table: header, a row per frontend, server and backend, and the empty line that ends HAProxy's.
pub fn write<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut out = String::with_capacity(4096);
    out.push_str("# ");
    let mut columns = Row::COLUMNS.iter();
    let modules = columns.position(|column| *column == Row::FIRST_OF_MODULES);
    for (place, column) in Row::COLUMNS.iter().enumerate() {
        if Some(place) == modules {
            out.push_str(DASH);
        }
        out.push_str(column);
        out.push(',');
    }
    out.push('\n');
    for row in rows {
        let mut place = 0;
        row.cells(|cell| {
            if Some(place) == modules {
                out.push_str(DASH);
            }
            place += 1;
            match cell {
                Cell::Empty => {}
                // A String takes everything.
                Cell::Number(number) => drop(write!(out, "{number}")),
                Cell::Signed(number) => drop(write!(out, "{number}")),
                Cell::Text(text) => push_text(&mut out, text),
            }
            out.push(',');
        });
        out.push('\n');
    }
    out
}

/// All of `snapshot`.
pub fn of(snapshot: &Snapshot) -> String {
    write(snapshot.rows())
}

/// Quotes a text that would break the table (RFC 4180 §2).
fn push_text(out: &mut String, text: &str) {
    if !text.contains(['"', ',', '\n', '\r']) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\"\""),
            // Readers split lines first.
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HAProxy 2.6's header up to where the columns of its protocol modules begin.
    const HEADER: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight,agg_server_status,agg_server_check_status,agg_check_status,";

    #[test]
    fn the_header_is_haproxys() {
        let table = write([]);
        assert_eq!(
            table,
            format!("{HEADER}-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,\n")
        );
    }

    #[test]
    fn cells_stand_under_their_columns_and_are_quoted_where_needed() {
        let row = Row {
            pxname: Some("a".into()),
            svname: Some("s".into()),
            lastsess: Some(-1),
            last_chk: Some("no, \"not\"\nso".into()),
            ..Row::default()
        };
        let table = write([&row]);
        let line = table.lines().nth(1).expect("one row");
        assert!(line.starts_with("a,s,,"));
        assert!(line.contains(",-1,\"no, \"\"not\"\" so\",,"), "{line}");
        let commas = line.matches(',').count();
        assert_eq!(
            commas,
            Row::COLUMNS.len() + 2,
            "each column ends in one, the dash too, and one is quoted"
        );
        assert!(line.ends_with(",-,,,,"), "{line}");
    }
}
