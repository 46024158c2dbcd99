//! The check that only connects.

use std::{io, time::Duration};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::{net::TcpStream, time::Instant};

use super::{finding::Finding, reach::Reach};
use crate::{
    config::model::Address,
    topology::CheckStatus,
    wire::dial::{self, Origin},
};

/// Connects and resets the connection: the server's queue is rid of it at once, and neither side is left with a
/// TIME_WAIT for each check.
pub(super) async fn check(reach: &Reach, deadline: Instant) -> Finding {
    match reach.connect(deadline).await {
        Ok(reached) => {
            let status = match reached.is_tls() {
                false => CheckStatus::L4Ok,
                true => CheckStatus::L6Ok,
            };
            // A failure would only mean that the connection ends by FIN.
            let _ = SockRef::from(reached.tcp()).set_linger(Some(Duration::ZERO));
            Finding::new(status)
        }
        Err(finding) => finding,
    }
}

/// A connection, or what to report instead.
pub(super) async fn connect(
    address: &Address,
    origin: Origin<'_>,
    deadline: Instant,
) -> Result<TcpStream, Finding> {
    match tokio::time::timeout_at(deadline, dial::connect(address, origin)).await {
        Err(_elapsed) => Err(Finding::new(CheckStatus::L4Tout)),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(&error)),
    }
}

/// The system's words for a connection that failed, without the number that Rust adds.
pub(super) fn failed(error: &io::Error) -> Finding {
    let errno = Errno::from_io_error(error);
    let status = match errno {
        // Our own lack: it says nothing of the server, but there is no better verdict.
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::ADDRNOTAVAIL
            | Errno::PERM,
        ) => CheckStatus::SockErr,
        Some(Errno::TIMEDOUT) => CheckStatus::L4Tout,
        _ => CheckStatus::L4Con,
    };
    let text = error.to_string();
    let info = text
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned();
    Finding {
        status,
        code: None,
        info,
    }
}
