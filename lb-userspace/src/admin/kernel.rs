//! Runtime commands about the kernel path. Their answers come from the fast path's own thread, some of them little by
//! little, so they are written as they come.

use std::{net::IpAddr, os::fd::AsFd, time::Duration};

use tokio::{
    io::{self, AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::flows;
use crate::{
    config::model::Prefix,
    observe::{
        path::SharedPathStatus,
        request::{FlowFilter, FlowRow, Request, TraceRow},
    },
};

/// A connection to a runtime socket.
pub(super) trait Wire: AsyncRead + AsyncWrite + AsFd + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + AsFd + Unpin + Send> Wire for T {}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KernelCommand {
    /// `show flows`
    Flows { filter: FlowFilter, json: bool },
    /// `add deny`
    Deny(Prefix),
    /// `del deny`
    Allow(Prefix),
    /// `show deny`
    Denied,
    /// `trace client`
    Trace {
        client: IpAddr,
        count: Option<u64>,
        lasting: Duration,
        json: bool,
    },
}

/// A reader of a long answer has this long to take a part of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a trace lasts where nothing else is said.
const TRACE: Duration = Duration::from_secs(60);
/// Batches of rows, and packets of a trace, that may wait for the reader.
const BATCHES: usize = 4;
const PACKETS: usize = 4096;
/// Between looks whether the reader of a trace is still there.
const LOOK: Duration = Duration::from_millis(300);

/// The command that words are, if they are one of these; else the complaint about it.
pub(super) fn parse(words: &[&str]) -> Option<Result<KernelCommand, String>> {
    Some(match *words {
        ["show", "flows", ref options @ ..] => parse_flows(options),
        ["show", "deny"] => Ok(KernelCommand::Denied),
        ["add", "deny", text] => prefix(text).map(KernelCommand::Deny),
        ["del", "deny", text] => prefix(text).map(KernelCommand::Allow),
        ["add" | "del", "deny", ..] => {
            Err("Require an address or a prefix: add deny 198.51.100.0/24".into())
        }
        ["trace", "client", ref options @ ..] => parse_trace(options),
        _ => return None,
    })
}

fn parse_flows(mut options: &[&str]) -> Result<KernelCommand, String> {
    let (mut filter, mut json) = (FlowFilter::default(), false);
    loop {
        options = match *options {
            [] => return Ok(KernelCommand::Flows { filter, json }),
            ["json", ref rest @ ..] => {
                json = true;
                rest
            }
            ["frontend", name, ref rest @ ..] => {
                filter.frontend = Some(name.to_owned());
                rest
            }
            ["backend", name, ref rest @ ..] => {
                filter.backend = Some(name.to_owned());
                rest
            }
            ["server", name, ref rest @ ..] => {
                match name.split_once('/') {
                    Some((backend, server)) => {
                        filter.backend = Some(backend.to_owned());
                        filter.server = Some(server.to_owned());
                    }
                    None => filter.server = Some(name.to_owned()),
                }
                rest
            }
            ["client", ip, ref rest @ ..] => {
                filter.client = Some(address(ip)?);
                rest
            }
            ["limit", n, ref rest @ ..] => {
                filter.limit = Some(number(n)?);
                rest
            }
            [other, ..] => {
                return Err(format!(
                    "'{other}' is no option of show flows, or lacks its value: \
                     [json] [frontend F] [backend B] [server S] [client IP] [limit N]"
                ));
            }
        };
    }
}

fn parse_trace(options: &[&str]) -> Result<KernelCommand, String> {
    let usage = "Usage: trace client <ip> [json] [count <n>] [seconds <s>]";
    let [ip, ref rest @ ..] = *options else {
        return Err(usage.into());
    };
    let client = address(ip)?;
    let (mut count, mut lasting, mut json) = (None, TRACE, false);
    let mut options = rest;
    loop {
        options = match *options {
            [] => break,
            ["json", ref rest @ ..] => {
                json = true;
                rest
            }
            ["count", n, ref rest @ ..] => {
                count = Some(number(n)?);
                rest
            }
            ["seconds", n, ref rest @ ..] => {
                lasting = Duration::from_secs(number(n)?);
                rest
            }
            _ => return Err(usage.into()),
        };
    }
    Ok(KernelCommand::Trace {
        client,
        count,
        lasting,
        json,
    })
}

fn address(text: &str) -> Result<IpAddr, String> {
    let ip: Result<IpAddr, _> = text.parse();
    ip.map(|ip| ip.to_canonical())
        .map_err(|_| format!("'{text}' is no IP address."))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no number."))
}

/// `198.51.100.0/24`, or one address.
fn prefix(text: &str) -> Result<Prefix, String> {
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (address(ip)?, Some(length)),
        None => (address(text)?, None),
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(bits), number)?;
    if length > bits {
        return Err(format!("'{text}': a prefix has at most {bits} bits."));
    }
    let first: IpAddr = match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(bits - length)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(bits - length)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    };
    if first != ip {
        return Err(format!(
            "'{text}' has bits beyond its length: do you mean {first}/{length}?"
        ));
    }
    Ok(Prefix {
        address: ip,
        length,
    })
}

/// Carries a command out and writes its answer, without the empty line after it.
pub(super) async fn answer(
    path: &SharedPathStatus,
    command: KernelCommand,
    out: &mut dyn Wire,
) -> io::Result<()> {
    let said = match command {
        KernelCommand::Flows { filter, json } => show_flows(path, filter, json, out).await?,
        KernelCommand::Trace {
            client,
            count,
            lasting,
            json,
        } => trace(path, client, (count, lasting, json), out).await?,
        KernelCommand::Deny(prefix) => deny(path, prefix).await,
        KernelCommand::Allow(prefix) => allow(path, prefix).await,
        KernelCommand::Denied => denied(path).await,
    };
    // The complaint's line ends here.
    let text = said.unwrap_or_else(|complaint| format!("{complaint}\n"));
    write(out, &text).await
}

const ENDED: &str = "The kernel path has ended.";

async fn deny(path: &SharedPathStatus, prefix: Prefix) -> Result<String, String> {
    let (done, answer) = oneshot::channel();
    path.ask(Request::Deny(prefix, done))?;
    match answer.await {
        Ok(Ok(true)) => Ok(String::new()),
        Ok(Ok(false)) => Err(format!("{prefix} is denied already.")),
        Ok(Err(complaint)) => Err(complaint),
        Err(_) => Err(ENDED.into()),
    }
}

async fn allow(path: &SharedPathStatus, prefix: Prefix) -> Result<String, String> {
    let (done, answer) = oneshot::channel();
    path.ask(Request::Allow(prefix, done))?;
    match answer.await {
        Ok(Ok(true)) => Ok(String::new()),
        Ok(Err(complaint)) => Err(complaint),
        Ok(Ok(false)) => Err(format!(
            "{prefix} is not denied by itself; show deny lists what is."
        )),
        Err(_) => Err(ENDED.into()),
    }
}

async fn denied(path: &SharedPathStatus) -> Result<String, String> {
    let (reply, answer) = oneshot::channel();
    path.ask(Request::Denied(reply))?;
    let prefixes = answer.await.map_err(|_| ENDED)?;
    let lines = prefixes.iter().map(|(prefix, in_file)| {
        let from = if *in_file {
            "file"
        } else {
            "until the next start"
        };
        format!("{prefix} ({from})\n")
    });
    Ok(lines.collect())
}

async fn show_flows(
    path: &SharedPathStatus,
    filter: FlowFilter,
    json: bool,
    out: &mut dyn Wire,
) -> io::Result<Result<String, String>> {
    let (rows, mut batches) = mpsc::channel::<Vec<FlowRow>>(BATCHES);
    if let Err(complaint) = path.ask(Request::Flows { filter, rows }) {
        return Ok(Err(complaint));
    }
    if !json {
        write(out, &(flows::heading() + "\n")).await?;
    }
    while let Some(batch) = batches.recv().await {
        let mut text = String::new();
        for row in &batch {
            text.push_str(&if json { to_json(row) } else { flows::flow(row) });
            text.push('\n');
        }
        write(out, &text).await?;
    }
    Ok(Ok(String::new()))
}

async fn trace(
    path: &SharedPathStatus,
    client: IpAddr,
    (count, lasting, json): (Option<u64>, Duration, bool),
    out: &mut dyn Wire,
) -> io::Result<Result<String, String>> {
    let (packets, mut rows) = mpsc::channel::<TraceRow>(PACKETS);
    let (begun, result) = oneshot::channel();
    let request = Request::Trace {
        client,
        begun,
        packets,
    };
    if let Err(complaint) = path.ask(request) {
        return Ok(Err(complaint));
    }
    match result.await {
        Ok(Ok(())) => {}
        Ok(Err(complaint)) => return Ok(Err(complaint)),
        Err(_) => return Ok(Err(ENDED.into())),
    }
    let end = Instant::now().checked_add(lasting);
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let look = Instant::now() + LOOK;
        let row = tokio::select! {
            row = rows.recv() => row,
            () = sleep_until(end.map_or(look, |end| end.min(look))) => {
                if end.is_some_and(|end| end <= Instant::now()) || is_gone(out) {
                    break;
                }
                continue;
            }
        };
        let Some(row) = row else {
            return Ok(Err(ENDED.into()));
        };
        let line = if json {
            to_json(&row)
        } else {
            flows::packet(&row)
        };
        write(out, &(line + "\n")).await?;
        left -= 1;
    }
    Ok(Ok(String::new()))
}

/// Whether the other side has closed altogether. That it will send nothing more says nothing: many say so at once.
fn is_gone(stream: &dyn Wire) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
        && polled[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR)
}

fn to_json<T: serde::Serialize>(row: &T) -> String {
    // A row is plain text and numbers.
    serde_json::to_string(row).unwrap_or_default()
}

async fn write(out: &mut dyn Wire, text: &str) -> io::Result<()> {
    timeout(PATIENCE, out.write_all(text.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Result<KernelCommand, String>> {
        parse(&text.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_read_with_their_options() {
        let filter = FlowFilter {
            backend: Some("be".into()),
            server: Some("s1".into()),
            client: Some("192.0.2.7".parse().unwrap()),
            limit: Some(5),
            ..FlowFilter::default()
        };
        assert_eq!(
            words("show flows json server be/s1 client 192.0.2.7 limit 5"),
            Some(Ok(KernelCommand::Flows { filter, json: true }))
        );
        let trace = KernelCommand::Trace {
            client: "2001:db8::1".parse().unwrap(),
            count: Some(3),
            lasting: Duration::from_secs(9),
            json: false,
        };
        assert_eq!(
            words("trace client 2001:db8::1 count 3 seconds 9"),
            Some(Ok(trace))
        );
        assert_eq!(words("show info"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_mend() {
        for (command, part) in [
            ("add deny 198.51.100.1/24", "mean 198.51.100.0/24?"),
            ("add deny 198.51.100.0/33", "at most 32"),
            ("del deny x", "'x' is no IP address"),
            ("add deny", "Require"),
            ("show flows color", "'color' is no option"),
            ("show flows limit many", "'many' is no number"),
            ("trace client", "Usage"),
            ("trace client 192.0.2.1 often", "Usage"),
        ] {
            let complaint = words(command).unwrap().unwrap_err();
            assert!(complaint.contains(part), "{command}: {complaint}");
        }
        let one = prefix("2001:db8::1").unwrap();
        assert_eq!(one.to_string(), "2001:db8::1/128");
    }
}
