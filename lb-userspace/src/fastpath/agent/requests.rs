//! What operators ask of the kernel path while it runs.

use std::{net::IpAddr, sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot};

use super::Agent;
use crate::{
    config::Config,
    fastpath::{error::FastPathError, flows, reset::Which, trace::Tracing},
    observe::request::{Request, TraceRow},
    topology::Topology,
};

impl Agent {
    /// Follows another configuration.
    pub(super) fn follow(
        &mut self,
        config: Arc<Config>,
        topology: Arc<Topology>,
    ) -> Result<(), FastPathError> {
        let before = std::mem::replace(&mut self.config, config);
        self.topology = topology;
        // Until the maps hold it, whatever fails on the way there.
        self.behind = true;
        let (was, is) = (&before.global.fast_path, &self.config.global.fast_path);
        if was.deny != is.deny {
            self.deny.follow(&is.deny);
        }
        self.make_room();
        let unmet = self.unmet.clone();
        // What it is to be attached to may have changed, and which interfaces servers are reached by.
        self.attach()?;
        self.sync()?;
        self.divide_slots()?;
        self.publish()?;
        self.insist(&unmet)
    }

    pub(super) fn answer(&mut self, request: Request) -> Result<(), FastPathError> {
        // Whoever asked may be gone, here and below: then nobody misses the answer.
        match request {
            Request::Look(done) => {
                let looked = self.look();
                let _ = done.send(
                    looked.map_err(|error| format!("The kernel path cannot do that: {error}.")),
                );
            }
            Request::Flows { filter, rows } => {
                let tick = self.kernel.maps.clock.get(&0, 0)?;
                flows::list(&self.kernel, tick, filter, rows)?;
            }
            Request::Deny(prefix, done) => {
                let new = self.deny.add(prefix);
                let _ = done.send(self.sync_denied(new));
                if new {
                    self.resets.begin(Which::Clients(prefix), Instant::now());
                }
            }
            Request::Allow(prefix, done) => {
                let was = self.deny.remove(prefix);
                let _ = done.send(self.sync_denied(was));
            }
            Request::Denied(reply) => {
                let _ = reply.send(self.deny.listed().collect());
            }
            Request::Trace {
                client,
                begun,
                packets,
            } => self.begin_trace(client, begun, packets)?,
        }
        Ok(())
    }

    /// Reads the counters between ticks. What the maps hold is left to the next tick: each change of a service takes room
    /// that has to rest after it, and an operator's script may ask a hundred times in the time of one.
    fn look(&mut self) -> Result<(), FastPathError> {
        self.clear_if_told()?;
        self.publish()
    }

    /// Writes the denied prefixes; what does not fit is tried again at each tick.
    fn sync_denied(&mut self, changed: bool) -> Result<bool, String> {
        match self.sync() {
            Ok(()) => Ok(changed),
            Err(error) => Err(format!("The kernel has not taken it: {error}.")),
        }
    }

    fn begin_trace(
        &mut self,
        client: IpAddr,
        begun: oneshot::Sender<Result<(), String>>,
        packets: mpsc::Sender<TraceRow>,
    ) -> Result<(), FastPathError> {
        if self.tracing.as_ref().is_some_and(Tracing::is_wanted) {
            let _ = begun.send(Err("Another client is being traced: one at a time.".into()));
            return Ok(());
        }
        self.end_trace()?;
        let programs = self.kernel.load_tracing(client)?;
        self.tracing = Some(Tracing::new(client, programs, begun, packets));
        Ok(())
    }

    /// Gives away what has come of the client that is traced, and ends that once nobody wants it any more.
    pub(super) fn follow_trace(&mut self) -> Result<(), FastPathError> {
        let Some(tracing) = &mut self.tracing else {
            return Ok(());
        };
        let view = self.view.borrow().clone();
        if tracing.follow(&mut self.kernel, &view) && tracing.is_wanted() {
            return Ok(());
        }
        self.end_trace()
    }

    /// Puts the ordinary programs back.
    pub(super) fn end_trace(&mut self) -> Result<(), FastPathError> {
        if let Some(tracing) = self.tracing.take() {
            self.kernel.untrace()?;
            tracing::info!("packets of {} are traced no longer", tracing.client());
        }
        Ok(())
    }
}
