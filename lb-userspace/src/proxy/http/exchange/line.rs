//! The line that the log gets of an exchange.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, Uri, Version};

use super::{
    Client,
    context::Exchange,
    rules::{Memory, Surroundings},
};
use crate::{
    config::model::{LogLine, LogOptions},
    observe::log::{
        Active, Common, Extra, HttpRecord, RequestLine, ServerField, Structured, Termination,
    },
    rules::{RequestView, ResponseView, Scene, Value},
};

impl Exchange {
    /// Hands what is known to the log.
    pub(super) fn log(
        &self,
        client: &Client,
        options: LogOptions,
        total: Duration,
        (bytes_in, bytes_out): (u64, u64),
    ) {
        let config = &client.frontend().config;
        let format = match (&self.request, &config.error_log_format) {
            (None, Some(format)) => format,
            _ => &config.log_format,
        };
        let wants = config.wants_of(format);
        let samples = |line: Option<&LogLine>| match line.filter(|line| line.wants.samples) {
            Some(line) => self.samples(client, line),
            None => Vec::new(),
        };
        let structured = config.log_format_sd.as_deref();
        // Lines of one's own alone tell where the server is.
        let tells = format.line().is_some() || structured.is_some();
        if config.unique_id.is_some() {
            // Where it has not come to one: refused, answered by a rule, or none at all.
            self.seen(client, |scene| {
                let _ = scene.unique_id();
            });
        }
        let (samples, of_structured) = (samples(format.line()), samples(structured));
        let plan = &client.worker.shared.http;
        let remembered = client.rules.borrow();
        let remembered = remembered.as_deref();
        let (handshake, idle) = self.before;
        let extra = Extra {
            captured: remembered.and_then(|remembered| remembered.state.captured()),
            samples: &samples,
            structured: structured.map(|line| Structured {
                line,
                samples: &of_structured,
            }),
            handshake,
            idle,
            destination: wants.destination.then_some(client.reached()),
            local: self.local,
            server: match tells {
                true => self.server.as_ref().map(|server| server.peer()),
                false => None,
            },
            id: remembered.and_then(|remembered| remembered.state.unique_id()),
            tls: client.tls.as_deref().map(|tls| (tls.version, tls.cipher)),
            lines: match wants.lines {
                true => plan.next_line(client.frontend().index),
                false => 0,
            },
            number: match wants.number {
                true => client.number(),
                false => 0,
            },
        };
        let backend = self.backend();
        let uri = self
            .request
            .as_ref()
            .map(|(_, uri, _)| match uri.path_and_query() {
                Some(path) if uri.authority().is_none() => Cow::Borrowed(path.as_str()),
                _ => Cow::Owned(whole(uri)),
            });
        let nobody = self.nobody;
        let record = HttpRecord {
            common: Common {
                format,
                options,
                client: client.source(),
                accepted: SystemTime::now() - total,
                frontend: &client.frontend().name,
                tls: client.tls.is_some(),
                backend: backend.map(|backend| &*backend.name),
                server: self
                    .server
                    .as_ref()
                    .map_or(nobody, |server| ServerField::Name(&server.name)),
                queued: self.queued,
                connected: self.connected,
                total,
                bytes_in,
                bytes_out: if self.uncounted { 0 } else { bytes_out },
                termination: self.termination.unwrap_or(Termination::NORMAL),
                active: Active {
                    process: client.worker.shared.sessions.current(),
                    frontend: client.frontend().current(),
                    // HAProxy logs a request once it is no longer counted at its backend.
                    backend: backend.map_or(0, |backend| {
                        let this = u32::from(!options.asap);
                        backend.current().saturating_sub(this)
                    }),
                    server: self
                        .server
                        .as_ref()
                        .map_or(0, |server| server.userspace_active()),
                },
                retries: self.retries,
                redispatched: self.redispatched,
                server_queue: self.server_queue,
                backend_queue: self.backend_queue,
                extra,
            },
            request_received: self.request_received,
            responded: self.responded,
            status: self.status,
            request: self.request.as_ref().zip(uri.as_deref()).map(
                |((method, _, version), uri)| RequestLine {
                    method: method.as_str(),
                    uri,
                    version: match *version {
                        Version::HTTP_10 => "HTTP/1.0",
                        Version::HTTP_2 => "HTTP/2.0",
                        _ => "HTTP/1.1",
                    },
                },
            ),
            cookie_seen: self.cookie_seen,
            cookie_set: self.cookie_set,
        };
        client.worker.shared.log.http(&record);
    }

    /// What the expressions of a line come to. Of the messages only the first lines are left.
    fn samples(&self, client: &Client, line: &LogLine) -> Vec<Option<Value<'static>>> {
        self.seen(client, |scene| {
            let sample = |expr: &crate::rules::Expr| expr.sample(scene).map(Value::into_owned);
            line.samples().map(sample).collect()
        })
    }

    /// What is left of it to be looked at.
    fn seen<T>(&self, client: &Client, look: impl FnOnce(&Scene<'_>) -> T) -> T {
        let memory = Memory::of(client);
        let world = Surroundings {
            client,
            backend: self.backend(),
            exchange: Some(self),
        };
        let none = HeaderMap::new();
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        look(&Scene {
            request: self
                .request
                .as_ref()
                .map(|(method, uri, version)| RequestView {
                    method,
                    uri,
                    version: *version,
                    headers: &none,
                }),
            response: status.map(|status| ResponseView {
                status,
                version: match self.responded {
                    Some(_) => Version::HTTP_11,
                    // It was no server's.
                    None => Version::HTTP_09,
                },
                headers: &none,
            }),
            state: &memory.remembered.state,
            world: &world,
        })
    }
}

/// A target with a host, as it was asked for.
fn whole(uri: &Uri) -> String {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return uri.to_string();
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    [scheme, "://", authority.as_str(), path].concat()
}
