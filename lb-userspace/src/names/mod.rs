//! Names of servers, followed as their addresses change: [`message`] reads and writes DNS, [`ask`] asks, [`seats`] decides
//! which server gets which address, and what comes of it goes to the server's one live state.
//!
//! The messages are our own reading of them, because all that is needed are three kinds of records: the crates that know
//! all of DNS bring more code than the rest of the daemon's dependencies for the network together.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

pub mod ask;
pub mod message;
pub mod seats;

use ask::Asker;
use message::{Answer, Kind, NoAnswer, Service};
use seats::{Post, Seat};

use crate::{
    config::model::{Address, Hold, Resolve, Resolvers},
    topology::{Backend, Server, Topology},
};

/// Names that are followed; dropping it ends that.
#[derive(Debug)]
pub struct Names {
    _tasks: JoinSet<()>,
}

impl Names {
    /// Starts a task for each name that servers of `topology` have, on the present runtime (one with IO and time).
    pub fn start(topology: &Topology) -> Self {
        let mut groups: HashMap<(Arc<Resolvers>, Arc<str>), Vec<Members>> = HashMap::new();
        for backend in &topology.backends {
            for server in &backend.servers {
                let (Address::Name(name, _), Some(resolve)) =
                    (&server.config.address, &server.config.resolve)
                else {
                    continue;
                };
                let key = (Arc::clone(&resolve.resolvers), Arc::clone(name));
                let of_name = groups.entry(key).or_default();
                let same = |members: &&mut Members| Arc::ptr_eq(&members.backend, backend);
                match of_name.iter_mut().find(same) {
                    Some(members) => members.servers.push(Arc::clone(server)),
                    None => of_name.push(Members {
                        backend: Arc::clone(backend),
                        servers: vec![Arc::clone(server)],
                    }),
                }
            }
        }
        let mut tasks = JoinSet::new();
        for ((resolvers, name), members) in groups {
            let asker = Asker::new(&resolvers, &topology.resolving);
            tasks.spawn(follow(asker, resolvers, name, members));
        }
        Self { _tasks: tasks }
    }
}

/// Servers of one backend that share a name.
struct Members {
    backend: Arc<Backend>,
    servers: Vec<Arc<Server>>,
}

/// Follows a name for ever.
async fn follow(asker: Asker, resolvers: Arc<Resolvers>, name: Arc<str>, members: Vec<Members>) {
    // Servers of one name may differ in what they prefer, but what they have in common is asked once.
    let prefers_v4 = members.iter().flat_map(|m| &m.servers).any(|server| {
        let resolve = server.config.resolve.as_ref();
        resolve.is_some_and(|resolve| resolve.prefers_v4)
    });
    let mut followed: Vec<Followed> = members.into_iter().map(Followed::new).collect();
    let services = followed.iter().any(Followed::has_services);
    let mut known = Known::new(&followed, Instant::now());
    loop {
        let asked = Instant::now();
        let answer = match services {
            true => services_of(&asker, &name, prefers_v4).await,
            false => addresses_of(&asker, &name, prefers_v4).await,
        };
        let now = Instant::now();
        let gone = known.learn(answer, now, &resolvers.hold);
        if let Some(why) = gone {
            followed.iter_mut().for_each(|followed| followed.lose(why));
        } else if known.is_good() {
            for followed in &mut followed {
                followed.take(&known);
            }
        }
        let pause = match known.failed {
            // What fails is asked again as soon as it may be.
            Some(_) => resolvers.interval,
            None => resolvers.interval.max(resolvers.hold.valid),
        };
        tokio::time::sleep_until((asked + pause).max(now + Duration::from_millis(1))).await;
    }
}

/// An address of a name, of the family that is preferred if it has one; `None` if it has none.
pub async fn first_address(asker: &Asker, name: &str, prefers_v4: bool) -> Option<IpAddr> {
    match addresses_of(asker, name, prefers_v4).await.ok()? {
        Answer::Addresses(found) => found.first().copied(),
        Answer::Services(_) => None,
    }
}

/// The addresses of a name: of the family that is preferred, or of the other if it has none of that.
async fn addresses_of(asker: &Asker, name: &str, prefers_v4: bool) -> Result<Answer, NoAnswer> {
    let kinds = match prefers_v4 {
        true => [Kind::A, Kind::Aaaa],
        false => [Kind::Aaaa, Kind::A],
    };
    let first = asker.ask(name, kinds[0]).await;
    match &first {
        Ok(answer) if !answer.is_empty() => return first,
        Err(NoAnswer::Timeout) => return first,
        _ => {}
    }
    match asker.ask(name, kinds[1]).await {
        Ok(answer) if answer.is_empty() => Err(NoAnswer::Other),
        second => second,
    }
}

/// The services of a name, each with its addresses.
async fn services_of(asker: &Asker, name: &str, prefers_v4: bool) -> Result<Answer, NoAnswer> {
    let Answer::Services(mut services) = asker.ask(name, Kind::Srv).await? else {
        return Err(NoAnswer::Other);
    };
    if services.is_empty() {
        return Err(NoAnswer::Other);
    }
    let mut asked: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for service in &mut services {
        if !service.addresses.is_empty() {
            continue;
        }
        if let Some(found) = asked.get(&service.target) {
            service.addresses.clone_from(found);
            continue;
        }
        let found = match addresses_of(asker, &service.target, prefers_v4).await {
            Ok(Answer::Addresses(found)) => found,
            _ => Vec::new(),
        };
        service.addresses.clone_from(&found);
        asked.insert(service.target.clone(), found);
    }
    Ok(Answer::Services(services))
}

/// What is known of a name.
struct Known {
    /// With when each was last answered.
    addresses: Vec<(IpAddr, Instant)>,
    services: Vec<(Service, Instant)>,
    /// When the last good answer came, or the beginning.
    last_good: Instant,
    failed: Option<NoAnswer>,
}

impl Known {
    /// What earlier answers have said, before the configuration was read again, counts as said now: what has left the name
    /// meanwhile is held as if it left it only now.
    fn new(followed: &[Followed], now: Instant) -> Self {
        let seats = followed.iter().flat_map(|followed| &followed.seats);
        let said = seats.filter(|seat| seat.taken);
        let posts = followed.iter().flat_map(|followed| &followed.posts);
        Self {
            addresses: said.filter_map(|seat| Some((seat.address?, now))).collect(),
            services: posts.filter_map(|post| Some((post.held()?, now))).collect(),
            last_good: now,
            failed: None,
        }
    }

    fn is_good(&self) -> bool {
        self.failed.is_none()
    }

    /// Takes an answer; if what was known before does not hold any more, says why in HAProxy's words.
    fn learn(
        &mut self,
        answer: Result<Answer, NoAnswer>,
        now: Instant,
        hold: &Hold,
    ) -> Option<&'static str> {
        match answer {
            Ok(answer) => {
                self.failed = None;
                self.last_good = now;
                let fresh = |at: &Instant| now.saturating_duration_since(*at) <= hold.obsolete;
                let (mut addresses, mut services) = (Vec::new(), Vec::new());
                match answer {
                    Answer::Addresses(found) => addresses = found,
                    Answer::Services(found) => services = found,
                }
                self.addresses
                    .retain(|(ip, at)| fresh(at) && !addresses.contains(ip));
                self.addresses
                    .extend(addresses.into_iter().map(|ip| (ip, now)));
                let same = |a: &Service, b: &Service| (&a.target, a.port) == (&b.target, b.port);
                self.services
                    .retain(|(old, at)| fresh(at) && !services.iter().any(|new| same(old, new)));
                self.services
                    .extend(services.into_iter().map(|new| (new, now)));
                None
            }
            Err(error) => {
                self.failed = Some(error);
                let (held, why) = match error {
                    NoAnswer::NoName => (hold.nx, "DNS NX status"),
                    NoAnswer::Refused => (hold.refused, "DNS refused status"),
                    NoAnswer::Timeout => (hold.timeout, "DNS timeout status"),
                    NoAnswer::Truncated | NoAnswer::Other => (hold.other, "unspecified DNS error"),
                };
                (now.saturating_duration_since(self.last_good) >= held).then_some(why)
            }
        }
    }
}

/// Servers of one backend, and what they have of their name.
struct Followed {
    members: Members,
    seats: Vec<Seat>,
    posts: Vec<Post>,
}

impl Followed {
    fn new(members: Members) -> Self {
        let seats = members.servers.iter().map(|server| Seat {
            address: server.address().ip(),
            // Else it is what the host's resolver said at the start.
            taken: server.moves() > 0,
        });
        let posts = members.servers.iter().map(|server| Post {
            service: server.service(),
            address: server.address().inet(),
            weight: server.weight(),
        });
        Self {
            seats: seats.collect(),
            posts: posts.collect(),
            members,
        }
    }

    fn has_services(&self) -> bool {
        let servers = &self.members.servers;
        servers
            .iter()
            .any(|server| server.config.address.port().is_none())
    }

    /// The name leads nowhere any more.
    fn lose(&mut self, why: &'static str) {
        self.seats.fill(Seat::default());
        self.posts.fill(Post::default());
        for server in &self.members.servers {
            server.set_service(None);
            self.members.backend.set_address(server, Err(why));
        }
    }

    fn take(&mut self, known: &Known) {
        match self.has_services() {
            true => self.take_services(known),
            false => self.take_addresses(known),
        }
    }

    fn take_addresses(&mut self, known: &Known) {
        let Some(resolve) = self.resolve() else {
            return;
        };
        let addresses: Vec<IpAddr> = known.addresses.iter().map(|(ip, _)| *ip).collect();
        seats::addresses(&mut self.seats, &addresses, &resolve);
        for (server, seat) in self.members.servers.iter().zip(&self.seats) {
            let port = server.config.address.port().unwrap_or_default();
            let address = seat.address.map(|ip| SocketAddr::new(ip, port));
            let address = address.ok_or("No IP for server ");
            self.members.backend.set_address(server, address);
        }
    }

    fn take_services(&mut self, known: &Known) {
        let Some(resolve) = self.resolve() else {
            return;
        };
        let services: Vec<Service> = known.services.iter().map(|(s, _)| s.clone()).collect();
        seats::services(&mut self.posts, &services);
        let backend = &self.members.backend;
        for (server, post) in self.members.servers.iter().zip(&mut self.posts) {
            let found = services.iter().find(|service| {
                let of = post.service.as_ref();
                of.is_some_and(|(target, port)| (target, port) == (&service.target, &service.port))
            });
            server.set_service(post.service.as_ref());
            let current = post.address.map(|address| address.ip());
            post.address = found.and_then(|service| {
                let best = seats::best(&service.addresses, current, &resolve);
                // A host that cannot be asked for just now is where it was.
                let ip = best.or(current.filter(|_| service.addresses.is_empty()))?;
                Some(SocketAddr::new(ip, service.port))
            });
            if post.address.is_some() && !resolve.ignores_weight && server.weight() != post.weight {
                backend.set_weight(server, post.weight);
            }
            backend.set_address(server, post.address.ok_or("No IP for server "));
        }
    }

    /// How its servers want their name resolved: the first speaks for all.
    fn resolve(&self) -> Option<Resolve> {
        self.members.servers.first()?.config.resolve.clone()
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
