//! Lists as text: one address a line, or CSV (RFC 4180) with the columns of [`HEADING`].
//!
//! A first line that has a cell `address`, or as others call it ([`ADDRESSES`]), names the columns, of which only this one must
//! be there; without one the lines are addresses. Times are RFC 3339 or empty: since now, for ever.

use std::fmt::Write as _;

use shards::Timestamp;

use super::{Change, Entry, FOR_EVER, Key, Scope};
use crate::config::suppression::Cause;
use crate::message::date;

/// What an export begins with.
pub const HEADING: &str = "address,list,cause,since,until\r\n";
/// What the column of addresses is called here, and in what other systems export; in lower case.
const ADDRESSES: [&str; 4] = ["address", "email", "email address", "recipient"];
/// How the column `list` names everybody's list, and that of relayed mail; others are accounts.
const EVERYONE: &str = "global";
const RELAYED: &str = "relay";
const ACCOUNT: &str = "account:";
/// Mistakes that are named before an import is given up.
const MISTAKES_MAX: usize = 20;

/// The name of a list.
pub fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Everyone => EVERYONE.into(),
        Scope::Relayed => RELAYED.into(),
        Scope::Account(name) => format!("{ACCOUNT}{name}"),
    }
}

/// The list of a name.
pub fn scope_named(name: &str) -> Option<Scope> {
    match name {
        EVERYONE => Some(Scope::Everyone),
        RELAYED => Some(Scope::Relayed),
        _ => name.strip_prefix(ACCOUNT).filter(|name| !name.is_empty()).map(Scope::account),
    }
}

/// A time, as texts have it; empty: none.
pub fn time(seconds: u32) -> String {
    if seconds == FOR_EVER {
        return String::new();
    }
    date::rfc3339(Timestamp::from_millis(u64::from(seconds) * 1000))
}

/// Appends an entry's line. An address or a name with a comma or a quote stands in quotes.
pub fn put_line(out: &mut String, scope: &Scope, address: &str, entry: &Entry) {
    put_field(out, address);
    out.push(',');
    put_field(out, &scope_name(scope));
    let _ = write!(out, ",{},{},{}\r\n", entry.cause.name(), time(entry.since_s), time(entry.until_s));
}

fn put_field(out: &mut String, text: &str) {
    if text.contains([',', ';', '\t', '"', '\r', '\n']) {
        let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
    } else {
        out.push_str(text);
    }
}

/// The columns of a text, by what is in which.
#[derive(Clone, Copy)]
struct Columns {
    address: usize,
    list: Option<usize>,
    cause: Option<usize>,
    since: Option<usize>,
    until: Option<usize>,
}

/// Reads a text of at most `changes_max` addresses. Lines that name no list are of `scope`.
///
/// # Errors
/// What is wrong, with its line; nothing of the text counts then.
pub fn read(text: &str, scope: &Scope, now_s: u32, changes_max: usize) -> Result<Vec<Change>, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut changes = Vec::new();
    let mut columns = Columns { address: 0, list: None, cause: None, since: None, until: None };
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        let line = line.trim();
        // An address with a comma or a quote in its local part is written alone as it is.
        let cells = match Key::parse(line) {
            Ok(_) if columns.list.is_none() => vec![line.to_owned()],
            _ => cells(line),
        };
        // An address may begin like a remark.
        let is_remark = line.starts_with('#') && cells.first().is_none_or(|cell| Key::parse(cell).is_err());
        if line.is_empty() || is_remark {
            continue;
        }
        if number == 1 && cells.iter().any(|cell| is_address(cell)) {
            columns = named(&cells);
            continue;
        }
        match change(&cells, &columns, scope, now_s) {
            Ok(_) if changes.len() == changes_max => {
                mistakes
                    .push(format!("line {number}: there are more than {changes_max} addresses, and no room for them"));
                break;
            }
            Ok(change) => changes.push(change),
            Err(why) => mistakes.push(format!("line {number}: {why}")),
        }
        if mistakes.len() == MISTAKES_MAX {
            break;
        }
    }
    if mistakes.is_empty() { Ok(changes) } else { Err(mistakes) }
}

fn named(cells: &[String]) -> Columns {
    let of = |name: &str| cells.iter().position(|cell| cell.eq_ignore_ascii_case(name));
    Columns {
        address: cells.iter().position(|cell| is_address(cell)).unwrap_or(0),
        list: of("list"),
        cause: of("cause"),
        since: of("since"),
        until: of("until"),
    }
}

fn is_address(heading: &str) -> bool {
    ADDRESSES.iter().any(|name| heading.eq_ignore_ascii_case(name))
}

fn change(cells: &[String], columns: &Columns, scope: &Scope, now_s: u32) -> Result<Change, String> {
    let cell = |column: Option<usize>| column.and_then(|at| cells.get(at)).filter(|cell| !cell.is_empty());
    let address = cell(Some(columns.address)).ok_or("the address is missing")?;
    let key = Key::parse(address).map_err(|why| format!("`{address}`: {why}"))?;
    let scope = match cell(columns.list) {
        None => scope.clone(),
        Some(name) => scope_named(name)
            .ok_or_else(|| format!("`{name}` is no list: write `{EVERYONE}`, `{RELAYED}` or `{ACCOUNT}NAME`"))?,
    };
    let cause = match cell(columns.cause) {
        None => Cause::Operator,
        Some(name) => Cause::named(name).ok_or_else(|| format!("`{name}` is no cause that is known here"))?,
    };
    let since_s = cell(columns.since).map_or(Ok(now_s), |text| seconds(text))?;
    let until_s = cell(columns.until).map_or(Ok(FOR_EVER), |text| seconds(text))?;
    let entry = Entry { cause, since_s, until_s, strikes: 0 };
    Ok(Change { scope, address: key.into(), entry: Some(entry) })
}

/// A time of RFC 3339, or a day, in seconds since the epoch.
pub fn seconds(text: &str) -> Result<u32, String> {
    let wrong = |_| format!("`{text}` is no time: write it like 2026-11-23T07:44:43Z, or a day like 2026-11-23");
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time: jiff::Timestamp = whole.parse().map_err(wrong)?;
    u32::try_from(time.as_second().max(0)).map_err(|_| format!("`{text}` is too far ahead"))
}

/// The cells of a line.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let (mut quoted, mut letters) = (false, line.chars().peekable());
    while let Some(letter) = letters.next() {
        let Some(cell) = cells.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            ',' | ';' | '\t' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}
