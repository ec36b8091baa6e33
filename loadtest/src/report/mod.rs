//! `ringload report`: what runs came to, as text and as one page.
//!
//! Owns: how figures are shown. Never: measures, or works out anything that the record does not hold.
//! The page is one file: its style and plots are in it, it asks for nothing, and it needs no script.

mod bars;
mod course;
mod lines;
mod page;
mod scale;
mod tables;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::run::Run;

/// The page's name in a run's folder.
const PAGE: &str = "report.html";

/// Shows what runs came to: text on stdout, and one self-contained HTML page with plots.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload report runs/relay-20261123T074640\n  \
                        ringload report runs/* --html all.html")]
pub struct Options {
    /// The runs' folders
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Where the page goes [default: report.html in the first run's folder]
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The command.
///
/// # Errors
/// [`Failure::Usage`] where a folder holds no run; [`Failure::Failed`] where the page cannot be written.
pub fn main(options: &Options) -> Result<(), Failure> {
    let runs: Vec<(&Path, Run)> =
        options.runs.iter().map(|folder| Ok((folder.as_path(), Run::load(folder)?))).collect::<Result<_, Failure>>()?;
    for (_, run) in &runs {
        println!("{}", text::of(run));
    }
    let page = options.html.clone().unwrap_or_else(|| runs[0].0.join(PAGE));
    write(&runs, &page)?;
    println!("page: {}", page.display());
    Ok(())
}

/// The text about a run that has just ended, whose page goes into its folder.
///
/// # Errors
/// [`Failure::Failed`] where the page cannot be written.
pub(crate) fn finish(folder: &Path, run: &Run) -> Result<String, Failure> {
    let page = folder.join(PAGE);
    write(&[(folder, run.clone())], &page)?;
    Ok(format!("{}page: {}\n", text::of(run), page.display()))
}

/// How a run's servers compare, as text.
pub(crate) fn comparison(run: &Run) -> String {
    text::comparison(run)
}

/// Writes one page about several runs, each with its folder; its path.
///
/// # Errors
/// [`Failure::Failed`] where the page cannot be written.
pub(crate) fn page(folder: &Path, runs: &[(PathBuf, Run)]) -> Result<PathBuf, Failure> {
    let page = folder.join(PAGE);
    let runs: Vec<(&Path, Run)> = runs.iter().map(|(folder, run)| (folder.as_path(), run.clone())).collect();
    write(&runs, &page)?;
    Ok(page)
}

fn write(runs: &[(&Path, Run)], page: &Path) -> Result<(), Failure> {
    let html = page::html(runs)?;
    fs::write(page, html).map_err(|error| Failure::Failed(format!("{}: {error}", page.display())))
}
