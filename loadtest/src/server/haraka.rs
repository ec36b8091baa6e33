//! Haraka as a server under test: `loadtest/servers/haraka/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::foreign::{Home, Make, Released, failed, files, installed};
use super::process::{Process, output};
use crate::Failure;

const SMTP_INI: &str = include_str!("../../servers/haraka/config/smtp.ini");
const OUTBOUND_INI: &str = include_str!("../../servers/haraka/config/outbound.ini");
const CONNECTION_INI: &str = include_str!("../../servers/haraka/config/connection.ini");
const LOG_INI: &str = include_str!("../../servers/haraka/config/log.ini");
const PLUGINS: &str = include_str!("../../servers/haraka/config/plugins");
const PLUGIN: &str = include_str!("../../servers/haraka/plugins/ringload.js");

/// The shortest wait that it permits.
const RETRY_S_MIN: u32 = 5;
/// How often an attempt is repeated after the scenario's last wait.
const RETRIES_MAX: u32 = 1000;

/// Its program.
pub(super) struct Haraka {
    program: PathBuf,
}

impl Haraka {
    /// What we have installed, or the machine's.
    pub(super) fn find() -> Self {
        Self { program: installed("haraka/node_modules/Haraka/bin/haraka", "/usr/bin/haraka") }
    }

    /// The program by which it is known.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone()
    }
}

impl Make for Haraka {
    fn version(&self) -> Result<String, Failure> {
        let said = output(Command::new(&self.program).arg("-v"))?;
        Ok(format!("Haraka {}", said.trim().rsplit(' ').next().unwrap_or("?")))
    }

    fn configure(&self, home: &Home) -> Result<(), Failure> {
        for name in ["config", "plugins"] {
            let folder = home.folder.join(name);
            fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        }
        let workers = u32::try_from(shards::launch::cores()).unwrap_or(1);
        let per_worker = home.setting.connections_max.div_ceil(workers).to_string();
        let retries: Vec<u32> = home.setting.retry_s.iter().map(|wait_s| (*wait_s).max(RETRY_S_MIN)).collect();
        let mut waits: Vec<String> = retries.iter().map(|wait_s| format!("{wait_s}s")).collect();
        // The last repeats, as often as a test can want it.
        waits.extend(retries.last().map(|wait_s| format!("{wait_s}s*{RETRIES_MAX}")));
        let files = [
            ("smtp.ini", SMTP_INI),
            ("connection.ini", CONNECTION_INI),
            ("outbound.ini", OUTBOUND_INI),
            ("log.ini", LOG_INI),
            ("plugins", PLUGINS),
        ];
        for (name, template) in files {
            let words = [("connections_per_worker", per_worker.as_str()), ("retries", &waits.join(","))];
            home.write(&format!("config/{name}"), template, &words)?;
        }
        home.write("plugins/ringload.js", PLUGIN, &[])?;
        home.write("config/me", "haraka.test\n", &[])?;
        home.write("config/queue_dir", &format!("{}\n", home.data.display()), &[])?;
        for (from, name) in [(&home.setting.certificate, "tls_cert.pem"), (&home.setting.key, "tls_key.pem")] {
            let to = home.folder.join("config").join(name);
            fs::copy(from, &to).map_err(|error| failed(&to, &error))?;
        }
        let routes = home.setting.routes.iter().flat_map(|route| {
            let next_hop = serde_json::json!({
                "exchange": route.next_hop.ip().to_string(),
                "port": route.next_hop.port(),
            });
            route.domains.iter().map(move |domain| (domain.clone(), next_hop.clone()))
        });
        let routes: serde_json::Map<_, _> = routes.collect();
        let plugin = serde_json::json!({ "hold": home.hold, "routes": routes });
        home.write("config/ringload.json", &plugin.to_string(), &[]).map(|_| ())
    }

    fn start(&self, home: &Home) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&home.folder);
        command
    }

    fn release(&self, _home: &Home, _process: &Process) -> Result<Released, Failure> {
        Ok(Released::WhenRestarted)
    }

    /// Names of messages begin with the time of acceptance; those that are being written, with a dot.
    fn queued(&self, home: &Home) -> u64 {
        files(&home.data, &|name| name.starts_with(|first: char| first.is_ascii_digit()))
    }

    fn given_up(&self, home: &Home) -> (PathBuf, &'static str) {
        (home.folder.join("output"), "given up: ")
    }
}
