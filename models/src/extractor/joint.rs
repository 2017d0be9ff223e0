//! Images of several callers, computed together: what comes while a batch is computed makes the next one.

use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};

/// What waits to be computed.
struct Request {
    image: Vec<f32>,
    answer: Sender<Result<Vec<f32>>>,
}

/// Images on their way to a device that does one batch at a time. Nobody waits for company: a batch is whatever has come when its
/// turn does.
pub(super) struct Joint {
    waiting: Mutex<VecDeque<Request>>,
    turn: Mutex<()>,
    max_batch: usize,
}

impl Joint {
    pub(super) fn new(max_batch: usize) -> Self {
        Self { waiting: Mutex::default(), turn: Mutex::default(), max_batch }
    }

    /// Computes `images`, perhaps with those of other callers, or has another caller do so.
    ///
    /// - `run`: the same for all callers; gives as many results as it gets images.
    ///
    /// # Errors
    ///
    /// Those of `run` for these images alone: a batch that fails is computed again one by one.
    pub(super) fn compute(
        &self,
        images: Vec<Vec<f32>>,
        run: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>>,
    ) -> Result<Vec<Vec<f32>>> {
        let answers: Vec<Receiver<_>> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let request = |image| {
                let (answer, receiver) = channel();
                waiting.push_back(Request { image, answer });
                receiver
            };
            images.into_iter().map(request).collect()
        };
        let mut found = Vec::with_capacity(answers.len());
        while found.len() < answers.len() {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            match answers[found.len()].try_recv() {
                Ok(features) => found.push(features?),
                Err(TryRecvError::Empty) => self.compute_next(&run),
                Err(TryRecvError::Disconnected) => {
                    let source = "the batch that it was in was given up";
                    return Err(Error::Backend { what: "features of an image", source: source.into() });
                }
            }
        }
        Ok(found)
    }

    fn compute_next(&self, run: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>>) {
        let batch: Vec<Request> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let n = waiting.len().min(self.max_batch);
            waiting.drain(..n).collect()
        };
        let (images, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.image, request.answer)).unzip();
        let alone = |image| run(std::slice::from_ref(image)).map(|mut features| features.remove(0));
        let results: Vec<Result<Vec<f32>>> = match run(&images) {
            Ok(features) => features.into_iter().map(Ok).collect(),
            Err(error) if images.len() == 1 => vec![Err(error)],
            Err(_) => images.iter().map(alone).collect(),
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // Who no longer listens has failed at an earlier image.
            let _ = answer.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn doubled(images: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        if images.iter().any(|image| image[0] < 0.0) {
            return Err(Error::Backend { what: "test", source: "a negative image".into() });
        }
        Ok(images.iter().map(|image| image.iter().map(|value| 2.0 * value).collect()).collect())
    }

    #[test]
    fn every_caller_gets_its_own_images_back_and_an_error_is_only_for_whose_it_is() {
        let joint = Joint::new(3);
        let largest = Mutex::new(0);
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for caller in 0..8u16 {
                let (joint, barrier, largest) = (&joint, &barrier, &largest);
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..50u16 {
                        let first = f32::from(caller * 100 + round);
                        let wrong = caller == 3 && round % 7 == 0;
                        let images = vec![vec![if wrong { -1.0 } else { first }, 0.5], vec![first + 0.25]];
                        let found = joint.compute(images, |images| {
                            let mut largest = largest.lock().expect("not poisoned");
                            *largest = images.len().max(*largest);
                            // Others come meanwhile.
                            std::thread::sleep(std::time::Duration::from_micros(200));
                            doubled(images)
                        });
                        if wrong {
                            assert!(found.expect_err("an image is wrong").to_string().contains("test"));
                        } else {
                            let wanted = vec![vec![2.0 * first, 1.0], vec![2.0 * (first + 0.25)]];
                            assert_eq!(found.expect("computes"), wanted);
                        }
                    }
                });
            }
        });
        assert_eq!(*largest.lock().expect("not poisoned"), 3, "images of several callers, at most three");
    }

    #[test]
    fn panic_in_a_batch_is_an_error_for_the_others_in_it_and_the_next_batch_is_computed() {
        let joint = Joint::new(8);
        let (started, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                joint.compute(vec![vec![1.0]], |images| {
                    started.wait();
                    go_on.wait();
                    doubled(images)
                })
            });
            started.wait();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| joint.compute(vec![vec![1.0]], |_| panic!("as the device's driver might")))
                })
                .collect();
            while joint.waiting.lock().expect("not poisoned").len() < 2 {
                std::thread::yield_now();
            }
            go_on.wait();
            assert!(first.join().expect("no panic").is_ok());
            let results: Vec<_> = others.into_iter().map(|other| other.join()).collect();
            assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1, "the one that computed");
            assert!(results.iter().flatten().all(Result::is_err));
        });
        assert_eq!(joint.compute(vec![vec![1.0]], doubled).expect("computes"), [[2.0]]);
    }
}
