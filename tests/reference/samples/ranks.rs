//! What rankings are compared by.

/// The mean, and the standard deviation with the divisor n - 1.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

/// Ranks from 1, ties sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        before += tied.len();
    }
    ranks
}

/// The rank correlation.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// The probability that an odd row scores higher than another.
pub(crate) fn auroc(scores: &[f64], labels: &[u8]) -> f64 {
    let ranks = ranks(scores);
    let n_odd = labels.iter().filter(|&&label| label == 1).count() as f64;
    let sum: f64 = ranks.iter().zip(labels).filter(|(_, label)| **label == 1).map(|(rank, _)| rank).sum();
    (sum - n_odd * (n_odd + 1.0) / 2.0) / (n_odd * (labels.len() as f64 - n_odd))
}
