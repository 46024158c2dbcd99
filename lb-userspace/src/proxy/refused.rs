//! Why connections are not let in, and the lines that tell it: HAProxy's words, or those of `error_log_format`.

use std::{
    cell::Cell,
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{Worker, header::HeaderError, tcp::Around};
use crate::{
    config::model::{LogLine, LogOptions},
    observe::log::{
        Active, Cause, Common, CookieSeen, CookieSet, Extra, HttpRecord, Level, Phase, ServerField,
        Structured, Termination, entrance_failed,
    },
    rules::{Expr, Fault, Scene, State, Value},
    topology::{Frontend, Peer},
};

/// Why a connection was not let in; the texts are HAProxy's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("Connection closed while waiting for PROXY protocol header")]
    HeaderEmpty,
    #[error("Truncated PROXY protocol header received")]
    HeaderTruncated,
    #[error("Connection error while waiting for PROXY protocol header")]
    HeaderAborted,
    #[error("Timeout while waiting for PROXY protocol header")]
    HeaderTimeout,
    #[error("Connection closed during SSL handshake")]
    TlsEmpty,
    #[error("Timeout during SSL handshake")]
    TlsTimeout,
    #[error("SSL handshake failure")]
    Tls(io::Error),
}

impl Refused {
    /// The number that HAProxy has for it.
    fn code(&self) -> i64 {
        match self {
            Self::HeaderEmpty => 11,
            Self::HeaderAborted => 12,
            Self::HeaderTimeout => 13,
            Self::HeaderTruncated => 14,
            Self::Header(HeaderError::Other) => 15,
            Self::Header(HeaderError::Invalid) => 16,
            Self::Header(HeaderError::Protocol) => 17,
            Self::TlsEmpty => 24,
            Self::TlsTimeout => 26,
            Self::Tls(_) => 34,
        }
    }

    /// Whether nothing came at all, so that `dontlognull` has it told nobody.
    fn is_null(&self) -> bool {
        matches!(
            self,
            Self::HeaderEmpty | Self::HeaderAborted | Self::TlsEmpty
        )
    }

    /// Whether it was the TLS handshake that failed.
    pub(super) fn is_of_tls(&self) -> bool {
        matches!(self, Self::TlsEmpty | Self::TlsTimeout | Self::Tls(_))
    }

    /// What expressions see of it. OpenSSL has a number for each failure, rustls a sentence.
    fn fault(&self) -> Fault {
        let tls = match self {
            Self::Tls(why) => Some((1, why.to_string())),
            _ => None,
        };
        Fault {
            code: self.code(),
            text: self.to_string(),
            tls,
        }
    }
}

/// A connection, as far as it came.
pub(super) struct Comer {
    pub(super) client: Peer,
    pub(super) destination: Peer,
    pub(super) accepted: Instant,
    pub(super) accepted_at: SystemTime,
    /// The number of its bind, from 1.
    pub(super) bind: usize,
    pub(super) tls: bool,
}

/// Writes its line.
pub(super) fn log(worker: &Worker, frontend: &Arc<Frontend>, comer: &Comer, refused: &Refused) {
    let log = &worker.shared.log;
    let config = &frontend.config;
    let options = config.log_options;
    if !log.wants(&options) || (options.no_null && refused.is_null()) {
        return;
    }
    let Some(format) = &config.error_log_format else {
        let level = match options.separate_errors {
            true => Level::Err,
            false => Level::Info,
        };
        let (client, at) = (comer.client, comer.accepted_at);
        let line = entrance_failed(client, at, &frontend.name, comer.bind, refused);
        return log.event_of(options.to, level, &line);
    };
    let fault = refused.fault();
    let samples = |line| samples(worker, frontend, comer, &fault, line);
    let structured = config.log_format_sd.as_deref();
    let (samples, of_structured) = (samples(format.line()), samples(structured));
    let plan = &worker.shared.http;
    let wants = config.wants_of(format);
    log.http(&HttpRecord {
        common: Common {
            format,
            options: LogOptions {
                no_null: false,
                ..options
            },
            client: comer.client,
            accepted: comer.accepted_at,
            frontend: &frontend.name,
            tls: comer.tls,
            backend: None,
            server: ServerField::None,
            queued: None,
            connected: None,
            total: comer.accepted.elapsed(),
            bytes_in: 0,
            bytes_out: 0,
            termination: Termination::new(Cause::Proxy, Phase::Request),
            active: Active {
                process: worker.shared.sessions.current(),
                frontend: frontend.current(),
                ..Active::default()
            },
            retries: 0,
            redispatched: false,
            server_queue: 0,
            backend_queue: 0,
            extra: Extra {
                samples: &samples,
                structured: structured.map(|line| Structured {
                    line,
                    samples: &of_structured,
                }),
                handshake: Duration::ZERO,
                destination: Some(comer.destination),
                lines: match wants.lines {
                    true => plan.next_line(frontend.index),
                    false => 0,
                },
                number: match wants.number {
                    true => plan.next_number(),
                    false => 0,
                },
                ..Extra::default()
            },
        },
        request_received: None,
        responded: None,
        status: Some(0),
        request: None,
        cookie_seen: CookieSeen::default(),
        cookie_set: CookieSet::default(),
    });
}

/// What the expressions of its line come to.
fn samples(
    worker: &Worker,
    frontend: &Arc<Frontend>,
    comer: &Comer,
    fault: &Fault,
    line: Option<&LogLine>,
) -> Vec<Option<Value<'static>>> {
    let Some(line) = line.filter(|line| line.wants.samples) else {
        return Vec::new();
    };
    let world = Around {
        worker,
        source: Cell::new(comer.client.inet()),
        destination: Cell::new(comer.destination.inet()),
        descriptor: None,
        frontend,
        socket: None,
        introduced: None,
        // A comer's are counted from 1.
        label: comer
            .bind
            .checked_sub(1)
            .and_then(|at| Some(&frontend.config.binds.get(at)?.label)),
        tls: None,
        backend: None,
        server: None,
        name: None,
        fault: Some(fault),
        request: None,
        response: None,
    };
    let state = State::of_session();
    let scene = Scene {
        request: None,
        response: None,
        state: &state,
        world: &world,
    };
    let sample = |expr: &Expr| expr.sample(&scene).map(Value::into_owned);
    line.samples().map(sample).collect()
}
