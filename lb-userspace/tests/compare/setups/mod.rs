//! The configurations. Each is a test, so that they run side by side.

mod actions;
mod balance;
mod captures;
mod connections;
mod cookies;
mod edge;
mod errors;
mod forwarded;
mod h2;
mod logs;
mod messages;
mod queue;
mod retries;
mod rules;
mod stick;
mod timeouts;
mod tls;
mod unix;
mod upgrade;
