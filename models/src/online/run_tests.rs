//! A whole run on invented images: waves that deform, with a square of light for a fault.

use super::*;
use crate::extractor::{DeviceChoice, WeightsStore};
use crate::image::{Crop, Decoded, Preprocess};
use crate::rng::Rng;
use crate::{Error, Judgement, Label};
use ndarray::{Array2, Array3};
use proptest::prelude::*;

const SQUARE: [usize; 4] = [20, 40, 31, 51];

/// A grey image of `rows` x `columns` pixels at a time in units of the usual output interval.
pub(super) fn scene(rows: usize, columns: usize, time: i64) -> Array3<u8> {
    let mut waves = Rng::new(1);
    let waves: Vec<[f64; 4]> =
        (0..12).map(|_| [0.1, 0.1, 0.2, 3.0].map(|scale| scale * waves.normal())).collect();
    let time = time as f64 + 0.05 * Rng::derived(2, time as u64).normal();
    Array3::from_shape_fn((rows, columns, 1), |(row, column, _)| {
        let phase = |[ky, kx, frequency, start]: &[f64; 4]| {
            ky * row as f64 + kx * column as f64 + frequency * time + start
        };
        (128.0 + waves.iter().map(|wave| 9.0 * phase(wave).sin()).sum::<f64>()) as u8
    })
}

pub(super) fn clean(time: i64) -> Decoded {
    Decoded { pixels: scene(64, 80, time), format: "png" }
}

pub(super) fn faulty(time: i64) -> Decoded {
    let mut image = clean(time);
    let [row0, column0, row1, column1] = SQUARE;
    for (row, column) in (row0..=row1).flat_map(|row| (column0..=column1).map(move |column| (row, column))) {
        image.pixels[[row, column, 0]] = 255;
    }
    image
}

pub(super) fn run_with(params: OnlineParams) -> OnlineRun {
    OnlineRun::new(params, Preprocess::default(), WeightsStore::default().into(), DeviceChoice::default())
        .unwrap()
}

fn run_after(last: i64) -> OnlineRun {
    let mut run = run_with(OnlineParams::default());
    feed(&mut run, 1..=last, clean);
    run
}

pub(super) fn feed(
    run: &mut OnlineRun,
    steps: impl IntoIterator<Item = i64>,
    image: impl Fn(i64) -> Decoded,
) -> Vec<Judgement> {
    steps.into_iter().map(|step| run.judge(step, &image(step)).unwrap()).collect()
}

pub(super) fn labels(judgements: &[Judgement]) -> Vec<Label> {
    judgements.iter().map(|judgement| judgement.verdict.label).collect()
}

/// Bits, so that NaN equals itself and nothing else passes for equal.
pub(super) fn bits(judgement: &Judgement) -> impl PartialEq + std::fmt::Debug + use<> {
    let Judgement { verdict, p_value, region, pool, .. } = judgement;
    (
        verdict.label,
        verdict.score.to_bits(),
        verdict.threshold.to_bits(),
        p_value.map(f64::to_bits),
        *region,
        *pool,
    )
}

#[test]
fn a_run_crosses_threads() {
    fn crosses_threads<T: Send>() {}
    crosses_threads::<OnlineRun>();
}

#[test]
fn verdicts_begin_at_the_sixteenth_image() {
    let judgements = feed(&mut run_with(OnlineParams::default()), 1..=60, clean);
    assert_eq!(labels(&judgements), [vec![Label::Unknown; 15], vec![Label::Normal; 45]].concat());
    let needed: Vec<usize> =
        judgements[..16].iter().map(|judgement| judgement.pool.unwrap().needed).collect();
    assert_eq!(needed, [14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]);
    for judgement in &judgements[15..] {
        let (p, score) = (judgement.p_value.unwrap(), judgement.verdict.score);
        assert!((0.0..=3.0).contains(&score) && (10f64.powf(-score) / p - 1.0).abs() < 1e-12, "{p} {score}");
        assert_eq!((judgement.verdict.threshold, judgement.false_alarm_rate), (3.0, Some(1e-3)));
    }
}

#[test]
fn a_fault_alarms_where_it_is_and_stays_out() {
    let mut run = run_after(39);
    let judgement = run.judge(40, &faulty(40)).unwrap();
    assert_eq!(judgement.verdict.label, Label::Anomalous);
    assert_eq!((run.pool_size(), run.last_step()), (39, Some(40)));
    let [row0, column0, row1, column1] = judgement.region.unwrap();
    assert!(
        row0 <= SQUARE[0] && column0 <= SQUARE[1] && row1 >= SQUARE[2] && column1 >= SQUARE[3],
        "{judgement:?}"
    );
    assert!(row0 + 12 > SQUARE[0] && column1 < SQUARE[3] + 12, "a patch wider at the most: {judgement:?}");
}

#[test]
fn the_region_is_in_the_pixels_of_the_file() {
    let preprocess =
        Preprocess { crop: Some(Crop { rows: [30, 93], columns: [100, 179] }), ..Preprocess::default() };
    let mut run = OnlineRun::new(
        OnlineParams::default(),
        preprocess,
        WeightsStore::default().into(),
        DeviceChoice::default(),
    )
    .unwrap();
    let framed = |image: Decoded| {
        let pixels = Array3::from_shape_fn((110, 200, 1), |(r, c, k)| {
            r.checked_sub(30)
                .zip(c.checked_sub(100))
                .and_then(|(r, c)| image.pixels.get([r, c, k]))
                .copied()
                .unwrap_or(255)
        });
        Decoded { pixels, format: "png" }
    };
    feed(&mut run, 1..=30, |step| framed(clean(step)));
    let inside = run_after(30).judge(31, &faulty(31)).unwrap().region.unwrap();
    let judgement = run.judge(31, &framed(faulty(31))).unwrap();
    assert_eq!(judgement.region.unwrap(), [inside[0] + 30, inside[1] + 100, inside[2] + 30, inside[3] + 100]);
}

/// Brightness of each pixel of a heat map without its outline, and the greatest.
fn brightness(map: &HeatMap) -> (Array2<u32>, u32) {
    let sums = map.pixels().map_axis(ndarray::Axis(2), |pixel| {
        if pixel[2] > pixel[0] { 0 } else { pixel.iter().map(|&level| u32::from(level)).sum() }
    });
    let greatest = sums.iter().copied().max().unwrap();
    (sums, greatest)
}

#[test]
fn the_brightest_places_of_a_heat_map_lie_on_the_fault() {
    let mut run = run_after(39);
    run.judge(40, &faulty(40)).unwrap();
    let (sums, greatest) = brightness(&run.heat_map(&faulty(40)).unwrap());
    assert_eq!(greatest, 3 * 255, "far above the alarm level");
    let [row0, column0, row1, column1] = SQUARE;
    for ((row, column), &sum) in sums.indexed_iter() {
        // A place is half a patch wide: four pixels.
        let near = (row0 - 4..=row1 + 4).contains(&row) && (column0 - 4..=column1 + 4).contains(&column);
        assert!(sum < greatest || near, "{row} {column}");
    }
    assert_eq!(sums[[(row0 + row1) / 2, (column0 + column1) / 2]], greatest);
}

#[test]
fn a_heat_map_is_not_stretched_and_there_is_none_while_the_run_warms_up() {
    let mut run = run_after(15);
    assert_eq!(run.heat_map(&clean(15)), None);
    for step in 16..=40 {
        run.judge(step, &clean(step)).unwrap();
        let (_, greatest) = brightness(&run.heat_map(&clean(step)).unwrap());
        // Red and half of green is the alarm level; an image that raises none may have single places there, not whiter ones.
        assert!(greatest < 600, "{step}: {greatest}");
    }
    let other = Decoded { pixels: scene(64, 72, 0), format: "png" };
    assert_eq!(run.heat_map(&other), None, "not the image judged last");
    run.rewind(30).unwrap();
    assert_eq!(run.heat_map(&clean(30)), None);
}

#[test]
fn after_a_rewind_the_run_goes_on_as_if_the_fault_had_not_been() {
    let mut disturbed = run_after(39);
    disturbed.judge(40, &faulty(40)).unwrap();
    assert_eq!(disturbed.rewind(34).unwrap(), 5);
    let mut fresh = run_after(34);
    for step in 35..=60 {
        let judgements = [&mut disturbed, &mut fresh].map(|run| run.judge(step, &clean(step)).unwrap());
        assert_eq!(bits(&judgements[0]), bits(&judgements[1]));
    }
}

#[test]
fn a_fault_that_comes_back_the_same_is_accepted_as_reproducible() {
    let mut run = run_after(39);
    run.judge(40, &faulty(40)).unwrap();
    run.rewind(38).unwrap();
    let replayed = feed(&mut run, 39..=40, |step| if step == 40 { faulty(step) } else { clean(step) });
    assert_eq!((labels(&replayed)[1], replayed[1].reproducible, run.pool_size()), (Label::Normal, true, 40));
    assert!(replayed[1].verdict.score > replayed[1].verdict.threshold, "the evidence is not hidden");
}

#[test]
fn an_alarm_that_nobody_heeds_does_not_make_the_images_after_it_alarms() {
    for n_faulty in [1, 2, 5] {
        let mut run = run_after(39);
        let ignored = feed(&mut run, 40..40 + n_faulty, faulty);
        assert_eq!(ignored[0].verdict.label, Label::Anomalous);
        let after = feed(&mut run, 40 + n_faulty..=70, clean);
        assert!(
            !labels(&after).contains(&Label::Anomalous),
            "{n_faulty} faulty images: {:?}",
            labels(&after)
        );
        assert!(after[10..].iter().all(|judgement| judgement.verdict.label == Label::Normal));
    }
}

#[test]
fn a_lasting_change_that_nobody_heeds_becomes_the_new_normal() {
    let mut run = run_after(39);
    let after = labels(&feed(&mut run, 40..=80, faulty));
    assert_eq!(after[0], Label::Anomalous);
    assert!(after[13..].iter().all(|&label| label == Label::Normal), "{after:?}");
}

#[test]
fn missing_images_and_a_longer_interval_raise_no_alarm() {
    let mut run = run_after(40);
    let sparse = labels(&feed(&mut run, (42..=100).step_by(3), clean));
    assert!(!sparse.contains(&Label::Anomalous), "{sparse:?}");
    assert!(sparse[8..].iter().all(|&label| label == Label::Normal), "{sparse:?}");
    let far = labels(&feed(&mut run, 300..=330, clean));
    assert_eq!(far[..4], [Label::Unknown; 4], "nothing known is as far apart");
    assert!(far[4..].iter().all(|&label| label == Label::Normal), "{far:?}");
}

#[test]
fn a_fault_is_seen_though_the_image_before_it_is_missing() {
    let mut run = run_after(40);
    assert_eq!(run.judge(42, &faulty(42)).unwrap().verdict.label, Label::Anomalous);
}

#[test]
fn identical_images_are_normal_and_a_change_among_them_is_not() {
    let mut run = run_with(OnlineParams::default());
    let judgements = feed(&mut run, 1..=50, |_| clean(1));
    assert!(judgements[15..].iter().all(|j| j.verdict.label == Label::Normal && j.verdict.score == 0.0));
    assert_eq!(run.judge(51, &faulty(1)).unwrap().verdict.label, Label::Anomalous);
}

#[test]
fn an_image_smaller_than_a_patch_or_of_other_dimensions_is_refused() {
    let mut run = run_with(OnlineParams::default());
    let small = Decoded { pixels: scene(7, 80, 0), format: "png" };
    assert!(matches!(run.judge(1, &small), Err(Error::Shape { .. })));
    run.judge(1, &clean(1)).unwrap();
    let other = Decoded { pixels: scene(64, 72, 0), format: "png" };
    let error = run.judge(2, &other).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }) && error.to_string().contains("64 x 72"), "{error}");
    assert_eq!((run.pool_size(), run.last_step()), (1, Some(1)));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let with = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let image = |step| if step == 30 { faulty(step) } else { clean(step) };
        let judgements = pool.install(|| feed(&mut run_with(OnlineParams::default()), 1..=40, image));
        judgements.iter().map(bits).collect::<Vec<_>>()
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn run_whose_features_were_rounded_does_not_go_on_with_others() {
    use crate::extractor::{ExtractorParams, GpuPrecision, OwnExtractors, ResNet50Params, Tap};
    let extractor = ExtractorParams::ResNet50(ResNet50Params { weights: "w".into(), tap: Tap::Layer3 });
    let forest = ForestRuleParams { extractor: extractor.clone(), ..ForestRuleParams::default() };
    let mut ahead = OnlineParams::default();
    ahead.one_step_ahead.features.extractor = extractor;
    for params in [OnlineParams { method: OnlineMethod::Forest, forest, ..OnlineParams::default() }, ahead] {
        let settings = |device| {
            let extractors = std::sync::Arc::new(OwnExtractors::new(Default::default(), device));
            OnlineRun::with_extractors(params.clone(), Preprocess::default(), extractors).unwrap().settings()
        };
        let gpu = |precision| settings(DeviceChoice::Cuda(0, precision));
        assert_eq!(settings(DeviceChoice::Cpu), settings(DeviceChoice::CpuF32), "too near to part a run");
        assert_eq!(settings(DeviceChoice::Cpu), gpu(GpuPrecision::F32));
        let differs = |precision| manifest::first_difference("", &gpu(GpuPrecision::F16), &gpu(precision));
        assert_eq!(differs(GpuPrecision::F16), None);
        for (other, name) in [(GpuPrecision::F32, "null"), (GpuPrecision::Bf16, "\"bf16\"")] {
            let wanted = ["rule.features.rounded_to", "\"f16\"", name].map(String::from);
            assert_eq!(differs(other), Some(wanted.into()));
        }
        let int8 = settings(DeviceChoice::CpuInt8);
        assert_eq!(int8, settings(DeviceChoice::CpuInt8));
        let found = manifest::first_difference("", &int8, &settings(DeviceChoice::Cpu));
        assert_eq!(found, Some(["rule.features.rounded_to", "\"int8\"", "null"].map(String::from).into()));
    }
}

#[derive(Debug, Clone)]
enum Act {
    Next { ahead: i64, faulty: bool },
    Rewind { back: i64 },
    Earlier { back: i64, faulty: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (prop_oneof![8 => Just(1i64), 1 => 2i64..5, 1 => 5i64..20], prop::bool::weighted(0.08))
            .prop_map(|(ahead, faulty)| Act::Next { ahead, faulty }),
        1 => (0i64..40).prop_map(|back| Act::Rewind { back }),
        1 => (0i64..12, any::<bool>()).prop_map(|(back, faulty)| Act::Earlier { back, faulty }),
    ];
    prop::collection::vec(act, 40..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_was_rewound_a_run_equals_a_fresh_one_over_the_images_left(acts in acts()) {
        let params = OnlineParams { max_snapshots: 20, max_alarms_at_step: usize::MAX, ..OnlineParams::default() };
        let picture = |step: i64, with_fault: bool| {
            let mut image = Decoded { pixels: scene(24, 32, step), format: "png" };
            if with_fault {
                image.pixels.slice_axis_mut(ndarray::Axis(0), (8..16).into()).fill(255);
            }
            image
        };
        let mut run = run_with(params.clone());
        let mut left: Vec<(i64, bool, Judgement)> = Vec::new();
        for act in acts {
            let last = run.last_step().unwrap_or(0);
            let (step, with_fault) = match act {
                Act::Next { ahead, faulty } => (last + ahead, faulty),
                Act::Earlier { back, faulty } => (last - back, faulty),
                Act::Rewind { back } => {
                    let n_before = left.len();
                    if let Ok(forgotten) = run.rewind(last - back) {
                        left.retain(|(step, ..)| *step <= last - back);
                        prop_assert_eq!(forgotten, n_before - left.len());
                    }
                    continue;
                }
            };
            let Ok(judgement) = run.judge(step, &picture(step, with_fault)) else { continue };
            let n_before = left.len();
            left.retain(|(other, ..)| *other < step);
            prop_assert_eq!(judgement.forgot, n_before - left.len());
            if judgement.verdict.label != Label::Anomalous {
                left.push((step, with_fault, judgement));
            }
            prop_assert_eq!(run.pool_size(), left.len());
        }
        let mut fresh = run_with(OnlineParams { max_snapshots: 1000, ..params });
        for (step, with_fault, judgement) in &left {
            let image = picture(*step, *with_fault);
            let mut again = fresh.judge(*step, &image).unwrap();
            if again.verdict.label == Label::Anomalous {
                // Accepted in the first run because it had raised an alarm there before.
                prop_assert!(judgement.reproducible);
                again = fresh.judge(*step, &image).unwrap();
            }
            prop_assert_eq!(bits(&again), bits(judgement));
        }
    }
}
