//! The control plane: one Tokio thread for what people and other systems talk to, and the command line.
//!
//! Owns: start and stop of the process ([`serve`]), signals, reload of the configuration, the writing of the log, the
//! resolver, webhooks, the HTTP API with its console and the control socket, the operator's commands, the demo.
//! Never: touches mail or a queue itself. It asks the shards, through crossings, and the shards answer when they can.
//! On disk: in the data directory `control.sock` (mode 0600), `mta-sts/` ([`sts`]) and `suppression` ([`suppression`]);
//! the HTTP token, the webhooks' secrets and the return path's key where there were none.
//! After a crash: the old socket is replaced; there is nothing else to recover.
//! Limits: in [`desk`] (orders under way, page size, patience) and [`http`] (bodies).

pub mod certificate;
pub mod client;
pub mod clock;
pub mod commands;
pub mod demo;
pub mod desk;
pub mod doctor;
pub mod http;
pub mod journal;
pub mod log;
pub mod lookup;
pub mod named;
pub mod notify;
pub mod ports;
pub mod preflight;
pub mod reload;
pub mod resolver;
mod return_path;
mod secret_file;
pub mod serve;
pub mod signals;
pub mod signing;
pub mod socket;
pub mod sts;
pub mod suppression;
pub mod tls_reports;
pub mod trust;
mod vital;
pub mod webhook;
mod whole_file;
