//! How a lab is put together: segments, addresses and routes in both families, and wires that behave like wires.

use std::path::Path;

use super::station::{self, CLIENT, EDGE, ROUTER_FAR, Station};
use super::{Arms, CLIENTS, ETH, Lab, SERVERS};
use crate::link::{self, End, ip};
use crate::tag::TEST_PREFIX;
use crate::{Netns, Result, Tag, bpf, netns, scratch};

/// What a [`Lab`] is to be like.
#[derive(Clone, Debug)]
pub struct Builder {
    prefix: String,
    arms: Arms,
    servers: usize,
    mtu: u32,
    route_back: bool,
    hop: Option<u32>,
    decapsulate: bool,
    large_segments: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            prefix: TEST_PREFIX.to_owned(),
            arms: Arms::Two,
            servers: 3,
            mtu: 1500,
            route_back: false,
            hop: None,
            decapsulate: false,
            large_segments: false,
        }
    }
}

impl Builder {
    /// The prefix of all names, `lbt` unless set.
    pub fn prefix(mut self, prefix: &str) -> Builder {
        self.prefix = prefix.to_owned();
        self
    }

    /// One arm instead of two.
    pub fn one_armed(mut self) -> Builder {
        self.arms = Arms::One;
        self
    }

    /// How many servers, up to 200.
    pub fn servers(mut self, count: usize) -> Builder {
        self.servers = count;
        self
    }

    /// The MTU of every link.
    pub fn mtu(mut self, bytes: u32) -> Builder {
        self.mtu = bytes;
        self
    }

    /// Gives the servers a default route through the balancer, which `forward: nat` needs.
    pub fn route_back(mut self) -> Builder {
        self.route_back = true;
        self
    }

    /// Puts the servers behind a router that forwards no packet larger than this, in either direction, and says so to
    /// the sender. Their default route is that router; with two arms its way to the client is through the balancer.
    pub fn hop(mut self, mtu: u32) -> Builder {
        self.hop = Some(mtu);
        self
    }

    /// Lets the servers take packets out of IP-in-IP, as `forward: ipip` needs it.
    pub fn decapsulate(mut self) -> Builder {
        self.decapsulate = true;
        self
    }

    /// Leaves segmentation and checksums of what client and servers send to hardware that a veth does not have, as on
    /// hosts of virtual machines: programs on TC then see segments of up to 64 KiB.
    pub fn large_segments(mut self) -> Builder {
        self.large_segments = true;
        self
    }

    /// Makes it, after removing what killed runs with the same prefix left behind.
    ///
    /// # Errors
    /// Without root, or when the kernel or iproute2 refuses a step; what was made until then is gone.
    pub fn build(self) -> Result<Lab> {
        netns::sweep(&self.prefix);
        scratch::sweep(&self.prefix);
        let tag = Tag::new(&self.prefix);
        let netns = |role: &str| Netns::new(&tag.name(role));
        let servers = (1..=self.servers).map(|n| netns(&format!("s{n}")));
        let mut lab = Lab {
            arms: self.arms,
            behind: self.hop.is_some(),
            _links: Vec::new(),
            client: netns("client")?,
            balancer: netns("balancer")?,
            servers: servers.collect::<Result<_>>()?,
            switch: netns("switch")?,
            router: self.hop.map(|_| netns("router")).transpose()?,
            tag: tag.clone(),
        };
        let making = Making {
            lab: &lab,
            plan: &self,
            ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        };
        let links = making.all()?;
        lab._links = links;
        Ok(lab)
    }
}

/// A lab on its way.
struct Making<'a> {
    lab: &'a Lab,
    plan: &'a Builder,
    ipv6: bool,
}

/// The bridge of balancer and, unless they are behind a router, servers.
const BRIDGE: &str = "br0";
/// The bridge of servers behind a router.
const BEHIND: &str = "br1";

impl Making<'_> {
    fn all(&self) -> Result<Vec<bpf::Link>> {
        self.bridge(BRIDGE)?;
        self.balancer_and_client()?;
        if let Some(mtu) = self.plan.hop {
            self.bridge(BEHIND)?;
            self.router(mtu)?;
        }
        for i in 0..self.lab.servers() {
            self.server(i)?;
        }
        self.wires()
    }

    fn bridge(&self, name: &str) -> Result<()> {
        let line =
            format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        ip(&self.lab.switch, &[line])?;
        self.lab.switch.run(|| link::set_up(name))
    }

    fn balancer_and_client(&self) -> Result<()> {
        let Lab {
            client, balancer, ..
        } = self.lab;
        let own = station::balancer(self.plan.arms);
        match self.plan.arms {
            Arms::Two => {
                link::veth(end(balancer, CLIENTS, EDGE), end(client, ETH, CLIENT))?;
                self.plug(balancer, SERVERS, own, "balancer0", BRIDGE)?;
                self.address(balancer, CLIENTS, EDGE)?;
                self.address(balancer, SERVERS, own)?;
            }
            Arms::One => {
                self.plug(client, ETH, CLIENT, "client0", BRIDGE)?;
                self.plug(balancer, ETH, own, "balancer0", BRIDGE)?;
                self.address(balancer, ETH, own)?;
                self.address(balancer, ETH, station::service(Arms::One))?;
            }
        }
        self.address(client, ETH, CLIENT)?;
        self.routes(client, |to| {
            format!("route add local {} dev lo", to.aliases)
        })?;
        if self.ipv6 {
            // Addresses of a local route alone may be bound in IPv4, but not in IPv6.
            client.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
        }
        self.routes(balancer, |to| {
            format!("route add {} via {}", to.aliases, to.client)
        })
    }

    /// Servers on a segment of their own behind a router.
    fn router(&self, mtu: u32) -> Result<()> {
        let (lab, arms) = (self.lab, self.plan.arms);
        let Some(router) = &lab.router else {
            return Ok(());
        };
        let near = station::router_near(arms);
        self.plug(router, "near0", near, "router0", BRIDGE)?;
        self.plug(router, "far0", ROUTER_FAR, "router1", BEHIND)?;
        self.address(router, "near0", near)?;
        self.address(router, "far0", ROUTER_FAR)?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        // On one segment with client and balancer it would tell them of each other.
        for of in ["all", "near0"] {
            router.sysctl(&format!("net/ipv4/conf/{of}/send_redirects"), "0")?;
        }
        if self.ipv6 {
            router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        let back = if arms == Arms::Two {
            station::balancer(arms)
        } else {
            CLIENT
        };
        let families = self.families();
        for family in 0..families {
            // The MTU is the route's: an interface's would also bound what it receives.
            let behind = &ROUTER_FAR.segments()[family];
            let clients = &CLIENT.segments()[family];
            let (back, to) = (addresses(back)[family].clone(), Targets::of(family));
            let mut lines = vec![
                connected(behind, "far0", ROUTER_FAR, family, mtu),
                format!("route add {} via {back} mtu {mtu}", to.aliases),
            ];
            lines.push(match arms {
                Arms::Two => format!("route add {clients} via {back} mtu {mtu}"),
                Arms::One => connected(clients, "near0", near, family, mtu),
            });
            ip(router, &lines)?;
            let via = &addresses(near)[family];
            ip(&lab.balancer, &[format!("route add {behind} via {via}")])?;
        }
        Ok(())
    }

    fn server(&self, i: usize) -> Result<()> {
        let (lab, arms) = (self.lab, self.plan.arms);
        let (server, own) = (lab.server(i), station::server(arms, lab.behind, i));
        let bridge = if lab.behind { BEHIND } else { BRIDGE };
        self.plug(server, ETH, own, &lab.port(i), bridge)?;
        self.address(server, ETH, own)?;
        if arms == Arms::One {
            self.answer_for_service(server)?;
        }
        let gateway = if lab.behind {
            ROUTER_FAR
        } else if self.plan.route_back {
            station::balancer(arms)
        } else {
            return Ok(());
        };
        let lines = addresses(gateway).map(|via| format!("route add default via {via}"));
        ip(server, &lines[..self.families()])
    }

    /// The service address on loopback, and no ARP for it: the balancer alone is to be found under it. IPv6 answers for
    /// addresses of the very interface only.
    fn answer_for_service(&self, server: &Netns) -> Result<()> {
        server.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        server.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
        let [v4, v6] = addresses(station::service(Arms::One));
        let lines = [
            format!("addr add {v4}/32 dev lo"),
            format!("addr add {v6}/128 dev lo nodad"),
        ];
        ip(server, &lines[..self.families()])?;
        if self.lab.behind {
            return Ok(());
        }
        self.routes(server, |to| {
            format!("route add {} via {}", to.aliases, to.client)
        })
    }

    /// Connects an interface to a bridge.
    fn plug(
        &self,
        netns: &Netns,
        name: &str,
        own: Station,
        port: &str,
        bridge: &str,
    ) -> Result<()> {
        let switch = &self.lab.switch;
        // A port's address is its station's with another first byte: nobody sends to it.
        let mut port_mac = own.mac();
        port_mac[0] = 0x06;
        let other = End {
            netns: switch,
            name: port,
            mac: port_mac,
        };
        link::veth(end(netns, name, own), other)?;
        let lines = [
            format!("link set {port} mtu {}", self.plan.mtu),
            format!("link set {port} master {bridge}"),
        ];
        ip(switch, &lines)
    }

    fn address(&self, netns: &Netns, name: &str, own: Station) -> Result<()> {
        let [v4, v6] = addresses(own);
        let lines = [
            format!("link set {name} mtu {}", self.plan.mtu),
            format!("addr add {v4}/24 dev {name}"),
            format!("addr add {v6}/64 dev {name} nodad"),
        ];
        ip(netns, &lines[..1 + self.families()])
    }

    /// A line of `ip` for each family.
    fn routes(&self, netns: &Netns, line: impl Fn(Targets) -> String) -> Result<()> {
        let lines = [0, 1].map(|family| line(Targets::of(family)));
        ip(netns, &lines[..self.families()])
    }

    fn families(&self) -> usize {
        if self.ipv6 { 2 } else { 1 }
    }

    /// Real frames everywhere, and a program on each end that the balancer may send to by XDP.
    fn wires(&self) -> Result<Vec<bpf::Link>> {
        let lab = self.lab;
        let mut links = Vec::new();
        // What the balancer's own sockets send has complete checksums too, as after a network card.
        for name in [lab.client_side(), lab.server_side()] {
            lab.balancer.run(|| link::complete_checksums(name))?;
        }
        links.push(link::far_end(&lab.switch, "balancer0")?);
        match self.plan.arms {
            Arms::Two => links.push(link::far_end(&lab.client, ETH)?),
            Arms::One => lab.client.run(|| link::real_frames(ETH))?,
        }
        for server in &lab.servers {
            if self.plan.decapsulate {
                links.push(server.run(|| {
                    let eth = link::ifindex(ETH)?;
                    bpf::Program::xdp_decapsulate()?.attach(eth)
                })?);
            }
            server.run(|| link::real_frames(ETH))?;
        }
        if let Some(router) = &lab.router {
            for name in ["near0", "far0"] {
                router.run(|| link::real_frames(name))?;
            }
        }
        if self.plan.large_segments {
            let ends = lab.servers.iter().chain([&lab.client]);
            for netns in ends {
                netns.run(|| link::large_frames(ETH))?;
            }
            // The bridge in between would cut them.
            lab.switch.run(|| link::large_frames("balancer0"))?;
        }
        Ok(links)
    }
}

/// What routes lead to, in one family.
struct Targets {
    aliases: &'static str,
    client: String,
}

impl Targets {
    fn of(family: usize) -> Targets {
        Targets {
            aliases: ["10.78.0.0/16", "fd78::/64"][family],
            client: addresses(CLIENT)[family].clone(),
        }
    }
}

/// IPv4, then IPv6.
fn addresses(station: Station) -> [String; 2] {
    [station.v4().to_string(), station.v6().to_string()]
}

/// A route to a segment that an interface is on, with another MTU than the interface's.
fn connected(segment: &str, dev: &str, own: Station, family: usize, mtu: u32) -> String {
    if family == 0 {
        let own = own.v4();
        format!("route replace {segment} dev {dev} scope link src {own} mtu {mtu}")
    } else {
        // The kernel's own route has metric 256.
        format!("route add {segment} dev {dev} metric 1 mtu {mtu}")
    }
}

fn end<'a>(netns: &'a Netns, name: &'a str, station: Station) -> End<'a> {
    End {
        netns,
        name,
        mac: station.mac(),
    }
}
