//! The life of the serving process: signals, the service manager, and the order of the end.

use crate::daemon::Daemon;
use anyhow::Context;
use sd_notify::NotifyState;
use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

/// Tells systemd, where it listens; elsewhere, as in a batch job, it is nothing.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Serves until the daemon has drained: SIGTERM and SIGINT make it drain, a second one end at once, SIGHUP reads the models
/// again. So does the end of the simulation, where the daemon is a part of its job: `simulation_end` tells it, or is dropped.
///
/// # Errors
///
/// If signals cannot be caught.
pub async fn supervise(
    daemon: &mut Daemon,
    mut simulation_end: Option<oneshot::Receiver<()>>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    // Half the time, so that one lost tick does no harm.
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
    let mut tick = interval(
        watchdog.unwrap_or(Duration::from_secs(10)).clamp(Duration::from_millis(50), Duration::from_secs(10)),
    );
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let mut is_draining = false;
    let mut was_stalled = false;
    loop {
        tokio::select! {
            () = daemon.ended() => break,
            name = either(terminate.recv(), interrupt.recv()) => {
                if is_draining {
                    tracing::warn!(signal = name, "ending at once; what waits is answered 503");
                    daemon.end_now();
                } else {
                    tracing::info!(signal = name, waiting = daemon.queue.n_waiting(), in_work = daemon.queue.in_work(), "draining");
                    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
                    daemon.drain();
                    is_draining = true;
                }
            }
            Some(told) = of(&mut simulation_end) => {
                simulation_end = None;
                if told.is_ok() && !is_draining {
                    tracing::info!("the simulation has ended");
                    daemon.drain();
                    is_draining = true;
                }
            }
            Some(()) = hang_up.recv() => {
                let reload = daemon.reload();
                // On a thread of its own: a model is large.
                tokio::task::spawn_blocking(move || match reload() {
                    Ok(text) => tracing::info!("reloaded: {text}"),
                    Err(fault) => tracing::error!("not reloaded: {fault}"),
                });
            }
            _ = tick.tick() => {
                if daemon.makes_progress() {
                    if watchdog.is_some() {
                        tell(&[NotifyState::Watchdog]);
                    }
                    was_stalled = false;
                } else if !was_stalled {
                    tracing::error!(waiting = daemon.queue.n_waiting(), "no progress although there is work");
                    was_stalled = true;
                }
            }
        }
    }
    tell(&[NotifyState::Stopping, NotifyState::Status("ended")]);
    Ok(())
}

/// What the future there is gives; `None` if there is none.
async fn of<F: Future + Unpin>(future: &mut Option<F>) -> Option<F::Output> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

async fn either(
    terminate: impl Future<Output = Option<()>>,
    interrupt: impl Future<Output = Option<()>>,
) -> &'static str {
    tokio::select! {
        _ = terminate => "SIGTERM",
        _ = interrupt => "SIGINT",
    }
}
