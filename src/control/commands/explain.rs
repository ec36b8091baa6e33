//! `ringpost explain`: the limits that hold for a domain, as the server would apply them; and where one is running, what
//! replies and warm-up plans have made of them, and whose mail does not go as it requires TLS.

mod present;
mod required;

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use self::present::{Chosen, Present};
use super::{ConfigFile, Failure, table};
use crate::assurance::Assurance;
use crate::bounce::classify::{Category, PathSignal, known_of};
use crate::config::egress;
use crate::config::limit::{Part, Party};
use crate::config::{Config, Pool};
use crate::control::{client, resolver, socket};
use crate::dns::{Answer, Question};
use crate::route::{Effective, Missing, NextHop, Said, Site, effective, next_hop, site_of_exchangers};
use crate::smtp::path::Mailbox;

/// How long one try of a DNS question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Domains of a message's recipients that are explained: the first ones.
const DOMAINS_MAX: usize = 5;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// A recipient's domain or address, or the ID of a message: then of each of its recipients' domains
    #[arg(value_name = "DOMAIN|ADDRESS|ID")]
    recipient: String,
    /// From this source or pool, and not as the configuration chooses
    #[arg(long)]
    source: Option<String>,
    /// For mail of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// For mail of this campaign
    #[arg(long)]
    campaign: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_, config) = arguments.config.load()?;
    let recipient = &*arguments.recipient;
    if let Some(source) = &arguments.source
        && config.pool(source).is_none()
    {
        return Err(Failure::Wrong(vec![format!("ringpost: there is no [[source]] or [[pool]] named `{source}`")]));
    }
    if let Some(tenant) = &arguments.tenant {
        egress::name(tenant).map_err(|why| Failure::Wrong(vec![format!("ringpost: --tenant {why}")]))?;
    }
    let about =
        if is_id(recipient) { About::message(&config, recipient)? } else { About::recipient(&config, recipient)? };
    let mut all = Vec::new();
    for domain in &about.domains {
        all.push(explain(&config, arguments, &about, domain)?);
    }
    // Nothing is suspended where no server runs.
    let suspensions = ask(&config, "/api/v1/queue/suspensions").unwrap_or_default();
    if arguments.json {
        let rest = json!({ "suspensions": suspensions["suspensions"], "requiretls": about.stopped.json() });
        say(&format!("{:#}\n", together(all.into_iter().map(|explained| explained.json), rest)));
        return Ok(());
    }
    let texts: Vec<String> = all.into_iter().map(|explained| explained.words).collect();
    say(&format!("{}{}", texts.join("\n"), about.stopped.words()));
    for line in table::of_suspensions(&suspensions) {
        say(&format!("\nsuspended now: {line}\n"));
    }
    Ok(())
}

/// IDs have no dot, and a domain of 16 hex digits without one is nobody's.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What is to be explained.
struct About {
    domains: Vec<String>,
    /// Of a message; what the arguments say counts more.
    source: Option<String>,
    tenant: Option<String>,
    campaign: Option<String>,
    stopped: required::Stopped,
}

impl About {
    fn recipient(config: &Config, recipient: &str) -> Result<About, Failure> {
        let domain = domain_of(recipient);
        if let Err(why) = Mailbox::parse(&format!("x@{domain}"), true) {
            let usage =
                "name a recipient's domain or address, such as gmail.com or jo@gmail.com, or the ID of a message";
            return Err(Failure::Wrong(vec![format!("ringpost: `{recipient}`: {why}: {usage}")]));
        }
        let target =
            format!("/api/v1/queue{}", client::query(&json!({ "domain": domain, "limit": required::LOOKED_MAX })));
        // Nothing is queued where no server runs.
        let page = ask(config, &target).unwrap_or_default();
        let queued = page["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let wanted = Some(recipient).filter(|recipient| recipient.contains('@'));
        let is_wanted = |address: &str| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(address));
        let stopped = required::Stopped::among(queued, |address| domain_of(address) == domain && is_wanted(address));
        Ok(About { domains: vec![domain], source: None, tenant: None, campaign: None, stopped })
    }

    fn message(config: &Config, id: &str) -> Result<About, Failure> {
        let message = ask(config, &format!("/api/v1/queue/{id}")).map_err(Failure::Failed)?;
        let recipients = message["recipients"].as_array().into_iter().flatten();
        let domains: BTreeSet<String> = recipients.filter_map(|one| one["address"].as_str().map(domain_of)).collect();
        let text = |key: &str| message[key].as_str().map(str::to_owned);
        let source = text("pool").filter(|name| config.pool(name).is_some());
        let (tenant, campaign) = (text("tenant"), text("campaign"));
        let stopped = required::Stopped::among(std::slice::from_ref(&message), |_| true);
        let domains = domains.into_iter().take(DOMAINS_MAX).collect();
        Ok(About { domains, source, tenant, campaign, stopped })
    }
}

/// Of an address, or itself.
pub(super) fn domain_of(recipient: &str) -> String {
    recipient.rsplit_once('@').map_or(recipient, |(_, domain)| domain).to_lowercase()
}

fn ask(config: &Config, target: &str) -> Result<Value, String> {
    client::request(&socket::path(&config.data_dir), Method::GET, target, None).map_err(|error| error.to_string())
}

/// What is said of one domain.
struct Explained {
    words: String,
    json: Value,
}

fn explain(config: &Config, arguments: &Arguments, about: &About, domain: &str) -> Result<Explained, Failure> {
    let party = Party {
        tenant: arguments.tenant.as_deref().or(about.tenant.as_deref()).unwrap_or_default(),
        campaign: arguments.campaign.as_deref().or(about.campaign.as_deref()).unwrap_or_default(),
    };
    let source = arguments.source.as_deref().or(about.source.as_deref());
    let site = resolve(config, domain).map_err(Failure::Failed)?.shaped(config, domain, party);
    let pool = config.pool_for(source, domain);
    let of_each: Vec<(&str, Vec<Effective>)> = pool
        .members
        .iter()
        .map(|member| (&*member.source.name, effective(config, &member.source.name, &site)))
        .collect();
    let present = present(config, &site);
    let asker = if arguments.source.is_some() { "--source" } else { "the message" };
    let chosen = Chosen::of(config, &pool, source.map(|source| (source, asker)), domain);
    let sources: Vec<&str> = of_each.iter().map(|(source, _)| *source).collect();
    let replies = replies(config, &site, (domain, party), &sources);
    let step = config.shaping.recovery_step;
    let words = in_words(domain, &site, &of_each, (&present, &chosen, &pool), step) + &replies_in_words(&replies);
    let mut json = in_json(domain, &site, &of_each, &present);
    json["pool"] = chosen.json();
    json["replies"] = replies.iter().map(Known::json).collect();
    Ok(Explained { words, json })
}

/// One domain as an object, several in `domains`; with what is said of all of them.
fn together(mut each: impl ExactSizeIterator<Item = Value>, rest: Value) -> Value {
    let mut all = match (each.len(), each.next()) {
        (1, Some(only)) => only,
        (_, first) => json!({ "domains": first.into_iter().chain(each).collect::<Vec<_>>() }),
    };
    if let (Some(all), Value::Object(rest)) = (all.as_object_mut(), rest) {
        all.extend(rest);
    }
    all
}

/// A rule of what replies mean, and who says so.
struct Known {
    rule: Box<str>,
    category: Option<Category>,
    signal: Option<PathSignal>,
    by: String,
}

impl Known {
    fn json(&self) -> Value {
        let signal = self.signal.map(PathSignal::name);
        json!({ "rule": self.rule, "category": self.category.map(Category::name), "signal": signal, "from": self.by })
    }
}

/// The rules for replies to mail for a domain, of a party, from any of `sources`, beside those for everybody: the first that
/// applies counts.
fn replies(config: &Config, site: &Site, (domain, party): (&str, Party<'_>), sources: &[&str]) -> Vec<Known> {
    let provider = site.shape.provider.as_deref();
    let part = |source| Part { provider, domain, source, party };
    let own = config.replies.all().filter(|reply| sources.iter().any(|source| reply.covers(&part(source))));
    let own = own.map(|reply| Known {
        rule: reply.pattern.id.clone(),
        category: reply.pattern.category,
        signal: reply.pattern.signal,
        by: format!("[[reply]] for {}", reply.scope),
    });
    let host = site.hosts.first().map_or("", |host| &*host.name);
    let by = || {
        provider.map_or("comes along for its hosts".to_owned(), |name| format!("comes along for [[provider]] {name}"))
    };
    let shipped =
        |(rule, category): (&str, _)| Known { rule: rule.into(), category: Some(category), signal: None, by: by() };
    own.chain(known_of(host, provider).map(shipped)).collect()
}

fn replies_in_words(replies: &[Known]) -> String {
    let mut text = String::from(if replies.is_empty() { "" } else { "\nreplies that mean something here\n" });
    for Known { rule, category, signal, by } in replies {
        let says = [
            category.map(|category| category.name().to_owned()),
            signal.map(|signal| format!("signal {}", signal.name())),
        ];
        let says: Vec<String> = says.into_iter().flatten().collect();
        _ = writeln!(text, "  {rule:<28}  {:<12}  {by}", says.join(", "));
    }
    text
}

/// What the running server knows of the paths from each source.
fn present(config: &Config, site: &Site) -> Present {
    let target = format!("/api/v1/paths{}", client::query(&json!({ "destination": site.group() })));
    Present::of(ask(config, &target))
}

/// Prints; a reader that has seen enough (`| head`) is no error.
pub(super) fn say(text: &str) {
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
        let answer = runtime.block_on(resolver::look_up(&resolver, &Question::Mx(asked.clone())));
        resolver::naming(&resolver::names_of(&config.dns_servers), answer)
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

fn in_words(
    domain: &str,
    site: &Site,
    of_each: &[(&str, Vec<Effective>)],
    (present, chosen, pool): (&Present, &Chosen, &Pool),
    step: Duration,
) -> String {
    let hosts: Vec<&str> = site.hosts.iter().map(|host| &*host.name).collect();
    let mut text = format!("{domain}: hosts {}; provider {}\n", hosts.join(" "), provider(site));
    text += &chosen.words();
    let group = site.group();
    for (name, all) in of_each {
        let now = present.at(name, &group).map(|path| now_in_words(path, step)).unwrap_or_default();
        let source = if name.is_empty() { "the host itself" } else { name };
        for limits in all {
            let place = (*name, &*limits.name);
            _ = writeln!(text, "\nfrom {source}, counted together: {}", limits.name);
            text += &line("connections_max", limits.connections_max.as_ref(), (present, place));
            text += &line("messages_per_connection_max", limits.messages_per_connection_max.as_ref(), (present, place));
            text += &line("connection_rate", limits.connection_rate.as_ref(), (present, place));
            text += &line("message_rate", limits.message_rate.as_ref(), (present, place));
            text += &line("idle_timeout", seconds(limits.idle_timeout.as_ref()).as_ref(), (present, place));
            // What is learned, and what rests, is of the whole.
            if *limits.name == *group {
                text += &now;
                text += &present.in_the_way(name, &group, domain);
                text += &present::warm_up_to_come(pool, name, present.now);
            }
        }
    }
    text + present.unknown()
}

/// What replies and a plan have made of the limits.
fn now_in_words(path: &Value, step: Duration) -> String {
    let mut text = String::new();
    for key in ["connections_max", "message_rate"] {
        match &path[key] {
            Value::Null => {}
            Value::String(value) => _ = writeln!(text, "  {:<28}  {value}", format!("now: {key}")),
            value => _ = writeln!(text, "  {:<28}  {value}", format!("now: {key}")),
        }
    }
    if let (Some(why), Some(since)) = (path["why"].as_str(), path["since"].as_str()) {
        _ = writeln!(text, "  since {since}, because: {why}");
    }
    for key in ["connections_max", "message_rate"].into_iter().filter(|key| !path[*key].is_null()) {
        let when = match path[format!("{key}_grows_at")].as_str() {
            Some(at) => format!("at {at} at the earliest, if at least half of it is used until then"),
            None => format!("once at least half of it is used for {} s", step.as_secs()),
        };
        _ = writeln!(text, "  {:<28}  {when}, and no reply says again that it is too much", format!("{key} grows"));
    }
    if let Some(until) = path["blocked_until"].as_str() {
        _ = writeln!(text, "  blocked until {until}; then one connection tries");
    }
    if let Some(plan) = path["warm_up"].as_object().filter(|plan| !plan.contains_key("begins")) {
        _ = writeln!(text, "  warm-up: {} of {} messages of today", plan["messages_today"], plan["messages_max"]);
    }
    text
}

/// A limit, who says so, and what is used of it now.
fn line<T: Display>(key: &str, said: Option<&Said<T>>, (present, place): (&Present, (&str, &str))) -> String {
    let value = said.map(|said| &said.value as &dyn Display);
    let now = present.beside(place, key, value);
    let now = if now.is_empty() { now } else { format!("; {now}") };
    match said {
        Some(Said { value, by }) => format!("  {key:<28}  {:<12}  {by}{now}\n", value.to_string()),
        None => format!("  {key:<28}  no limit{now}\n"),
    }
}

fn seconds(said: Option<&Said<Duration>>) -> Option<Said<String>> {
    said.map(|Said { value, by }| Said { value: format!("{}s", value.as_secs()), by: by.clone() })
}

fn in_json(domain: &str, site: &Site, of_each: &[(&str, Vec<Effective>)], present: &Present) -> Value {
    fn said<T: Display>(said: Option<&Said<T>>) -> Value {
        said.map_or(Value::Null, |said| json!({ "value": said.value.to_string(), "from": said.by }))
    }
    let limits = |source: &str, limits: &Effective| {
        json!({
            "now": present.at(source, &limits.name),
            "counted_together": limits.name,
            "connections_max": said(limits.connections_max.as_ref()),
            "messages_per_connection_max": said(limits.messages_per_connection_max.as_ref()),
            "connection_rate": said(limits.connection_rate.as_ref()),
            "message_rate": said(limits.message_rate.as_ref()),
            "idle_timeout": said(seconds(limits.idle_timeout.as_ref()).as_ref()),
        })
    };
    let sources: Vec<Value> = of_each
        .iter()
        .map(|(source, all)| {
            let limits: Vec<Value> = all.iter().map(|one| limits(source, one)).collect();
            json!({ "source": source, "limits": limits, "now": present.at(source, &site.group()) })
        })
        .collect();
    let hosts: Vec<&str> = site.hosts.iter().map(|host| &*host.name).collect();
    json!({
        "domain": domain, "hosts": hosts, "provider": site.shape.provider, "sources": sources, "present_known": present.is_known,
    })
}
