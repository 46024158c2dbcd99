//! What binds do with TLS that their files do not say: keys of session tickets, and certificates that operators have exchanged.

use crate::{
    config::model::Bind,
    tls::{Acceptor, CarriedTls},
    topology::Topology,
};

impl Topology {
    /// All of it, each by the address of its bind.
    pub fn tls_states(&self) -> Vec<(String, CarriedTls)> {
        let each = self.tls_binds();
        each.map(|(bind, acceptor)| (bind.address.to_string(), acceptor.carried()))
            .collect()
    }

    /// Goes on with it. What cannot be used is told of.
    pub fn take_tls(&self, states: &[(String, CarriedTls)]) {
        for (address, state) in states {
            let found = self.tls_binds();
            let mut found = found.filter(|(bind, _)| bind.address.to_string() == *address);
            let Some((bind, acceptor)) = found.next() else {
                for path in state.exchanged() {
                    tracing::warn!(
                        "what was exchanged for {} over the admin socket is left out: nothing with TLS listens on {address}",
                        path.display()
                    );
                }
                continue;
            };
            if let Err(error) = acceptor.take(state) {
                tracing::warn!(
                    "{}: what was exchanged over the admin socket cannot be used any more: {error}",
                    bind.text
                );
            }
        }
    }

    fn tls_binds(&self) -> impl Iterator<Item = (&Bind, &Acceptor)> {
        let frontends = self.frontends.iter().flat_map(|f| f.acceptors());
        let stats = self.stats.iter();
        let stats = stats.filter_map(|(bind, acceptor)| Some((bind, acceptor.as_ref()?)));
        let all = frontends.chain(stats);
        all.map(|(bind, acceptor)| (bind, &**acceptor))
    }
}
