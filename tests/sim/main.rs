//! Whole servers in a simulated world: clients submit, destinations misbehave, the power fails.

mod accounts;
mod calendar;
mod client;
mod destination;
mod instruments;
mod learned;
mod limits;
mod mail;
mod many_destinations;
mod oracle;
mod provider;
mod queue;
mod resolver;
mod seeds;
mod server;
mod shares;
mod still_destinations;
mod storm;
mod throttling;
