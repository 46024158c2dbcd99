//! How a session of mode tcp ends in counters and log, over TCP and UDP alike.

use std::time::{Duration, Instant, SystemTime};

use super::{Shared, dispatch::Trace};
use crate::{
    config::model::LogOptions,
    observe::log::{
        Active, Cause, Common, Extra, Path, Phase, ServerField, Structured, TcpRecord, Termination,
    },
    rules::{Captured, LogLevel, Value},
    topology::{Backend, Frontend, Peer, Server},
};

/// A client's connection or flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) shared: &'a Shared,
    pub(super) frontend: &'a Frontend,
    pub(super) client: Peer,
    /// The address that it came to, if the log wants to know.
    pub(super) destination: Option<Peer>,
    /// Whether the client speaks TLS.
    pub(super) tls: bool,
    /// When it began, for measuring.
    pub(super) accepted: Instant,
    /// When it began, for showing.
    pub(super) accepted_at: SystemTime,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Who ended it, and in which phase.
    pub termination: Termination,
    /// Bytes received from the client.
    pub bytes_in: u64,
    /// Bytes received from the server.
    pub bytes_out: u64,
    /// A side broke off: the other is to learn it by RST.
    pub broken: bool,
}

/// What its line has of expressions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found<'a> {
    /// It is not over yet, or would not have been waited for.
    pub(super) asap: bool,
    /// The client has said what was not passed on, or may say something yet.
    pub(super) spoken: bool,
    /// What those in the line come to.
    pub(super) samples: &'a [Option<Value<'static>>],
    /// The same of its structured data.
    pub(super) structured: &'a [Option<Value<'static>>],
    /// What rules kept.
    pub(super) captured: Option<&'a Captured>,
    /// What it is called.
    pub(super) id: Option<&'a [u8]>,
    /// What one says of the line's level.
    pub(super) level: Option<LogLevel>,
}

impl Outcome {
    /// Ended before any data.
    pub fn nothing(termination: Termination) -> Self {
        Self {
            termination,
            bytes_in: 0,
            bytes_out: 0,
            broken: false,
        }
    }
}

impl Session<'_> {
    /// Counts its end: aborts by whose fault it was, and the time.
    pub(super) fn count(&self, backend: &Backend, server: Option<&Server>, outcome: &Outcome) {
        let aborts = match outcome.termination.cause {
            Cause::Client | Cause::ClientTimeout => {
                if outcome.termination.phase != Phase::Data {
                    self.frontend.counters.request_errors.inc();
                }
                Some((
                    &backend.counters.client_aborts,
                    server.map(|s| &s.counters.client_aborts),
                ))
            }
            Cause::Server if outcome.termination.phase == Phase::Data => {
                // As HAProxy has it, it is both.
                backend.counters.response_errors.inc();
                if let Some(server) = server {
                    server.counters.response_errors.inc();
                }
                Some((
                    &backend.counters.server_aborts,
                    server.map(|s| &s.counters.server_aborts),
                ))
            }
            _ => None,
        };
        if let Some((of_backend, of_server)) = aborts {
            of_backend.inc();
            if let Some(of_server) = of_server {
                of_server.inc();
            }
        }
        let total = self.accepted.elapsed();
        self.frontend.counters.total.record(total);
        backend.counters.distributions.total.record(total);
        let total = millis(total);
        backend.counters.times.total.add(total);
        if let Some(server) = server {
            server.counters.times.total.add(total);
        }
    }

    /// Writes its line.
    pub(super) fn log(
        &self,
        backend: Option<&Backend>,
        trace: &Trace,
        outcome: &Outcome,
        found: Found<'_>,
    ) {
        let Self {
            shared,
            frontend,
            tls,
            ..
        } = self;
        let wants = frontend.config.wants();
        let extra = Extra {
            samples: found.samples,
            structured: frontend
                .config
                .log_format_sd
                .as_deref()
                .map(|line| Structured {
                    line,
                    samples: found.structured,
                }),
            captured: found.captured,
            id: found.id,
            destination: self.destination,
            server: trace.server.as_ref().map(|server| server.peer()),
            lines: match wants.lines {
                true => shared.http.next_line(frontend.index),
                false => 0,
            },
            number: match wants.number {
                true => shared.http.next_number(),
                false => 0,
            },
            ..Extra::default()
        };
        shared.log.tcp(&TcpRecord {
            common: Common {
                format: &frontend.config.log_format,
                options: LogOptions {
                    level: found.level,
                    asap: found.asap,
                    no_null: frontend.config.log_options.no_null && !found.spoken,
                    ..frontend.config.log_options
                },
                client: self.client,
                accepted: self.accepted_at,
                frontend: &frontend.name,
                tls: *tls,
                backend: backend.map(|backend| &*backend.name),
                server: trace
                    .server
                    .as_ref()
                    .map_or(ServerField::None, |server| ServerField::Name(&server.name)),
                queued: trace.queued,
                connected: trace.connected,
                total: Instant::now() - self.accepted,
                bytes_in: outcome.bytes_in,
                bytes_out: outcome.bytes_out,
                termination: outcome.termination,
                active: Active {
                    process: shared.sessions.current(),
                    frontend: frontend.current(),
                    backend: backend.map_or(0, Backend::current),
                    server: trace
                        .server
                        .as_ref()
                        .map_or(0, |server| server.userspace_active()),
                },
                retries: trace.retries,
                redispatched: trace.redispatched,
                server_queue: trace.server_queue,
                backend_queue: trace.backend_queue,
                extra,
            },
            path: Path::Userspace,
        });
    }
}

/// Whole milliseconds, as counters have them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
