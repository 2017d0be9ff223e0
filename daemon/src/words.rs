//! What was decided, in one line for a person.

use anomalyd_models::online::{Labelled, Truth};
use anomalyd_models::{Judgement, Label};

/// The fraction of a field beyond the range of its run's scale from which on a person is told.
const MUCH_BEYOND: f64 = 0.2;

/// What became of a label, in one line for a person.
pub(crate) fn in_words_of_label(step: i64, truth: Truth, labelled: Labelled) -> String {
    match (truth, labelled) {
        (Truth::Normal, Labelled { was_in_pool: true, .. }) => {
            format!("the image of step {step} is among those believed normal, as it was")
        }
        (Truth::Normal, Labelled { in_pool: true, .. }) => {
            format!("the image of step {step} now is among those believed normal")
        }
        (Truth::Normal, _) => format!("the image of step {step} will be accepted when it comes back"),
        (Truth::Anomalous, Labelled { was_in_pool: true, forgot, .. }) => format!(
            "the image of step {step} and all later ones are forgotten, {forgot} in all; it is anomalous whenever it comes back"
        ),
        (Truth::Anomalous, _) => {
            format!("the image of step {step} stays out, and is anomalous whenever it comes back")
        }
    }
}

/// One line for a person.
pub(crate) fn in_words(judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let mut text = match verdict.label {
        Label::Normal => "normal".to_owned(),
        Label::Anomalous => "anomalous".to_owned(),
        Label::Unknown => "no verdict yet".to_owned(),
    };
    let n_not_finite = judgement.field.map_or(0, |field| field.n_not_finite);
    if n_not_finite > 0 {
        text.push_str(&format!(": {n_not_finite} values are NaN or infinite"));
    } else if !verdict.score.is_nan() {
        text.push_str(&format!(": score {:.4}, threshold {:.4}", verdict.score, verdict.threshold));
    }
    if let Some(p_value) = judgement.p_value.filter(|_| n_not_finite == 0) {
        text.push_str(&format!(", p = {p_value:.2e}"));
        if let Some(decisive) = judgement.decisive().filter(|_| verdict.score > verdict.threshold) {
            text.push_str(&format!(" by {}", decisive.kind));
        }
    }
    match judgement.truth {
        Some(Truth::Normal) => text.push_str("; an operator has called this image normal"),
        Some(Truth::Anomalous) => text.push_str("; an operator has called this image anomalous"),
        None => {}
    }
    if judgement.reproducible {
        text.push_str("; it came back the same after a rewind, so it is no transient fault");
    }
    if let Some([row0, column0, row1, column1]) =
        judgement.region.filter(|_| verdict.label == Label::Anomalous)
    {
        text.push_str(&format!("; rows {row0} to {row1}, columns {column0} to {column1}"));
        if let Some(variable) = judgement.field.and_then(|field| field.variable).filter(|&at| at > 0) {
            text.push_str(&format!(" of variable {variable}"));
        }
    }
    if let Some(pool) = judgement.pool {
        match pool.needed {
            0 => text.push_str(&format!("; pool of {}", pool.size)),
            needed => text.push_str(&format!("; pool of {}, {needed} more images until verdicts", pool.size)),
        }
    }
    if let Some(field) = judgement.field.filter(|field| field.share_beyond > MUCH_BEYOND) {
        text.push_str(&format!(
            "; {:.0} % of the field has left the range of the run's first and is judged more coarsely: begin a run of a new name",
            100.0 * field.share_beyond
        ));
    }
    if judgement.forgot > 0 {
        text.push_str(&format!("; {} later images forgotten", judgement.forgot));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::{Evidence, FieldFacts, PoolState, Verdict};

    fn judgement() -> Judgement {
        Judgement {
            verdict: Verdict { label: Label::Anomalous, score: 6.25, threshold: 3.0 },
            p_value: Some(5.6e-7),
            evidence: [("colour", 2.8e-7, 0.5), ("block", 0.1, 0.5)]
                .map(|(kind, p_value, share)| Evidence { kind, p_value, share })
                .to_vec(),
            false_alarm_rate: Some(1e-3),
            region: Some([318, 10, 371, 20]),
            pool: Some(PoolState { size: 57, needed: 0 }),
            forgot: 2,
            reproducible: false,
            truth: None,
            field: None,
        }
    }

    #[test]
    fn text_says_verdict_score_place_and_pool() {
        let text = in_words(&judgement());
        for part in [
            "anomalous: score 6.25",
            "p = 5.60e-7 by colour",
            "rows 318 to 371",
            "pool of 57",
            "2 later images",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn young_run_says_how_many_images_are_needed() {
        let young = Judgement {
            verdict: Verdict::unknown(),
            p_value: None,
            region: None,
            pool: Some(PoolState { size: 3, needed: 12 }),
            forgot: 0,
            ..judgement()
        };
        assert_eq!(in_words(&young), "no verdict yet; pool of 3, 12 more images until verdicts");
    }

    #[test]
    fn text_says_what_is_not_finite_where_and_what_has_left_its_range() {
        let field = FieldFacts { n_not_finite: 3, variable: Some(1), share_beyond: 0.0 };
        let wrong = Judgement {
            verdict: Verdict { score: f64::INFINITY, ..judgement().verdict },
            p_value: Some(0.0),
            field: Some(field),
            ..judgement()
        };
        let text = in_words(&wrong);
        assert!(
            text.starts_with(
                "anomalous: 3 values are NaN or infinite; rows 318 to 371, columns 10 to 20 of variable 1;"
            ),
            "{text}"
        );
        let drifted = FieldFacts { n_not_finite: 0, variable: None, share_beyond: 0.456 };
        assert!(
            in_words(&Judgement { field: Some(drifted), ..judgement() })
                .contains("; 46 % of the field has left")
        );
    }
}
