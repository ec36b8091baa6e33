//! `ringpost explain`: the limits that hold for a domain, as the server would apply them; and where one is running, what
//! replies and warm-up plans have made of them.

use std::fmt::{Display, Write};
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, table};
use crate::assurance::Assurance;
use crate::config::Config;
use crate::control::{client, resolver, socket};
use crate::dns::{Answer, Question};
use crate::route::{Effective, Missing, NextHop, Said, Site, effective, next_hop, site_of_exchangers};

/// How long one try of a DNS question may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// A recipient's domain, or address
    #[arg(value_name = "DOMAIN|ADDRESS")]
    recipient: String,
    /// From this source or pool, and not as the configuration chooses
    #[arg(long)]
    source: Option<String>,
    /// For mail of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_, config) = arguments.config.load()?;
    let recipient = &arguments.recipient;
    let domain = recipient.rsplit_once('@').map_or(&**recipient, |(_, domain)| domain).to_lowercase();
    if let Some(source) = &arguments.source
        && config.pool(source).is_none()
    {
        return Err(Failure::Wrong(vec![format!("ringpost: there is no [[source]] or [[pool]] named `{source}`")]));
    }
    let site = resolve(&config, &domain).map_err(Failure::Failed)?;
    let site = site.shaped(&config, &domain, arguments.tenant.as_deref().unwrap_or_default());
    let pool = config.pool_for(arguments.source.as_deref(), &domain);
    let of_each: Vec<(&str, Vec<Effective>)> = pool
        .members
        .iter()
        .map(|member| (&*member.source.name, effective(&config, &member.source.name, &site)))
        .collect();
    let adjusted = adjusted(&config, &site);
    // Nothing is suspended where no server runs.
    let suspensions = client::request(&socket::path(&config.data_dir), Method::GET, "/api/v1/queue/suspensions", None);
    let suspensions = suspensions.unwrap_or_default();
    if arguments.json {
        let mut all = in_json(&domain, &site, &of_each, &adjusted);
        all["suspensions"] = suspensions["suspensions"].clone();
        say(&format!("{all:#}\n"));
    } else {
        say(&in_words(&domain, &site, &of_each, &adjusted));
        for line in table::of_suspensions(&suspensions) {
            say(&format!("\nsuspended now: {line}\n"));
        }
    }
    Ok(())
}

/// What the running server has made of the limits for each source; nothing if none is running.
fn adjusted(config: &Config, site: &Site) -> Vec<Value> {
    let target = format!("/api/v1/paths{}", client::query(&json!({ "destination": site.group() })));
    let answer = client::request(&socket::path(&config.data_dir), Method::GET, &target, None);
    let paths = answer.ok().and_then(|mut answer| answer["paths"].as_array_mut().map(std::mem::take));
    paths.unwrap_or_default()
}

/// What was made of the limits for `source`.
fn of_source<'a>(adjusted: &'a [Value], source: &str) -> Option<&'a Value> {
    adjusted.iter().find(|path| path["source"] == source)
}

/// Prints; a reader that has seen enough (`| head`) is no error.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The site of `domain`: by its route, or what the DNS says now.
fn resolve(config: &Config, domain: &str) -> Result<Site, String> {
    let (port, usual) = (config.delivery.port, Assurance::usual(config.delivery.tls.level));
    let asked = match next_hop(&config.routes, domain, port, &usual).map_err(|why| why.to_string())? {
        NextHop::Site(site) => return Ok(site),
        NextHop::AskExchangers(asked) => asked,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = {
        let _entered = runtime.enter();
        let resolver = resolver::build(&config.dns_servers, PATIENCE)?;
        runtime.block_on(resolver::look_up(&resolver, &Question::Mx(asked.clone())))
    };
    let exchangers = match &answer {
        Answer::Mx(list, _) => Ok(list.as_slice()),
        Answer::NoSuchName(_) => Err(Missing::NoSuchName),
        Answer::Trouble(why) => Err(Missing::Trouble(why)),
        _ => Err(Missing::NoData),
    };
    site_of_exchangers(&asked, exchangers, &config.hostname, port).map_err(|why| why.to_string())
}

fn provider(site: &Site) -> &str {
    site.shape.provider.as_deref().unwrap_or("none")
}

fn in_words(domain: &str, site: &Site, of_each: &[(&str, Vec<Effective>)], adjusted: &[Value]) -> String {
    let hosts: Vec<&str> = site.hosts.iter().map(|host| &*host.name).collect();
    let mut text = format!("{domain}: hosts {}; provider {}\n", hosts.join(" "), provider(site));
    for (source, all) in of_each {
        let now = of_source(adjusted, source).map(now_in_words).unwrap_or_default();
        let source = if source.is_empty() { "the host itself" } else { source };
        for limits in all {
            _ = writeln!(text, "\nfrom {source}, counted together: {}", limits.name);
            text += &line("connections_max", limits.connections_max.as_ref());
            text += &line("messages_per_connection_max", limits.messages_per_connection_max.as_ref());
            text += &line("connection_rate", limits.connection_rate.as_ref());
            text += &line("message_rate", limits.message_rate.as_ref());
        }
        text += &now;
    }
    text
}

/// What replies and a plan have made of the limits.
fn now_in_words(path: &Value) -> String {
    let mut text = String::new();
    for key in ["connections_max", "message_rate"] {
        match &path[key] {
            Value::Null => {}
            Value::String(value) => _ = writeln!(text, "  {:<28}  {value}", format!("now: {key}")),
            value => _ = writeln!(text, "  {:<28}  {value}", format!("now: {key}")),
        }
    }
    if let (Some(why), Some(since)) = (path["why"].as_str(), path["since"].as_str()) {
        _ = writeln!(text, "  since {since}, when it said: {why}");
    }
    if let Some(plan) = path["warm_up"].as_object() {
        _ = writeln!(text, "  warm-up: {} of {} messages of today", plan["messages_today"], plan["messages_max"]);
    }
    text
}

fn line<T: Display>(key: &str, said: Option<&Said<T>>) -> String {
    match said {
        Some(Said { value, by }) => format!("  {key:<28}  {:<12}  {by}\n", value.to_string()),
        None => format!("  {key:<28}  no limit\n"),
    }
}

fn in_json(domain: &str, site: &Site, of_each: &[(&str, Vec<Effective>)], adjusted: &[Value]) -> Value {
    fn said<T: Display>(said: Option<&Said<T>>) -> Value {
        said.map_or(Value::Null, |said| json!({ "value": said.value.to_string(), "from": said.by }))
    }
    let limits = |limits: &Effective| {
        json!({
            "counted_together": limits.name,
            "connections_max": said(limits.connections_max.as_ref()),
            "messages_per_connection_max": said(limits.messages_per_connection_max.as_ref()),
            "connection_rate": said(limits.connection_rate.as_ref()),
            "message_rate": said(limits.message_rate.as_ref()),
        })
    };
    let sources: Vec<Value> = of_each
        .iter()
        .map(|(source, all)| {
            let limits: Vec<Value> = all.iter().map(limits).collect();
            json!({ "source": source, "limits": limits, "now": of_source(adjusted, source) })
        })
        .collect();
    let hosts: Vec<&str> = site.hosts.iter().map(|host| &*host.name).collect();
    json!({ "domain": domain, "hosts": hosts, "provider": site.shape.provider, "sources": sources })
}
