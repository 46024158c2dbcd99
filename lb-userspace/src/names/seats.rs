//! Which server gets which of a name's addresses: pure, HAProxy's rules.

use std::net::{IpAddr, SocketAddr};

use super::message::Service;
use crate::config::model::Resolve;

/// What one server has of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seat {
    /// Its address, whoever gave it.
    pub address: Option<IpAddr>,
    /// An answer has said so.
    pub taken: bool,
}

/// Gives each seat an address of those that the name has: the one that it has, if it is among them, else the best that no
/// other seat has. A seat for which none is left has none.
pub fn addresses(seats: &mut [Seat], known: &[IpAddr], resolve: &Resolve) {
    for seat in seats.iter_mut() {
        seat.taken &= seat.address.is_some_and(|ip| known.contains(&ip));
    }
    for at in 0..seats.len() {
        if seats[at].taken {
            continue;
        }
        let others = |ip: &IpAddr| {
            let mut taken = seats.iter().filter(|seat| seat.taken);
            taken.any(|seat| seat.address == Some(*ip))
        };
        let score = |ip: &IpAddr| {
            let free = !others(ip);
            let family = ip.is_ipv4() == resolve.prefers_v4;
            let near = resolve.networks.iter().any(|net| net.contains(*ip));
            let same = seats[at].address == Some(*ip);
            let score = u8::from(family) * 8 + u8::from(near) * 4;
            (free || resolve.duplicates).then(|| score + u8::from(free) * 2 + u8::from(same))
        };
        // Those that nobody need share go round, so that who shares does not share the same.
        let count = known.len().max(1);
        let turn = known.iter().cycle().skip(at % count).take(known.len());
        let scored = turn.filter_map(|ip| Some((score(ip)?, *ip)));
        // The first of equals.
        let best = scored.fold(None, |best: Option<(u8, IpAddr)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        });
        seats[at] = Seat {
            address: best.map(|(_, ip)| ip),
            taken: best.is_some(),
        };
    }
}

/// What one server has of a name's services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Post {
    /// The host and the port that it stands for.
    pub service: Option<(String, u16)>,
    /// Where that is.
    pub address: Option<SocketAddr>,
    /// Its weight, 0–256.
    pub weight: u16,
}

impl Post {
    /// The service that it stands for, as an answer would tell of it.
    pub fn held(&self) -> Option<Service> {
        let (target, port) = self.service.clone()?;
        Some(Service {
            target,
            port,
            weight: self.weight.saturating_mul(256),
            addresses: self.address.map(|at| at.ip()).into_iter().collect(),
        })
    }
}

/// Gives each service a post: the one that it has, else the first that is free. A post whose service is gone is free.
pub fn services(posts: &mut [Post], known: &[Service]) {
    let key = |service: &Service| (service.target.clone(), service.port);
    for post in posts.iter_mut() {
        if let Some(of) = &post.service
            && !known.iter().any(|service| key(service) == *of)
        {
            *post = Post::default();
        }
    }
    for service in known {
        let held = Some(key(service));
        let at = posts.iter().position(|post| post.service == held);
        let at = at.or_else(|| posts.iter().position(|post| post.service.is_none()));
        let Some(post) = at.and_then(|at| posts.get_mut(at)) else {
            continue;
        };
        post.service = Some(key(service));
        // 0 stays 0, all else is at least 1.
        post.weight = service.weight.div_ceil(256);
    }
}

/// The best of a host's addresses, the one that it has before its equals.
pub fn best(known: &[IpAddr], current: Option<IpAddr>, resolve: &Resolve) -> Option<IpAddr> {
    let mut seats = [Seat {
        address: current,
        taken: true,
    }];
    addresses(&mut seats, known, resolve);
    seats[0].address
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::model::Resolvers;

    fn resolve() -> Resolve {
        Resolve {
            resolvers: Arc::new(Resolvers::system()),
            prefers_v4: false,
            networks: Vec::new(),
            duplicates: false,
            ignores_weight: false,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// What seats have after each of these answers.
    fn after(count: usize, answers: &[&[&str]], resolve: &Resolve) -> Vec<Option<IpAddr>> {
        let mut seats = vec![Seat::default(); count];
        for answer in answers {
            let known: Vec<IpAddr> = answer.iter().map(|text| ip(text)).collect();
            addresses(&mut seats, &known, resolve);
        }
        seats.into_iter().map(|seat| seat.address).collect()
    }

    fn have(texts: &[&str]) -> Vec<Option<IpAddr>> {
        let seat = |text: &&str| (!text.is_empty()).then(|| ip(text));
        texts.iter().map(seat).collect()
    }

    #[test]
    fn each_has_an_address_of_its_own_and_keeps_it() {
        let all = resolve();
        assert_eq!(
            after(3, &[&["10.0.0.1", "10.0.0.2"]], &all),
            have(&["10.0.0.1", "10.0.0.2", ""])
        );
        let moved: &[&[&str]] = &[
            &["10.0.0.1", "10.0.0.2"],
            &["10.0.0.3", "10.0.0.2"],
            &["10.0.0.2", "10.0.0.3", "10.0.0.4"],
        ];
        assert_eq!(
            after(3, moved, &all),
            have(&["10.0.0.3", "10.0.0.2", "10.0.0.4"])
        );
        assert_eq!(after(2, &[&["10.0.0.1"], &[]], &all), have(&["", ""]));
    }

    #[test]
    fn one_that_others_have_is_shared_where_that_is_allowed() {
        let shared = Resolve {
            duplicates: true,
            ..resolve()
        };
        let found = after(3, &[&["10.0.0.1", "10.0.0.2"]], &shared);
        assert!(found.iter().all(Option::is_some), "{found:?}");
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn family_goes_before_network_and_network_before_what_was() {
        let both: &[&[&str]] = &[&["10.0.0.1", "2001:db8::1"]];
        assert_eq!(after(1, both, &resolve()), have(&["2001:db8::1"]));
        let four = Resolve {
            prefers_v4: true,
            ..resolve()
        };
        assert_eq!(after(1, both, &four), have(&["10.0.0.1"]));
        let near = Resolve {
            networks: vec![crate::config::model::Prefix {
                address: ip("10.1.0.0"),
                length: 16,
            }],
            ..four
        };
        let nets: &[&[&str]] = &[&["10.0.0.1"], &["10.0.0.1", "10.1.0.1"]];
        assert_eq!(
            after(1, nets, &near),
            have(&["10.0.0.1"]),
            "what an answer has given stays"
        );
        assert_eq!(after(1, &[nets[1]], &near), have(&["10.1.0.1"]));
    }

    #[test]
    fn services_keep_their_posts() {
        let service = |target: &str, port, weight| Service {
            target: target.into(),
            port,
            weight,
            addresses: Vec::new(),
        };
        let mut posts = vec![Post::default(); 3];
        let mut after = |known: &[Service]| -> Vec<(Option<u16>, u16)> {
            services(&mut posts, known);
            let port = |post: &Post| (post.service.as_ref().map(|(_, port)| *port), post.weight);
            posts.iter().map(port).collect()
        };
        let (a, b, c, d) = (
            service("a", 1, 0),
            service("b", 2, 1),
            service("a", 3, 65_535),
            service("d", 4, 512),
        );
        assert_eq!(
            after(&[a.clone(), b.clone()]),
            [(Some(1), 0), (Some(2), 1), (None, 0)]
        );
        assert_eq!(
            after(&[c.clone(), b.clone()]),
            [(Some(3), 256), (Some(2), 1), (None, 0)]
        );
        assert_eq!(
            after(&[d, b, c, a]),
            [(Some(3), 256), (Some(2), 1), (Some(4), 2)]
        );
        assert_eq!(after(&[]), [(None, 0); 3]);
    }
}
