//! Clients that people really use: curl, wrk and iperf3, and what they report.

use std::net::SocketAddr;
use std::time::Duration;

use crate::process::{Process, run};
use crate::{Error, Netns, Result, wait};

/// Runs curl with these arguments and gives what it printed: `curl(ns, &["-si", url])`.
///
/// # Errors
/// When curl fails or takes longer than 20 s.
pub fn curl(netns: &Netns, arguments: &[&str]) -> Result<String> {
    let mut command = netns.command("curl");
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
    ]);
    let output = run(command.args(arguments))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What wrk reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrk {
    /// Requests answered.
    pub requests: u64,
    /// Connections refused or timed out, reads, writes and answers that failed.
    pub socket_errors: u64,
    /// Answers that were neither 2xx nor 3xx.
    pub bad_statuses: u64,
}

/// Runs wrk for some seconds with many keep-alive connections.
///
/// # Errors
/// When wrk fails or reports nothing.
pub fn wrk(netns: &Netns, connections: usize, seconds: u32, url: &str) -> Result<Wrk> {
    let mut command = netns.command("wrk");
    command.args([
        "-t",
        "2",
        "-c",
        &connections.to_string(),
        "-d",
        &format!("{seconds}s"),
        url,
    ]);
    let output = run(&mut command)?;
    wrk_report(&String::from_utf8_lossy(&output.stdout))
}

/// What wrk has reported.
///
/// # Errors
/// When it has reported nothing.
pub fn wrk_report(text: &str) -> Result<Wrk> {
    let mut report = Wrk::default();
    let mut seen = false;
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line
            .split([' ', ','])
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            [count, "requests", "in", ..] => {
                report.requests = count.parse().unwrap_or(0);
                seen = true;
            }
            ["Socket", "errors:", rest @ ..] => {
                report.socket_errors = rest.iter().filter_map(|w| w.parse::<u64>().ok()).sum();
            }
            ["Non-2xx", "or", "3xx", "responses:", count] => {
                report.bad_statuses = count.parse().unwrap_or(0);
            }
            _ => {}
        }
    }
    if seen {
        Ok(report)
    } else {
        Err(Error::new(format!("no report from wrk: {text}")))
    }
}

/// Starts an iperf3 server on an address of the namespace; it listens when this returns.
///
/// # Errors
/// When iperf3 cannot be started or does not listen.
pub fn iperf3_server(netns: &Netns, address: SocketAddr) -> Result<Process> {
    let mut command = netns.command("iperf3");
    command.args([
        "--server",
        "--forceflush",
        "--bind",
        &address.ip().to_string(),
    ]);
    command.args(["--port", &address.port().to_string()]);
    let server = Process::start(command)?;
    wait::until_true("iperf3 to listen", || server.stdout().contains("listening"))?;
    Ok(server)
}

/// What an iperf3 client reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iperf3 {
    /// Bytes that the sender has handed to its kernel.
    pub sent: u64,
    /// Bytes that the receiver had read when the sender was done; some more may have been on the way.
    pub received: u64,
    /// Bits per second there.
    pub bits_per_second: f64,
    /// Segments sent again.
    pub retransmits: u64,
}

/// Sends that many bytes to an iperf3 server, or with `reverse` has it send them.
///
/// # Errors
/// When iperf3 fails, with what it says.
pub fn iperf3(netns: &Netns, target: SocketAddr, bytes: u64, reverse: bool) -> Result<Iperf3> {
    let mut command = netns.command("iperf3");
    command.args(["--json", "--client", &target.ip().to_string()]);
    command.args([
        "--port",
        &target.port().to_string(),
        "--bytes",
        &bytes.to_string(),
    ]);
    command.args(["--connect-timeout", "5000"]);
    if reverse {
        command.arg("--reverse");
    }
    let mut client = Process::start(command)?;
    client.wait(Duration::from_secs(60))?;
    let text = client.stdout();
    iperf3_report(&text)
        .ok_or_else(|| Error::new(format!("no report from iperf3: {text} {}", client.stderr())))
}

/// What iperf3 has reported in JSON.
pub fn iperf3_report(text: &str) -> Option<Iperf3> {
    let report: serde_json::Value = serde_json::from_str(text).ok()?;
    let end = report.get("end")?;
    Some(Iperf3 {
        sent: end.get("sum_sent")?.get("bytes")?.as_u64()?,
        received: end.get("sum_received")?.get("bytes")?.as_u64()?,
        bits_per_second: end.get("sum_received")?.get("bits_per_second")?.as_f64()?,
        retransmits: end.get("sum_sent")?.get("retransmits")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_wrk_is_read() {
        let text = "Running 2s test @ http://10.77.1.1:80/\n  2 threads and 256 connections\n  \
                    41201 requests in 2.10s, 5.03MB read\n  \
                    Socket errors: connect 0, read 3, write 1, timeout 2\n  \
                    Non-2xx or 3xx responses: 7\nRequests/sec:  19619.52\n";
        let report = Wrk {
            requests: 41201,
            socket_errors: 6,
            bad_statuses: 7,
        };
        assert_eq!(wrk_report(text).unwrap(), report);
        assert!(wrk_report("unable to connect to 10.77.1.1:80 Connection refused").is_err());
    }

    #[test]
    fn a_report_of_iperf3_is_read() {
        let text = r#"{"end": {"sum_sent": {"retransmits": 4, "bytes": 9},
            "sum_received": {"bytes": 8, "bits_per_second": 1.5}}}"#;
        let report = Iperf3 {
            sent: 9,
            received: 8,
            bits_per_second: 1.5,
            retransmits: 4,
        };
        assert_eq!(iperf3_report(text), Some(report));
        assert_eq!(iperf3_report(r#"{"error": "unable to connect"}"#), None);
    }
}
