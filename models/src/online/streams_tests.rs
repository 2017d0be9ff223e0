//! Runs of several streams on invented images.

use super::run_tests::{bits, scene};
use super::*;
use crate::extractor::OwnExtractors;
use crate::image::{Decoded, Preprocess};
use crate::rng::Rng;
use crate::{Error, Label};
use std::sync::Arc;

fn settings(false_alarm_rate: f64) -> RunSettings {
    let one_step_ahead = OneStepAheadParams { false_alarm_rate, ..OneStepAheadParams::default() };
    RunSettings {
        params: OnlineParams { one_step_ahead, ..OnlineParams::default() },
        preprocess: Preprocess::default(),
        extractors: Arc::new(OwnExtractors::default()),
        max_streams: 4,
    }
}

fn streams() -> Streams {
    Streams::new(settings(1e-3)).unwrap()
}

/// An image of a step; streams differ in size, which one pool would refuse.
fn image(stream: usize, step: i64) -> Decoded {
    Decoded { pixels: scene(24 + 8 * stream, 32, step), format: "png" }
}

const NAMES: [&str; 3] = ["", "density", "slice:2"];

fn feed(streams: &mut Streams, steps: std::ops::RangeInclusive<i64>) {
    for step in steps {
        for (idx, name) in NAMES.iter().enumerate() {
            let judgement = streams.judge(name, step, &image(idx, step)).unwrap();
            assert_eq!(judgement.forgot, 0, "the same step of another stream is not a repeated one");
        }
    }
}

fn sizes(streams: &Streams) -> Vec<(usize, Option<i64>)> {
    streams.summaries().iter().map(|stream| (stream.pool_size, stream.last_step)).collect()
}

#[test]
fn each_stream_is_judged_by_its_own_images_as_if_it_were_alone() {
    let mut together = streams();
    let mut alone = [0, 1, 2].map(|_| {
        let RunSettings { params, preprocess, extractors, .. } = settings(1e-3 / 3.0);
        OnlineRun::with_extractors(params, preprocess, extractors).unwrap()
    });
    for step in 1..=40 {
        for (idx, run) in alone.iter_mut().enumerate() {
            let judgement = together.judge(NAMES[idx], step, &image(idx, step)).unwrap();
            assert_eq!(bits(&judgement), bits(&run.judge(step, &image(idx, step)).unwrap()), "{step} {idx}");
        }
    }
    assert_eq!((together.pool_size(), together.last_step()), (120, Some(40)));
}

#[test]
fn the_rate_is_shared_by_the_streams_that_have_images_and_goes_back_with_them() {
    let mut streams = streams();
    let mut rate = |stream: usize, step: i64| {
        let judgement = streams.judge(NAMES[stream], step, &image(stream, step)).unwrap();
        (1e-3 / judgement.false_alarm_rate.unwrap()).round() as usize
    };
    assert_eq!([rate(0, 1), rate(0, 2)], [1, 1]);
    assert_eq!([rate(1, 3), rate(0, 3), rate(2, 3), rate(0, 4)], [2, 2, 3, 3]);
    assert_eq!([rate(0, 3), rate(1, 3)], [1, 2], "back to before the others began: as it was then");
}

#[test]
fn a_step_that_one_stream_repeats_makes_all_forget_it_and_later_ones() {
    let mut streams = streams();
    feed(&mut streams, 1..=20);
    let judgement = streams.judge(NAMES[1], 18, &image(1, 18)).unwrap();
    assert_eq!((judgement.forgot, judgement.pool.unwrap().size), (9, 18));
    assert_eq!(sizes(&streams), [(17, Some(17)), (18, Some(18)), (17, Some(17))]);
    let mut straight = self::streams();
    feed(&mut straight, 1..=17);
    straight.judge(NAMES[1], 18, &image(1, 18)).unwrap();
    for step in 19..=40 {
        for (idx, name) in NAMES.iter().enumerate() {
            let [a, b] =
                [&mut streams, &mut straight].map(|s| s.judge(name, step, &image(idx, step)).unwrap());
            assert_eq!(bits(&a), bits(&b), "{step} {idx}");
        }
    }
}

#[test]
fn a_rewind_concerns_all_streams_or_none() {
    let mut settings = settings(1e-3);
    settings.params.max_snapshots = 2;
    let mut streams = Streams::new(settings).unwrap();
    feed(&mut streams, 1..=10);
    for step in 11..=70 {
        streams.judge("", step, &image(0, step)).unwrap();
    }
    let before = sizes(&streams);
    for error in [
        streams.rewind(5).unwrap_err(),
        streams.judge(NAMES[1], 5, &image(1, 5)).unwrap_err(),
        streams.label(NAMES[1], 5, Truth::Anomalous).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Step { .. }), "the default stream no longer holds its state: {error}");
    }
    assert_eq!(sizes(&streams), before);
    assert_eq!(streams.rewind(69).unwrap(), 1);
    assert_eq!(sizes(&streams), [(69, Some(69)), (10, Some(10)), (10, Some(10))]);
    assert_eq!(streams.rewind(0).unwrap(), 89);
    assert_eq!(sizes(&streams), [], "nothing is known of any");
}

#[test]
fn an_anomalous_image_of_one_stream_makes_all_forget_its_step() {
    let mut streams = streams();
    feed(&mut streams, 1..=10);
    let labelled = streams.label(NAMES[1], 8, Truth::Anomalous).unwrap().unwrap();
    assert_eq!((labelled.was_in_pool, labelled.in_pool, labelled.forgot), (true, false, 9));
    assert_eq!(sizes(&streams), [(7, Some(7)); 3]);
    assert_eq!(streams.judge(NAMES[1], 8, &image(1, 8)).unwrap().verdict.label, Label::Anomalous);
    assert_ne!(streams.judge(NAMES[0], 8, &image(0, 8)).unwrap().verdict.label, Label::Anomalous);
    assert_eq!(streams.label("never seen", 8, Truth::Normal).unwrap(), None);
    assert_eq!(streams.label(NAMES[2], 9, Truth::Normal).unwrap(), None);
}

#[test]
fn streams_are_bounded_and_one_that_began_with_an_error_has_not_begun() {
    let mut streams = streams();
    let small = Decoded { pixels: scene(4, 4, 1), format: "png" };
    assert!(matches!(streams.judge("x", 1, &small), Err(Error::Shape { .. })));
    for name in ["a", "b", "c", "d"] {
        streams.judge(name, 1, &image(0, 1)).unwrap();
    }
    let error = streams.judge("e", 1, &image(0, 1)).unwrap_err();
    assert!(matches!(error, Error::TooManyStreams { limit: 4, .. }), "{error}");
    assert_eq!(streams.summaries().len(), 4);
    assert!(Streams::new(RunSettings { max_streams: 0, ..settings(1e-3) }).is_err());
}

#[test]
fn the_share_of_steps_with_any_false_alarm_stays_near_the_rate_however_many_streams_there_are() {
    const RATE: f64 = 0.1;
    const STEPS: i64 = 600;
    let mut streams = Streams::new(settings(RATE)).unwrap();
    let (mut joint, mut single, mut n_judged) = (0, 0, 0);
    for step in 1..=STEPS {
        let mut alarm = [false; 2];
        for stream in 0..4u64 {
            // White noise of changing strength: every image is as normal as every other, and the streams are independent.
            let mut rng = Rng::derived(77 + stream, step as u64);
            let strength = 20.0 + 2.0 * rng.normal();
            let pixels = ndarray::Array3::from_shape_simple_fn((16, 16, 1), || {
                (128.0 + strength * rng.normal()).clamp(0.0, 255.0) as u8
            });
            let name = stream.to_string();
            let judgement = streams.judge(&name, step, &Decoded { pixels, format: "png" }).unwrap();
            let Some(p) = judgement.p_value else { continue };
            if judgement.verdict.label == Label::Anomalous {
                // Otherwise the pool would wait for an image as calm as its last.
                streams.label(&name, step, Truth::Normal).unwrap();
            }
            alarm[0] |= p < RATE / 4.0;
            alarm[1] |= p < RATE;
            assert_eq!(judgement.verdict.label == Label::Anomalous, p < RATE / 4.0, "{step} {stream}: {p}");
        }
        n_judged += 1;
        joint += usize::from(alarm[0]);
        single += usize::from(alarm[1]);
    }
    let share = |n: usize| n as f64 / n_judged as f64;
    assert!(share(joint) > 0.2 * RATE && share(joint) < 1.3 * RATE, "{}", share(joint));
    assert!(share(single) > 1.5 * RATE, "without the division it would be {}", share(single));
}
