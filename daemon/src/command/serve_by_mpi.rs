//! `anomalyd serve --mpi`: the daemon as a part of the simulation's MPI job.
//!
//! Whatever is wrong on the daemon's side, its ranks take part in what all ranks of the job do together, or the simulation would
//! wait for them for ever: it is then told of no daemon, and goes on without.

use super::serve::{Company, configured, serve};
use super::{Exit, LogFlags, threads};
use crate::cli::ServeArgs;
use crate::config::{Config, Surroundings};
use crate::log;
use crate::ranks::{Announcement, Dispatcher, Ranks, SharedExtractors, World, ranks, work};
use anomalyd_models::extractor::ExtractorSource;
use anomalyd_proto::EndpointFile;
use anyhow::Context;
use std::io::Write;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Between two looks for the simulation's end, once there is nothing else to do.
const IDLE: Duration = Duration::from_millis(5);

/// As many as `workers.count` may be.
const MAX_WORKERS: usize = 256;

pub(super) fn run(args: &ServeArgs, log_flags: &LogFlags) -> anyhow::Result<Exit> {
    let surroundings = Surroundings { in_mpi_job: true, ..Surroundings::of_process()? };
    let config = configured(args, log_flags, &surroundings).and_then(|config| {
        log::start(&config.log)?;
        threads::limit(config.n_threads)?;
        Ok(config)
    });
    // Batch systems send these to every process of a job, for the simulation; unheeded they would end the daemon, and with it the job.
    outlive([SignalKind::user_defined1(), SignalKind::user_defined2()])?;
    let world = World::join()?;
    if world.rank() > 0 {
        return follow(&world);
    }
    match lead(&world, config) {
        // The launcher would take another exit code for the failure of the whole job, and kill the simulation.
        Err(error) if world.has_simulation => {
            let _ = writeln!(
                std::io::stderr(),
                "anomalyd: {error:#}\nanomalyd: the simulation was told of no daemon, and goes on without"
            );
            Ok(Exit::Success)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(Exit::Success),
    }
}

/// Rank 0: serves on threads of its own, while this one is the one that calls MPI.
fn lead(world: &World, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let n_others = world.n_ranks() - 1;
    let (ranks, tasks) = ranks(n_others);
    let mut dispatcher = Dispatcher::new(&world.ranks, tasks);
    let (tell_end, end_told) = oneshot::channel();
    let serving = config.and_then(|config| start(config, ranks, n_others, end_told));
    // The sender is dropped by a daemon that cannot start.
    let announcement = serving.as_ref().ok().and_then(|(_, ready)| ready.recv().ok());
    let announced = world.announce(announcement.as_ref());
    let mut end = world.end();
    let mut tell_end = Some(tell_end);
    if announced.is_err() {
        // Nobody would find the daemon.
        tell_end.take().map(|told| told.send(()));
    }
    let served = serving.and_then(|(thread, _)| {
        while !thread.is_finished() {
            dispatcher.turn();
            if end.has_come() {
                // The daemon may have ended meanwhile.
                tell_end.take().map(|told| told.send(()));
            }
        }
        thread.join().unwrap_or_else(|_| anyhow::bail!("the serving thread has panicked; this is a bug"))
    });
    dispatcher.close();
    while !dispatcher.is_idle() {
        dispatcher.turn();
    }
    // MPI's own waiting would keep a core busy until the simulation ends.
    while end.is_awaited() && !end.has_come() {
        std::thread::sleep(IDLE);
    }
    dispatcher.dismiss();
    announced.and(served)
}

type Serving = (JoinHandle<anyhow::Result<()>>, mpsc::Receiver<Announcement>);

fn start(
    mut config: Config,
    ranks: Ranks,
    n_others: usize,
    end: oneshot::Receiver<()>,
) -> anyhow::Result<Serving> {
    // A worker waits while a rank works for it.
    config.n_workers = config.n_workers.max(n_others.min(MAX_WORKERS));
    let extractors = (n_others > 0).then(|| {
        let shared = SharedExtractors::new(Arc::new(ranks), config.weights_dirs.clone(), config.device);
        Arc::new(shared) as Arc<dyn ExtractorSource>
    });
    let (tell, ready) = mpsc::channel();
    let company = Company {
        extractors,
        ready: Some(Box::new(move |endpoints| {
            // Who waits for it does so until this is dropped.
            let _ = tell.send(announcement_of(endpoints));
        })),
        end: Some(end),
    };
    let thread = Builder::new()
        .name("serve".into())
        .spawn(move || {
            tracing::info!(other_ranks = n_others, "a part of an MPI job");
            serve(&config, company)
        })
        .context("the serving thread")?;
    Ok((thread, ready))
}

/// What ranks of the simulation are told: as PROTOCOL.md 11.2 has clients choose from an endpoint file, with the key in the same text.
fn announcement_of(endpoints: &EndpointFile) -> Announcement {
    let with_key = |endpoint: Option<&String>| match (endpoint, endpoints.server_public_key.as_str()) {
        (None, _) => String::new(),
        (Some(endpoint), "") => endpoint.clone(),
        (Some(endpoint), key) => format!("{endpoint}?server_public_key={key}"),
    };
    let is_loopback = |endpoint: &&String| {
        ["tcp://127.", "tcp://localhost:", "tcp://[::1]:"].iter().any(|start| endpoint.starts_with(start))
    };
    let mut tcp = endpoints.service.iter().filter(|endpoint| endpoint.starts_with("tcp://"));
    Announcement {
        here: with_key(endpoints.service.first()),
        elsewhere: with_key(tcp.find(|endpoint| !is_loopback(endpoint))),
    }
}

/// The other ranks: work for rank 0 until it says that there is no more.
fn follow(world: &World) -> anyhow::Result<Exit> {
    // Rank 0 gets them as well, and tells the others what follows.
    outlive([SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()])?;
    // Rank 0 alone knows.
    world.announce(None)?;
    let end = world.end();
    let n_done = work(&world.ranks);
    end.wait();
    tracing::info!(rank = world.rank(), jobs = n_done, "ended");
    Ok(Exit::Success)
}

/// Has `signals` do nothing, for the rest of the process, where nobody else waits for them.
fn outlive<const N: usize>(signals: [SignalKind; N]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    let _entered = runtime.enter();
    // The handlers stay when their listeners are dropped.
    signals.into_iter().try_for_each(|kind| signal(kind).map(drop)).context("a signal cannot be caught")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_proto::Instance;

    fn announced(service: &[&str], key: &str) -> Announcement {
        announcement_of(&EndpointFile {
            service: service.iter().map(|&endpoint| endpoint.to_owned()).collect(),
            control: vec!["ipc:///control".into()],
            instance: Instance::new("i").unwrap(),
            host: "node7".into(),
            pid: 1,
            boot_id: String::new(),
            started_unix_s: 0,
            server_public_key: key.into(),
        })
    }

    #[test]
    fn own_node_is_told_the_first_endpoint_and_others_one_they_can_reach() {
        let both = announced(&["ipc://@a", "tcp://127.0.0.1:5", "tcp://node7:6"], "");
        assert_eq!(both, Announcement { here: "ipc://@a".into(), elsewhere: "tcp://node7:6".into() });
        let one = announced(&["tcp://localhost:5"], "");
        assert_eq!(one, Announcement { here: "tcp://localhost:5".into(), elsewhere: String::new() });
        assert_eq!(announced(&["tcp://node7:6"], "k").elsewhere, "tcp://node7:6?server_public_key=k");
    }
}
