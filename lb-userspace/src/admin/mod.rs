//! The runtime socket and the commands that speak to it.

mod certificates;
pub mod cli;
pub mod client;
pub mod command;
mod errors;
pub mod flows;
mod kernel;
pub mod kernel_cli;
pub mod socket;
pub mod status;
