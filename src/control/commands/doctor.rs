//! `ringpost doctor`.

use super::{ConfigFile, Failure};
use crate::control::doctor::{self, Finding};

pub(super) fn run(config: &ConfigFile) -> Result<(), Failure> {
    let (file, config) = config.load()?;
    let findings = doctor::examine(&file, &config);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| matches!(finding, Finding::Error(..))).count() {
        0 => Ok(()),
        1 => Err(Failure::Failed("one thing must be mended: see above".into())),
        errors => Err(Failure::Failed(format!("{errors} things must be mended: see above"))),
    }
}
