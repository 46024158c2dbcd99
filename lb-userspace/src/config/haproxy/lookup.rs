//! Names where an address of our own or of a log's target stands: HAProxy looks them up once, when it reads the file.

use std::net::{IpAddr, ToSocketAddrs};

use super::says::Says;
use crate::config::source::Span;

/// The address that `host` is or stands for, as it is written in `HOST:PORT`; `None`, and told, if nobody knows it.
pub(super) fn address(host: &str, span: Span, says: &mut Says) -> Option<String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if host == "*" || bare.parse::<IpAddr>().is_ok() {
        return Some(host.to_owned());
    }
    let first = match (host, 0).to_socket_addrs() {
        Ok(mut addresses) => addresses.next().map(|address| address.ip()),
        Err(_) => None,
    };
    let Some(first) = first else {
        let message = format!("`{host}` is no address, and no name that can be looked up");
        says.error(span, message, "write an IP address");
        return None;
    };
    says.warn(
        span,
        format!("`{host}` is {first} from here on: lb looks it up once, as HAProxy does"),
    );
    Some(match first {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => format!("[{six}]"),
    })
}
