//! Time series on file: CSV of whole numbers or fractions, one row per moment, the first column milliseconds since the
//! Unix epoch.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::{Failure, clock};

/// The time between two rows of a generator's or a sink's own series.
pub(crate) const PERIOD_MS: u64 = 100;
/// The name of the first column.
const TIME: &str = "unix_ms";

/// A series that is being written, if anywhere.
#[derive(Default)]
pub(crate) struct Writer {
    file: Option<File>,
    due_ms: u64,
}

impl Writer {
    /// Creates the file with its heading: the time and these columns.
    ///
    /// # Errors
    /// [`Failure::Usage`] where it cannot be created.
    pub(crate) fn create(path: Option<&Path>, columns: &[&str]) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let broken = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
        let mut file = File::create(path).map_err(broken)?;
        writeln!(file, "{TIME},{}", columns.join(",")).map_err(broken)?;
        Ok(Self { file: Some(file), due_ms: 0 })
    }

    /// Writes a row if [`PERIOD_MS`] have passed since the last one.
    pub(crate) fn tick(&mut self, values: &[u64]) -> io::Result<()> {
        let now = clock::wall_us() / 1000;
        if self.file.is_none() || now < self.due_ms {
            return Ok(());
        }
        self.due_ms = now + PERIOD_MS;
        self.row(now, values.iter().map(|value| *value as f64))
    }

    /// Writes the last row, whenever the one before was.
    pub(crate) fn end(&mut self, values: &[u64]) -> io::Result<()> {
        self.due_ms = 0;
        self.tick(values)
    }

    /// Writes a row.
    pub(crate) fn row(&mut self, unix_ms: u64, values: impl Iterator<Item = f64>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = unix_ms.to_string();
        values.for_each(|value| {
            let _ = write!(line, ",{value}");
        });
        line.push('\n');
        // One write: whoever reads meanwhile sees whole rows.
        file.write_all(line.as_bytes())
    }
}

/// A series that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Series {
    /// Reads a file; a last row that is not whole yet does not count.
    ///
    /// # Errors
    /// [`Failure::Failed`] where it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines();
        let columns: Vec<String> = lines.next().unwrap_or("").split(',').map(str::to_owned).collect();
        let numbers = |line: &str| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect::<Vec<_>>();
        let rows = lines.map(numbers).filter(|row| row.len() == columns.len()).collect();
        Self { columns, rows }
    }

    /// A column with its times (milliseconds since the Unix epoch); empty where there is none of that name.
    pub(crate) fn column(&self, name: &str) -> Vec<(f64, f64)> {
        let Some(at) = self.columns.iter().position(|column| column == name) else { return Vec::new() };
        self.rows.iter().map(|row| (row[0], row[at])).collect()
    }

    /// The last value of a column.
    pub(crate) fn last(&self, name: &str) -> Option<f64> {
        self.column(name).last().map(|(_, value)| *value)
    }

    /// When a column's value changed for the last time.
    pub(crate) fn last_change(&self, name: &str) -> Option<f64> {
        let column = self.column(name);
        column.windows(2).rev().find(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read_while_it_is_written() {
        let series = Series::parse("unix_ms,a,b\n1000,1,0.5\n1100,2,0.5\n1200,2,0.5\n13");
        assert_eq!(series.column("a"), [(1000.0, 1.0), (1100.0, 2.0), (1200.0, 2.0)]);
        assert_eq!((series.last("b"), series.last("c")), (Some(0.5), None));
        assert_eq!((series.last_change("a"), series.last_change("b")), (Some(1100.0), None));
        assert_eq!(Series::parse("unix_ms,a").column("a"), []);
        assert_eq!(Series::parse(""), Series::parse("\n"));
    }

    #[test]
    fn rows_come_no_faster_than_their_period() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("series.csv");
        let mut writer = Writer::create(Some(&path), &["a"]).expect("created");
        writer.tick(&[1]).expect("written");
        writer.tick(&[2]).expect("written");
        writer.row(7, [0.25].into_iter()).expect("written");
        let values: Vec<f64> = Series::read(&path).expect("read").column("a").iter().map(|row| row.1).collect();
        assert_eq!(values, [1.0, 0.25]);
    }
}
