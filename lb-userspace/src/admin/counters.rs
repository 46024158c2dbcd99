//! `clear counters`.

use crate::{observe::stats::Sources, topology::Topology};

/// The answer to that; `None` if it is something else.
pub(super) async fn answer(sources: &Sources, words: &[&str]) -> Option<Result<String, String>> {
    let ["clear", "counters", rest @ ..] = words else {
        return None;
    };
    let (topology, all) = (sources.topology(), rest.first() == Some(&"all"));
    // The kernel's first: what they have counted is in the figures.
    if all && let Err(complaint) = clear_kernel(sources, &topology).await {
        return Some(Err(complaint));
    }
    for frontend in &topology.frontends {
        frontend.counters.clear(all);
    }
    for backend in &topology.backends {
        backend.counters.clear(all);
        for server in &backend.servers {
            server.counters.clear(all);
        }
    }
    Some(Ok(String::new()))
}

/// What the kernel has counted is its agent's to forget. Where there is none, the next one does.
async fn clear_kernel(sources: &Sources, topology: &Topology) -> Result<(), String> {
    sources.path.clear_counts();
    if !sources.path.look().await? {
        topology
            .kernel_traffic()
            .for_each(|traffic| traffic.clear());
    }
    Ok(())
}
