//! The mesh: bounded mailboxes between shards, without locks, where a request carries the room for its reply.
//!
//! A shard that wants something of another takes a [`Credit`] for it first. Credits of a pair are as many as the
//! mailbox has slots for requests and, again, for replies; so a request with a credit and a reply to it always fit, and
//! nothing can deadlock. When credits are used up the caller keeps its work where it is (the queue on disk).
//! The control thread sends through an [`Inlet`], which can be full.

use std::sync::Arc;

/// Makes a mesh of `shards` mailboxes with `credits` for each ordered pair, and an inlet with `inlet_slots` per shard.
pub fn mesh<T: Send + 'static>(_shards: usize, _credits: usize, _inlet_slots: usize) -> (Vec<Port<T>>, Inlet<T>) {
    todo!()
}

/// One shard's place in the mesh. Moves to its shard's thread once.
pub struct Port<T>(Arc<()>, std::marker::PhantomData<T>);

/// The right to one request and its reply. Give it back by dropping it when the reply has come.
pub struct Credit(());

impl<T: Send + 'static> Port<T> {
    /// This shard's number.
    pub fn shard(&self) -> usize {
        todo!()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        todo!()
    }

    /// A credit for a request to `to` (which may be this shard itself); `None` while all are out.
    pub fn credit(&self, _to: usize) -> Option<Credit> {
        todo!()
    }

    /// Waits for a credit for a request to `to`.
    pub async fn wait_credit(&self, _to: usize) -> Credit {
        todo!()
    }

    /// Sends a request; the credit is kept by the caller until the reply has come.
    pub fn request(&self, _to: usize, _credit: &Credit, _item: T) {
        todo!()
    }

    /// Sends the reply to a request that came from `to`. Always fits.
    pub fn reply(&self, _to: usize, _item: T) {
        todo!()
    }

    /// The next item for this shard and who sent it (`None`: the control thread).
    pub async fn receive(&self) -> (Option<usize>, T) {
        todo!()
    }
}

/// The control thread's way into every shard's mailbox.
pub struct Inlet<T>(Arc<()>, std::marker::PhantomData<T>);

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), std::marker::PhantomData)
    }
}

impl<T: Send + 'static> Inlet<T> {
    /// How many shards there are.
    pub fn shards(&self) -> usize {
        todo!()
    }

    /// Sends to shard `to`; gives the item back when its inlet is full.
    pub fn send(&self, _to: usize, _item: T) -> Result<(), T> {
        todo!()
    }
}
