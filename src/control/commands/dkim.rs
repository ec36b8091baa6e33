//! `ringpost dkim`.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigFile, Failure, in_file};
use crate::authentication::{Algorithm, Key, Signer};
use crate::config;
use crate::control::{signing, whole_file};

/// Octets of a string of a TXT record (RFC 1035 §3.3.14).
const TXT_STRING_BYTES_MAX: usize = 255;
/// Where systemd looks for what it hands to the service of the package.
const SERVICE_KEYS: &str = "/etc/ringpost/keys";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a private key and print the DNS record to publish
    ///
    /// systemd hands the service of the package what lies in /etc/ringpost/keys when it starts: make the key there.
    #[command(
        after_help = "Example:\n  ringpost dkim generate example.org --selector s2026 --out /etc/ringpost/keys/s2026.example.org.pem"
    )]
    Generate(Generate),
    /// Print the DNS records of all keys in a configuration
    #[command(after_help = "Example:\n  ringpost dkim show -c /etc/ringpost/ringpost.toml")]
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The domain that signs: that of the From addresses, or one above it
    #[arg(value_parser = name(config::dkim::domain))]
    domain: Box<str>,
    /// What tells this key from the domain's others, such as the year
    #[arg(long, value_parser = name(config::dkim::selector))]
    selector: Box<str>,
    /// RSA (2048 bits), which every verifier knows, or Ed25519; best both, with a selector each
    #[arg(long, value_enum, default_value = "rsa")]
    algorithm: Kind,
    /// Where the private key goes (mode 0600) [default: SELECTOR.DOMAIN.pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Rsa,
    Ed25519,
}

/// A parser for clap of one of the configuration's own.
fn name(
    parse: impl Fn(&str) -> Result<Box<str>, String> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<Box<str>, String> + Clone + Send + Sync + 'static {
    parse
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Generate(arguments) => generate(arguments),
        Command::Show(arguments) => show(arguments),
    }
}

/// The record goes to stdout, ready for a zone file; what else is to be done goes to stderr.
fn generate(arguments: &Generate) -> Result<(), Failure> {
    let Generate { domain, selector, algorithm, out } = arguments;
    let algorithm = match algorithm {
        Kind::Rsa => Algorithm::Rsa,
        Kind::Ed25519 => Algorithm::Ed25519,
    };
    let (pem, key) = Key::generate(algorithm).map_err(|error| Failure::Failed(error.to_string()))?;
    let file = out.clone().unwrap_or_else(|| format!("{selector}.{domain}.pem").into());
    let record = zone_record(&Signer::new(domain, selector, key))?;
    write_new(&file, &pem)?;
    // The server reads it from another folder than this one.
    let file = std::path::absolute(&file).unwrap_or(file);
    eprintln!("The private key is in {}. Publish this record in the zone of {domain}:", file.display());
    print!("{record}");
    let (named, and_then) = named_in_configuration(&file);
    eprintln!("Then add to ringpost.toml:");
    eprintln!("[[dkim]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nprivate_key = \"{named}\"");
    eprintln!("{and_then}\n`ringpost doctor` says when DNS publishes the record.");
    Ok(())
}

/// What the configuration calls the key's file, and what is to be done once it does.
fn named_in_configuration(file: &Path) -> (String, String) {
    let name = file.file_name().unwrap_or_default().display();
    if file.parent() == Some(Path::new(SERVICE_KEYS)) {
        let and_then = "and `systemctl restart ringpost`: the service is handed its keys when it starts.";
        return (format!("keys/{name}"), and_then.into());
    }
    let and_then = format!(
        "and have it read again: SIGHUP where you run `ringpost serve`. The service of the package reads keys in {SERVICE_KEYS} \
         alone:\n`install -m 600 {} {SERVICE_KEYS}/`, private_key = \"keys/{name}\", then `systemctl restart ringpost`.",
        file.display()
    );
    (file.display().to_string(), and_then)
}

/// Never over another file: a key that is lost cannot be made again.
fn write_new(file: &Path, pem: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let remedy = match error.kind() {
            ErrorKind::AlreadyExists => {
                ": a key is never overwritten. Name another file (--out) or selector (--selector); the record of a key that is \
                 configured is what `ringpost dkim show` prints"
            }
            ErrorKind::NotFound => ": there is no such folder: make it, or name another file (--out)",
            ErrorKind::PermissionDenied => ": run the command as root, or name a file that you may write (--out)",
            _ => "",
        };
        Failure::Failed(format!("{}: {error}{remedy}", file.display()))
    };
    whole_file::make_secret(file, pem.as_bytes()).map_err(failed)
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let (file, config) = arguments.config.load()?;
    let mut records = Vec::with_capacity(config.dkim.len());
    signing::of(&config).map_err(|mistakes| in_file(&file, &mistakes))?;
    for section in &config.dkim {
        records.push(signing::load(section).map_err(Failure::Failed)?);
    }
    if arguments.json {
        let records: Vec<_> = records.iter().map(json_record).collect::<Result<_, _>>()?;
        println!("{:#}", serde_json::Value::from(records));
    } else {
        for signer in &records {
            print!("{}", zone_record(signer)?);
        }
    }
    Ok(())
}

fn record(signer: &Signer) -> Result<(String, String), Failure> {
    signer.record().map_err(|error| Failure::Failed(error.to_string()))
}

fn json_record(signer: &Signer) -> Result<serde_json::Value, Failure> {
    let (name, text) = record(signer)?;
    Ok(serde_json::json!({
        "domain": signer.domain(), "selector": signer.selector(), "name": name, "type": "TXT", "text": text,
    }))
}

/// The record as a zone file has it (RFC 1035 §5.1): its text in strings that are short enough.
fn zone_record(signer: &Signer) -> Result<String, Failure> {
    let (name, text) = record(signer)?;
    let mut line = format!("{name}. IN TXT (");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (string, behind) = rest.split_at(rest.len().min(TXT_STRING_BYTES_MAX));
        let _ = write!(line, " \"{string}\"");
        rest = behind;
    }
    line.push_str(" )\n");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_strings_that_dns_can_hold() {
        let signer = Signer::new("example.org", "s1", Key::generate(Algorithm::Rsa).expect("a key").1);
        let line = zone_record(&signer).expect("a record");
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert!(
            line.starts_with("s1._domainkey.example.org. IN TXT ( \"v=DKIM1;") && line.ends_with("\" )\n"),
            "{line}"
        );
        assert_eq!(strings.len(), 2, "{line}");
        assert!(strings.iter().all(|string| string.len() <= TXT_STRING_BYTES_MAX));
        assert_eq!(strings.concat(), signer.record().expect("a record").1);
    }

    #[test]
    fn a_key_is_named_as_the_server_finds_it() {
        let (named, and_then) = named_in_configuration(Path::new("/etc/ringpost/keys/s1.pem"));
        assert!(named == "keys/s1.pem" && and_then.starts_with("and `systemctl restart ringpost`"), "{and_then}");
        let (named, and_then) = named_in_configuration(Path::new("/root/s1.pem"));
        assert!(named == "/root/s1.pem" && and_then.contains("SIGHUP"), "{and_then}");
        assert!(and_then.contains("`install -m 600 /root/s1.pem /etc/ringpost/keys/`"), "{and_then}");
    }

    #[test]
    fn no_file_is_overwritten_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        write_new(&file, "first").expect("written");
        assert!(matches!(write_new(&file, "second"), Err(Failure::Failed(why))
            if why.contains("key.pem: File exists") && why.contains("--selector")));
        let nowhere = write_new(&folder.path().join("none/key.pem"), "first");
        assert!(matches!(nowhere, Err(Failure::Failed(why)) if why.contains("no such folder: make it")));
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "first");
        assert_eq!(std::fs::metadata(&file).expect("its mode").permissions().mode() & 0o777, 0o600);
    }
}
