//! Sequences under a rule of one number an image.

use super::*;
use ndarray::Array3;

/// Alarms if the first pixel is more than 10 above the newest accepted one that it has followed.
#[derive(Debug, Default)]
struct Jump {
    followed: Option<f32>,
    /// How often it will fail to follow.
    failures: usize,
}

impl Rule for Jump {
    type Prepared = f32;
    type State = f32;

    fn depth(&self) -> usize {
        1
    }

    fn prepare(&mut self, pixels: &Pixels<'_>) -> Result<f32> {
        Ok(pixels.numbers()?[[0, 0, 0]])
    }

    fn judge(&self, pool: &Pool<f32>, _: i64, value: f32, _: f64) -> Result<Opinion<f32>> {
        assert_eq!(self.followed.as_ref(), pool.newest(), "it has followed the pool before it judges");
        let verdict = match self.followed {
            Some(newest) => Verdict::by_threshold(f64::from(value - newest), 10.0),
            None => Verdict::unknown(),
        };
        Ok(Opinion { verdict, ..Opinion::unknown(value) })
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn follow(&mut self, pool: &mut Pool<f32>) -> Result<()> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(Error::Record { reason: "on purpose".into() });
        }
        self.followed = pool.newest().copied();
        Ok(())
    }

    fn store<'a>(&'a self, _: u64, state: &'a f32, draft: &mut RecordDraft<'a>) {
        draft.put_flat("value", vec![*state]);
    }

    fn restore(&self, record: &Record) -> Result<f32> {
        Ok(record.get_flat("value", 1)?[0])
    }

    fn needed(&self, pool: &Pool<f32>) -> usize {
        usize::from(pool.size() == 0)
    }
}

#[test]
fn a_sequence_that_could_not_be_settled_has_lost_nothing_and_tries_again() {
    let mut sequence = sequence(&[1.0, 2.0]);
    assert!(!sequence.is_settled());
    sequence.rule.failures = 2;
    assert!(sequence.settle().is_err() && !sequence.is_settled());
    assert!(sequence.judge(2, &image(3.0), RATE).is_err());
    assert_eq!((sequence.pool().size(), sequence.last_step()), (2, Some(1)));
    assert_eq!(sequence.rule.followed, Some(1.0));
    assert_eq!(label(&mut sequence, 2, 3.0), (Label::Normal, false));
    sequence.settle().unwrap();
    assert!(sequence.is_settled() && sequence.rule.followed == Some(3.0));
}

const RATE: f64 = 1e-3;

fn image(value: f32) -> Array3<f32> {
    Array3::from_elem((1, 2, 2), value)
}

fn sequence(values: &[f32]) -> Sequence<Jump> {
    let mut sequence = Sequence::new(Jump::default(), 8, 3);
    for (step, &value) in values.iter().enumerate() {
        sequence.judge(step as i64, &image(value), RATE).unwrap();
    }
    sequence
}

fn label(sequence: &mut Sequence<Jump>, step: i64, value: f32) -> (Label, bool) {
    let sequel = sequence.judge(step, &image(value), RATE).unwrap();
    (sequel.verdict.label, sequel.reproducible)
}

#[test]
fn an_image_that_raises_an_alarm_stays_out() {
    let mut sequence = sequence(&[1.0, 2.0]);
    assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
    assert_eq!((sequence.pool().size(), sequence.last_step()), (2, Some(2)));
    assert_eq!(label(&mut sequence, 3, 3.0), (Label::Normal, false));
}

#[test]
fn after_a_rewind_the_same_image_is_reproducible_and_another_is_judged_afresh() {
    let mut sequence = sequence(&[1.0, 2.0]);
    assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
    assert_eq!(sequence.go(Back::To(0)).unwrap(), 1);
    assert_eq!(label(&mut sequence, 1, 2.0), (Label::Normal, false));
    assert_eq!(label(&mut sequence, 2, 60.0), (Label::Anomalous, false), "other pixels");
    assert_eq!(label(&mut sequence, 2, 50.0), (Label::Normal, true), "the same pixels");
    assert_eq!(sequence.pool().size(), 3);
    sequence.go(Back::To(1)).unwrap();
    assert_eq!(label(&mut sequence, 2, 50.0), (Label::Normal, true), "however often it is replayed");
}

#[test]
fn a_run_that_is_not_reproducible_bit_for_bit_passes_after_some_alarms_at_one_step() {
    let mut sequence = sequence(&[1.0]);
    let labels = [50.0, 50.25, 50.5, 50.75].map(|value| label(&mut sequence, 1, value));
    assert_eq!(labels[..3], [(Label::Anomalous, false); 3]);
    assert_eq!(labels[3], (Label::Normal, true));
}

#[test]
fn a_repeated_step_replaces_and_an_earlier_one_forgets_the_later_ones() {
    let mut sequence = sequence(&[1.0, 2.0, 3.0, 4.0]);
    let repeated = sequence.judge(3, &image(4.5), RATE).unwrap();
    assert_eq!((repeated.forgot, repeated.pool.size), (1, 4));
    let earlier = sequence.judge(1, &image(2.5), RATE).unwrap();
    assert_eq!((earlier.forgot, earlier.pool.size), (3, 2));
    assert_eq!(sequence.last_step(), Some(1));
    let least = sequence.judge(i64::MIN, &image(2.5), RATE).unwrap();
    assert_eq!((least.forgot, least.pool.size, least.verdict.label), (2, 1, Label::Unknown));
}

#[test]
fn a_rewind_to_the_last_step_or_later_forgets_nothing() {
    let mut sequence = sequence(&[1.0, 2.0, 3.0]);
    assert_eq!([2, 3, 100].map(|step| sequence.go(Back::To(step)).unwrap()), [0, 0, 0]);
    assert_eq!((sequence.go(Back::To(-1)).unwrap(), sequence.last_step()), (3, None));
}

#[test]
fn a_step_older_than_the_oldest_state_is_an_error_and_changes_nothing() {
    let mut sequence = sequence(&[1.0; 30]);
    for error in [sequence.go(Back::To(5)).unwrap_err(), sequence.judge(6, &image(1.0), RATE).unwrap_err()] {
        assert!(matches!(error, Error::Step { .. }), "{error}");
    }
    assert_eq!((sequence.pool().size(), sequence.last_step()), (30, Some(29)));
}

#[test]
fn an_image_of_other_dimensions_is_refused_before_it_makes_anything_forgotten() {
    let mut sequence = sequence(&[1.0, 2.0, 3.0]);
    let other = Array3::from_elem((1, 3, 2), 1.0);
    for step in [1, 3] {
        let error = sequence.judge(step, &other, RATE).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert_eq!(sequence.pool().size(), 3);
    }
    sequence.go(Back::To(-1)).unwrap();
    assert!(sequence.judge(0, &other, RATE).is_ok(), "an empty pool takes any dimensions");
}

fn told(in_pool: bool, was_in_pool: bool, forgot: usize) -> Option<Labelled> {
    Some(Labelled { in_pool, was_in_pool, forgot })
}

#[test]
fn an_alarmed_image_that_is_normal_joins_the_pool_at_once_as_if_it_had_raised_no_alarm() {
    let mut sequence = sequence(&[1.0, 2.0]);
    assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
    assert_eq!(label(&mut sequence, 3, 51.0), (Label::Anomalous, false));
    assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, false, 0));
    assert_eq!((sequence.pool().size(), sequence.pool().newest()), (3, Some(&50.0)));
    assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, true, 0), "said twice");
    assert_eq!(
        sequence.label(3, Truth::Normal).unwrap(),
        told(false, false, 0),
        "that was judged by a pool without step 2"
    );
    assert_eq!(label(&mut sequence, 4, 52.0), (Label::Normal, false));
    assert_eq!(sequence.go(Back::To(2)).unwrap(), 1);
    let back = sequence.judge(3, &image(51.0), RATE).unwrap();
    assert_eq!(
        (back.verdict.label, back.reproducible, back.truth),
        (Label::Normal, false, Some(Truth::Normal))
    );
}

#[test]
fn an_alarmed_image_that_is_normal_joins_later_where_the_pool_has_gone_on() {
    let mut sequence = sequence(&[1.0, 2.0]);
    label(&mut sequence, 2, 50.0);
    label(&mut sequence, 3, 3.0);
    assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(false, false, 0));
    assert_eq!(sequence.pool().last_step(), Some(3));
    sequence.go(Back::To(1)).unwrap();
    assert_eq!(label(&mut sequence, 2, 51.0), (Label::Anomalous, false), "other pixels");
    let back = sequence.judge(2, &image(50.0), RATE).unwrap();
    assert_eq!((back.verdict.label, back.truth, back.pool.size), (Label::Normal, Some(Truth::Normal), 3));
}

#[test]
fn an_accepted_image_that_is_anomalous_is_forgotten_with_all_later_ones_and_stays_out() {
    let mut sequence = sequence(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(sequence.label(2, Truth::Anomalous).unwrap(), told(false, true, 3));
    assert_eq!((sequence.pool().size(), sequence.last_step()), (2, Some(1)));
    for _ in 0..5 {
        let again = sequence.judge(2, &image(3.0), RATE).unwrap();
        assert_eq!(
            (again.verdict.label, again.reproducible, again.truth),
            (Label::Anomalous, false, Some(Truth::Anomalous)),
            "however often it comes back"
        );
    }
    assert_eq!(label(&mut sequence, 2, 3.5), (Label::Normal, false), "other pixels");
    sequence.label(2, Truth::Anomalous).unwrap();
    label(&mut sequence, 2, 3.0);
    assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, false, 0), "the operator was wrong");
}

#[test]
fn a_label_for_a_step_that_is_not_remembered_changes_nothing() {
    let mut sequence = sequence(&[1.0; 30]);
    for step in [-1, 3, 30] {
        assert_eq!(sequence.label(step, Truth::Normal).unwrap(), None, "{step}");
    }
    assert_eq!((sequence.pool().size(), sequence.known().iter().len()), (30, 0));
    let error = sequence.label(22, Truth::Anomalous).unwrap_err();
    assert!(matches!(error, Error::Step { .. }), "the state before is not held: {error}");
    assert_eq!(sequence.pool().size(), 30);
}

#[test]
fn images_kept_out_are_few_and_a_rewind_drops_those_of_later_steps() {
    let mut sequence = sequence(&[1.0, 2.0]);
    (2..20).for_each(|step| assert_eq!(label(&mut sequence, step, 50.0 + step as f32).0, Label::Anomalous));
    assert_eq!(sequence.kept.len(), MAX_KEPT);
    assert_eq!(sequence.go(Back::To(17)).unwrap(), 0);
    assert_eq!(sequence.label(18, Truth::Normal).unwrap(), told(false, false, 0), "it is to come again");
    assert_eq!(sequence.label(17, Truth::Normal).unwrap(), told(true, false, 0));
}

/// Steps that could not be read, and why.
type Damages = Vec<(i64, String)>;

/// The bytes of records by their numbers.
type Records = std::collections::BTreeMap<u64, Vec<u8>>;

/// What a disk would hold of a sequence.
fn stored(sequence: &Sequence<Jump>) -> (StreamManifest, Records) {
    let manifest = sequence.manifest();
    let entries = manifest.pool.iter().chain(&manifest.kept);
    let records = entries.map(|entry| (entry.id, sequence.record(entry.id).unwrap().to_bytes())).collect();
    (manifest, records)
}

fn restored(manifest: &StreamManifest, records: &Records) -> Result<(Sequence<Jump>, Damages)> {
    let mut sequence = Sequence::new(Jump::default(), 8, 3);
    let damages =
        sequence.restore(manifest, |id| records.get(&id).cloned().ok_or_else(|| "gone".to_owned()))?;
    Ok((sequence, damages))
}

#[test]
fn a_restored_sequence_goes_on_as_the_one_that_was_stored() {
    let mut live = sequence(&[1.0; 30]);
    label(&mut live, 30, 50.0);
    label(&mut live, 31, 60.0);
    live.label(28, Truth::Anomalous).unwrap();
    for step in 28..33 {
        label(&mut live, step, if step < 30 { 2.0 } else { 70.0 });
    }
    let (manifest, records) = stored(&live);
    let (mut again, damages) = restored(&manifest, &records).unwrap();
    assert_eq!((damages.as_slice(), again.manifest()), (&[][..], manifest.clone()));
    for sequence in [&mut live, &mut again] {
        assert_eq!(sequence.label(31, Truth::Normal).unwrap(), told(true, false, 0), "a state was kept");
        assert_eq!(label(sequence, 32, 70.0), (Label::Normal, true));
        sequence.go(Back::To(29)).unwrap();
        assert_eq!(label(sequence, 30, 50.0), (Label::Normal, true), "the alarms are known");
        assert_eq!(sequence.judge(28, &image(1.0), RATE).unwrap().truth, Some(Truth::Anomalous));
        assert!(sequence.go(Back::To(10)).is_err());
    }
    assert_eq!(live.manifest(), again.manifest());
}

#[test]
fn a_record_that_is_damaged_is_left_out_with_all_later_ones_and_told() {
    let live = sequence(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    let (manifest, records) = stored(&live);
    for step in 0..5i64 {
        for damage in ["missing", "cut", "another's"] {
            let mut records = records.clone();
            match damage {
                "missing" => drop(records.remove(&(step as u64))),
                "cut" => records.get_mut(&(step as u64)).unwrap().truncate(30),
                _ => drop(records.insert(step as u64, records[&((step as u64 + 1) % 5)].clone())),
            }
            let (again, damages) = restored(&manifest, &records).unwrap();
            assert_eq!((damages.len(), damages[0].0), (1, step), "{damage}");
            assert_eq!(again.last_step(), step.checked_sub(1).filter(|&step| step >= 0));
            assert_eq!(again.pool().size(), step as usize);
            assert_eq!(again.manifest().next_id, 5, "a number is not given twice");
        }
    }
    let (manifest, mut records) = stored(&sequence(&[1.0; 30]));
    records.remove(&manifest.pool[0].id);
    let error = restored(&manifest, &records).unwrap_err();
    assert!(matches!(error, Error::Record { .. }), "nothing is left to judge by: {error}");
}
