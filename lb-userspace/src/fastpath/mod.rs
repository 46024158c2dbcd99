//! The in-kernel fast path as the agent sees it.

pub mod net;
