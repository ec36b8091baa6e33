//! `ringpost demo`: the whole system on one machine, with no set-up.
//!
//! It is the server as `ringpost serve` runs it, with a configuration, a certificate and an account made for the occasion,
//! and a destination of its own ([`destination`]) that every message is routed to. Nothing leaves the machine.

mod destination;
mod setting;
mod welcome;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::commands::Failure;
use super::ports;
use super::serve::{self, Options};
use crate::config::Config;
use crate::events::Style;
use setting::Setting;

/// Submission with implicit TLS.
pub(super) const IMPLICIT_PORT: u16 = 2465;
/// Submission with STARTTLS.
pub(super) const STARTTLS_PORT: u16 = 2587;
/// The relay listener.
pub(super) const RELAY_PORT: u16 = 2525;
/// The console.
pub(super) const CONSOLE_PORT: u16 = 8025;

/// What the demo takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Keep the data here, instead of in a temporary folder that is removed at the end
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Runs the demo until it is told to stop.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    for port in [IMPLICIT_PORT, STARTTLS_PORT, RELAY_PORT, CONSOLE_PORT] {
        ports::must_be_free(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &[]).map_err(Failure::Failed)?;
    }
    let folder = Folder::make(arguments.data.as_deref())?;
    let destination = destination::start().map_err(|error| failed("the built-in destination", &error))?;
    let setting = Setting::write(folder.path(), destination)?;
    let config = Config::load(&setting.config_file).map_err(|mistakes| {
        Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(&setting.config_file)).collect())
    })?;
    let options = Options {
        config,
        file: Some(setting.config_file.clone()),
        suspended: false,
        style: Style::Story,
        out: Box::new(std::io::stdout()),
    };
    serve::run_with(options, |token| welcome::print(&setting, token))?;
    println!("\nThe demo has ended. {}", folder.farewell());
    Ok(())
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{what}: {why}"))
}

/// Where the demo's files are.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn make(wanted: Option<&std::path::Path>) -> Result<Folder, Failure> {
        match wanted {
            None => {
                let made = tempfile::Builder::new().prefix("ringpost-demo-").tempdir();
                made.map(Folder::Temporary).map_err(|error| failed("a temporary folder", &error))
            }
            Some(path) => {
                let path = std::path::absolute(path).map_err(|error| failed(&path.display().to_string(), &error))?;
                std::fs::create_dir_all(&path).map_err(|error| failed(&path.display().to_string(), &error))?;
                Ok(Folder::Kept(path))
            }
        }
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    fn farewell(&self) -> String {
        match self {
            Folder::Temporary(_) => "Its folder is removed.".into(),
            Folder::Kept(path) => format!("Its data is in {}.", path.display()),
        }
    }
}
