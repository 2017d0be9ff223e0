//! A real daemon over real sockets: the binary is started as an operator would, and spoken to in nothing but PROTOCOL.md.
#![allow(clippy::unwrap_used, reason = "a test's harness fails by panicking")]

mod harness;

mod command_line;
mod deadline;
mod evaluate;
mod fields;
mod heat_maps;
mod inputs;
mod labels;
mod lifecycle;
mod models;
mod overload;
mod prior;
mod replay;
mod restart;
mod runs;
mod security;
mod steps;
mod streams;
mod systemd;
mod threads;
