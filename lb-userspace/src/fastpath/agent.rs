//! The agent's loop: keeps the kernel maps equal to what the running model and the network say they should hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::abi::{Settings, TICK_MS};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};

use super::{
    Begin, Command, Purpose,
    capacity::Capacity,
    census::Census,
    clock::Clock,
    deny::DenyList,
    error::FastPathError,
    flow_log,
    image::{Attached, Image, Inputs},
    kernel::Kernel,
    net::{
        self, Family, Prober, View,
        ports::{PortSet, Reservation},
    },
    others,
    pins::Pins,
    pmtu::PathMtus,
    reset::Resets,
    slots,
    sockets::Sockets,
    succession,
    sweep::Sweep,
    sync::Synced,
    trace::Tracing,
};
use crate::{
    capabilities,
    config::{
        Config,
        host::{ThisHost, max_flows},
        model::{self, Attach},
    },
    observe::{
        log::Sink,
        path::{InterfacePath, SharedPathStatus},
        request::Request,
    },
    topology::{Topology, counters::KernelTraffic},
};

mod attaching;
mod ending;
mod pinning;
mod publishing;
mod requests;
mod reserving;
mod sweeping;

pub use publishing::no_kernel_path;

/// Ticks between polls of the counters, a system call a lane, where there are more lanes than a few.
const POLL_TICKS: u32 = 5;
const FEW_LANES: usize = 256;
/// Ticks between looks at which services have no connections on this host.
const SOCKET_TICKS: u32 = 100;
/// Ticks between looks at what drivers can do: a veth gains and loses with its other end.
const RETRY_TICKS: u32 = 20;
/// Ticks between looks at whether the program is attached still: nobody tells when it is detached by another's hand.
const LOST_TICKS: u32 = 5;
/// How long segments of no flow are dropped after an address has moved here: the flows of the node that had it are
/// opened anew by their clients' next segments, or their servers' (a TCP retransmission or two).
const SETTLING: Duration = Duration::from_secs(3);

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
    census: Census,
    /// The maps have no room for all that there is.
    short: bool,
    /// So many sweeps more look at once for what others have left.
    searches: u8,
    sockets: Sockets,
    resets: Resets,
    /// How often each server's sessions have been shut down, by its index.
    shutdowns: HashMap<u32, u64>,
    deny: DenyList,
    path_mtus: PathMtus,
    tracing: Option<Tracing>,
    reservation: Reservation,
    /// Ports that source NAT had under an earlier file, and that flows may have still.
    earlier_ports: PortSet,
    listening: BTreeSet<u16>,
    interfaces: BTreeMap<u32, InterfacePath>,
    /// Those that are not attached as the file insists, and why.
    unmet: BTreeMap<u32, String>,
    attached: Attached,
    /// Why the maps are pinned no more, and nothing is attached.
    unpinned: Option<String>,
    /// No frontend is for the kernel, and no interface has the program.
    idle: bool,
    /// Interfaces whose receive VLAN offload was turned off.
    offload_off: BTreeSet<u32>,
    draining: bool,
    /// The file no longer wants a kernel path: an earlier agent's flows are served to their end, no new ones taken.
    leaving: bool,
    purpose: Purpose,
    /// Services' addresses that this host has, as of the last look.
    own_services: Option<BTreeSet<IpAddr>>,
    settling: Option<Instant>,
    /// The network's epoch that the maps follow.
    epoch: u64,
    active: watch::Sender<u64>,
    clock: Clock,
    requests: mpsc::UnboundedReceiver<Request>,
    /// The maps do not hold what they should: the last attempt to bring them up to date failed.
    behind: bool,
    lock: std::fs::File,
}

impl Agent {
    /// Loads, attaches and fills the maps: when this returns, the kernel forwards.
    pub(super) async fn start(begin: Begin) -> Result<Self, FastPathError> {
        let Begin {
            config,
            topology,
            status,
            log,
            active,
            purpose,
        } = begin;
        let fast_path = &config.global.fast_path;
        let lacking = capabilities::lacking(&super::NEEDED);
        if !lacking.is_empty() {
            return Err(FastPathError::Lacking(lacking));
        }
        let pins = Pins::open(&fast_path.pin_path)?;
        let lock = pins.lock()?;
        pins.clear_older()?;
        let (view, prober) = net::start().await?;
        let kernel = load(pins, &topology, fast_path, &view.borrow())?;
        let synced = Synced::new(&kernel.maps, &kernel.capacity, &kernel.registry)?;
        let clock = Clock::resume(kernel.maps.clock.get(&0, 0)?, Instant::now());
        let reservation = super::reservation(&config);
        let leaving = fast_path.attach == Attach::Off;
        let (sender, requests) = mpsc::unbounded_channel();
        let mut agent = Self {
            deny: DenyList::changed(&fast_path.deny, succession::denied().as_ref()),
            config,
            topology,
            status,
            log,
            view,
            prober,
            kernel,
            synced,
            sweep: Sweep::default(),
            census: Census::default(),
            short: false,
            searches: 0,
            sockets: Sockets::default(),
            resets: Resets::default(),
            shutdowns: HashMap::new(),
            path_mtus: PathMtus::default(),
            tracing: None,
            reservation,
            earlier_ports: PortSet::default(),
            listening: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            unmet: BTreeMap::new(),
            attached: Attached::default(),
            unpinned: None,
            idle: false,
            offload_off: BTreeSet::new(),
            draining: leaving,
            leaving,
            purpose,
            own_services: None,
            settling: None,
            epoch: 0,
            active,
            clock,
            requests,
            behind: false,
            lock,
        };
        match agent.begin() {
            Ok(()) => {
                agent.status.take_requests(Some(sender));
                Ok(agent)
            }
            Err(error) => {
                agent.give_up();
                Err(error)
            }
        }
    }

    /// Makes larger maps where a family has got its first service and nothing is forwarded that would be lost with them.
    /// Where that fails all is as before: those that there are hold some flows.
    fn make_room(&mut self) {
        let fast_path = &self.config.global.fast_path;
        let max_flows = max_flows(fast_path, &ThisHost::default());
        let wanted = wanted(&self.topology, max_flows, &self.view.borrow());
        if !self.idle || !wanted.has_more_flows_than(&self.kernel.capacity) {
            return tell_lacking(&self.kernel, &wanted, max_flows);
        }
        match self.kernel.beside(wanted) {
            Ok(larger) => {
                tell_capacity(&larger, &wanted, max_flows);
                if let Err(error) = self.renew(larger) {
                    tracing::error!("the flow tables stay as small as they are: {error}");
                }
            }
            Err(error) => {
                tracing::error!("the flow tables stay as small as they are: {error}");
                tell_lacking(&self.kernel, &wanted, max_flows);
            }
        }
    }

    /// Goes on with another kernel, one with new maps.
    fn renew(&mut self, mut kernel: Kernel) -> Result<(), FastPathError> {
        let prepared = Synced::new(&kernel.maps, &kernel.capacity, &kernel.registry);
        let prepared = prepared.and_then(|synced| {
            let now = self.clock.at(Instant::now());
            kernel.maps.clock.set(0, now, 0)?;
            kernel.take_place(&self.kernel)?;
            Ok(synced)
        });
        self.synced = match prepared {
            Ok(synced) => synced,
            Err(error) => {
                // Of what has not taken a place nothing is to stay.
                let _ = kernel.remove_everything();
                return Err(error);
            }
        };
        self.kernel = kernel;
        self.topology
            .kernel_traffic()
            .for_each(KernelTraffic::begin_anew);
        if !std::mem::take(&mut self.earlier_ports).is_empty() {
            self.reserve();
        }
        // What is traced is traced with the programs that go.
        self.tracing = None;
        self.sweep = Sweep::default();
        self.census = Census::default();
        self.sockets = Sockets::default();
        self.resets = Resets::default();
        // Under their new numbers.
        self.shutdowns.clear();
        self.each_shutdown(|_, _| {});
        Ok(())
    }

    /// All that is left to do until the kernel forwards.
    fn begin(&mut self) -> Result<(), FastPathError> {
        self.find_earlier_ports();
        self.reserve_ports();
        if self.purpose == Purpose::GoOn {
            self.adopt_all();
        }
        self.attach()?;
        if self.purpose == Purpose::Serve {
            self.insist(&BTreeMap::new())?;
            // One that has started at the same moment was not seen before.
            if !self.leaving
                && let Err(error) = others::refuse(&self.config)
            {
                tracing::warn!("{error}");
            }
        }
        self.sync()?;
        self.divide_slots()?;
        self.publish()
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
                    Some(Command::Follow { config, topology, done }) => {
                        let followed = self.follow(config, topology);
                        // Whoever has asked may be gone.
                        let _ = done.send(followed.as_ref().map(drop).map_err(ToString::to_string));
                        followed
                    }
                    Some(Command::Try { config, topology, done }) => {
                        // Whoever has asked may be gone.
                        let _ = done.send(self.can_follow(&config, &topology));
                        Ok(())
                    }
                    Some(Command::Drain { done }) => self.drain().map(|()| {
                        let _ = done.send(());
                    }),
                    Some(Command::HandOver { done }) => return self.hand_over(done),
                    Some(Command::Finish { keep, done }) => return self.finish(keep, done).await,
                    None => return self.finish(false, oneshot::channel().0).await,
                },
                changed = changes.changed() => match changed {
                    Ok(()) => self.sync(),
                    Err(_) => return,
                },
                changed = self.view.changed() => match changed {
                    Ok(()) if self.view.borrow_and_update().epoch() == self.epoch => Ok(()),
                    Ok(()) => {
                        // The network will not tell again what could not be followed.
                        self.behind = true;
                        self.attach().and_then(|()| self.sync())
                    }
                    Err(_) => return tracing::error!("the kernel path no longer follows the network: netlink is gone"),
                },
                // The status holds the sender, so there is always one.
                Some(request) = self.requests.recv() => self.answer(request),
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
        self.follow_trace()?;
        self.sweep(now, count)?;
        self.step_resets()?;
        let room = self.kernel.capacity.room;
        self.divide_slots()?;
        let weights =
            self.synced
                .image()
                .weights_now(&self.topology, &mut self.kernel.registry, &room);
        self.synced.apply_weights(&mut self.kernel.maps, weights)?;
        let mut lost = false;
        if count.is_multiple_of(LOST_TICKS) {
            self.keep_pins();
            lost = self.forget_lost()?;
        }
        if lost || count.is_multiple_of(RETRY_TICKS) {
            let before = self.attached.clone();
            self.attach()?;
            self.behind |= before != self.attached;
        }
        if count.is_multiple_of(SOCKET_TICKS) {
            let busy = self.busy_ports();
            let image = self.synced.image();
            self.sockets
                .look(&mut self.kernel.maps, image, &busy, Instant::now())?;
        }
        let ends = self.synced.image().tunnel_ends();
        self.behind |= self.path_mtus.look(&ends, Instant::now());
        self.behind |= self.settling.is_some_and(|until| until <= Instant::now());
        if self.behind {
            self.sync()?;
        }
        let few = self.synced.image().lanes.len() <= FEW_LANES;
        if few || self.draining || count.is_multiple_of(POLL_TICKS) {
            self.publish()?;
        }
        Ok(())
    }

    /// Ports of frontends with userspace connections.
    fn busy_ports(&self) -> PortSet {
        let frontends = self.topology.frontends.iter();
        let busy = frontends.filter(|frontend| frontend.current() > 0);
        busy.flat_map(|frontend| &frontend.config.binds)
            .filter_map(|bind| bind.address.port())
            .collect()
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

    /// Brings the maps up to date; if that fails, it is tried again at each tick.
    fn sync(&mut self) -> Result<(), FastPathError> {
        self.behind = true;
        self.write()?;
        self.behind = false;
        self.shut_down_sessions();
        Ok(())
    }

    fn write(&mut self) -> Result<(), FastPathError> {
        let view = self.view.borrow_and_update().clone();
        self.epoch = view.epoch();
        let room = self.kernel.capacity.room;
        let mut registry = std::mem::take(&mut self.kernel.registry);
        let inputs = Inputs {
            config: &self.config,
            topology: &self.topology,
            view: &view,
            attached: &self.attached,
            listening: &self.listening,
            deny: &self.deny,
            path_mtus: &self.path_mtus.known(),
            room: &room,
        };
        // What else has asked for an index is none of an image's.
        registry.take_short();
        let image = Image::build(&inputs, &mut registry);
        self.short = registry.take_short();
        if self.short {
            self.searches = sweeping::SEARCHES;
        }
        self.kernel.registry = registry;
        self.census
            .note(&self.kernel.registry, &image, Instant::now());
        self.census.note_ports(&self.earlier_ports, Instant::now());
        self.kernel.write_registry()?;
        self.tell_paths(&image);
        self.prober.want(image.neighbours.clone());
        self.settle(&image, &view);
        let flags = self.flags();
        let Kernel {
            maps,
            capacity,
            fixed,
            ..
        } = &mut self.kernel;
        if flags & Settings::SETTLING != 0 {
            // Before the address is served.
            self.synced.add_flags(maps, Settings::SETTLING)?;
        }
        let settings = image.settings(&self.config, capacity, fixed, flags);
        self.synced.apply(maps, image, Instant::now())?;
        self.synced.apply_settings(maps, settings)
    }

    /// Notices services' addresses that have moved to this host while it was running.
    fn settle(&mut self, image: &Image, view: &View) {
        let local: BTreeSet<IpAddr> = view.all_addresses().map(|(_, a)| a.ip).collect();
        let own = &image.service_addresses() & &local;
        let now = Instant::now();
        if let Some(before) = &self.own_services
            && !own.is_subset(before)
        {
            let came: Vec<String> = own.difference(before).map(IpAddr::to_string).collect();
            tracing::info!("{} came to this host", came.join(", "));
            self.settling = Some(now + SETTLING);
        }
        self.settling = self.settling.filter(|until| *until > now);
        self.own_services = Some(own);
    }

    /// The settings' flags as they hold now.
    fn flags(&self) -> u32 {
        let draining = if self.draining { Settings::DRAINING } else { 0 };
        let settling = if self.settling.is_some() {
            Settings::SETTLING
        } else {
            0
        };
        draining | settling
    }
}

/// Makes the maps for what the configuration needs, or takes over an earlier agent's, and loads the programs.
fn load(
    pins: Pins,
    topology: &Topology,
    fast_path: &model::FastPath,
    view: &View,
) -> Result<Kernel, FastPathError> {
    let max_flows = max_flows(fast_path, &ThisHost::default());
    let wanted = wanted(topology, max_flows, view);
    let kernel = Kernel::load(pins, wanted)?;
    tell_capacity(&kernel, &wanted, max_flows);
    for traffic in topology.kernel_traffic() {
        traffic.begin(kernel.taken_over);
    }
    Ok(kernel)
}

/// The room that the configuration needs.
fn wanted(topology: &Topology, max_flows: u32, view: &View) -> Capacity {
    let count = |family| view.local_addresses(family).len();
    Capacity::of(topology, max_flows, count(Family::V4) + count(Family::V6))
}

/// Says how much the maps hold and take, and what they lack.
fn tell_capacity(kernel: &Kernel, wanted: &Capacity, max_flows: u32) {
    let capacity = &kernel.capacity;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if kernel.taken_over {
        tracing::info!(
            flows = kernel.maps.flows().unwrap_or(0),
            "took over the kernel path of an earlier lb"
        );
    }
    tracing::info!(
        "kernel maps: {} IPv4 and {} IPv6 flows, {} and {} half-open ones, {} MiB",
        capacity.v4.flows(),
        capacity.v6.flows(),
        capacity.v4.half_open(),
        capacity.v6.half_open(),
        capacity.bytes(cpus) >> 20
    );
    tell_lacking(kernel, wanted, max_flows);
}

/// Says what of the file's wish the maps do not hold.
fn tell_lacking(kernel: &Kernel, wanted: &Capacity, max_flows: u32) {
    let capacity = &kernel.capacity;
    for (family, wanted, have) in [
        ("IPv4", wanted.v4.flows(), capacity.v4.flows()),
        ("IPv6", wanted.v6.flows(), capacity.v6.flows()),
    ] {
        if wanted > have || (wanted == max_flows && wanted != have) {
            tracing::warn!(
                "fast_path.max_flows is {max_flows} but the {family} flow table in use holds {have}: \
                 a stop with `on_stop: detach` and a new start change it"
            );
        }
    }
}
