//! Stories: each file is a behaviour that users and peers meet, told with the real server and real peers.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "stories run outside the shards, on real time and threads"
)]
#![allow(missing_docs, reason = "the tests' names and bodies are the documentation")]

mod harness;

mod a_blocklist_reply_parks_the_path;
mod a_campaign_keeps_its_limit;
mod a_crash_at_the_dot_is_told;
mod a_daily_limit_holds;
mod a_full_disk_is_no_loss;
mod a_kill_loses_nothing;
mod a_message_is_examined_before_it_leaves;
mod a_message_is_relayed;
mod a_message_requires_tls;
mod a_provider_enforces;
mod a_throttled_backlog_costs_nothing;
mod accounts_are_throttled;
mod an_operator_lifts_a_limit;
mod bounces_come_back;
mod bulk_mail_arrives_once;
mod bulk_mail_follows_the_rules;
mod configuration_is_reloaded;
mod content_goes_after_its_retention;
mod domains_are_told_how_tls_went;
mod five_days_of_retries;
mod full_mailbox_is_retried;
mod greylisting_is_waited_for;
mod haproxy_makes_the_connection;
mod international_mail_meets_old_hops;
mod limits_are_kept;
mod limits_follow_replies;
mod mail_leaves_from_its_pool;
mod messages_are_signed;
mod next_hops_prove_who_they_are;
mod nothing_is_sent_to_whom_nothing_should_be;
mod old_tls_is_refused;
mod operators_see_and_steer_the_queue;
mod postfix_and_exim_are_next_hops;
mod real_clients_submit;
mod scheduled_messages_wait;
mod senders_learn_what_became_of_it;
mod smuggling_is_refused;
mod submitted_messages_are_screened;
mod tenants_are_kept_apart;
mod the_destination_fails;
mod the_doctor_asks_dns;
mod the_server_is_watched;
mod webhooks_learn_what_became_of_it;
mod what_waits_says_why;
