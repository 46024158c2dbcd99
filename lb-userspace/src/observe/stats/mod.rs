//! Statistics: gathered once into a [`Snapshot`], then written as HAProxy's CSV, JSON, a page or metrics.

pub mod csv;
pub mod endpoint;
mod form;
mod gather;
pub mod history;
pub mod metrics;
pub mod page;
pub mod process;
pub mod row;
pub mod snapshot;
pub mod top;

pub use history::History;
pub use metrics::resident;
pub use process::Process;
pub use row::Row;
pub use snapshot::{Snapshot, Sources};

#[cfg(test)]
pub(crate) mod fixture;
