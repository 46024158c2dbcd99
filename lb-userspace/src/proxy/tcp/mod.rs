//! Mode tcp in userspace: what the kernel does not take, and everything where there is no kernel path.

use std::{
    cell::{Cell, RefCell},
    io::Read,
    os::fd::AsRawFd,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    Client, Stream, Worker,
    connect::{Own, Way},
    dispatch::{DispatchError, Trace, dispatch},
    session::{Found, Outcome, Session},
    sessions,
};
use crate::{
    config::model::{LogLine, LogOptions, Timeouts},
    observe::log::{Cause, Phase, Termination},
    rules::{
        Content, Counted, Data, Expr, Links, Remember, Scene, Seen, State, Template, Value,
        World as _, stick,
    },
    topology::{Asking, Backend, Connection},
    wire::{sockopt, told::told},
};
use socket2::SockRef;

mod around;
mod direction;
mod inspect;
mod leaving;
mod pipe;
pub mod relay;
mod route;

pub(in crate::proxy) use around::Around;
use inspect::{Early, Ended, Gate};
use leaving::{has_unread, left, unless_killed};
pub(crate) use pipe::MAX_PIPES;
use relay::{Before, Idle, relay};
pub use route::Plan;

/// Bytes that one read may take: enough for a few of TCP's segments after offload, little enough for the cache.
const SCRATCH: usize = 64 * 1024;

/// What a worker's TCP connections share.
#[derive(Debug)]
pub struct Local {
    /// Where data is while it passes from one socket to the other; what cannot be written at once is kept elsewhere.
    scratch: RefCell<Box<[u8]>>,
    /// For bulk data.
    pipes: pipe::Pipes,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            pipes: pipe::Pipes::default(),
        }
    }
}

/// Serves a client's connection to its end, and logs it.
pub async fn serve(worker: Rc<Worker>, mut client: Client) {
    let state = inspect::remembering(&client);
    let mut early = Early::default();
    let mut trace = Trace::default();
    let frontend = Arc::clone(client.frontend());
    let rules = &frontend.config.inspect;
    if !rules.is_empty() {
        // Boxed, so that connections without rules do not carry its state around.
        let looked = async {
            let rules = (rules, None);
            inspect::inspect(&worker, &mut client, &mut early, &state, rules).await?;
            match worker.shared.tcp.waits_for_name(&client) {
                Some(patience) => {
                    inspect::await_name(&worker, &mut client, &mut early, patience).await
                }
                None => Ok(()),
            }
        };
        if let Err(ended) = Box::pin(unless_killed(looked)).await {
            let backend = match ended {
                Ended::Dropped => None,
                Ended::Gone(_) => frontend.default_backend(),
            };
            let outcome = refused(&client, backend, ended, &early);
            finish(&worker, client, &state, (backend, &early), &trace, &outcome);
            return;
        }
    }
    let routed = {
        // Nobody else looks at what this connection remembers.
        let remembered = state.take();
        let tcp = &worker.shared.tcp;
        let routed = tcp.route(&worker, &client, &mut early, &remembered).await;
        state.replace(remembered);
        routed
    };
    let Some(backend) = routed else {
        let outcome = failure(&DispatchError::NoServer);
        finish(&worker, client, &state, (None, &early), &trace, &outcome);
        return;
    };
    let clock = worker.shared.topology.clock;
    let visit = backend.enter(clock.at(client.accepted));
    let outcome = 'served: {
        let rules = &backend.config.inspect;
        if !rules.is_empty() {
            let looked = (rules, Some(&backend));
            let looked = inspect::inspect(&worker, &mut client, &mut early, &state, looked);
            if let Err(ended) = Box::pin(unless_killed(looked)).await {
                break 'served refused(&client, Some(&backend), ended, &early);
            }
        }
        let waited = client.accepted.elapsed();
        let brought = (&state, &early);
        trace.priority = state.borrow().priority();
        match reach(&worker, &client, &backend, brought, &mut trace).await {
            Ok((slot, stream)) => {
                if early.looked {
                    trace.queued = trace.queued.map(|queued| queued + waited);
                }
                if frontend.config.logs_at_once() {
                    let so_far = Outcome::nothing(Termination::NORMAL);
                    early.logged = true;
                    let of = (Some(&backend), &early);
                    log(&worker, &client, &state, of, &trace, &so_far);
                }
                let rules = (&state, &mut early);
                carry(&worker, &mut client, &backend, &slot, stream, rules).await
            }
            Err(outcome) => outcome,
        }
    };
    let now = clock.at(Instant::now());
    for tracked in state.borrow().followed() {
        for (data, n) in [
            (Data::BytesInCnt, outcome.bytes_in),
            (Data::BytesInRate, outcome.bytes_in),
            (Data::BytesOutCnt, outcome.bytes_out),
            (Data::BytesOutRate, outcome.bytes_out),
        ] {
            tracked.add(data, n, now);
        }
        tracked.touch(now);
    }
    session(&worker, &client).count(&backend, trace.server.as_deref(), &outcome);
    // The line shows the backend's and the server's sessions without this one, as HAProxy's does.
    drop(visit);
    finish(
        &worker,
        client,
        &state,
        (Some(&backend), &early),
        &trace,
        &outcome,
    );
}

/// How a session ends that goes no further for what it has brought.
fn refused(
    client: &Client,
    backend: Option<&Arc<Backend>>,
    ended: Ended,
    early: &Early,
) -> Outcome {
    let frontend = client.frontend();
    let termination = match ended {
        Ended::Gone(termination) => termination,
        Ended::Dropped => {
            frontend.counters.denied_requests.inc();
            if let Some(backend) = backend {
                backend.counters.denied_requests.inc();
            }
            Termination::new(Cause::Proxy, Phase::Request)
        }
    };
    Outcome {
        bytes_in: early.bytes.len() as u64,
        ..Outcome::nothing(termination)
    }
}

/// Writes the session's line, unless that has been done, and lets go of the client.
fn finish(
    worker: &Worker,
    client: Client,
    state: &RefCell<State>,
    (backend, early): (Option<&Arc<Backend>>, &Early),
    trace: &Trace,
    outcome: &Outcome,
) {
    if !early.logged {
        log(worker, &client, state, (backend, early), trace, outcome);
    }
    if early.vanishes {
        crate::proxy::http::vanish(client.stream);
    } else if matches!(outcome.termination.phase, Phase::Queue | Phase::Connect) {
        // To close with something unread is to reset: a client that spoke first would not learn that this is an end.
        let mut scratch = worker.tcp.scratch.borrow_mut();
        let _ = (&*SockRef::from(client.stream.tcp())).read(&mut scratch);
    }
}

/// Writes the session's line, unless a rule has it silent.
fn log(
    worker: &Worker,
    client: &Client,
    state: &RefCell<State>,
    (backend, early): (Option<&Arc<Backend>>, &Early),
    trace: &Trace,
    outcome: &Outcome,
) {
    let state = state.borrow();
    let options = LogOptions {
        level: state.log_level(),
        ..client.frontend().config.log_options
    };
    if worker.shared.log.wants(&options) {
        let config = &client.frontend().config;
        let lines = [config.log_format.line(), config.log_format_sd.as_deref()];
        let asks = |line: &Option<&LogLine>| line.is_some_and(|line| line.wants.samples);
        let looks = config.unique_id.is_some() || lines.iter().any(asks);
        let world = looks.then(|| Around {
            server: trace.server.as_deref(),
            ..Around::within(worker, client, backend, early)
        });
        let scene = world.as_ref().map(|world| world.scene(&state));
        let samples = |line: Option<&LogLine>| -> Vec<Option<Value<'static>>> {
            let (Some(line), Some(scene)) = (line.filter(|line| line.wants.samples), &scene) else {
                return Vec::new();
            };
            let sample = |expr: &Expr| expr.sample(scene).map(Value::into_owned);
            line.samples().map(sample).collect()
        };
        let [line, structured] = lines;
        let found = Found {
            samples: &samples(line),
            structured: &samples(structured),
            captured: state.captured(),
            id: scene.and_then(|scene| scene.unique_id()),
            level: options.level,
            asap: options.asap,
            spoken: early.logged
                || !early.bytes.is_empty()
                || (config.log_options.no_null && has_unread(client)),
        };
        session(worker, client).log(backend.map(|b| &**b), trace, outcome, found);
    }
}

fn session<'a>(worker: &'a Worker, client: &'a Client) -> Session<'a> {
    Session {
        shared: &worker.shared,
        frontend: client.frontend(),
        client: client.address,
        destination: client
            .frontend()
            .config
            .wants()
            .destination
            .then(|| client.destination()),
        tls: client.tls.is_some(),
        accepted: client.accepted,
        accepted_at: client.accepted_at,
    }
}

/// Connects to a server, unless the client resets its connection before that.
async fn reach(
    worker: &Worker,
    client: &Client,
    backend: &Arc<Backend>,
    (state, early): (&RefCell<State>, &Early),
    trace: &mut Trace,
) -> Result<(Connection, Stream), Outcome> {
    let timeout = backend.config.timeouts.connect;
    let begun = Instant::now();
    let clock = worker.shared.topology.clock;
    let now = clock.at(client.accepted);
    let (preferred, remembering) =
        route::remembered(worker, client, backend, (&state.borrow(), early), now);
    let asking = Asking::of_bytes(client.address, &backend.config, &early.bytes);
    let mut cause = Cause::Client;
    let reached = {
        let to_server = dispatch(
            backend,
            asking,
            preferred.as_ref(),
            clock,
            Instant::now,
            trace,
            async |server| {
                let server = Arc::clone(server);
                let own = Own::of(
                    &server,
                    || client.ends(),
                    || match &server.config.server_name {
                        Some(asked) => {
                            let seen = (&*state.borrow(), early);
                            asked_name(worker, client, backend, seen, &asked.template)
                        }
                        None => client.server_name().map(Into::into),
                    },
                    |options| {
                        let heard = client.introduced.as_deref();
                        let state = state.borrow();
                        if options.unique_id {
                            let world = Around::within(worker, client, Some(backend), early);
                            let _ = world.scene(&state).unique_id();
                        }
                        told(options, client.tls.as_deref(), heard, state.unique_id())
                    },
                    |_, _| None,
                    None,
                );
                Way {
                    http_1: false,
                    speaks: !early.bytes.is_empty(),
                    server,
                    timeout,
                    own,
                    wants: Links::default(),
                }
                .connect()
                .await
            },
        );
        tokio::select! {
            biased;
            // Before it is given a place that others have just had to leave.
            () = sessions::killed() => {
                cause = Cause::Killed;
                None
            }
            reached = to_server => Some(reached),
            () = left(client, !early.bytes.is_empty()) => None,
        }
    };
    match reached {
        Some(Ok(reached)) => {
            let server = reached.0.server();
            if server.config.sticks {
                stick::remember(remembering, server.id, now);
            }
            Ok(reached)
        }
        Some(Err(error)) => {
            if matches!(
                error,
                DispatchError::QueueTimeout | DispatchError::QueueFull
            ) {
                trace.queued.get_or_insert_with(|| begun.elapsed());
            }
            Err(failure(&error))
        }
        None => {
            let phase = match trace.queued {
                None => Phase::Queue,
                Some(_) => Phase::Connect,
            };
            trace.queued.get_or_insert_with(|| begun.elapsed());
            Err(Outcome::nothing(Termination::new(cause, phase)))
        }
    }
}

/// What `sni` asks, as a name.
fn asked_name(
    worker: &Worker,
    client: &Client,
    backend: &Arc<Backend>,
    (state, early): (&State, &Early),
    asked: &Template,
) -> Option<Box<str>> {
    let world = Around::within(worker, client, Some(backend), early);
    let name = asked.render(&world.scene(state));
    let name = str::from_utf8(&name).ok()?;
    (!name.is_empty()).then(|| name.into())
}

/// What a session without a server comes to.
pub(super) fn failure(error: &DispatchError) -> Outcome {
    Outcome::nothing(error.termination())
}

/// Resolves once the server's sessions are to end, or an operator ends this one.
fn ended(slot: &Connection, present: Option<&sessions::Entry>) -> Option<impl Future<Output = ()>> {
    let shut_down = slot.shut_down();
    (shut_down.is_some() || present.is_some()).then_some(async move {
        let shut_down = async {
            match shut_down {
                Some(shut_down) => shut_down.await,
                None => std::future::pending().await,
            }
        };
        let killed = async {
            match present {
                Some(present) => present.killed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shut_down => {}
            () = killed => {}
        }
    })
}

/// Carries data both ways to the end.
async fn carry(
    worker: &Worker,
    client: &mut Client,
    backend: &Arc<Backend>,
    slot: &Connection,
    mut stream: Stream,
    (state, early): (&RefCell<State>, &mut Early),
) -> Outcome {
    let (frontend, server) = (Arc::clone(client.frontend()), slot.server());
    let idle = Idle {
        client_alone: frontend.config.habits.independent,
        server_alone: server.config.dialling.habits.independent,
        resets: frontend.config.habits.resets || server.config.dialling.habits.resets,
        ..idle(&frontend.config.timeouts, &backend.config.timeouts)
    };
    let rules = &backend.config.inspect_response;
    let mut counted = Counted::default();
    // Whether what the server said was dropped, and if so, silently.
    let dropped = Cell::new(None);
    let source = client.address.inet();
    let socket = client.stream.tcp().as_raw_fd();
    let mut sticks = backend.config.sticks.iter();
    let learns = sticks.any(|stick| stick.remembers == Remember::OfResponse);
    let looks = learns || !rules.is_empty();
    let destination = match !looks {
        true => None,
        false => client.destination().inet(),
    };
    let (bind, tls) = (client.bind, client.tls.as_deref());
    let introduced = client.introduced.as_deref();
    let judge = |seen: Seen<'_>| {
        let world = Around {
            fault: None,
            worker,
            source: Cell::new(source),
            destination: Cell::new(destination),
            descriptor: Some(socket),
            frontend: &frontend,
            socket: None,
            introduced,
            label: frontend.config.binds.get(bind).map(|bind| &bind.label),
            tls,
            backend: Some(backend),
            server: None,
            name: None,
            request: None,
            response: Some(seen),
        };
        let verdict = rules
            .rules
            .content(&mut counted, &mut state.borrow_mut(), &world);
        if learns
            && server.config.sticks
            && (verdict == Content::Pass || (verdict == Content::Wait && seen.is_final))
        {
            let scene = Scene {
                request: None,
                response: None,
                state: &state.borrow(),
                world: &world,
            };
            let remembering = stick::look_at_response(&backend.config.sticks, &scene);
            stick::remember(remembering, server.id, world.now_ms());
        }
        if let Content::Drop(silent) = verdict {
            dropped.set(Some(silent));
        }
        verdict
    };
    let before = Before {
        early: std::mem::take(&mut early.bytes),
        gate: looks.then(|| Gate::new(rules.delay, judge)),
    };
    let present = sessions::present();
    sessions::note(Some(server));
    let mut outcome = relay(
        &worker.tcp,
        &mut client.stream,
        &mut stream,
        idle,
        before,
        ended(slot, present.as_deref()),
        |bytes_in, bytes_out| {
            frontend.counters.bytes_in.add(bytes_in);
            frontend.counters.bytes_out.add(bytes_out);
            backend.counters.bytes_in.add(bytes_in);
            backend.counters.bytes_out.add(bytes_out);
            server.counters.bytes_in.add(bytes_in);
            server.counters.bytes_out.add(bytes_out);
        },
    )
    .await;
    if let Some(silent) = dropped.get() {
        early.vanishes = silent;
        frontend.counters.denied_responses.inc();
        backend.counters.denied_responses.inc();
        server.counters.denied_responses.inc();
    }
    sessions::note(None);
    if outcome.termination.cause == Cause::Down && (sessions::is_killed() || slot.is_killed()) {
        outcome.termination.cause = Cause::Killed;
    } else if outcome.termination.cause == Cause::Down && server.gives_way() {
        outcome.termination.cause = Cause::Up;
    }
    if matches!(
        outcome.termination.cause,
        Cause::Killed | Cause::Down | Cause::Up
    ) {
        // As HAProxy: what is ended from without has been in no phase.
        outcome.termination.phase = Phase::Complete;
    }
    if outcome.broken {
        for stream in [&client.stream, &stream] {
            sockopt::break_off(stream.tcp());
        }
    } else {
        // What is to be reset says that it ends all the same.
        let habits = [&frontend.config.habits, &server.config.dialling.habits];
        for (stream, habits) in [&client.stream, &stream].into_iter().zip(habits) {
            if habits.resets {
                let _ = SockRef::from(stream.tcp()).shutdown(std::net::Shutdown::Write);
            }
        }
    }
    outcome
}

/// `tunnel`, where it is set, takes the place of both.
fn idle(frontend: &Timeouts, backend: &Timeouts) -> Idle {
    Idle {
        client: backend.tunnel.unwrap_or(frontend.client),
        server: backend.tunnel.unwrap_or(backend.server),
        client_fin: frontend.client_fin,
        server_fin: backend.server_fin,
        ..Idle::both(frontend.client)
    }
}

#[cfg(test)]
mod tests;
