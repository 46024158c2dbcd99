//! The runtime socket and the commands that speak to it.

mod certificates;
pub mod cli;
pub mod client;
mod command;
pub mod desk;
mod dynamic;
mod errors;
pub mod flows;
mod frontends;
pub mod health;
mod help;
mod info;
mod kernel;
pub mod kernel_cli;
mod level;
mod maps;
mod operate;
mod process;
pub mod reload;
mod servers;
mod sessions;
pub mod socket;
mod stat;
pub mod status;
pub mod stop;
mod tables;
mod talk;
pub mod top;
pub mod tune;
mod typed;
pub mod upgrade;
mod variables;
mod versions;
pub mod wish;

pub(crate) use dynamic::added;
