//! The MPI job that the daemon is a part of: splitting it from the simulation, telling that where the daemon is, and knowing its end
//! (PROTOCOL.md, section 14).

use anyhow::{Context, ensure};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::request::Request;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The daemon's colour in `MPI_Comm_split`: "anom" in ASCII. That of anomalyd_mpi.h and of the module anomalyd_mpi.
const COLOUR: i32 = 0x616e_6f6d;

/// Bytes of the host's name, of the endpoint on that host and of the endpoint elsewhere, NULs behind each.
const FIELDS: [usize; 3] = [256, 512, 512];

/// A simulation that does not split the job leaves the daemon waiting for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// This process's place in the job. Dropped, it ends MPI, which waits for all processes of the job.
pub struct World {
    /// The daemon's ranks.
    pub ranks: SimpleCommunicator,
    /// Whether the job has other ranks.
    pub has_simulation: bool,
    world: SimpleCommunicator,
    /// Of the daemon's rank 0 in the job.
    root: i32,
    // Last: communicators are freed before.
    _universe: Universe,
}

/// Where the simulation finds the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcement {
    /// For ranks on the daemon's node; empty: there is none.
    pub here: String,
    /// For ranks on other nodes; empty: there is none.
    pub elsewhere: String,
}

/// The simulation's end, as it comes.
pub struct End(Option<Request<'static, ()>>);

impl World {
    /// Begins MPI and parts the job in simulation and daemon; all ranks of the job take part.
    ///
    /// # Errors
    ///
    /// If this process was not started with others, or by an MPI without threads.
    pub fn join() -> anyhow::Result<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
            .context("MPI is begun already; this is a bug")?;
        ensure!(
            threading >= Threading::Funneled,
            "this MPI allows no threads (MPI_THREAD_FUNNELED), which the daemon has: use another build of it"
        );
        let world = universe.world();
        ensure!(
            world.size() > 1,
            "--mpi, but this is the only rank of its MPI job: start it with the simulation, `mpirun -n N1 simulation : -n N2 anomalyd \
             serve --mpi`, by the mpirun of the same MPI; or leave --mpi out to serve without"
        );
        let (parted, waiting) = channel::<()>();
        std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(
                    "still waiting for the other ranks of the MPI job: do all of them call anomalyd_mpi_split, or MPI_Comm_split as in \
                     PROTOCOL.md, section 14?"
                );
            }
        });
        let ranks = world
            .split_by_color_with_key(Color::with_value(COLOUR), world.rank())
            .context("no communicator of the daemon's ranks; this is a bug")?;
        let mine = if ranks.rank() == 0 { world.rank() } else { -1 };
        let mut root = -1;
        world.all_reduce_into(&mine, &mut root, SystemOperation::max());
        drop(parted);
        Ok(Self { has_simulation: ranks.size() < world.size(), ranks, world, root, _universe: universe })
    }

    /// This process's rank among the daemon's.
    pub fn rank(&self) -> i32 {
        self.ranks.rank()
    }

    /// The number of the daemon's ranks.
    pub fn n_ranks(&self) -> usize {
        // Never negative.
        self.ranks.size().unsigned_abs() as usize
    }

    /// Tells the simulation where the daemon is; all of the daemon's ranks take part, of which rank 0 knows. `None`: nowhere.
    ///
    /// # Errors
    ///
    /// An endpoint that is too long to be told; the simulation is then told of none.
    pub fn announce(&self, announcement: Option<&Announcement>) -> anyhow::Result<()> {
        let told = match announcement {
            Some(Announcement { here, elsewhere }) => {
                let host = mpi::environment::processor_name().unwrap_or_default();
                encoded(&[&host, here, elsewhere])
            }
            None => Ok(vec![0; FIELDS.iter().sum()]),
        };
        let (mut message, result) = match told {
            Ok(message) => (message, Ok(())),
            Err(error) => (vec![0; FIELDS.iter().sum()], Err(error)),
        };
        self.world.process_at_rank(self.root).broadcast_into(&mut message[..]);
        result
    }

    /// Begins to wait for the simulation's end; all of the daemon's ranks call it after [`announce`](Self::announce).
    pub fn end(&self) -> End {
        End(self.has_simulation.then(|| self.world.immediate_barrier()))
    }
}

impl End {
    /// Whether it is still to come; never where there is no simulation.
    pub fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it has come since the last look.
    pub fn has_come(&mut self) -> bool {
        match self.0.take().map(Request::test) {
            None => false,
            Some(Ok(_)) => true,
            Some(Err(request)) => {
                self.0 = Some(request);
                false
            }
        }
    }

    /// Waits for it, if it has not come.
    pub fn wait(mut self) {
        if let Some(request) = self.0.take() {
            request.wait_without_status();
        }
    }
}

/// `texts` in their fields.
fn encoded(texts: &[&str; 3]) -> anyhow::Result<Vec<u8>> {
    let mut message = Vec::new();
    for (text, size) in texts.iter().zip(FIELDS) {
        ensure!(
            text.len() < size,
            "\"{text}\" cannot be told to the simulation: it has {} bytes, at most {} are possible",
            text.len(),
            size - 1
        );
        let begun = message.len();
        message.extend_from_slice(text.as_bytes());
        message.resize(begun + size, 0);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_that_of_the_protocol() {
        let document = include_str!("../../../proto/PROTOCOL.md");
        assert!(document.contains(&format!("The daemon's colour is {COLOUR} ")));
    }

    #[test]
    fn what_is_told_has_fixed_fields_that_end_in_nul() {
        let message = encoded(&["node7", "ipc://@a", ""]).unwrap();
        assert_eq!(message.len(), 1280);
        assert_eq!(&message[..6], b"node7\0");
        assert_eq!(&message[256..265], b"ipc://@a\0");
        assert!(message[768..].iter().all(|&byte| byte == 0));
        let error = encoded(&["node7", &"x".repeat(512), ""]).unwrap_err().to_string();
        assert!(error.contains("512 bytes, at most 511"), "{error}");
    }
}
