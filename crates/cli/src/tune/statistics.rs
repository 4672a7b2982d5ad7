//! What pairs of measurements tell of a ratio.

/// A ratio, and between which bounds it lies with a probability of 95%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The 97.5% quantiles of Student's distribution, by degrees of freedom from one on; the last one is for more too, where it is a little wide.
const STUDENT: [f64; 12] =
    [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179];

/// The mean of what is behind each pair, as many times what is before it, on a scale of logarithms; `None` with less than two pairs.
pub(super) fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let logarithms: Vec<f64> = pairs.iter().map(|(before, after)| (after / before).ln()).collect();
    let count = logarithms.len() as f64;
    let quantile = STUDENT.get(logarithms.len().checked_sub(2)?).or(STUDENT.last())?;
    let mean = logarithms.iter().sum::<f64>() / count;
    let variance = logarithms.iter().map(|logarithm| (logarithm - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let margin = quantile * (variance / count).sqrt();
    let is_known = mean.is_finite() && margin.is_finite();
    is_known.then(|| Ratio { mean: mean.exp(), low: (mean - margin).exp(), high: (mean + margin).exp() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_agree_leave_no_doubt() {
        let found = ratio(&[(10.0, 20.0); 4]).unwrap();
        assert!((found.mean - 2.0).abs() < 1e-9 && found.high - found.low < 1e-9, "{found:?}");
    }

    #[test]
    fn the_interval_is_that_of_student() {
        // Logarithms of 0 and 0.2: their mean is 0.1, and its standard error too.
        let found = ratio(&[(1.0, 1.0), (1.0, 0.2_f64.exp())]).unwrap();
        assert!((found.mean.ln() - 0.1).abs() < 1e-9);
        assert!(
            (found.high.ln() - (0.1 + 1.2706)).abs() < 1e-9 && (found.low.ln() - (0.1 - 1.2706)).abs() < 1e-9
        );
    }

    #[test]
    fn too_few_pairs_tell_nothing() {
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&[(1.0, 2.0)]), None);
        assert_eq!(ratio(&[(0.0, 2.0), (1.0, 2.0)]), None);
    }
}
