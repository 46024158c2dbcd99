//! `tcp-request connection expect-proxy layer4`: who has to begin with a PROXY header.

use super::{
    acl,
    lines::Line,
    operators::{Who, who},
    proxy::Proxy,
    says::Says,
    value::{Map, Value, What},
};

impl Proxy {
    /// One such line; of several, whom any of them names.
    pub(super) fn expect_proxy(&mut self, line: &Line, says: &mut Says) {
        if line.text(3) != "layer4" {
            let message = "`expect-proxy` without a layer";
            says.error(line.span(), message, "write `expect-proxy layer4`");
            return;
        }
        let found = match acl::condition_at(line) {
            None => Some(Who::Everybody),
            Some(at) => match self.acls.condition(line, at, says) {
                Some(condition) => who(&condition, &self.acls),
                None => return,
            },
        };
        let span = line.span();
        let everybody = Value::plain("true", span);
        match (found, &mut self.expected) {
            (Some(Who::Nobody), _) => {}
            (Some(Who::Everybody), expected) => *expected = Some(everybody),
            (Some(Who::From(more)), Some(expected)) => {
                if let What::List(addresses) = &mut expected.what {
                    addresses.extend(more);
                }
            }
            (Some(Who::From(addresses)), None) => {
                self.expected = Some(Value::list(addresses, span));
            }
            (None, _) => says.error(
                span,
                "lb tells who sends a PROXY header by their addresses alone",
                "write `expect-proxy layer4 if { src 192.0.2.0/24 }`",
            ),
        }
        self.tell_expected();
    }

    /// Tells the binds that are there by now and do not say so themselves.
    pub(super) fn tell_expected(&mut self) {
        let mut keys = self.front.0.iter_mut();
        let (Some(expected), Some(binds)) = (&self.expected, keys.find(|key| key.name == "bind"))
        else {
            return;
        };
        let What::List(binds) = &mut binds.value.what else {
            return;
        };
        for bind in binds {
            let span = expected.span;
            let mut map = match &bind.what {
                What::Map(map) => map.clone(),
                _ => {
                    let mut map = Map::default();
                    map.set("address", bind.clone());
                    map
                }
            };
            match map.get("accept_proxy").map(|own| &own.what) {
                // What an earlier line has said.
                Some(What::Map(_)) => map.remove("accept_proxy"),
                Some(_) => continue,
                None => {}
            }
            let value = match &expected.what {
                What::List(_) => {
                    let mut from = Map::default();
                    from.set("from", expected.clone());
                    Value::map(from, span)
                }
                _ => expected.clone(),
            };
            map.set_at("accept_proxy", span, value);
            *bind = Value::map(map, bind.span);
        }
    }
}
