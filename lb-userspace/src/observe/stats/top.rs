//! Who asks most: what is known of clients without looking at each request for it.
//!
//! Stick tables of addresses know what rules count there, and the kernel path knows its flows. Both are looked at only
//! while somebody looks at the page or the JSON, each at most once in a while, and both stop at a bound.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    observe::{
        path::SharedPathStatus,
        request::{FlowFilter, Request},
    },
    rules::{Data, Handle, Kind},
    topology::Topology,
};

/// How old figures may become while somebody looks.
const AGE: Duration = Duration::from_secs(5);
/// Nobody looks any more after this time.
const LOOKED: Duration = Duration::from_secs(15);
/// Clients that are shown of each source.
const SHOWN: usize = 10;
/// Entries or flows that are looked at of each source.
const EXAMINED: usize = 50_000;
/// What a client may be ranked by, the first that is stored.
const RANKS: [Data; 13] = [
    Data::HttpReqRate,
    Data::ConnRate,
    Data::ConnCur,
    Data::BytesOutRate,
    Data::BytesInRate,
    Data::HttpReqCnt,
    Data::ConnCnt,
    Data::BytesOutCnt,
    Data::BytesInCnt,
    Data::HttpErrRate,
    Data::HttpErrCnt,
    Data::HttpFailRate,
    Data::HttpFailCnt,
];

/// The first clients of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// `table NAME` or `kernel flows`.
    pub source: String,
    /// What each has a value of; they are ranked by the first.
    pub columns: Vec<String>,
    /// Clients that are known.
    pub known: usize,
    /// Whether there may be more, since no more were looked at.
    pub more: bool,
    /// The first of them.
    pub clients: Vec<Client>,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// A value for each of the columns.
    pub values: Vec<u64>,
}

/// What was found the last time; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Top(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    looked: Option<Instant>,
    tables: Option<(Instant, Vec<Clients>)>,
    kernel: Option<(Instant, Option<Clients>)>,
}

impl Top {
    /// The first clients of each source that has any. Somebody looks at them.
    pub fn clients(&self, topology: &Topology) -> Vec<Clients> {
        let now = Instant::now();
        let old = {
            let mut found = self.lock();
            found.looked = Some(now);
            let old = is_old(found.tables.as_ref().map(|(at, _)| *at), now);
            if let Some((at, _)) = found.tables.as_mut().filter(|_| old) {
                // Whoever else looks meanwhile has to make do with what there is.
                *at = now;
            }
            old
        };
        if old {
            // Without the lock, which the main thread takes too.
            let clock = topology.clock.now_ms();
            let tables = topology.tables.iter();
            let tables: Vec<_> = tables
                .filter_map(|handle| of_table(handle, clock))
                .collect();
            self.lock().tables = Some((now, tables));
        }
        let found = self.lock();
        let tables = found.tables.iter().flat_map(|(_, tables)| tables);
        let kernel = found.kernel.iter().flat_map(|(_, kernel)| kernel);
        let all = tables.chain(kernel);
        all.filter(|source| !source.clients.is_empty())
            .cloned()
            .collect()
    }

    /// Asks the kernel path, if somebody looks and has not been told of late.
    pub async fn follow(&self, path: &SharedPathStatus) {
        let now = Instant::now();
        {
            let found = self.lock();
            let is_looked_at = found.looked.is_some_and(|at| now - at < LOOKED);
            if !is_looked_at || !is_old(found.kernel.as_ref().map(|(at, _)| *at), now) {
                return;
            }
        }
        let clients = match path.load().flows {
            0 => None,
            _ => of_kernel(path).await,
        };
        self.lock().kernel = Some((Instant::now(), clients));
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        // Each part is replaced in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_old(at: Option<Instant>, now: Instant) -> bool {
    at.is_none_or(|at| now.saturating_duration_since(at) >= AGE)
}

/// The first clients of a table of addresses.
fn of_table(handle: &Handle, now: u64) -> Option<Clients> {
    let table = handle.table()?;
    let layout = table.key();
    if layout.key != Kind::Ip {
        return None;
    }
    let stored = |data: Data| layout.store.iter().find(|(stored, _)| *stored == data);
    let columns: Vec<&(Data, u64)> = RANKS.into_iter().filter_map(stored).take(3).collect();
    if columns.is_empty() {
        return None;
    }
    let entries = table.entries(now).take(EXAMINED);
    let rows: Vec<_> = entries
        .map(|entry| {
            let value = |(data, _): &&(Data, u64)| {
                let value = table.get(&entry, *data, now);
                value.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
            };
            let values: Vec<u64> = columns.iter().map(value).collect();
            (entry, values)
        })
        .collect();
    let known = rows.len();
    Some(Clients {
        source: format!("table {}", handle.name()),
        columns: columns
            .iter()
            .map(|(data, period)| match (data, period) {
                // As rules get them, which is by the thousand.
                (Data::BytesInCnt, _) => "kbytes_in".to_owned(),
                (Data::BytesOutCnt, _) => "kbytes_out".to_owned(),
                (data, 0) => data.name().to_owned(),
                (data, period) => format!("{}({period})", data.name()),
            })
            .collect(),
        known,
        more: known == EXAMINED,
        clients: first(rows, |entry| entry.key().text(layout)),
    })
}

/// The clients with the most flows in the kernel.
async fn of_kernel(path: &SharedPathStatus) -> Option<Clients> {
    let (rows, mut batches) = mpsc::channel(4);
    let filter = FlowFilter {
        limit: Some(EXAMINED),
        ..FlowFilter::default()
    };
    path.ask(Request::Flows { filter, rows }).ok()?;
    let mut of_client: HashMap<IpAddr, Vec<u64>> = HashMap::new();
    let mut flows = 0;
    while let Some(batch) = batches.recv().await {
        flows += batch.len();
        for flow in batch {
            let sums = of_client.entry(flow.client.ip());
            let sums = sums.or_insert_with(|| vec![0; 3]);
            let more = [1, flow.bytes_in, flow.bytes_out];
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
    }
    Some(Clients {
        source: "kernel flows".into(),
        columns: ["flows", "bytes_in", "bytes_out"]
            .map(str::to_owned)
            .to_vec(),
        known: of_client.len(),
        more: flows >= EXAMINED,
        clients: first(of_client.into_iter().collect(), IpAddr::to_string),
    })
}

/// Those with the most of the first value; equal ones by name, lest they change places all the time.
fn first<T>(mut rows: Vec<(T, Vec<u64>)>, name: impl Fn(&T) -> String) -> Vec<Client> {
    let rank = |row: &(T, Vec<u64>)| Reverse(row.1.first().copied());
    if rows.len() > SHOWN {
        rows.select_nth_unstable_by_key(SHOWN, rank);
        rows.truncate(SHOWN);
    }
    let mut clients: Vec<Client> = rows
        .into_iter()
        .map(|(client, values)| Client {
            address: name(&client),
            values,
        })
        .collect();
    clients.sort_by(|a, b| {
        let rank = |client: &Client| Reverse(client.values.first().copied());
        rank(a)
            .cmp(&rank(b))
            .then_with(|| a.address.cmp(&b.address))
    });
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_most_come_first_and_no_more_than_ten() {
        let rows: Vec<(u32, Vec<u64>)> = (0..100).map(|n| (n, vec![u64::from(n % 50)])).collect();
        let first = first(rows, |n| format!("{n:03}"));
        let named: Vec<&str> = first.iter().map(|client| client.address.as_str()).collect();
        assert_eq!(
            named,
            [
                "049", "099", "048", "098", "047", "097", "046", "096", "045", "095"
            ]
        );
    }

    #[test]
    fn without_tables_and_flows_nobody_is_known() {
        let sources = crate::observe::stats::fixture::sources();
        assert_eq!(Top::default().clients(&sources.topology()), []);
    }
}
