//! What isolation forests say of an image's features: of the image as a whole, and of its places.

use super::block_matching::NoveltyMap;
use super::features::FeatureMap;
use crate::detector::IsolationForestParams;
use crate::error::Result;
use crate::rng::Rng;
use crate::traits::Detector;
use ndarray::ArrayView2;

/// Images before a forest is asked: of fewer it isolates any in a step or two.
pub(super) const MIN_IMAGES: usize = 8;

/// Newest images whose places are the samples of the forest on places.
pub(super) const PATCH_IMAGES: usize = 4;

/// Places drawn from those images, and for each tree: as many as the method's authors recommend (Liu, Ting and Zhou 2008, section 5).
const MAX_PATCHES: usize = 2048;
const PATCH_SAMPLE: usize = 256;

/// The score of a whole image by a forest on earlier ones, as log odds, so that scores near 1 are still told apart.
///
/// - `rows`: `[n]` of equal length, n >= 2: all features of the images before.
/// - `row`: those of the image.
///
/// # Errors
///
/// Those of the forest.
pub(super) fn image_score(rows: &[&[f32]], row: &[f32], n_trees: usize, seed: u64) -> Result<f64> {
    let forest = IsolationForestParams { n_trees, sample_size: None, max_depth: None };
    let score = f64::from(forest.score_against_rows(rows, row, seed)?);
    Ok((score / (1.0 - score)).ln())
}

/// The score of each place by a forest on places of earlier images, wherever they lie there.
///
/// - `earlier`: at least one.
///
/// # Errors
///
/// Those of the forest.
pub(super) fn patch_scores(
    earlier: &[&FeatureMap],
    map: &FeatureMap,
    n_trees: usize,
    seed: u64,
) -> Result<NoveltyMap> {
    let [channels, rows, columns] = map.shape;
    let all: Vec<&[f32]> = earlier.iter().flat_map(|map| map.vectors()).collect();
    let mut rng = Rng::new(seed);
    let drawn: Vec<&[f32]> = if all.len() <= MAX_PATCHES {
        all
    } else {
        (0..MAX_PATCHES).map(|_| all[rng.below(all.len())]).collect()
    };
    let params = IsolationForestParams { n_trees, sample_size: Some(PATCH_SAMPLE), max_depth: None };
    let forest = params.fit_rows(&drawn, rng.next_u64())?;
    let samples =
        ArrayView2::from_shape((rows * columns, channels), &map.values).expect("a map has its own shape");
    Ok(NoveltyMap { rows, columns, novelty: forest.score(samples)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(odd: Option<usize>) -> FeatureMap {
        let mut rng = Rng::new(2);
        let mut values: Vec<f32> = (0..20 * 20 * 4).map(|_| rng.normal() as f32).collect();
        if let Some(place) = odd {
            values[4 * place..4 * place + 4].fill(9.0);
        }
        FeatureMap { shape: [4, 20, 20], values }
    }

    #[test]
    fn an_odd_image_scores_higher_than_a_usual_one() {
        let mut rng = Rng::new(1);
        let rows: Vec<Vec<f32>> = (0..40).map(|_| (0..500).map(|_| rng.normal() as f32).collect()).collect();
        let pool: Vec<&[f32]> = rows[1..].iter().map(Vec::as_slice).collect();
        let usual = image_score(&pool, &rows[0], 125, 7).unwrap();
        let odd: Vec<f32> = rows[0].iter().map(|x| 3.0 * x).collect();
        assert!(image_score(&pool, &odd, 125, 7).unwrap() > usual + 0.1);
        assert_eq!(image_score(&pool, &rows[0], 125, 7).unwrap(), usual, "the seed decides");
    }

    #[test]
    fn an_odd_place_has_the_highest_score() {
        let earlier = map(None);
        let scores = patch_scores(&[&earlier; 2], &map(Some(137)), 100, 5).unwrap();
        assert_eq!((scores.rows, scores.columns), (20, 20));
        let highest = (0..400).max_by(|&a, &b| scores.novelty[a].total_cmp(&scores.novelty[b]));
        assert_eq!(highest, Some(137));
    }
}
