//! The agent's loop: keeps the kernel maps equal to what the running model and the network say they should hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::abi::TICK_MS;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};

use super::{
    Command,
    attach::{self, Choice},
    capacity::Capacity,
    clock::Clock,
    error::FastPathError,
    flow_log,
    image::{Image, Inputs},
    kernel::{Kernel, Mode},
    net::{
        self, Family, Prober, View,
        ports::{self, PortSet, Reservation},
    },
    object,
    pins::Pins,
    slots,
    sweep::Sweep,
    sync::Synced,
    traffic,
};
use crate::{
    config::{
        Config,
        host::{ThisHost, max_flows},
        model::Attach,
    },
    observe::log::Sink,
    observe::path::{FrontendPath, InterfacePath, PathKind, PathStatus, SharedPathStatus},
    topology::Topology,
};

/// Entries of the flow table that a sweep reads at each tick: a million in five seconds.
const SWEEP_ENTRIES: usize = 50_000;
/// Ticks from the begin of one sweep to that of the next.
const SWEEP_TICKS: u32 = 10;
/// Likewise for a table without flows, which may hold what a crash left half removed.
const EMPTY_SWEEP_TICKS: u32 = 600;
/// Ticks between polls of the counters, a system call a lane, where there are more lanes than a few.
const POLL_TICKS: u32 = 5;
const FEW_LANES: usize = 256;
/// Ticks between looks at interfaces that could not be had.
const RETRY_TICKS: u32 = 20;

/// What the loop works with.
pub(super) struct Agent {
    config: Arc<Config>,
    topology: Arc<Topology>,
    status: SharedPathStatus,
    log: Sink,
    view: watch::Receiver<Arc<View>>,
    prober: Prober,
    kernel: Kernel,
    synced: Synced,
    sweep: Sweep,
    reservation: Reservation,
    listening: BTreeSet<u16>,
    interfaces: BTreeMap<u32, InterfacePath>,
    draining: bool,
    /// The file no longer wants a kernel path: an earlier agent's flows are served to their end, no new ones taken.
    leaving: bool,
    /// The network's epoch that the maps follow.
    epoch: u64,
    active: watch::Sender<u64>,
    clock: Clock,
    /// The maps do not hold what they should: the last attempt to bring them up to date failed.
    behind: bool,
    _lock: std::fs::File,
}

impl Agent {
    /// Loads, attaches and fills the maps: when this returns, the kernel forwards.
    pub(super) async fn start(
        config: Arc<Config>,
        topology: Arc<Topology>,
        (status, log): (SharedPathStatus, Sink),
        active: watch::Sender<u64>,
    ) -> Result<Self, FastPathError> {
        let fast_path = &config.global.fast_path;
        let state = super::state_folder(&config);
        let pins = Pins::open(&fast_path.pin_path)?;
        let lock = pins.lock()?;
        let (view, prober) = net::start().await?;
        let max_flows = max_flows(fast_path, &ThisHost);
        let addresses = view.borrow().local_addresses(Family::V4).len();
        let kernel = Kernel::load(pins, Capacity::of(&topology, max_flows, addresses))?;
        if kernel.taken_over {
            tracing::info!(
                flows = kernel.maps.flow_count.get(&0, 0).unwrap_or(0),
                "took over the kernel path of an earlier lb"
            );
            if kernel.capacity.flow_entries != max_flows.saturating_mul(2) {
                tracing::warn!(
                    "fast_path.max_flows is {} but the flow table in use holds {}: a stop with `on_stop: detach` and a new start change it",
                    max_flows,
                    kernel.capacity.flow_entries / 2
                );
            }
        }
        let synced = Synced::new(&kernel.maps, &kernel.capacity, &kernel.registry)?;
        let clock = Clock::resume(kernel.maps.clock.get(&0, 0)?, Instant::now());
        let reservation =
            Reservation::new(state.join(super::state_name("ports", &fast_path.pin_path)));
        let leaving = fast_path.attach == Attach::Off;
        let mut agent = Self {
            config,
            topology,
            status,
            log,
            view,
            prober,
            kernel,
            synced,
            sweep: Sweep::default(),
            reservation,
            listening: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            draining: leaving,
            leaving,
            epoch: 0,
            active,
            clock,
            behind: false,
            _lock: lock,
        };
        agent.reserve_ports();
        agent.attach()?;
        agent.insist()?;
        agent.sync()?;
        agent.divide_slots()?;
        agent.publish()?;
        Ok(agent)
    }

    /// Runs until told to finish.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut changes = self.topology.changes();
        let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(TICK_MS)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut count = 0u32;
        loop {
            let result = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Drain { done }) => self.drain().map(|()| {
                        let _ = done.send(());
                    }),
                    Some(Command::Finish { keep, done }) => return self.finish(keep, done),
                    None => return self.finish(false, oneshot::channel().0),
                },
                changed = changes.changed() => match changed {
                    Ok(()) => self.sync(),
                    Err(_) => return,
                },
                changed = self.view.changed() => match changed {
                    Ok(()) if self.view.borrow_and_update().epoch() == self.epoch => Ok(()),
                    Ok(()) => self.attach().and_then(|()| self.sync()),
                    Err(_) => return tracing::error!("the kernel path no longer follows the network: netlink is gone"),
                },
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.tick(count)
                }
            };
            if let Err(error) = result {
                tracing::error!("the kernel path could not be brought up to date: {error}");
            }
        }
    }

    fn tick(&mut self, count: u32) -> Result<(), FastPathError> {
        let now = self.clock.at(Instant::now());
        self.kernel.maps.clock.set(0, now, 0)?;
        self.kernel.flush_packets();
        self.log_flows();
        self.sweep(now, count)?;
        let room = self.kernel.capacity.room;
        self.divide_slots()?;
        let weights =
            self.synced
                .image()
                .weights_now(&self.topology, &mut self.kernel.registry, &room);
        self.synced.apply_weights(&mut self.kernel.maps, weights)?;
        if count.is_multiple_of(RETRY_TICKS) && self.has_left_interfaces() {
            self.attach()?;
            self.sync()?;
        }
        if self.behind {
            self.sync()?;
        }
        let few = self.synced.image().lanes.len() <= FEW_LANES;
        if few || self.draining || count.is_multiple_of(POLL_TICKS) {
            self.publish()?;
        }
        Ok(())
    }

    /// Moves slots of servers' `maxconn` to the path that needs them.
    fn divide_slots(&mut self) -> Result<(), FastPathError> {
        let Kernel {
            maps,
            registry,
            capacity,
            ..
        } = &mut self.kernel;
        let image = self.synced.image();
        let serves = |block| image.weights.contains_key(&block);
        let room = &capacity.room;
        slots::step(maps, registry, room, &self.topology, &serves, self.draining)?;
        Ok(())
    }

    /// Writes the access log of flows that have ended.
    fn log_flows(&mut self) {
        let Kernel { maps, registry, .. } = &mut self.kernel;
        flow_log::write(maps, registry, &self.topology, &self.log);
    }

    /// Goes on with a sweep for idle flows, or begins one if it is time: walking an empty table costs as well.
    fn sweep(&mut self, now: u32, count: u32) -> Result<(), FastPathError> {
        let flows = self.kernel.maps.flow_count.get(&0, 0)?;
        let due = count.is_multiple_of(if flows > 0 {
            SWEEP_TICKS
        } else {
            EMPTY_SWEEP_TICKS
        });
        if due || self.sweep.is_under_way() {
            let lane = |lane| self.synced.lane(lane);
            self.sweep
                .step(&mut self.kernel, &lane, now, SWEEP_ENTRIES)?;
        }
        Ok(())
    }

    /// Brings the maps up to date; if that fails, it is tried again at each tick.
    fn sync(&mut self) -> Result<(), FastPathError> {
        self.behind = true;
        self.write()?;
        self.behind = false;
        Ok(())
    }

    fn write(&mut self) -> Result<(), FastPathError> {
        let view = self.view.borrow_and_update().clone();
        self.epoch = view.epoch();
        let attached: BTreeSet<u32> = self.kernel.attached().collect();
        let room = self.kernel.capacity.room;
        let mut registry = std::mem::take(&mut self.kernel.registry);
        let inputs = Inputs {
            config: &self.config,
            topology: &self.topology,
            view: &view,
            attached: &attached,
            listening: &self.listening,
            room: &room,
        };
        let image = Image::build(&inputs, &mut registry);
        self.kernel.registry = registry;
        self.kernel.write_registry()?;
        self.prober.want(image.neighbours.clone());
        self.synced
            .apply(&mut self.kernel.maps, image, Instant::now())?;
        let settings = Image::settings(
            &self.config,
            self.kernel.capacity.flow_entries,
            self.draining,
        );
        self.synced.apply_settings(&mut self.kernel.maps, settings)
    }

    /// Attaches to interfaces that came and forgets those that went.
    fn attach(&mut self) -> Result<(), FastPathError> {
        let view = self.view.borrow().clone();
        let config = Arc::clone(&self.config);
        let fast_path = &config.global.fast_path;
        let pinned = self.kernel.pinned();
        let present: BTreeSet<u32> = self.kernel.attached().chain(pinned).collect();
        if self.leaving {
            for ifindex in present {
                match view.link(ifindex) {
                    Some(_) => self.kernel.attach(ifindex, Mode::Any)?,
                    None => self.kernel.detach(ifindex)?,
                }
            }
            return Ok(());
        }
        let wanted = attach::wanted(fast_path, &view, &present);
        let gone: Vec<u32> = present.difference(&wanted).copied().collect();
        for ifindex in gone {
            self.kernel.detach(ifindex)?;
        }
        let name = |ifindex| {
            view.link(ifindex)
                .map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
        };
        let mut interfaces = BTreeMap::new();
        for ifindex in wanted {
            let name = name(ifindex);
            let attached = self.kernel.attached().any(|i| i == ifindex);
            let (how, reason) = match attach::choose(fast_path.attach, ifindex) {
                Choice::Native => {
                    self.try_attach(ifindex, Mode::Native, "xdp", "its driver has native XDP")
                }
                Choice::Generic => self.try_attach(
                    ifindex,
                    Mode::Generic,
                    "xdp-generic",
                    "fast_path.attach asks for it",
                ),
                // It was fit once: its other end may come back any moment.
                Choice::Leave(why) if attached => ("xdp".into(), why),
                Choice::Leave(why) => ("none".into(), why),
            };
            let path = InterfacePath {
                name,
                attach: how,
                reason,
            };
            if self.interfaces.get(&ifindex) != Some(&path) {
                tracing::info!("interface {}: {} ({})", path.name, path.attach, path.reason);
            }
            interfaces.insert(ifindex, path);
        }
        if self.interfaces.is_empty() {
            for missing in attach::missing(fast_path, &view) {
                tracing::warn!(
                    "interface {missing} does not exist yet: it is attached when it appears"
                );
            }
        }
        self.interfaces = interfaces;
        Ok(())
    }

    /// Unless the file says `attach: auto`, a start wants every interface. One that comes later and cannot be had does
    /// not end what runs.
    fn insist(&self) -> Result<(), FastPathError> {
        let attach = self.config.global.fast_path.attach;
        match self.interfaces.values().find(|i| i.attach == "none") {
            Some(left) if attach != Attach::Auto => Err(FastPathError::Interface {
                interface: left.name.clone(),
                why: left.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn try_attach(&mut self, ifindex: u32, mode: Mode, how: &str, why: &str) -> (String, String) {
        match self.kernel.attach(ifindex, mode) {
            Ok(()) => (how.into(), why.into()),
            Err(error) => ("none".into(), error.to_string()),
        }
    }

    fn has_left_interfaces(&self) -> bool {
        self.interfaces
            .values()
            .any(|interface| interface.attach == "none")
    }

    /// Takes the source NAT ports out of the host's hands, but for those that something listens on.
    fn reserve_ports(&mut self) {
        let wanted: PortSet = [self.config.global.fast_path.snat_ports.clone()]
            .into_iter()
            .collect();
        match ports::listening() {
            Ok(listening) => {
                let taken = wanted.intersection(&listening.tcp.union(&listening.udp));
                self.listening = taken.ranges().iter().cloned().flatten().collect();
            }
            Err(error) => tracing::warn!("cannot tell which ports are listened on: {error}"),
        }
        let free: PortSet = self.listening.iter().copied().collect();
        if let Err(error) = self.reservation.reserve(&wanted.difference(&free)) {
            tracing::warn!(
                "source ports of the kernel path are not reserved, a connection of this host may collide: {error}"
            );
        }
    }

    fn publish(&mut self) -> Result<(), FastPathError> {
        let Kernel {
            maps,
            registry,
            capacity,
            ..
        } = &mut self.kernel;
        let active = traffic::publish(maps, registry, &capacity.room, &self.sweep, &self.topology)?;
        let Kernel { maps, capacity, .. } = &self.kernel;
        self.active.send_replace(active);
        let frontends = self
            .synced
            .image()
            .frontends
            .iter()
            .map(|(name, result)| FrontendPath {
                frontend: name.clone(),
                path: match result {
                    Ok(()) if self.has_left_interfaces() => PathKind::Both,
                    Ok(()) => PathKind::Kernel,
                    Err(_) => PathKind::Userspace,
                },
                reason: match result {
                    Ok(()) if self.draining => "stopping: new flows go to userspace".into(),
                    Ok(()) => "forwarded in the kernel".into(),
                    Err(why) => why.clone(),
                },
            });
        self.status.store(PathStatus {
            program: object::build().map(str::to_owned),
            frontends: frontends.collect(),
            interfaces: self.interfaces.values().cloned().collect(),
            flows: maps.flow_count.get(&0, 0)?,
            max_flows: u64::from(capacity.flow_entries / 2),
            counters: traffic::reasons(maps)?,
        });
        Ok(())
    }

    /// First phase of a stop: no new flows.
    fn drain(&mut self) -> Result<(), FastPathError> {
        self.draining = true;
        self.sync()?;
        self.publish()
    }

    /// Last phase: detaches and removes everything, or leaves all as it is.
    fn finish(mut self, keep: bool, done: oneshot::Sender<()>) {
        self.log_flows();
        if keep {
            tracing::info!(
                "the kernel path stays: its flows go on and new ones are taken, until lb starts again"
            );
        } else {
            if let Err(error) = self.kernel.remove() {
                tracing::error!("the kernel path was not removed whole: {error}");
            }
            if let Err(error) = self.reservation.release() {
                tracing::warn!("source ports stay reserved: {error}");
            }
        }
        let _ = done.send(());
    }
}

/// What the status says of every frontend when there is no kernel path, for `reason`.
pub fn no_kernel_path(topology: &Topology, reason: &str) -> PathStatus {
    let frontends = topology.frontends.iter().map(|frontend| FrontendPath {
        frontend: frontend.name.to_string(),
        path: PathKind::Userspace,
        reason: match frontend.config.mode {
            crate::config::model::Mode::Http => "mode http needs userspace".into(),
            crate::config::model::Mode::Tcp => reason.to_owned(),
        },
    });
    PathStatus {
        frontends: frontends.collect(),
        ..PathStatus::default()
    }
}
