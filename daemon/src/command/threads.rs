//! How many threads compute.

use anyhow::Context;

/// Makes the pool that all judgements of this process share; returns its size: `wanted`, at most what affinity mask and control group
/// allow, which is the default. Called once, before anything is computed.
pub(super) fn limit(wanted: Option<usize>) -> anyhow::Result<usize> {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let n_threads = wanted.map_or(allowed, |wanted| wanted.clamp(1, allowed));
    if let Some(wanted) = wanted.filter(|wanted| *wanted > allowed) {
        tracing::warn!(wanted, allowed, "fewer threads than asked for: more would only take turns");
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .thread_name(|idx| format!("compute-{idx}"))
        .build_global()
        .context("the threads that compute")?;
    Ok(n_threads)
}
