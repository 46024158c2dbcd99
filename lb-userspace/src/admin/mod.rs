//! The runtime socket and the commands that speak to it.

mod certificates;
pub mod cli;
pub mod client;
pub mod command;
mod errors;
pub mod flows;
pub mod health;
mod kernel;
pub mod kernel_cli;
mod maps;
pub mod reload;
pub mod socket;
pub mod status;
pub mod stop;
mod tables;
pub mod top;
pub mod tune;
pub mod upgrade;
