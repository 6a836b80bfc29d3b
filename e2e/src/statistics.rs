//! Chance, so that no test calls luck a fault or a fault luck.

use anyhow::{Context, Result};
use statrs::distribution::Uniform;
use statrs::stats_tests::NaNPolicy;
use statrs::stats_tests::chisquare::chisquare;
use statrs::stats_tests::ks_test::{KSOneSampleAlternativeMethod, ks_onesample};

/// Below this probability an outcome is not chance: one false alarm in 10,000 runs.
pub const CHANCE: f64 = 1e-4;

/// The probability that fair dice of these weights deal at least as unevenly (chi-square).
///
/// # Errors
/// When there are fewer than two cells.
pub fn fair_shares(counts: &[usize], weights: &[f64]) -> Result<f64> {
    let total: usize = counts.iter().sum();
    let weight: f64 = weights.iter().sum();
    let expected: Vec<f64> = weights.iter().map(|w| w / weight * total as f64).collect();
    let (_, p) = chisquare(counts, Some(&expected), None).context("chi-square")?;
    Ok(p)
}

/// The largest distance between these values and an even spread over `from..to`, and the probability of one at least
/// as large by chance (Kolmogorov–Smirnov).
///
/// # Errors
/// When there is no value.
pub fn evenly_spread(values: Vec<f64>, from: f64, to: f64) -> Result<(f64, f64)> {
    let even = Uniform::new(from, to).context("an empty interval")?;
    ks_onesample(
        values,
        &even,
        KSOneSampleAlternativeMethod::TwoSidedAsymptotic,
        NaNPolicy::Error,
    )
    .context("Kolmogorov–Smirnov")
}

/// The largest number of values in any window of this length.
pub fn peak(values: &[f64], window: f64) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let within = |i: usize| {
        sorted[i..]
            .iter()
            .take_while(|v| **v < sorted[i] + window)
            .count()
    };
    (0..sorted.len()).map(within).max().unwrap_or(0)
}

/// The middle value (of an even number: the upper one); 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_deal_is_chance_and_a_crooked_one_is_not() {
        assert!(fair_shares(&[905, 95], &[90.0, 10.0]).unwrap() > 0.05);
        assert!(fair_shares(&[800, 200], &[90.0, 10.0]).unwrap() < CHANCE);
    }

    #[test]
    fn an_even_spread_is_told_from_a_bunch() {
        let even: Vec<f64> = (0..80).map(|i| f64::from(i) * 0.25).collect();
        let bunch: Vec<f64> = (0..80).map(|i| f64::from(i) * 0.125).collect();
        assert!(evenly_spread(even.clone(), 0.0, 20.0).unwrap().1 > 0.5);
        assert!(evenly_spread(bunch, 0.0, 20.0).unwrap().1 < CHANCE);
        assert_eq!(peak(&even, 1.0), 4);
    }
}
