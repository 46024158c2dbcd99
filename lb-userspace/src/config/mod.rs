//! Text to checked [`Config`]. Knows nothing of sockets.

pub mod model;

pub use model::Config;
