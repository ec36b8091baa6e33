//! What a completion is about, packed into the 64 bits that the ring carries from submission to completion.

/// An operation in the kernel, and the slot that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Accepting for a listener, again and again.
    Accept(usize),
    /// Connecting.
    Connect(usize),
    /// Receiving for a connection, again and again.
    Receive(usize),
    /// Sending for a connection.
    Send(usize),
    /// Cancelling and closing: the operation that they end tells how it went.
    Forget,
}

const TAG_BITS: u32 = 3;

impl Operation {
    pub(super) fn user_data(self) -> u64 {
        let (tag, slot) = match self {
            Operation::Forget => (0, 0),
            Operation::Accept(slot) => (1, slot),
            Operation::Connect(slot) => (2, slot),
            Operation::Receive(slot) => (3, slot),
            Operation::Send(slot) => (4, slot),
        };
        (slot as u64) << TAG_BITS | tag
    }

    pub(super) fn from_user_data(user_data: u64) -> Operation {
        let slot = (user_data >> TAG_BITS) as usize;
        match user_data & ((1 << TAG_BITS) - 1) {
            1 => Operation::Accept(slot),
            2 => Operation::Connect(slot),
            3 => Operation::Receive(slot),
            4 => Operation::Send(slot),
            _ => Operation::Forget,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Operation::{self, Accept, Connect, Forget, Receive, Send};

    #[test]
    fn operations_survive_the_kernel() {
        for operation in [Accept(0), Connect(1), Receive(70_000), Send(usize::MAX >> 3), Forget] {
            assert_eq!(Operation::from_user_data(operation.user_data()), operation);
        }
    }
}
