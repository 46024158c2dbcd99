//! The watcher and the prober against the real kernel, in namespaces of the test's own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::model::{Mac, NeighbourState, VlanTag};
use super::namespace::{Namespace, ip};
use super::resolve::{Resolution, Unresolved};
use super::view::View;

/// How long a change may take on a busy machine before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `wanted` gives something, and gives that.
async fn eventually<T>(
    view: &mut watch::Receiver<Arc<View>>,
    what: &str,
    mut wanted: impl FnMut(&View) -> Option<T>,
) -> T {
    let seen = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(found) = wanted(&view.borrow_and_update()) {
                return found;
            }
            view.changed().await.unwrap();
        }
    });
    match seen.await {
        Ok(found) => found,
        Err(_) => panic!("never seen: {what}; last view: {:#?}", *view.borrow()),
    }
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn index(view: &View, name: &str) -> Option<u32> {
    view.link_named(name).map(|link| link.index)
}

#[test]
fn links_addresses_and_routes_are_followed_as_they_change() {
    let Some((near, far)) = Namespace::pair() else {
        return;
    };
    far.ip("link set eth0 up");
    near.block_on(async || {
        let (mut view, _prober) = super::start().await.unwrap();
        let resolved = |view: &View| view.resolve(addr("192.0.2.9"));
        assert_eq!(
            resolved(&view.borrow()),
            Err(Unresolved::NoRoute(addr("192.0.2.9")))
        );

        ip("link set eth0 up");
        ip("addr add 10.1.0.1/24 dev eth0");
        ip("route add 192.0.2.0/24 via 10.1.0.254");
        let found = eventually(&mut view, "a route by the gateway", |view| {
            resolved(view).ok()
        })
        .await;
        let eth0 = index(&view.borrow(), "eth0").unwrap();
        assert_eq!(
            (
                found.egress,
                found.device,
                found.neighbour,
                found.gateway,
                found.source,
                found.mac,
                found.mtu
            ),
            (
                eth0,
                eth0,
                addr("10.1.0.254"),
                true,
                addr("10.1.0.1"),
                None,
                1500
            )
        );

        ip("link set eth0 mtu 1400");
        eventually(&mut view, "the new MTU", |view| {
            resolved(view).ok().filter(|r| r.mtu == 1400)
        })
        .await;
        ip("addr add 10.1.0.2/24 dev eth0");
        ip("route replace 192.0.2.0/24 via 10.1.0.253 src 10.1.0.2");
        let moved = |view: &View| {
            resolved(view)
                .ok()
                .filter(|r| r.neighbour == addr("10.1.0.253"))
        };
        assert_eq!(
            eventually(&mut view, "the replaced route", moved)
                .await
                .source,
            addr("10.1.0.2")
        );
        ip("route del 192.0.2.0/24");
        eventually(&mut view, "no route", |view| resolved(view).err()).await;

        // The kernel does not tell of routes that go with their interface.
        ip("route add 192.0.2.0/24 via 10.1.0.254");
        eventually(&mut view, "the route again", |view| resolved(view).ok()).await;
        ip("link set eth0 down");
        eventually(&mut view, "the route gone with its link", |view| {
            resolved(view).err()
        })
        .await;
        ip("link set eth0 up");
        let no_gateway_route = |view: &View| {
            let up = view
                .link_named("eth0")
                .is_some_and(|link| link.up && link.carrier);
            let on_link = view.resolve(addr("10.1.0.77")).is_ok();
            (up && on_link && resolved(view) == Err(Unresolved::NoRoute(addr("192.0.2.9"))))
                .then_some(())
        };
        eventually(
            &mut view,
            "the link back without the static route",
            no_gateway_route,
        )
        .await;
    });
}

#[test]
fn a_neighbour_is_asked_for_and_a_new_address_of_it_is_seen() {
    let Some((near, far)) = Namespace::pair() else {
        return;
    };
    far.ip("link set eth0 address 02:00:00:00:00:01 up");
    far.ip("addr add 10.1.0.9/24 dev eth0");
    far.ip("addr add 2001:db8::9/64 dev eth0 nodad");
    near.ip("link set eth0 up");
    near.ip("addr add 10.1.0.1/24 dev eth0");
    near.ip("addr add 2001:db8::1/64 dev eth0 nodad");
    let targets = [addr("10.1.0.9"), addr("2001:db8::9")];
    near.block_on(async move || {
        let (mut view, prober) = super::start().await.unwrap();
        let resolve = move |view: &View| -> Option<Vec<Resolution>> {
            targets
                .iter()
                .map(|target| view.resolve(*target).ok())
                .collect()
        };
        let found = eventually(&mut view, "resolutions", resolve).await;
        assert!(
            found.iter().all(|r| r.mac.is_none()),
            "nothing has talked to it yet: {found:?}"
        );
        prober.want(found.iter().map(Resolution::probe).collect());

        let with_mac = move |mac: [u8; 6]| {
            move |view: &View| {
                resolve(view)?
                    .iter()
                    .all(|r| r.mac == Some(Mac(mac)))
                    .then_some(())
            }
        };
        eventually(
            &mut view,
            "the neighbour's addresses",
            with_mac([2, 0, 0, 0, 0, 1]),
        )
        .await;

        far.ip("link set eth0 address 02:00:00:00:00:02");
        // No one announces it, so it shows at the next probe: here at once, since the entries are made stale.
        ip("neigh change 10.1.0.9 dev eth0 nud stale");
        ip("neigh change 2001:db8::9 dev eth0 nud stale");
        eventually(
            &mut view,
            "the neighbour's new addresses",
            with_mac([2, 0, 0, 0, 0, 2]),
        )
        .await;

        // Stale ones are confirmed.
        ip("neigh change 10.1.0.9 dev eth0 nud stale");
        let fresh = |view: &View| {
            let known = view.neighbour(index(view, "eth0")?, addr("10.1.0.9"))?;
            (known.state == NeighbourState::Reachable).then_some(())
        };
        eventually(&mut view, "a confirmed neighbour", fresh).await;

        // One that has gone is no longer used.
        far.ip("link set eth0 arp off");
        far.ip("addr flush dev eth0");
        ip("neigh change 10.1.0.9 dev eth0 nud stale");
        let unknown = |view: &View| {
            view.resolve(addr("10.1.0.9"))
                .ok()
                .filter(|r| r.mac.is_none())
        };
        eventually(&mut view, "the neighbour unknown again", unknown).await;
        prober.want(BTreeSet::new());
    });
}

#[test]
fn a_vlan_device_resolves_to_the_device_underneath_with_its_tag() {
    let Some((near, far)) = Namespace::pair() else {
        return;
    };
    if !near.can_make("link eth0 type vlan id 1") {
        return;
    }
    far.ip("link set eth0 up");
    for command in [
        "link set eth0 up",
        "link add link eth0 name outer type vlan proto 802.1ad id 100",
        "link set outer up",
        "link add link outer name inner type vlan id 7",
        "link set inner mtu 1400 up",
        "addr add 10.7.0.1/24 dev inner",
        "neigh add 10.7.0.9 lladdr 02:00:00:00:00:07 dev inner",
    ] {
        near.ip(command);
    }
    near.block_on(async || {
        let (mut view, _prober) = super::start().await.unwrap();
        let found = eventually(&mut view, "the stacked way", |view| {
            view.resolve(addr("10.7.0.9")).ok()
        })
        .await;
        let view = view.borrow();
        assert_eq!(found.egress, index(&view, "inner").unwrap());
        assert_eq!(found.device, index(&view, "eth0").unwrap());
        let tags = [
            VlanTag {
                id: 100,
                tpid: 0x88a8,
            },
            VlanTag {
                id: 7,
                tpid: 0x8100,
            },
        ];
        assert_eq!(found.vlans, tags.map(Some));
        assert_eq!(
            (found.mac, found.mtu),
            (Some(Mac([2, 0, 0, 0, 0, 7])), 1400)
        );
        assert_eq!(
            view.devices_under(found.egress),
            BTreeSet::from([found.device])
        );
    });
}

#[test]
fn the_view_is_right_again_after_more_changes_than_the_socket_holds() {
    let Some(near) = Namespace::new() else { return };
    near.ip("link add eth0 type veth peer name eth1");
    near.ip("link set eth0 up");
    near.ip("link set eth1 up");
    near.ip("addr add 10.0.0.1/8 dev eth0");
    near.block_on(async || {
        let (mut view, _prober) = super::start().await.unwrap();
        // The runtime is one thread, so that nothing is read from the socket until the batch is through.
        let batch: String = (0..40_000)
            .map(|n: u32| {
                format!(
                    "neigh replace 10.1.{}.{} lladdr 02:00:00:00:00:01 dev eth0\n",
                    n / 250,
                    n % 250
                )
            })
            .chain(["neigh replace 10.2.0.1 lladdr 02:00:00:00:00:02 dev eth0\n".to_owned()])
            .collect();
        let path = std::env::temp_dir().join(format!("lb-net-test-{}", std::process::id()));
        std::fs::write(&path, batch).unwrap();
        ip(&format!("-batch {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        for (target, mac) in [("10.2.0.1", 2), ("10.1.159.249", 1), ("10.1.0.0", 1)] {
            let known = |view: &View| {
                view.resolve(addr(target))
                    .ok()
                    .filter(|r| r.mac == Some(Mac([2, 0, 0, 0, 0, mac])))
            };
            eventually(&mut view, target, known).await;
        }
    });
}
