//! `ringpost pages`: manual pages and shell completions, from the table that makes `--help` and from the reference
//! configuration, so that none of them says anything else.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CommandLine, Failure};
use crate::config::REFERENCE;

/// What the pages are part of, as their last line says.
const SOURCE: &str = concat!("ringpost ", env!("CARGO_PKG_VERSION"));
const MANUAL: &str = "Ringpost manual";
/// What ends the page of the command itself.
const ENDING: &str = r"
.SH EXIT STATUS
.TP
0
Done.
.TP
1
It failed; one line on standard error says why.
.TP
2
Wrong usage or configuration; every mistake is named.
.TP
70
A defect of Ringpost. The service starts again, and recovers its queue from disk.
.SH FILES
.TP
/etc/ringpost/ringpost.toml
The configuration of \fBringpost.service\fR.
.TP
/etc/ringpost/keys
Keys and tokens, which systemd hands to the service.
.TP
/var/lib/ringpost
The queue.
.TP
/usr/share/doc/ringpost/manual.md
The operator's manual.
.SH SEE ALSO
\fBringpost.toml\fR(5), \fBsystemctl\fR(1), \fBjournalctl\fR(1)
";

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
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    write_command_pages(&command, &commands)?;
    std::fs::write(formats.join("ringpost.toml.5"), configuration_page())?;
    for shell in SHELLS {
        clap_complete::generate_to(*shell, &mut CommandLine::command(), "ringpost", &completions)?;
    }
    Ok(())
}

/// A page for a command, and one for each command below it.
fn write_command_pages(command: &Command, folder: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands() {
        write_command_pages(below, folder)?;
    }
    let is_whole = command.get_display_name().is_none_or(|name| !name.contains('-'));
    let page = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or(command.get_name());
    // Not by `render_title`, which leaves out the date that we do not have, so that what follows takes its place.
    let mut text = format!(".TH {name} 1 \"\" \"{SOURCE}\" \"{MANUAL}\"\n").into_bytes();
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let lines = examples.lines().filter(|line| !line.starts_with("Example")).map(str::trim);
        text.extend_from_slice(format!(".SH EXAMPLES\n{}", verbatim(lines)).as_bytes());
    }
    let ending =
        if is_whole { ENDING.trim_start() } else { ".SH SEE ALSO\n\\fBringpost\\fR(1), \\fBringpost.toml\\fR(5)\n" };
    text.extend_from_slice(ending.as_bytes());
    std::fs::write(folder.join(page.get_filename()), text)
}

/// The page of the configuration: the reference as it is.
fn configuration_page() -> String {
    format!(
        ".TH ringpost.toml 5 \"\" \"{SOURCE}\" \"{MANUAL}\"\n.SH NAME\nringpost.toml \\- configuration of ringpost(1)\n\
         .SH DESCRIPTION\nThe reference: every key, with its default where it has one. \
         Check a configuration with \\fBringpost\\-check\\fR(1).\n.SH REFERENCE\n{}.SH SEE ALSO\n\
         \\fBringpost\\fR(1), \\fBringpost\\-check\\fR(1)\n",
        verbatim(REFERENCE.lines())
    )
}

/// man(7): lines as they are, in ASCII, which every terminal and every reader of pages shows.
fn verbatim<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from(".EX\n");
    for line in lines {
        // A dot or a quote at the beginning would be a request.
        text.push_str("\\&");
        for character in line.chars() {
            match character {
                '\\' => text.push_str("\\e"),
                '-' => text.push_str("\\-"),
                '\'' => text.push_str("\\(aq"),
                '\u{2026}' => text.push_str("..."),
                ascii if ascii.is_ascii() => text.push(ascii),
                other => text.push_str(&format!("\\[u{:04X}]", u32::from(other))),
            }
        }
        text.push('\n');
    }
    text + ".EE\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_section_has_its_page() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
        let whole = read("man1/ringpost.1");
        assert!(whole.contains("ringpost demo") && whole.contains(".SH EXIT STATUS"), "{whole}");
        for command in ["serve", "check", "preflight", "queue-list", "account-hash"] {
            let page = read(&format!("man1/ringpost-{command}.1"));
            assert!(page.contains(".SH EXAMPLES\n.EX\n\\&ringpost ") && page.contains(SOURCE), "{command}: {page}");
        }
        let configuration = read("man5/ringpost.toml.5");
        for section in REFERENCE.lines().filter(|line| line.starts_with('[')) {
            let name = section.split(']').next().expect("a name");
            assert!(configuration.contains(&format!("\\&{name}]")), "{name}");
        }
        assert!(configuration.is_ascii());
        for completion in ["ringpost.bash", "_ringpost", "ringpost.fish"] {
            assert!(read(&format!("completions/{completion}")).contains("serve"), "{completion}");
        }
    }
}
