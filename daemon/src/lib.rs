//! The daemon's library: sockets, threads, time, disk, configuration and command line around the models.
//!
//! A request's way: [`wire`] takes it off the socket, [`server`] queues it ([`queue`]), a [`worker`] has the [`judge`] read,
//! decode and judge its image, and the server sends the reply. [`control`] answers about the daemon from the [`board`].

pub mod board;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod control;
pub mod daemon;
pub mod fault;
pub mod heat_map_dir;
pub mod instance;
pub mod job;
pub mod judge;
pub mod lifecycle;
pub mod log;
pub mod mailbox;
pub mod models_store;
pub mod paths;
pub mod queue;
#[cfg(feature = "mpi")]
pub mod ranks;
pub mod replies;
pub mod report;
pub mod run_store;
pub mod runs;
pub mod security;
pub mod server;
pub mod sockets;
pub mod wire;
mod words;
pub mod worker;
