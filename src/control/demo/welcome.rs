//! What the demo says first: where everything is, and how to send a first message.

use std::path::Path;

use super::setting::{ACCOUNT, Setting};
use super::{CONSOLE_PORT, IMPLICIT_PORT, RELAY_PORT, STARTTLS_PORT};
use crate::control::http::Token;

/// Prints it.
pub(super) fn print(setting: &Setting, token: Option<&Token>) {
    // Whoever runs it from a build has no `ringpost` in the path.
    let program = std::env::current_exe().unwrap_or_else(|_| "ringpost".into());
    print!("{}", text(setting, token.map_or("", Token::as_str), &program));
}

fn text(setting: &Setting, token: &str, program: &Path) -> String {
    let program = program.display();
    let authority = setting.authority_file.display();
    let config = setting.config_file.display();
    let password = &setting.password;
    format!(
        r#"
Ringpost is running. Nothing leaves this machine: every message, whatever its address,
goes to a destination that is built into the demo. Ctrl-C ends it.

  submission   127.0.0.1:{IMPLICIT_PORT} (TLS) and 127.0.0.1:{STARTTLS_PORT} (STARTTLS)
  relay        127.0.0.1:{RELAY_PORT} (no password)
  user         {ACCOUNT} (may send from any address @demo.test)
  password     {password}
  CA file      {authority}
  console      http://127.0.0.1:{CONSOLE_PORT}/#token={token}

Send a first message, from another terminal, with curl:

  printf 'From: {ACCOUNT}\r\nTo: friend@example.org\r\nSubject: Hello\r\n\r\nIt works.\r\n' |
  curl -sS --url smtps://127.0.0.1:{IMPLICIT_PORT} --cacert {authority} \
    --user '{ACCOUNT}:{password}' --mail-from {ACCOUNT} --mail-rcpt friend@example.org -T -

or with swaks:

  swaks --server 127.0.0.1:{STARTTLS_PORT} --tls --auth PLAIN --auth-user {ACCOUNT} --auth-password {password} \
    --from {ACCOUNT} --to friend@example.org --header 'Subject: Hello' --body 'It works.'

or with Python:

  python3 -c 'import smtplib, ssl; server = smtplib.SMTP_SSL("127.0.0.1", {IMPLICIT_PORT}, context=
    ssl.create_default_context(cafile="{authority}")); server.login("{ACCOUNT}",
    "{password}"); server.sendmail("{ACCOUNT}", "friend@example.org",
    "From: {ACCOUNT}\r\nTo: friend@example.org\r\nSubject: Hello\r\n\r\nIt works."); server.quit()'

Recipients named nobody@… are refused and those named later@… deferred, to show what happens then.
The queue, from another terminal:

  {program} queue list -c {config}

What happens:

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> String {
        let setting = Setting {
            config_file: "/tmp/demo/ringpost.toml".into(),
            authority_file: "/tmp/demo/ca.pem".into(),
            password: "secret22".into(),
        };
        text(&setting, "t0ken", Path::new("/usr/bin/ringpost"))
    }

    #[test]
    fn the_python_line_is_python() {
        let text = example();
        let code = text.split("python3 -c '").nth(1).and_then(|rest| rest.split('\'').next()).expect("the line");
        let mut python = std::process::Command::new("python3");
        python.args(["-c", "import ast, sys; ast.parse(sys.argv[1])", code]);
        assert!(python.status().expect("this test needs python3").success(), "{code}");
    }

    #[test]
    fn everything_that_is_needed_is_there() {
        let text = example();
        for needed in
            ["2465", "2587", "2525", "#token=t0ken", "secret22", "--cacert /tmp/demo/ca.pem", "swaks", "smtplib"]
        {
            assert!(text.contains(needed), "{needed}");
        }
        // A terminal of 120 columns shows the example lines whole, with the paths that a temporary folder has.
        assert!(text.lines().all(|line| line.len() <= 130), "{text}");
    }
}
