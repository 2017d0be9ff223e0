//! The other ranks' side: waits for jobs, does them, and answers.

use super::job::{Answer, Job, Maker, Trouble};
use super::tag;
use anomalyd_models::extractor::WeightsStore;
use anomalyd_models::online::KeptShares;
use anomalyd_models::{Error, FeatureExtractor, Result};
use mpi::point_to_point::MatchedReceiveVec;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};
use ndarray::ArrayView4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for a job: at first, and at most. An MPI that waits keeps a core busy, which may be the simulation's.
const SHORT: Duration = Duration::from_micros(50);
const LONG: Duration = Duration::from_millis(2);

/// Extractors kept: those of as many image shapes and settings, the newest used last.
const MAX_EXTRACTORS: usize = 4;

/// Extractors that were made, the newest used last.
type Extractors = Vec<(Maker, Arc<dyn FeatureExtractor>)>;

/// Does jobs for rank 0 until it says that it has no more. Returns the number of jobs done.
pub fn work(ranks: &SimpleCommunicator) -> u64 {
    let root = ranks.process_at_rank(0);
    let mut extractors: Extractors = Vec::new();
    let mut trees = KeptShares::default();
    let mut n_done = 0;
    let mut pause = SHORT;
    loop {
        let Some(found) = root.immediate_matched_probe_with_tag(tag::JOB) else {
            std::thread::sleep(pause);
            pause = LONG.min(2 * pause);
            continue;
        };
        pause = SHORT;
        let (head, _) = found.matched_receive_vec::<u8>();
        if head.is_empty() {
            return n_done;
        }
        let (answer, values) = match serde_json::from_slice::<Job>(&head) {
            Err(error) => {
                (Answer::Failed(Trouble::Other(format!("a job that cannot be read: {error}"))), Vec::new())
            }
            Ok(job) => {
                let values = if job.n_values() == 0 {
                    Vec::new()
                } else {
                    root.send_with_tag(&[0u8; 0][..], tag::GO);
                    root.receive_vec_with_tag::<f32>(tag::VALUES).0
                };
                // What a panic may have left half done is an extractor or a part of trees that is not kept.
                catch_unwind(AssertUnwindSafe(|| done(&job, values, &mut extractors, &mut trees)))
                    .unwrap_or_else(|_| Err(panicked(ranks.rank())))
                    .unwrap_or_else(|error| (Answer::Failed(Trouble::from(&error)), Vec::new()))
            }
        };
        // Plain structs and strings: there is nothing in them that JSON cannot hold.
        let head = serde_json::to_vec(&answer).unwrap_or_default();
        root.send_with_tag(&head[..], tag::ANSWER);
        if !values.is_empty() {
            root.send_with_tag(&values[..], tag::RESULT);
        }
        n_done += 1;
    }
}

fn panicked(rank: i32) -> Error {
    Error::Backend { what: "a job", source: format!("it panicked on rank {rank}, see the log").into() }
}

/// Refuses to make features that are not those of rank 0 to the bit.
fn same_arithmetic(by: &Maker, here: &str) -> Result<()> {
    if by.arithmetic == here {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "models.device",
        found: format!("{}, which is {here} on another rank and {} on rank 0", by.device, by.arithmetic),
        expected: "processors of one kind for all ranks, or cpu:f32".into(),
    })
}

fn done(
    job: &Job,
    values: Vec<f32>,
    extractors: &mut Extractors,
    trees: &mut KeptShares,
) -> Result<(Answer, Vec<f32>)> {
    match job {
        Job::Extract { by, n_images } => extracted(by, *n_images, &values, extractors),
        Job::Trees { request, part, .. } => {
            let lengths = trees.answer(request, *part, values)?;
            Ok((Answer::Lengths { bits: lengths.into_iter().map(f64::to_bits).collect() }, Vec::new()))
        }
    }
}

fn extracted(
    by: &Maker,
    n_images: usize,
    values: &[f32],
    extractors: &mut Extractors,
) -> Result<(Answer, Vec<f32>)> {
    let extractor = match extractors.iter().position(|(made, _)| made == by) {
        Some(idx) => extractors.remove(idx).1,
        None => {
            if extractors.len() == MAX_EXTRACTORS {
                extractors.remove(0);
            }
            same_arithmetic(by, by.params.arithmetic(by.device))?;
            by.params.build(by.shape, &WeightsStore::new(by.weights_dirs.clone())?, &by.device)?
        }
    };
    let shape = (n_images, by.shape.channels, by.shape.rows, by.shape.columns);
    let images = ArrayView4::from_shape(shape, values).map_err(|_| Error::Shape {
        what: "images from rank 0",
        wanted: format!("{shape:?}"),
        found: format!("{} values", values.len()),
    })?;
    let features = extractor.extract(images)?;
    let shape = extractor.feature_shape();
    extractors.push((by.clone(), extractor));
    let features = features.into_raw_vec_and_offset().0;
    // What MPI counts one message by.
    if i32::try_from(features.len()).is_err() {
        return Err(Error::Shape {
            what: "features for rank 0",
            wanted: format!("at most {} values", i32::MAX),
            found: features.len().to_string(),
        });
    }
    Ok((Answer::Features { shape, n_values: features.len() }, features))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::ImageShape;
    use anomalyd_models::extractor::{DeviceChoice, ExtractorParams, HogParams};

    #[test]
    fn a_rank_that_computes_otherwise_than_rank_0_refuses_and_says_so() {
        let by = Maker {
            params: ExtractorParams::Hog(HogParams::default()),
            shape: ImageShape { channels: 3, rows: 40, columns: 40 },
            device: DeviceChoice::Cpu,
            weights_dirs: Vec::new(),
            arithmetic: "f32".into(),
        };
        let job = |by: Maker| extracted(&by, 0, &[], &mut Vec::new());
        assert!(job(by.clone()).is_ok());
        let error = job(Maker { arithmetic: "bf16x3".into(), ..by }).unwrap_err().to_string();
        assert!(error.contains("f32 on another rank and bf16x3 on rank 0"), "{error}");
    }
}
