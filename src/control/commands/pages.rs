//! `ringpost pages`: manual pages and shell completions, from the table that makes `--help` and from the reference
//! configuration, so that none of them says anything else.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{CommandLine, Failure};
use crate::config::REFERENCE;

/// Shells that completions are written for.
const SHELLS: &[Shell] = &[Shell::Bash, Shell::Zsh, Shell::Fish];

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the folders man1, man5 and completions are made
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    write(&arguments.folder)
        .map_err(|error| Failure::Failed(format!("cannot write into {}: {error}", arguments.folder.display())))
}

fn write(folder: &Path) -> std::io::Result<()> {
    let [commands, formats, completions] = ["man1", "man5", "completions"].map(|name| folder.join(name));
    for folder in [&commands, &formats, &completions] {
        std::fs::create_dir_all(folder)?;
    }
    clap_mangen::generate_to(CommandLine::command(), commands)?;
    std::fs::write(formats.join("ringpost.toml.5"), configuration_page())?;
    for shell in SHELLS {
        clap_complete::generate_to(*shell, &mut CommandLine::command(), "ringpost", &completions)?;
    }
    Ok(())
}

/// man(7): the reference as it is, in an example.
fn configuration_page() -> String {
    let mut page = String::from(
        ".TH RINGPOST.TOML 5 \"\" \"ringpost\" \"File formats\"\n.SH NAME\nringpost.toml \\- configuration of ringpost(1)\n\
         .SH DESCRIPTION\nThe reference: every key, with its default where it has one. \
         Check a configuration with \\fBringpost check\\fR(1).\n.SH REFERENCE\n.EX\n",
    );
    for line in REFERENCE.lines() {
        // A dot or a quote at the beginning would be a request.
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        page.extend(["\\&", &line, "\n"]);
    }
    page + ".EE\n.SH SEE ALSO\n\\fBringpost\\fR(1)\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_section_has_its_page() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
        assert!(read("man1/ringpost.1").contains("ringpost demo"));
        for command in ["serve", "check", "queue-list", "account-hash"] {
            assert!(read(&format!("man1/ringpost-{command}.1")).contains("Example:"), "{command}");
        }
        let configuration = read("man5/ringpost.toml.5");
        for section in REFERENCE.lines().filter(|line| line.starts_with('[')) {
            let name = section.split(']').next().expect("a name");
            assert!(configuration.contains(&format!("\\&{name}]")), "{name}");
        }
        for completion in ["ringpost.bash", "_ringpost", "ringpost.fish"] {
            assert!(read(&format!("completions/{completion}")).contains("serve"), "{completion}");
        }
    }
}
