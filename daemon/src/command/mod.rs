//! The commands. Each says how it ended; only `main.rs` turns that into an exit code.

mod classify;
mod config;
mod evaluate;
mod fit;
mod health;
mod images;
mod keygen;
mod label;
mod models;
mod progress;
mod recorded;
mod replay;
mod serve;
#[cfg(feature = "mpi")]
mod serve_by_mpi;
mod threads;

use crate::cli::{Cli, Command};
use crate::config::{LogConfig, LogFormat, raw, resolve_log};
use std::fmt::Arguments;
use std::io::Write;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success,
    /// The image is normal.
    Normal,
    /// The image is anomalous.
    Anomalous,
    /// The command line or the configuration is wrong.
    Usage,
    /// No verdict can be given yet.
    Unknown,
    /// The image cannot be judged.
    Input,
    /// No answer from the daemon, or its fault.
    Unavailable,
    /// All is well.
    HealthOk,
    /// Something wants attention.
    HealthWarning,
    /// No verdicts are given.
    HealthCritical,
    /// The probe was used wrongly.
    HealthUnknown,
}

/// Runs the command of `cli`.
///
/// # Errors
///
/// What is wrong with the arguments, the configuration or the files, in one line with its causes.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let log = LogFlags { level: cli.log_level, format: cli.log_format };
    if let Command::Serve(mut args) = cli.command {
        args.threads = cli.threads;
        return serve::run(&args, &log);
    }
    threads::limit(cli.threads)?;
    match cli.command {
        Command::Serve(_) => unreachable!("returned above"),
        Command::Fit(args) => {
            log.start()?;
            fit::run(&args)
        }
        Command::Classify(args) => {
            log.start()?;
            classify::run(&args)
        }
        Command::Label(args) => {
            log.start()?;
            label::run(&args)
        }
        Command::Evaluate(args) => {
            log.start()?;
            evaluate::run(&args)
        }
        Command::Replay(args) => {
            log.start()?;
            replay::run(&args)
        }
        Command::Health(args) => {
            log.start()?;
            health::run(&args)
        }
        Command::Models(command) => {
            log.start()?;
            models::run(&command)
        }
        Command::Keygen(args) => keygen::run(&args),
        Command::Config(command) => config::run(&command),
    }
}

/// The log's flags, which every command has.
struct LogFlags {
    level: Option<String>,
    format: Option<LogFormat>,
}

impl LogFlags {
    /// Starts the log of a command that reads no configuration file: warnings only, unless asked otherwise.
    fn start(&self) -> anyhow::Result<()> {
        let defaults = resolve_log(&raw::Log::default())?;
        crate::log::start(&LogConfig {
            level: self.level.clone().unwrap_or_else(|| "warn".into()),
            format: self.format.unwrap_or(defaults.format),
        })
    }
}

/// Writes a line to standard output. A reader that has closed it has seen enough.
fn say(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
