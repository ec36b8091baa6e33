//! Inbound: accepts connections and drives `smtp::server`: TLS, patience, policy, the spool.
