//! Every metric family and what it means: the HELP of `/metrics`. A name that ends in `_total` is a counter, others are
//! gauges.

/// Name (without `ringpost_`) and meaning, by name.
pub(super) const FAMILIES: &[(&str, &str)] = &[
    ("attempts_deferred_total", "Attempts after which a recipient is tried again later."),
    ("build_info", "Always 1; the label tells the version."),
    ("checkpoints_total", "Commits of the index."),
    ("content_memory_bytes", "Contents of messages in memory."),
    ("delivery_suspended", "1 while all delivery is suspended by an operator."),
    ("disk_full", "1 while new messages are refused for want of room on disk."),
    ("held_recipients", "Queued recipients that an operator holds."),
    ("inbound_auth_failures_total", "Failed logins of clients."),
    ("inbound_bytes_total", "Octets of accepted messages."),
    ("inbound_connections", "Connections of clients now."),
    ("inbound_connections_opened_total", "Connections of clients that were let in."),
    ("inbound_connections_refused_total", "Connections of clients that were turned away."),
    ("inbound_messages_total", "Messages accepted from clients."),
    ("inbound_panics_total", "Connections that a defect of Ringpost ended."),
    ("inbound_signatures_total", "Messages to be signed with DKIM, by result."),
    ("inbound_tls_failures_total", "TLS handshakes with clients that did not succeed."),
    ("journal_bytes_total", "Octets written to the journal."),
    ("journal_flushes_total", "Flushes of the journal."),
    ("journal_frames_total", "Records written to the journal."),
    ("journal_pending_bytes", "Octets that wait for the journal's next flush."),
    ("journal_segments", "Segment files of the journal."),
    ("leases", "Messages with a domain whose recipients are being delivered now."),
    ("log_journal_refusals_total", "Times that the system's journal took no entry, and the lines went to stderr."),
    ("log_lines_lost_total", "Lines of the log that were lost, as nobody took them."),
    ("log_lines_suppressed_total", "Lines of the log left out of floods that clients caused, by kind."),
    ("messages_accepted_total", "Messages taken into the queue, notices included."),
    ("notices_total", "Delivery status notifications queued."),
    ("outbound_connections", "Connections to destinations now, those being opened included."),
    ("outbound_connections_failed_total", "Searches for a connection that no host of a destination took."),
    ("outbound_connections_opened_total", "Connections to destinations that took mail."),
    ("outbound_recipients_total", "Recipients of attempts, by outcome."),
    ("outbound_tls_fallbacks_total", "Connections in plain text after a handshake that failed."),
    ("outbound_transactions_total", "Transactions begun with destinations."),
    ("queued_recipients", "Recipients in the queue."),
    ("ready_domains", "Domains for which something is due now."),
    ("ready_slices", "Messages with a domain that are due now."),
    ("recipients_delivered_total", "Recipients delivered."),
    ("recipients_failed_total", "Recipients given up."),
    ("row_memory_bytes", "Rows of the queue in memory."),
    ("screening_failures_total", "Scans without a usable answer, by scanner."),
    ("screening_hits_total", "Messages or clients that a scanner had refused or marked, by scanner."),
    ("screening_scans_total", "Scans of messages or clients, by scanner."),
    ("screening_timeouts_total", "Scans without an answer in time, by scanner."),
    ("uncertain_total", "Recipients whose delivery a crash interrupted after the final dot."),
    ("webhook_events_dropped_total", "Events given up for want of room, by webhook."),
    ("webhook_events_told_total", "Events that an endpoint has taken, by webhook."),
    ("webhook_events_waiting", "Events that wait for an endpoint, by webhook."),
    ("webhook_failures_total", "Requests to an endpoint that did not succeed, by webhook."),
];

/// What the family means.
pub(super) fn help(name: &str) -> Option<&'static str> {
    FAMILIES.binary_search_by(|family| family.0.cmp(name)).ok().map(|found| FAMILIES[found].1)
}
