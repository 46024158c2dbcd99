//! The standard laboratory: a client, the balancer and some servers, each in a namespace of its own.
//!
//! ```text
//!  two arms   client eth0 ─────────── clients0 balancer servers0 ── balancer0 switch ─┬─ eth0 server 1
//!             10.77.1.2                10.77.1.1       10.77.2.1                      ├─ eth0 server 2   10.77.2.11 …
//!
//!  one arm    client eth0 ─┬─ switch ─┬─ eth0 server 1 …     all in 10.77.1.0/24, the service address 10.77.1.100 on the
//!             balancer eth0┘          └─ eth0 server 2       balancer and on each server's loopback
//! ```
//!
//! Beside its own address the client answers to all of 10.78.0.0/16 ([`Lab::client_alias`]).

use std::net::Ipv4Addr;

use crate::link::{self, End, Mac, ip};
use crate::tag::TEST_PREFIX;
use crate::{Netns, Result, Tag, bpf, netns, scratch};

/// The client's and each server's only interface; the balancer's too with one arm.
pub const ETH: &str = "eth0";
/// The balancer's interface on the client's side, with two arms.
pub const CLIENTS: &str = "clients0";
/// The balancer's interface on the servers' side, with two arms.
pub const SERVERS: &str = "servers0";

/// How the balancer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Between client and servers.
    Two,
    /// On one segment with both, as `forward: dsr` needs it.
    One,
}

/// The laboratory; all of it is gone after drop.
#[derive(Debug)]
pub struct Lab {
    tag: Tag,
    arms: Arms,
    // Before the namespaces, so that nothing is attached to what is being taken down.
    _links: Vec<bpf::Link>,
    client: Netns,
    balancer: Netns,
    servers: Vec<Netns>,
    _switch: Netns,
}

/// What a [`Lab`] is to be like.
#[derive(Clone, Debug)]
pub struct Builder {
    prefix: String,
    arms: Arms,
    servers: usize,
    mtu: u32,
    route_back: bool,
}

impl Lab {
    /// Two arms, three servers.
    pub fn builder() -> Builder {
        Builder {
            prefix: TEST_PREFIX.to_owned(),
            arms: Arms::Two,
            servers: 3,
            mtu: 1500,
            route_back: false,
        }
    }

    /// What is common to the names of all that belongs to this lab.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The client's namespace.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// The balancer's namespace.
    pub fn balancer(&self) -> &Netns {
        &self.balancer
    }

    /// The namespace of server `i`, from 0.
    pub fn server(&self, i: usize) -> &Netns {
        &self.servers[i]
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How the balancer is connected.
    pub fn arms(&self) -> Arms {
        self.arms
    }

    /// The address that clients connect to.
    pub fn service_addr(&self) -> Ipv4Addr {
        match self.arms {
            Arms::Two => Ipv4Addr::new(10, 77, 1, 1),
            Arms::One => Ipv4Addr::new(10, 77, 1, 100),
        }
    }

    /// The balancer's own address towards the servers.
    pub fn balancer_addr(&self) -> Ipv4Addr {
        match self.arms {
            Arms::Two => Ipv4Addr::new(10, 77, 2, 1),
            Arms::One => Ipv4Addr::new(10, 77, 1, 1),
        }
    }

    /// The client's own address.
    pub fn client_addr(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, 2)
    }

    /// One of 65,536 further addresses that the client may bind and is reached at.
    pub fn client_alias(&self, i: u16) -> Ipv4Addr {
        let [high, low] = i.to_be_bytes();
        Ipv4Addr::new(10, 78, high, low)
    }

    /// The address of server `i`, from 0.
    pub fn server_addr(&self, i: usize) -> Ipv4Addr {
        server_addr(self.arms, i)
    }

    /// The balancer's interface on the client's side.
    pub fn client_side(&self) -> &'static str {
        match self.arms {
            Arms::Two => CLIENTS,
            Arms::One => ETH,
        }
    }

    /// The balancer's interface on the servers' side.
    pub fn server_side(&self) -> &'static str {
        match self.arms {
            Arms::Two => SERVERS,
            Arms::One => ETH,
        }
    }

    /// The hardware address of the interface that has this address.
    pub fn mac_of(&self, address: Ipv4Addr) -> Mac {
        mac(address)
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
            _links: Vec::new(),
            client: netns("client")?,
            balancer: netns("balancer")?,
            servers: servers.collect::<Result<_>>()?,
            _switch: netns("switch")?,
            tag: tag.clone(),
        };
        lab.connect(&self)?;
        Ok(lab)
    }
}

impl Lab {
    fn connect(&mut self, plan: &Builder) -> Result<()> {
        let switch = &self._switch;
        ip(
            switch,
            &["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"],
        )?;
        switch.run(|| link::set_up("br0"))?;

        let (client, balancer) = (self.client_addr(), self.balancer_addr());
        match self.arms {
            Arms::Two => {
                let near = Ipv4Addr::new(10, 77, 1, 1);
                link::veth(
                    end(&self.balancer, CLIENTS, near),
                    end(&self.client, ETH, client),
                )?;
                self.plug(&self.balancer, SERVERS, balancer, "balancer0")?;
                self.address(&self.balancer, CLIENTS, near, plan)?;
                self.address(&self.balancer, SERVERS, balancer, plan)?;
            }
            Arms::One => {
                self.plug(&self.client, ETH, client, "client0")?;
                self.plug(&self.balancer, ETH, balancer, "balancer0")?;
                self.address(&self.balancer, ETH, balancer, plan)?;
                let service = self.service_addr();
                ip(
                    &self.balancer,
                    &[format!("addr add {service}/24 dev {ETH}")],
                )?;
            }
        }
        self.address(&self.client, ETH, client, plan)?;
        ip(&self.client, &["route add local 10.78.0.0/16 dev lo"])?;
        ip(
            &self.balancer,
            &[format!("route add 10.78.0.0/16 via {client}")],
        )?;
        for (i, server) in self.servers.iter().enumerate() {
            let address = self.server_addr(i);
            self.plug(server, ETH, address, &format!("server{}", i + 1))?;
            self.address(server, ETH, address, plan)?;
            if self.arms == Arms::One {
                self.answer_for_service(server, client)?;
            }
            if plan.route_back {
                ip(server, &[format!("route add default via {balancer}")])?;
            }
        }
        self._links = self.wires()?;
        Ok(())
    }

    /// Connects an interface to the switch.
    fn plug(&self, netns: &Netns, name: &str, address: Ipv4Addr, port: &str) -> Result<()> {
        let switch = &self._switch;
        // A port's address is its station's with another first byte: nobody sends to it.
        let mut port_mac = mac(address);
        port_mac[0] = 0x06;
        link::veth(
            end(netns, name, address),
            End {
                netns: switch,
                name: port,
                mac: port_mac,
            },
        )?;
        ip(switch, &[format!("link set {port} master br0")])
    }

    fn address(&self, netns: &Netns, name: &str, address: Ipv4Addr, plan: &Builder) -> Result<()> {
        ip(
            netns,
            &[
                format!("link set {name} mtu {}", plan.mtu),
                format!("addr add {address}/24 dev {name}"),
            ],
        )
    }

    /// The service address on loopback, and no ARP for it: the balancer alone is to be found under it.
    fn answer_for_service(&self, server: &Netns, client: Ipv4Addr) -> Result<()> {
        server.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        server.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
        ip(
            server,
            &[
                format!("addr add {}/32 dev lo", self.service_addr()),
                format!("route add 10.78.0.0/16 via {client}"),
            ],
        )
    }

    /// Real frames everywhere, and a program on each end that the balancer may send to by XDP.
    fn wires(&self) -> Result<Vec<bpf::Link>> {
        let mut links = Vec::new();
        // What the balancer's own sockets send has complete checksums too, as after a network card.
        for name in [self.client_side(), self.server_side()] {
            self.balancer.run(|| link::complete_checksums(name))?;
        }
        links.push(link::far_end(&self._switch, "balancer0")?);
        match self.arms {
            Arms::Two => links.push(link::far_end(&self.client, ETH)?),
            Arms::One => self.client.run(|| link::real_frames(ETH))?,
        }
        for server in &self.servers {
            server.run(|| link::real_frames(ETH))?;
        }
        Ok(links)
    }
}

fn end<'a>(netns: &'a Netns, name: &'a str, address: Ipv4Addr) -> End<'a> {
    End {
        netns,
        name,
        mac: mac(address),
    }
}

/// Locally administered and readable: the address in the last four bytes.
fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}

fn server_addr(arms: Arms, i: usize) -> Ipv4Addr {
    let third = if arms == Arms::Two { 2 } else { 1 };
    // 11 to 210; the one-armed service address is stepped over.
    let last = 11 + i as u8;
    Ipv4Addr::new(
        10,
        77,
        third,
        if arms == Arms::One && last >= 100 {
            last + 1
        } else {
            last
        },
    )
}
