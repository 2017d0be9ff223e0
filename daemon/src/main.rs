//! The binary: reads the command line, runs a command, and decides the exit code.

use anomalyd::cli::{Cli, Command};
use anomalyd::command::{self, Exit};
use clap::Parser;
use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody left to tell that standard error is closed.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                // A monitoring system reads a probe's 2 as "the daemon is dead".
                _ if std::env::args_os().nth(1).is_some_and(|name| name == "health") => {
                    code(Exit::HealthUnknown)
                }
                _ => code(Exit::Usage),
            };
        }
    };
    let is_probe = matches!(cli.command, Command::Health(_));
    match command::run(cli) {
        Ok(exit) => code(exit),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "anomalyd: {error:#}");
            code(if is_probe { Exit::HealthUnknown } else { Exit::Usage })
        }
    }
}

/// The exit codes, all of them. The help of each command lists its own.
fn code(exit: Exit) -> ExitCode {
    ExitCode::from(match exit {
        Exit::Success | Exit::Normal | Exit::HealthOk => 0,
        Exit::Anomalous | Exit::HealthWarning => 1,
        Exit::Usage | Exit::HealthCritical => 2,
        Exit::Unknown | Exit::HealthUnknown => 3,
        Exit::Input => 4,
        Exit::Unavailable => 5,
    })
}
