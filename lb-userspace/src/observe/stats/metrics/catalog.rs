//! Every family that there is, for the tests that hold documents, dashboard and alerts against it.

use super::{
    encoder::Kind,
    families::{FAMILIES, Of},
    labelled::LABELLED,
    proxies::{BY_PATH, OF_BACKENDS, OF_FRONTENDS, RESPONSES},
    single::SINGLES,
};

/// A family.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) labels: Vec<&'static str>,
    pub(super) help: &'static str,
}

impl Entry {
    /// Names under which its samples are found.
    pub(super) fn samples(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .map(|suffix| format!("{}{suffix}", self.name))
                .collect(),
            _ => vec![self.name.clone()],
        }
    }
}

/// All of them, in the order in which they are written.
pub(super) fn catalog() -> Vec<Entry> {
    let mut all = Vec::new();
    for single in SINGLES {
        all.push(Entry {
            name: single.name.to_owned(),
            kind: single.kind,
            labels: Vec::new(),
            help: single.help,
        });
    }
    for family in LABELLED {
        all.push(Entry {
            name: family.name.to_owned(),
            kind: family.kind,
            labels: family.labels.to_vec(),
            help: family.help,
        });
    }
    for of in Of::ALL {
        of_rows(&mut all, of);
    }
    all
}

fn of_rows(all: &mut Vec<Entry>, of: Of) {
    let mut add = |name: &str, kind, more: &[&'static str], help| {
        let mut labels = of.labels().to_vec();
        labels.extend(more);
        all.push(Entry {
            name: of.prefixed(name),
            kind,
            labels,
            help,
        });
    };
    for family in FAMILIES.iter().filter(|family| family.of.contains(&of)) {
        add(family.name, family.kind, &[], family.help);
    }
    for family in BY_PATH {
        add(family.name, Kind::Counter, &["path"], family.help);
    }
    add(RESPONSES.0, Kind::Counter, &["code"], RESPONSES.1);
    match of {
        Of::Frontend => add(
            OF_FRONTENDS.0,
            Kind::Histogram,
            &["path", "le"],
            OF_FRONTENDS.1,
        ),
        Of::Backend => {
            for times in OF_BACKENDS {
                add(times.name, Kind::Histogram, &["path", "le"], times.help);
            }
        }
        Of::Server => {}
    }
}
