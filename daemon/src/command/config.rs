//! `anomalyd config`.

use super::{Exit, say, serve};
use crate::cli::{ConfigArgs, ConfigCommand};

pub(super) fn run(command: &ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Check { file } => {
            let args = ConfigArgs { config: file.clone(), ..ConfigArgs::default() };
            say(format_args!("{:#?}", serve::read(&args, &[])?));
        }
        ConfigCommand::Defaults => {
            say(format_args!("{}", include_str!("../../../deploy/anomalyd.toml").trim_end()))
        }
    }
    Ok(Exit::Success)
}
