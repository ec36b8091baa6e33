//! One list: addresses in order, in leaves that lists share with those that they were made of.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use super::Entry;
use crate::config::suppression::Cause;

/// Entries of a leaf at most: what a change copies.
const LEAF_ENTRIES_MAX: usize = 256;

/// Addresses with their entries.
#[derive(Clone, Default)]
pub struct List {
    /// In order, none empty.
    leaves: Option<Arc<[Arc<Leaf>]>>,
    len: usize,
}

/// Some addresses that follow each other, all in one text.
struct Leaf {
    text: Box<str>,
    items: Box<[Item]>,
}

/// An entry, and where its address ends.
#[derive(Clone, Copy)]
struct Item {
    end: u32,
    since_s: u32,
    until_s: u32,
    cause: Cause,
    strikes: u8,
}

const _: () = assert!(std::mem::size_of::<Item>() == 16);

impl List {
    /// Nobody.
    pub const EMPTY: List = List { leaves: None, len: 0 };

    /// Whether nobody is on it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries there are, also such as mean nothing any more.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Octets of memory that it takes, without what the allocator adds.
    pub fn octets(&self) -> usize {
        let of = |leaf: &Arc<Leaf>| {
            size_of::<Arc<Leaf>>() + size_of::<Leaf>() + leaf.text.len() + leaf.items.len() * size_of::<Item>()
        };
        self.leaves().iter().map(of).sum()
    }

    fn leaves(&self) -> &[Arc<Leaf>] {
        self.leaves.as_deref().unwrap_or_default()
    }

    /// The entry of an address, see [`Key`](super::Key).
    pub fn get(&self, address: &str) -> Option<Entry> {
        let leaf = self.leaves().get(self.place(address)?)?;
        leaf.find(address).ok().map(|at| leaf.entry(at))
    }

    /// The leaf where an address is, or would be. `None`: there are none, or it precedes all.
    fn place(&self, address: &str) -> Option<usize> {
        self.leaves().partition_point(|leaf| leaf.address(0) <= address).checked_sub(1)
    }

    /// All entries in the order of addresses, from the one after `after` on.
    pub fn after<'a>(&'a self, after: Option<&'a str>) -> impl Iterator<Item = (&'a str, Entry)> {
        let first = after.and_then(|address| self.place(address)).unwrap_or(0);
        let all = self.leaves().iter().skip(first).flat_map(|leaf| leaf.entries());
        all.skip_while(move |(address, _)| after.is_some_and(|after| *address <= after))
    }

    /// The list with these changes made; `None` takes an address away.
    #[must_use]
    pub fn with(&self, changes: &BTreeMap<Box<str>, Option<Entry>>) -> List {
        let mut making = Making::default();
        let leaves = self.leaves();
        let mut from: Bound<&str> = Bound::Unbounded;
        for (n, leaf) in leaves.iter().enumerate() {
            let to = leaves.get(n + 1).map_or(Bound::Unbounded, |next| Bound::Excluded(next.address(0)));
            let mut changed = changes.range::<str, _>((from, to)).peekable();
            if changed.peek().is_none() {
                making.keep(leaf);
            } else {
                leaf.merge(changed, &mut making);
                making.end_leaf();
            }
            from = leaves.get(n + 1).map_or(Bound::Unbounded, |next| Bound::Included(next.address(0)));
        }
        if leaves.is_empty() {
            let added = changes.iter().filter_map(|(address, entry)| entry.map(|entry| (&**address, entry)));
            added.for_each(|(address, entry)| making.add(address, entry));
        }
        making.end()
    }

    /// The list without what means nothing any more.
    #[must_use]
    pub fn current(&self, now_s: u32) -> List {
        if self.after(None).all(|(_, entry)| entry.is_current(now_s)) {
            return self.clone();
        }
        let mut making = Making::default();
        for (address, entry) in self.after(None).filter(|(_, entry)| entry.is_current(now_s)) {
            making.add(address, entry);
        }
        making.end()
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List of {}", self.len)
    }
}

impl Leaf {
    fn address(&self, at: usize) -> &str {
        let begin = at.checked_sub(1).map_or(0, |before| self.items[before].end as usize);
        &self.text[begin..self.items[at].end as usize]
    }

    fn entry(&self, at: usize) -> Entry {
        let Item { since_s, until_s, cause, strikes, .. } = self.items[at];
        Entry { cause, since_s, until_s, strikes }
    }

    fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        (0..self.items.len()).map(|at| (self.address(at), self.entry(at)))
    }

    /// Where an address is, or would be.
    fn find(&self, address: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.items.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.address(middle).cmp(address) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Adds its entries and the changed ones, in order, to what is being made.
    fn merge<'c>(&self, changed: impl Iterator<Item = (&'c Box<str>, &'c Option<Entry>)>, making: &mut Making) {
        let mut at = 0;
        let mut copy_until = |address: Option<&str>, making: &mut Making| {
            while at < self.items.len() && address.is_none_or(|address| self.address(at) < address) {
                making.add(self.address(at), self.entry(at));
                at += 1;
            }
            if at < self.items.len() && address == Some(self.address(at)) {
                at += 1;
            }
        };
        for (address, entry) in changed {
            copy_until(Some(address), making);
            if let Some(entry) = entry {
                making.add(address, *entry);
            }
        }
        copy_until(None, making);
    }
}

/// A list that is being made, from its first address to its last.
#[derive(Default)]
struct Making {
    leaves: Vec<Arc<Leaf>>,
    len: usize,
    text: String,
    items: Vec<Item>,
}

impl Making {
    fn add(&mut self, address: &str, entry: Entry) {
        if self.items.len() == LEAF_ENTRIES_MAX {
            self.end_leaf();
        }
        self.text.push_str(address);
        // A leaf's addresses have far less than 4 GiB: none has more than 254 octets.
        let end = self.text.len() as u32;
        let Entry { cause, since_s, until_s, strikes } = entry;
        self.items.push(Item { end, since_s, until_s, cause, strikes });
    }

    /// Takes a leaf as it is.
    fn keep(&mut self, leaf: &Arc<Leaf>) {
        self.end_leaf();
        self.len += leaf.items.len();
        self.leaves.push(leaf.clone());
    }

    fn end_leaf(&mut self) {
        if !self.items.is_empty() {
            self.len += self.items.len();
            let leaf = Leaf { text: self.text.as_str().into(), items: self.items.as_slice().into() };
            self.leaves.push(Arc::new(leaf));
            self.text.clear();
            self.items.clear();
        }
    }

    fn end(mut self) -> List {
        self.end_leaf();
        List { len: self.len, leaves: (self.len > 0).then(|| self.leaves.into()) }
    }
}
