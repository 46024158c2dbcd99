//! Flows and traced packets as lines.

use std::time::{Duration, UNIX_EPOCH};

use crate::observe::{
    log::clock::Calendar,
    request::{FlowRow, TraceRow},
};

/// The headings over [`flow`]'s lines.
pub fn heading() -> String {
    columns([
        "PROTO", "CLIENT", "SERVICE", "SERVER", "STATE", "AGE", "IDLE", "PACKETS", "BYTES",
    ])
}

/// One flow as a line; packets and bytes are those from the client and those from the server.
pub fn flow(row: &FlowRow) -> String {
    columns([
        &row.protocol,
        &row.client.to_string(),
        &row.service.to_string(),
        &format!("{} {}/{}", row.frontend, row.backend, row.server),
        &row.state,
        &short(row.age_ms),
        &short(row.idle_ms),
        &format!("{}/{}", row.packets_in, row.packets_out),
        &format!("{}/{}", row.bytes_in, row.bytes_out),
    ])
}

/// Rows come one after the other, so the widths are what is usual rather than what is there.
fn columns(cells: [&str; 9]) -> String {
    const WIDTHS: [usize; 9] = [5, 21, 21, 24, 21, 6, 6, 12, 0];
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:width$}  "));
    }
    line.truncate(line.trim_end().len());
    line
}

/// A time in its largest unit: `250ms`, `12s`, `5m`, `3h`, `2d`.
fn short(ms: u32) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}s", ms / 1_000),
        60_000..3_600_000 => format!("{}m", ms / 60_000),
        3_600_000..86_400_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

/// One traced packet as a line.
pub fn packet(row: &TraceRow) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(row.time_ms));
    let time = Calendar::local(at.unwrap_or(UNIX_EPOCH));
    let flow = match (&row.server, &row.state) {
        (Some(server), Some(state)) => format!(" [{server}, {state}]"),
        (Some(server), None) => format!(" [{server}]"),
        _ => String::new(),
    };
    format!(
        "{}.{:03} {} {} {} > {} {} {} bytes{flow}: {}: {} ({})",
        time.time(),
        time.millisecond,
        row.interface,
        row.protocol,
        row.source,
        row.destination,
        row.flags,
        row.length,
        row.outcome.replace('_', " "),
        row.why,
        row.reason
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_reads_in_one_line() {
        let row = FlowRow {
            protocol: "tcp".into(),
            client: "192.0.2.7:40000".parse().unwrap(),
            service: "192.0.2.1:80".parse().unwrap(),
            frontend: "fe".into(),
            backend: "be".into(),
            server: "s1".into(),
            state: "established".into(),
            half_open: false,
            age_ms: 61_000,
            idle_ms: 200,
            packets_in: 5,
            packets_out: 4,
            bytes_in: 100,
            bytes_out: 2000,
        };
        let words: Vec<String> = flow(&row).split_whitespace().map(Into::into).collect();
        let expected =
            "tcp 192.0.2.7:40000 192.0.2.1:80 fe be/s1 established 1m 200ms 5/4 100/2000";
        assert_eq!(words.join(" "), expected);
        assert_eq!(
            heading().find("CLIENT"),
            flow(&row).find("192.0.2.7"),
            "under its heading"
        );
    }

    #[test]
    fn a_packet_reads_with_its_sentence() {
        let row = TraceRow {
            time_ms: 1_700_000_000_123,
            interface: "eth0".into(),
            protocol: "tcp".into(),
            source: "192.0.2.7:40000".parse().unwrap(),
            destination: "192.0.2.1:80".parse().unwrap(),
            flags: "S".into(),
            length: 60,
            server: Some("fe be/s1".into()),
            state: Some("established".into()),
            outcome: "passed_up".into(),
            reason: "no_server".into(),
            why: "new flows that found no server".into(),
        };
        let line = packet(&row);
        let expected = ".123 eth0 tcp 192.0.2.7:40000 > 192.0.2.1:80 S 60 bytes [fe be/s1, established]: \
                        passed up: new flows that found no server (no_server)";
        assert!(line.ends_with(expected), "{line}");
    }
}
