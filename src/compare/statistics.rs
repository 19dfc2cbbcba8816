//! Statistics of paired measurements: summaries, Friedman's test, Dunn's comparisons after it, the intraclass correlation.

use serde::Serialize;
use statrs::function::gamma::gamma_ur;

/// Mean and spread of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1); `None` for a single value.
    pub standard_deviation: Option<f64>,
    /// Standard error of the mean, standard deviation / √n; `None` for a single value.
    pub standard_error: Option<f64>,
    /// Median, for an even number the mean of the middle two.
    pub median: f64,
}

impl Summary {
    /// The summary of some values; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let n = count as f64;
        let mean = mean(values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (count > 1).then(|| (squares / (n - 1.0)).sqrt());
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count,
            mean,
            standard_deviation,
            standard_error: standard_deviation.map(|sd| sd / n.sqrt()),
            median: 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]),
        })
    }
}

/// Mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Probability that a chi-squared variable exceeds `value`.
pub fn chi_squared_tail(value: f64, degrees_of_freedom: usize) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    gamma_ur(degrees_of_freedom as f64 / 2.0, value / 2.0)
}

/// Probability that a standard normal variable is further from 0 than `z`, on either side.
pub fn normal_two_sided(z: f64) -> f64 {
    // z² is chi-squared with one degree of freedom; the error function of the same crate keeps nine digits only.
    chi_squared_tail(z * z, 1)
}

/// Ranks from 1 for the smallest, equal values sharing the mean of their ranks.
fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut tied = 0.0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let before = order.partition_point(|&index| values[index] < values[group[0]]);
        let size = group.len() as f64;
        for &index in group {
            ranks[index] = before as f64 + 0.5 * (size + 1.0);
        }
        tied += size.powi(3) - size;
    }
    (ranks, tied)
}

/// Result of Friedman's test.
#[derive(Clone, Debug, PartialEq)]
pub struct Friedman {
    /// Chi-squared statistic, corrected for ties.
    pub statistic: f64,
    /// Number of treatments less one.
    pub degrees_of_freedom: usize,
    /// Upper tail of the chi-squared distribution at the statistic.
    pub p: f64,
    /// Mean of the within-case ranks of each treatment, 1 for the smallest value.
    pub mean_ranks: Vec<f64>,
}

/// Friedman's test (1937) with the correction for ties, as in Conover (1999), section 5.8: `cases` × treatments.
///
/// # Errors
/// Why there is no result: fewer than three treatments or two cases, rows of unlike length, or nothing but ties.
pub fn friedman(cases: &[Vec<f64>]) -> Result<Friedman, &'static str> {
    let treatments = cases.first().map_or(0, Vec::len);
    if cases.iter().any(|row| row.len() != treatments) {
        return Err("every case needs a value of every variant");
    }
    if treatments < 3 {
        return Err("Friedman's test needs at least three variants");
    }
    if cases.len() < 2 {
        return Err("Friedman's test needs at least two cases that have every variant");
    }
    let (n, k) = (cases.len() as f64, treatments as f64);
    let mut sums = vec![0.0; treatments];
    let mut tied = 0.0;
    for row in cases {
        let (ranks, ties) = ranks(row);
        for (sum, rank) in sums.iter_mut().zip(ranks) {
            *sum += rank;
        }
        tied += ties;
    }
    let correction = 1.0 - tied / (k * (k * k - 1.0) * n);
    if correction <= 1e-12 {
        return Err("every case has the same load for all variants");
    }
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let statistic = (12.0 / (k * n * (k + 1.0)) * squares - 3.0 * n * (k + 1.0)) / correction;
    // Equal mean ranks leave a rounding error of either sign.
    let statistic = statistic.max(0.0);
    Ok(Friedman {
        statistic,
        degrees_of_freedom: treatments - 1,
        p: chi_squared_tail(statistic, treatments - 1),
        mean_ranks: sums.iter().map(|sum| sum / n).collect(),
    })
}

/// Difference of two mean ranks of `treatments` over `cases` in units of its standard error after Friedman's test, √(k(k+1)/(6n)),
/// and its two-sided probability (Dunn 1964 as applied to within-case ranks; Siegel and Castellan 1988, section 7.2).
pub fn dunn(mean_rank: f64, reference_rank: f64, treatments: usize, cases: usize) -> (f64, f64) {
    let (k, n) = (treatments as f64, cases as f64);
    let z = (mean_rank - reference_rank) / (k * (k + 1.0) / (6.0 * n)).sqrt();
    (z, normal_two_sided(z))
}

/// The intraclass correlation of Shrout and Fleiss (1979) for single measurements of randomly chosen judges, absolute agreement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IntraclassCorrelation {
    /// ICC(2,1).
    pub icc_2_1: f64,
    /// Mean square between the targets.
    pub mean_square_targets: f64,
    /// Mean square between the judges.
    pub mean_square_judges: f64,
    /// Residual mean square.
    pub mean_square_residual: f64,
}

/// ICC(2,1) of targets × judges; `None` with fewer than two of either, rows of unlike length, or no variation at all.
pub fn intraclass_correlation(targets: &[Vec<f64>]) -> Option<IntraclassCorrelation> {
    let judges = targets.first()?.len();
    if targets.len() < 2 || judges < 2 || targets.iter().any(|row| row.len() != judges) {
        return None;
    }
    let (n, k) = (targets.len() as f64, judges as f64);
    let grand = targets.iter().flatten().sum::<f64>() / (n * k);
    let target_means: Vec<f64> = targets
        .iter()
        .map(|row| row.iter().sum::<f64>() / k)
        .collect();
    let judge_means: Vec<f64> = (0..judges)
        .map(|judge| targets.iter().map(|row| row[judge]).sum::<f64>() / n)
        .collect();
    let between = |means: &[f64]| -> f64 { means.iter().map(|mean| (mean - grand).powi(2)).sum() };
    let mut residual = 0.0;
    for (row, target) in targets.iter().zip(&target_means) {
        for (value, judge) in row.iter().zip(&judge_means) {
            residual += (value - target - judge + grand).powi(2);
        }
    }
    let mean_square_targets = k * between(&target_means) / (n - 1.0);
    let mean_square_judges = n * between(&judge_means) / (k - 1.0);
    let mean_square_residual = residual / ((n - 1.0) * (k - 1.0));
    let whole = mean_square_targets
        + (k - 1.0) * mean_square_residual
        + k * (mean_square_judges - mean_square_residual) / n;
    (whole > 0.0).then(|| IntraclassCorrelation {
        icc_2_1: (mean_square_targets - mean_square_residual) / whole,
        mean_square_targets,
        mean_square_judges,
        mean_square_residual,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs().max(1e-300),
            "{found:e} instead of {expected:e}"
        );
    }

    /// Loads of seven femora by four masks, with ties of two and of three.
    const TIED: [[f64; 4]; 7] = [
        [6120.0, 5900.0, 6120.0, 6200.0],
        [4210.0, 4010.0, 4180.0, 4250.0],
        [7050.0, 6800.0, 7050.0, 7050.0],
        [5330.0, 5200.0, 5400.0, 5330.0],
        [3980.0, 3700.0, 3900.0, 4100.0],
        [6500.0, 6500.0, 6450.0, 6610.0],
        [4875.0, 4600.0, 4875.0, 4990.0],
    ];

    fn rows<const K: usize>(values: &[[f64; K]]) -> Vec<Vec<f64>> {
        values.iter().map(|row| row.to_vec()).collect()
    }

    #[test]
    fn friedman_and_dunn_with_ties_are_those_of_scipy() {
        // scipy 1.17.1, scikit-posthocs 0.17.1; x = np.array(TIED):
        // scipy.stats.friedmanchisquare(*x.T)
        // scikit_posthocs.posthoc_siegel_friedman(x).to_numpy()[0]
        // r = scipy.stats.rankdata(x, axis=1).mean(0); (r - r[0]) / np.sqrt(4 * 5 / (6 * 7))
        let found = friedman(&rows(&TIED)).unwrap();
        close(found.statistic, 14.274193548387093);
        close(found.p, 0.0025547188768062935);
        assert_eq!(found.degrees_of_freedom, 3);
        let z = [-2.173706511928416, -0.41403933560541295, 1.3456278407175903];
        let p = [0.0297271833060546, 0.678845299424318, 0.17842256834886872];
        for (index, (z, p)) in z.into_iter().zip(p).enumerate() {
            let found = dunn(found.mean_ranks[index + 1], found.mean_ranks[0], 4, 7);
            close(found.0, z);
            close(found.1, p);
        }
    }

    #[test]
    fn friedman_and_dunn_without_ties_are_those_of_scipy() {
        // As above with x = np.array([[1, 2, 3], [2, 1, 3], [1, 2, 3], [3, 1, 2], [1, 2, 3]]).
        let cases = rows(&[
            [1.0, 2.0, 3.0],
            [2.0, 1.0, 3.0],
            [1.0, 2.0, 3.0],
            [3.0, 1.0, 2.0],
            [1.0, 2.0, 3.0],
        ]);
        let found = friedman(&cases).unwrap();
        close(found.statistic, 4.8);
        close(found.p, 0.09071795328941264);
        assert_eq!(dunn(found.mean_ranks[1], found.mean_ranks[0], 3, 5).1, 1.0);
        close(
            dunn(found.mean_ranks[2], found.mean_ranks[0], 3, 5).1,
            0.0577795711235973,
        );
    }

    #[test]
    fn far_tails_keep_their_digits() {
        // As above with x = np.tile(np.arange(6.0), (40, 1)).
        let found = friedman(&vec![vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]; 40]).unwrap();
        close(found.statistic, 200.0);
        close(found.p, 2.8406228986415534e-41);
        let p = [
            0.01682740948275685,
            1.7449962508738085e-06,
            7.425002682552981e-13,
            1.156938689755e-21,
            6.316347989979603e-33,
        ];
        for (index, p) in p.into_iter().enumerate() {
            close(
                dunn(found.mean_ranks[index + 1], found.mean_ranks[0], 6, 40).1,
                p,
            );
        }
        // scipy.stats.chi2.sf(0.001, 1), 2 * scipy.stats.norm.sf(20)
        close(chi_squared_tail(0.001, 1), 0.9747728793699604);
        close(normal_two_sided(20.0), 5.507248237212311e-89);
        assert_eq!(normal_two_sided(0.0), 1.0);
    }

    #[test]
    fn a_test_that_cannot_be_made_says_why() {
        let two = friedman(&rows(&[[1.0, 2.0], [3.0, 4.0]])).unwrap_err();
        assert!(two.contains("three variants"), "{two}");
        let one = friedman(&rows(&[[1.0, 2.0, 3.0]])).unwrap_err();
        assert!(one.contains("two cases"), "{one}");
        let ties = friedman(&vec![vec![5.0; 3]; 4]).unwrap_err();
        assert!(ties.contains("same load"), "{ties}");
        assert!(friedman(&[]).is_err());
        assert!(friedman(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0]]).is_err());
    }

    #[test]
    fn the_intraclass_correlation_is_that_of_its_authors() {
        // Shrout and Fleiss 1979, tables 2 to 4: BMS 11.24, JMS 32.49, EMS 1.02, ICC(2,1) 0.29.
        let ratings = rows(&[
            [9.0, 2.0, 5.0, 8.0],
            [6.0, 1.0, 3.0, 2.0],
            [8.0, 4.0, 6.0, 8.0],
            [7.0, 1.0, 2.0, 6.0],
            [10.0, 5.0, 6.0, 9.0],
            [6.0, 2.0, 4.0, 7.0],
        ]);
        let found = intraclass_correlation(&ratings).unwrap();
        assert!((found.icc_2_1 - 0.29).abs() < 0.005, "{found:?}");
        assert!((found.mean_square_targets - 11.24).abs() < 0.005);
        assert!((found.mean_square_judges - 32.49).abs() < 0.005);
        assert!((found.mean_square_residual - 1.02).abs() < 0.005);
        assert_eq!(intraclass_correlation(&ratings[..1]), None);
        assert_eq!(intraclass_correlation(&vec![vec![3.0; 2]; 3]), None);
    }

    #[test]
    fn summaries_by_hand() {
        // The most that values of one sign can spread: SD is mean·√n, and SE the mean.
        let widest = Summary::of(&[0.0, 0.0, 0.0, 8.0]).unwrap();
        assert_eq!((widest.mean, widest.standard_deviation), (2.0, Some(4.0)));
        assert_eq!(widest.standard_error, Some(widest.mean));
        // 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14, sd √(14/3), median 2.5.
        let found = Summary::of(&[6.0, 1.0, 3.0, 2.0]).unwrap();
        close(found.mean, 3.0);
        close(found.standard_deviation.unwrap(), (14.0_f64 / 3.0).sqrt());
        close(found.standard_error.unwrap(), (14.0_f64 / 3.0).sqrt() / 2.0);
        close(found.median, 2.5);
        assert_eq!(Summary::of(&[7.0]).unwrap().standard_deviation, None);
        assert_eq!(Summary::of(&[7.0, 9.0, 8.0]).unwrap().median, 8.0);
        assert_eq!(Summary::of(&[]), None);
    }
}
