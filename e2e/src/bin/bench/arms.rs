//! Measurements that alternate, so that what the machine does meanwhile hits every arm alike.

use anyhow::Result;
use clew_e2e::process;
use clew_e2e::statistics::median;

/// The medians of each arm, from rounds in which every arm has its turn (in changing order).
///
/// # Errors
/// When a measurement fails.
pub(crate) async fn alternate<A>(
    arms: &[A],
    rounds: usize,
    measure: impl AsyncFn(&A) -> Result<f64>,
) -> Result<Vec<f64>> {
    let mut values = vec![Vec::new(); arms.len()];
    for round in 0..rounds {
        for turn in 0..arms.len() {
            let arm = (turn + round) % arms.len();
            values[arm].push(measure(&arms[arm]).await?);
        }
    }
    Ok(values.iter().map(|values| median(values)).collect())
}

/// CPU time of a process while something runs, in nanoseconds for each of `count` things.
///
/// # Errors
/// When the thing fails or the process is gone.
pub(crate) async fn cpu_each(pid: u32, count: usize, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let before = process::cpu_nanos(pid)?;
    work.await?;
    Ok((process::cpu_nanos(pid)? - before) as f64 / count as f64)
}
