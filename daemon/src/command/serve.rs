//! `anomalyd serve`.

use super::{Exit, LogFlags, threads};
use crate::cli::{ConfigArgs, ServeArgs};
use crate::config::{Config, LogFormat, Surroundings, join};
use crate::daemon::Daemon;
use crate::instance::{self, Published};
use crate::sockets::Bound;
use crate::{lifecycle, log};
use anomalyd_models::extractor::ExtractorSource;
use anomalyd_proto::EndpointFile;
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) fn run(args: &ServeArgs, log_flags: &LogFlags) -> anyhow::Result<Exit> {
    #[cfg(feature = "mpi")]
    if args.mpi {
        return super::serve_by_mpi::run(args, log_flags);
    }
    anyhow::ensure!(
        !args.mpi,
        "--mpi, but this anomalyd was built without MPI: build it with `cargo build --release -p anomalyd --features mpi`, or leave --mpi out"
    );
    let config = configured(args, log_flags, &Surroundings::of_process()?)?;
    log::start(&config.log)?;
    threads::limit(config.n_threads)?;
    serve(&config, Company::default())?;
    Ok(Exit::Success)
}

/// The configuration of `serve`.
pub(super) fn configured(
    args: &ServeArgs,
    log_flags: &LogFlags,
    surroundings: &Surroundings,
) -> anyhow::Result<Config> {
    let mut flags = flags(args)?;
    flags.extend(log_flags.level.iter().map(|level| ("log.level".to_owned(), level.clone())));
    flags.extend(log_flags.format.map(|format| {
        let format = if format == LogFormat::Json { "json" } else { "text" };
        ("log.format".to_owned(), format.to_owned())
    }));
    read_within(&args.config, &flags, surroundings)
}

/// Told where the daemon is.
pub(super) type Ready = Box<dyn FnOnce(&EndpointFile) + Send>;

/// What the daemon has around it where it is not alone.
#[derive(Default)]
pub(super) struct Company {
    /// Extractors of others.
    pub(super) extractors: Option<Arc<dyn ExtractorSource>>,
    /// Called as soon as it serves; dropped if it never does.
    pub(super) ready: Option<Ready>,
    /// Tells that it is time to end.
    pub(super) end: Option<oneshot::Receiver<()>>,
}

/// Serves until told to end.
pub(super) fn serve(config: &Config, company: Company) -> anyhow::Result<()> {
    let instance = instance::new_instance()?;
    // Bound first: a second daemon on the same sockets is refused before it has loaded anything.
    let bound = Bound::bind(&config.sockets)?;
    let endpoints = EndpointFile {
        service: bound.service_endpoints.clone(),
        control: bound.control_endpoints.clone(),
        instance: instance.clone(),
        host: instance::host_name(),
        pid: std::process::id(),
        boot_id: instance::boot_id(),
        started_unix_s: instance::unix_seconds(),
        server_public_key: bound.server_public_key.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    let mut daemon = Daemon::start(config, bound, instance.clone(), company.extractors)?;
    let published = Published::write(&config.sockets.endpoint_file, &endpoints)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = instance.as_str(),
        service = endpoints.service.join(" "),
        control = endpoints.control.join(" "),
        endpoint_file = %config.sockets.endpoint_file.display(),
        workers = config.n_workers,
        threads = rayon::current_num_threads(),
        state_dir = config.state_dir.as_ref().map_or("none".into(), |dir| dir.display().to_string()),
        "serving{}",
        if config.state_dir.is_none() { "; runs are remembered in memory, until the end of this process" } else { "" }
    );
    if let Some(ready) = company.ready {
        ready(&endpoints);
    }
    let supervised = runtime.block_on(lifecycle::supervise(&mut daemon, company.end));
    // First, so that no client is sent to sockets that are being closed.
    drop(published);
    supervised?;
    daemon.join()?;
    // A model that is still being read need not be waited for.
    runtime.shutdown_background();
    tracing::info!("ended");
    Ok(())
}

/// Joins and checks the configuration for `args`, with `flags` on top.
pub(super) fn read(args: &ConfigArgs, flags: &[(String, String)]) -> anyhow::Result<Config> {
    read_within(args, flags, &Surroundings::of_process()?)
}

fn read_within(
    args: &ConfigArgs,
    flags: &[(String, String)],
    surroundings: &Surroundings,
) -> anyhow::Result<Config> {
    let file = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("configuration file {}", path.display()))?;
            Some((path.as_path(), text))
        }
        None => None,
    };
    let flags: Vec<_> = args.set.iter().chain(flags).cloned().collect();
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let raw = join(file.as_ref().map(|(path, text)| (*path, text.as_str())), variables, &flags)?;
    Config::resolve(&raw, surroundings)
}

/// The flags of `serve` that are settings.
fn flags(args: &ServeArgs) -> anyhow::Result<Vec<(String, String)>> {
    let text = |path: &PathBuf| {
        path.to_str()
            .map(str::to_owned)
            .with_context(|| format!("{} is not UTF-8, which settings must be", path.display()))
    };
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().cloned().map(toml::Value::String).collect();
        toml::Value::Array(items).to_string()
    };
    let mut flags: Vec<(String, String)> = Vec::new();
    let mut add = |setting: &str, value: String| flags.push((setting.to_owned(), value));
    for (setting, values) in [("sockets.service", &args.service), ("sockets.control", &args.control)] {
        if !values.is_empty() {
            add(setting, list(values));
        }
    }
    for (setting, paths) in [("paths.roots", &args.roots), ("models.weights_dirs", &args.weights_dir)] {
        if !paths.is_empty() {
            add(setting, list(&paths.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?));
        }
    }
    for (setting, path) in [
        ("sockets.runtime_dir", &args.runtime_dir),
        ("sockets.endpoint_file", &args.endpoint_file),
        ("models.models_dir", &args.models_dir),
        ("runs.state_dir", &args.state_dir),
    ] {
        if let Some(path) = path {
            add(setting, text(path)?);
        }
    }
    for (setting, value) in
        [("image.crop", &args.crop), ("models.default", &args.model), ("models.device", &args.device)]
    {
        if let Some(value) = value {
            add(setting, value.clone());
        }
    }
    for (setting, number) in [("workers.count", args.workers), ("workers.threads", args.threads)] {
        if let Some(number) = number {
            add(setting, number.to_string());
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_with_commas_and_blanks_stay_one_value() {
        let args =
            ServeArgs { roots: vec!["/a, b".into(), "/c".into()], workers: Some(3), ..ServeArgs::default() };
        let raw = join(None, std::iter::empty(), &flags(&args).unwrap()).unwrap();
        assert_eq!(raw.paths.roots, ["/a, b", "/c"]);
        assert_eq!(raw.workers.count, 3);
    }
}
