use std::process::ExitCode;

use super::output;
use crate::failure::Failure;

pub(super) fn main() -> Result<ExitCode, Failure> {
    output::text_to_stdout(&clew_crds::crd_yaml())?;
    Ok(ExitCode::SUCCESS)
}
