//! Measurements that alternate, so that what the machine does meanwhile hits every arm alike.

use anyhow::Result;
use clew_e2e::statistics::median;

/// What each arm showed in each round. The first two arms are the control, twice: how they differ is the noise.
#[derive(Debug)]
pub(crate) struct Rounds(Vec<Vec<f64>>);

/// A comparison, and how far two equal arms lie apart in the same comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) value: f64,
    pub(crate) noise: f64,
}

/// Measures every arm in every round, in changing order.
///
/// # Errors
/// When a measurement fails.
pub(crate) async fn alternate<A>(
    arms: &[A],
    rounds: usize,
    measure: impl AsyncFn(&A) -> Result<f64>,
) -> Result<Rounds> {
    let mut values = vec![Vec::new(); arms.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..arms.len()).map(|turn| (turn + round) % arms.len()).collect();
        // So that no arm always follows the same one.
        if round % 2 == 1 {
            order.reverse();
        }
        for arm in order {
            values[arm].push(measure(&arms[arm]).await?);
        }
    }
    Ok(Rounds(values))
}

impl Rounds {
    /// The median of an arm.
    pub(crate) fn median(&self, arm: usize) -> f64 {
        median(&self.0[arm])
    }

    /// The median, over the rounds, of the arm ÷ the control.
    pub(crate) fn ratio(&self, arm: usize) -> Compared {
        self.compared(arm, 1.0, |arm, control| arm / control)
    }

    /// The median, over the rounds, of the arm − the control.
    pub(crate) fn difference(&self, arm: usize) -> Compared {
        self.compared(arm, 0.0, |arm, control| arm - control)
    }

    fn compared(&self, arm: usize, equal: f64, compare: impl Fn(f64, f64) -> f64) -> Compared {
        let [one, again, ..] = &self.0[..] else {
            return Compared {
                value: equal,
                noise: 0.0,
            };
        };
        let control = one
            .iter()
            .zip(again)
            .map(|(one, again)| f64::midpoint(*one, *again));
        let values: Vec<f64> = self.0[arm]
            .iter()
            .zip(control)
            .map(|(arm, control)| compare(*arm, control))
            .collect();
        let equals: Vec<f64> = one
            .iter()
            .zip(again)
            .map(|(one, again)| compare(*one, *again))
            .collect();
        let noise = (median(&equals) - equal).abs().max(2.0 * standard_error(&equals));
        Compared {
            value: median(&values),
            noise,
        }
    }
}

/// Of the median, from the median deviation.
pub(crate) fn standard_error(values: &[f64]) -> f64 {
    let deviations: Vec<f64> = values
        .iter()
        .map(|value| (value - median(values)).abs())
        .collect();
    1.858 * median(&deviations) / (values.len() as f64).sqrt()
}
