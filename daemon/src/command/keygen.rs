//! `anomalyd keygen`.

use super::{Exit, say};
use crate::cli::KeygenArgs;
use crate::security::KeyPair;

pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<Exit> {
    let [secret, public] = KeyPair::generate()?.write(&args.stem)?;
    say(format_args!("{}: both keys, for its owner's eyes only", secret.display()));
    say(format_args!("{}: the public key, to give away", public.display()));
    Ok(Exit::Success)
}
