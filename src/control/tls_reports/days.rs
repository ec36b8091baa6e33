//! The counts of days, in memory and on disk.
//!
//! A day may take as much as [`Counts`] do: it is put into words and written beside the control thread, piece by piece, and
//! shared with whoever writes it instead of being copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::super::whole_file;
use super::{day_named, name_of};
use crate::assurance::report::Counts;

/// The days, by their number since the epoch.
pub(super) struct Days {
    folder: PathBuf,
    days: BTreeMap<u64, Arc<Counts>>,
    /// Those that are not on disk as they are here.
    changed: BTreeSet<u64>,
}

impl Days {
    /// None yet; they are kept in `folder`.
    pub fn new(folder: PathBuf) -> Days {
        Days { folder, days: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// Reads what is in the folder, and makes it where it is not there.
    ///
    /// # Errors
    /// It can be neither read nor made.
    pub fn read(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_kept = path.extension().is_some_and(|extension| extension == "json");
            let day = path.file_stem().and_then(|name| name.to_str()).and_then(day_named).filter(|_| is_kept);
            let value = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            if let (Some(day), Some(value)) = (day, value) {
                self.days.insert(day, Arc::new(Counts::of_json(&value)));
            }
        }
        Ok(())
    }

    /// Their numbers, the oldest first.
    pub fn numbers(&self) -> Vec<u64> {
        self.days.keys().copied().collect()
    }

    /// The domains of which something was counted on a day.
    pub fn domains(&self, day: u64) -> Vec<Box<str>> {
        self.days.get(&day).map(|counts| counts.domains()).unwrap_or_default()
    }

    /// What was counted of a domain on a day.
    pub fn of(&self, day: u64, domain: &str) -> Counts {
        self.days.get(&day).map(|counts| counts.of(domain)).unwrap_or_default()
    }

    /// Adds to a day.
    pub fn merge(&mut self, day: u64, counts: Counts) {
        if !counts.is_empty() {
            Arc::make_mut(self.days.entry(day).or_default()).merge(counts);
            self.changed.insert(day);
        }
    }

    /// Takes away what was told.
    pub fn take_away(&mut self, day: u64, told: &Counts) {
        if let Some(counts) = self.days.get_mut(&day) {
            Arc::make_mut(counts).take_away(told);
            self.changed.insert(day);
        }
    }

    /// Gives a day up.
    pub fn forget(&mut self, day: u64) {
        self.days.remove(&day);
        self.changed.insert(day);
    }

    /// Makes durable what has changed. What could not be written is tried again the next time.
    ///
    /// # Errors
    /// Why, for each day; for people.
    pub async fn keep(&mut self) -> Result<(), Vec<String>> {
        let mut troubles = Vec::new();
        for day in std::mem::take(&mut self.changed) {
            let file = self.folder.join(format!("{}.json", name_of(day)));
            let counts = self.days.get(&day).filter(|counts| !counts.is_empty()).cloned();
            if counts.is_none() {
                self.days.remove(&day);
            }
            let path = file.clone();
            let kept = tokio::task::spawn_blocking(move || match counts {
                Some(counts) => write(&path, &name_of(day), &counts),
                None => whole_file::remove(&path),
            });
            if let Err(why) = kept.await.unwrap_or_else(|defect| Err(io::Error::other(defect))) {
                self.changed.insert(day);
                troubles.push(format!("{}: {why}", file.display()));
            }
        }
        if troubles.is_empty() { Ok(()) } else { Err(troubles) }
    }

    /// All of them as JSON: `{ "days": [{ "day": "YYYY-MM-DD", … }] }`, each as [`Counts::write_to`] writes it.
    pub async fn shown(&self) -> Vec<u8> {
        let days = self.days.clone();
        let text = tokio::task::spawn_blocking(move || {
            let mut text = b"{\"days\":[".to_vec();
            for (at, (day, counts)) in days.iter().enumerate() {
                if at > 0 {
                    text.push(b',');
                }
                // Memory takes all.
                let _ = counts.write_to(&name_of(*day), &mut text);
            }
            text.extend_from_slice(b"]}");
            text
        });
        text.await.unwrap_or_else(|_| b"{\"error\":\"a defect of the reporter\"}".to_vec())
    }
}

/// Writes a day so that it is there whole or not at all, and outlives the power.
fn write(file: &Path, day: &str, counts: &Counts) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    whole_file::replace(file, |out| counts.write_to(day, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assurance::report::Policy;

    #[tokio::test]
    async fn a_day_that_cannot_be_written_is_written_once_it_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("tls-reports");
        std::fs::write(&kept, "in the way").expect("written");
        let today = super::super::now_s() / super::super::DAY_S;
        let mut days = Days::new(kept.clone());
        let mut counts = Counts::default();
        counts.add(Policy::none("a.test"), None);
        days.merge(today, counts);
        assert!(days.keep().await.is_err_and(|why| why[0].contains("tls-reports")));
        fs::remove_file(&kept).expect("removed");
        assert_eq!(days.keep().await, Ok(()));
        let mut read = Days::new(kept.clone());
        read.read().expect("it is read");
        assert_eq!((read.numbers(), read.days[&today].clone()), (vec![today], days.days[&today].clone()));
        let shown: Value = serde_json::from_slice(&days.shown().await).expect("JSON");
        assert_eq!(shown["days"][0]["day"], name_of(today));
        assert_eq!(shown["days"][0]["policies"][0]["recipient-domain"], "a.test");
        days.forget(today);
        assert_eq!(days.keep().await, Ok(()));
        assert_eq!(fs::read_dir(&kept).expect("it is there").count(), 0);
    }
}
