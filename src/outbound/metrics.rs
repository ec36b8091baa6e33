//! Counters of one shard's outbound side; read by the control plane.

use std::cell::Cell;

use super::reporting::Reporting;
use crate::queue::outcome::Outcome;

/// The counters. Recipients are counted where their outcome arose: on the home shard of their egress path, or on the
/// owner for those that lead nowhere.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Recipients whose outcome was delivered.
    pub delivered: Cell<u64>,
    /// … deferred.
    pub deferred: Cell<u64>,
    /// … failed.
    pub failed: Cell<u64>,
    /// … given back untried.
    pub untried: Cell<u64>,
    /// Transactions that were begun.
    pub transactions: Cell<u64>,
    /// Connections that were opened as far as a session that takes mail.
    pub connections_opened: Cell<u64>,
    /// Searches for a connection that no host took.
    pub connections_failed: Cell<u64>,
    /// Connections that exist now, those being opened included.
    pub connections_now: Cell<u64>,
    /// Handshakes that failed, after which the host was spoken to in plain text.
    pub tls_fallbacks: Cell<u64>,
    /// Connections that were given up for want of the TLS that is demanded.
    pub tls_refusals: Cell<u64>,
    /// Times that a path rested, or a task was given back, because its limits were used up for long.
    pub limits_used_up: Cell<u64>,
    /// Limits that a signal lowered, by what it was about: connections, rate, reputation.
    pub limits_lowered: [Cell<u64>; 3],
    /// Limits that good replies raised.
    pub limits_raised: Cell<u64>,
    /// Times that an operator lifted what kept the mail of a source from a destination.
    pub limits_lifted: Cell<u64>,
    /// Searches for a connection that failed because none can be made from the source.
    pub source_failures: Cell<u64>,
    /// What sessions came to, for TLS reports.
    pub reporting: Reporting,
}

/// Adds one.
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Metrics {
    /// Counts one recipient's outcome.
    pub(super) fn outcome(&self, outcome: &Outcome) {
        count(match outcome {
            Outcome::Delivered(..) => &self.delivered,
            Outcome::Deferred(_) | Outcome::Parked(..) => &self.deferred,
            Outcome::Failed(_) => &self.failed,
            Outcome::Untried(_) => &self.untried,
        });
    }

    /// Name and value of each, named as `queue::orders::Report::Metrics` has it.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("outbound_recipients_total{outcome=\"delivered\"}", self.delivered.get()),
            ("outbound_recipients_total{outcome=\"deferred\"}", self.deferred.get()),
            ("outbound_recipients_total{outcome=\"failed\"}", self.failed.get()),
            ("outbound_recipients_total{outcome=\"untried\"}", self.untried.get()),
            ("outbound_transactions_total", self.transactions.get()),
            ("outbound_connections_opened_total", self.connections_opened.get()),
            ("outbound_connections_failed_total", self.connections_failed.get()),
            ("outbound_connections", self.connections_now.get()),
            ("outbound_tls_fallbacks_total", self.tls_fallbacks.get()),
            ("outbound_tls_refusals_total", self.tls_refusals.get()),
            ("outbound_source_failures_total", self.source_failures.get()),
            ("outbound_limits_used_up_total", self.limits_used_up.get()),
            ("outbound_limits_lowered_total{signal=\"connections\"}", self.limits_lowered[0].get()),
            ("outbound_limits_lowered_total{signal=\"rate\"}", self.limits_lowered[1].get()),
            ("outbound_limits_lowered_total{signal=\"reputation\"}", self.limits_lowered[2].get()),
            ("outbound_limits_raised_total", self.limits_raised.get()),
            ("outbound_limits_lifted_total", self.limits_lifted.get()),
        ]
    }
}
