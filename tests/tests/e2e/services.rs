//! Services of every kind: how they stand in the configuration, the servers behind them, and what it takes to say that
//! the kernel serves them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use lb_tests::bulk::Bulk;
use lb_tests::client::{self, Datagrams};
use lb_tests::lab::{Arms, Builder, Family};
use lb_tests::server::{Protocol, Server, UdpServer};
use lb_tests::{Daemon, Lab, wait};
use serde_json::Value;

use crate::kernel::reasons;

/// How packets get to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Fullnat,
    Nat,
    Dsr,
    Ipip,
}

/// What is balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// One frontend with its backend over all servers of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) forward: Forward,
    pub(crate) family: Family,
    /// The servers' family: another one for IPv4 in IPv6.
    pub(crate) outer: Family,
    pub(crate) transport: Transport,
    /// Of the service and of its servers.
    pub(crate) port: u16,
    pub(crate) balance: &'static str,
}

/// Servers of one kind, to be held while they are wanted.
#[expect(dead_code, reason = "they do their work by being there")]
pub(crate) enum Servers {
    Bulk(Vec<Bulk>),
    Udp(Vec<UdpServer>),
}

impl Forward {
    pub(crate) const ALL: [Forward; 4] =
        [Forward::Fullnat, Forward::Nat, Forward::Dsr, Forward::Ipip];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Forward::Fullnat => "fullnat",
            Forward::Nat => "nat",
            Forward::Dsr => "dsr",
            Forward::Ipip => "ipip",
        }
    }

    /// What it needs of a lab.
    pub(crate) fn arms(self) -> Arms {
        match self {
            Forward::Fullnat | Forward::Nat => Arms::Two,
            Forward::Dsr | Forward::Ipip => Arms::One,
        }
    }

    /// A lab in which servers can answer.
    pub(crate) fn lab(self) -> Builder {
        let lab = Lab::builder().servers(2);
        match self {
            Forward::Fullnat => lab,
            Forward::Nat => lab.route_back(),
            Forward::Dsr => lab.one_armed(),
            Forward::Ipip => lab.one_armed().decapsulate(),
        }
    }
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        }
    }
}

impl Service {
    pub(crate) fn new(forward: Forward, family: Family, transport: Transport) -> Service {
        let one_sided = forward.arms() == Arms::One;
        Service {
            forward,
            family,
            outer: family,
            transport,
            port: 5300,
            // Of a UDP flow whose answers do not come by nothing is kept for certain.
            balance: if one_sided && transport == Transport::Udp {
                "maglev"
            } else {
                "roundrobin"
            },
        }
    }

    /// Its name in the configuration.
    pub(crate) fn name(&self) -> String {
        let mut family = self.family.name().to_lowercase();
        if self.outer != self.family {
            family += "-in-";
            family += &self.outer.name().to_lowercase();
        }
        let transport = self.transport.name().to_lowercase();
        format!("{}-{family}-{transport}", self.forward.name())
    }

    /// Where clients go.
    pub(crate) fn target(&self, lab: &Lab) -> SocketAddr {
        SocketAddr::new(lab.service_ip(self.family), self.port)
    }

    /// Where server `i` of the lab, from 0, has its socket.
    pub(crate) fn listens(&self, lab: &Lab, i: usize) -> SocketAddr {
        match self.forward.arms() {
            Arms::Two => SocketAddr::new(lab.server_ip(self.outer, i), self.port),
            Arms::One => self.target(lab),
        }
    }

    /// The configuration, but for `global:`.
    pub(crate) fn config(&self, lab: &Lab) -> String {
        Service::config_of(&[*self], lab)
    }

    /// The configuration of several.
    pub(crate) fn config_of(services: &[Service], lab: &Lab) -> String {
        let mut text = "frontends:\n".to_owned();
        for service in services {
            let (name, target) = (service.name(), service.target(lab));
            let udp = match service.transport {
                Transport::Tcp => "",
                Transport::Udp => "udp:",
            };
            let _ = writeln!(
                text,
                "  {name}: {{ mode: tcp, bind: \"{udp}{target}\", default_backend: {name} }}"
            );
        }
        text += "backends:\n";
        for service in services {
            let _ = writeln!(
                text,
                "  {}:\n    mode: tcp\n    balance: {}\n    forward: {}\n    servers:",
                service.name(),
                service.balance,
                service.forward.name()
            );
            for i in 0..lab.servers() {
                let address = SocketAddr::new(lab.server_ip(service.outer, i), service.port);
                let n = i + 1;
                let _ = writeln!(text, "      - {{ name: s{n}, address: \"{address}\" }}");
            }
        }
        text
    }

    /// Servers `s1`, `s2`, … that check what they get.
    pub(crate) fn servers(&self, lab: &Lab) -> Servers {
        let each = (0..lab.servers())
            .map(|i| (lab.server(i), format!("s{}", i + 1), self.listens(lab, i)));
        match self.transport {
            Transport::Tcp => Servers::Bulk(
                each.map(|(netns, name, at)| Bulk::start(netns, &name, at).unwrap())
                    .collect(),
            ),
            Transport::Udp => Servers::Udp(
                each.map(|(netns, name, at)| UdpServer::start(netns, &name, at).unwrap())
                    .collect(),
            ),
        }
    }

    /// Servers that greet and echo over TCP.
    pub(crate) fn echo_servers(&self, lab: &Lab) -> Vec<Server> {
        let each = (0..lab.servers()).map(|i| {
            let at = self.listens(lab, i);
            Server::start(lab.server(i), &format!("s{}", i + 1), Protocol::Echo, at).unwrap()
        });
        each.collect()
    }

    /// Waits until the agent says that the kernel serves it and the kernel really does: many connections or datagrams
    /// in a row, none of which any socket of the balancer has seen.
    pub(crate) fn taken_by_kernel(&self, lab: &Lab, daemon: &Daemon<'_>) -> Result<(), String> {
        self.taken_by(lab, daemon, "kernel")
    }

    /// Likewise, where the agent says `path`: "both" if userspace serves some other clients of the same bind.
    pub(crate) fn taken_by(
        &self,
        lab: &Lab,
        daemon: &Daemon<'_>,
        path: &str,
    ) -> Result<(), String> {
        const PROBES: u16 = 48;
        let mut said = Value::Null;
        wait::until_true("lb to say that the kernel serves it", || {
            let Ok(status) = daemon.status() else {
                return false;
            };
            let paths = status["fast_path"]["frontends"].as_array().cloned();
            let own = paths.unwrap_or_default();
            said = own
                .into_iter()
                .find(|path| path["frontend"] == self.name())
                .unwrap_or_default();
            said["path"] == path
        })
        .map_err(|error| format!("{error}; it says {said}; {}", daemon.log()))?;
        let target = self.target(lab);
        let sources: Vec<_> = (0..PROBES)
            .map(|i| lab.client_alias_ip(self.family, u16::MAX - i))
            .collect();
        let mut last = String::new();
        wait::until_true("what the kernel forwards", || {
            let before = Userspace::of(lab);
            let answered = match self.transport {
                Transport::Tcp => sources
                    .iter()
                    .try_for_each(|source| {
                        client::connect(lab.client(), target, Some(*source)).map(|_| ())
                    })
                    .map_err(|error| error.to_string()),
                Transport::Udp => {
                    let account = Datagrams::to(target)
                        .flows(PROBES.into())
                        .from(sources.clone())
                        .run(lab.client());
                    account
                        .is_clean()
                        .then_some(())
                        .ok_or_else(|| format!("{account:?}"))
                }
            };
            let after = Userspace::of(lab);
            last = format!("{answered:?}, userspace {before:?}, then {after:?}");
            answered.is_ok() && after == before
        })
        .map_err(|error| format!("{error}: {last}; counted: {}", reasons(daemon)))
    }

    /// Connections or flows that the kernel forwarded to its servers, as `lb status` has it.
    pub(crate) fn kernel_connections(&self, daemon: &Daemon<'_>) -> u64 {
        self.sum_over_servers(daemon, "connections")
    }

    /// Flows of its servers that are active, as `lb status` has it.
    pub(crate) fn active(&self, daemon: &Daemon<'_>) -> u64 {
        self.sum_over_servers(daemon, "active")
    }

    fn sum_over_servers(&self, daemon: &Daemon<'_>, figure: &str) -> u64 {
        let status = daemon.status().unwrap();
        let backends = status["backends"].as_array().cloned().unwrap_or_default();
        let own = backends
            .into_iter()
            .find(|backend| backend["own"]["row"]["pxname"] == self.name());
        let servers = own.and_then(|own| own["servers"].as_array().cloned());
        let servers = servers.unwrap_or_else(|| panic!("no backend {}: {status}", self.name()));
        servers
            .iter()
            .map(|server| server["kernel"][figure].as_u64().unwrap_or(0))
            .sum()
    }
}

/// What sockets of the balancer have seen, of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Userspace {
    pub(crate) accepted: u64,
    pub(crate) segments: u64,
    pub(crate) datagrams: u64,
}

impl Userspace {
    pub(crate) fn of(lab: &Lab) -> Userspace {
        let balancer = lab.balancer();
        let datagrams = [
            balancer.snmp("Udp", "InDatagrams"),
            balancer.snmp("Udp", "NoPorts"),
            balancer.snmp6("Udp6InDatagrams"),
            balancer.snmp6("Udp6NoPorts"),
        ];
        Userspace {
            accepted: balancer.snmp("Tcp", "PassiveOpens").unwrap(),
            segments: balancer.snmp("Tcp", "InSegs").unwrap(),
            datagrams: datagrams.into_iter().map(Result::unwrap).sum(),
        }
    }
}
