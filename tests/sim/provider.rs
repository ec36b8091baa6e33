//! A large provider: it takes so many connections and messages from one address, and says so as the large ones do. It counts
//! what comes, taken or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::reply::{self, Reply};
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};
use shards::net::Stream;
use shards::{Instant, Reactor};

use crate::destination::settings;

const PATIENCE: Duration = Duration::from_secs(300);
/// How long what came is held against an address, if it is.
const MEMORY_S: f64 = 600.0;
const HOUR_S: f64 = 3600.0;
const TOO_MANY: &[u8] = b"421 4.7.0 Too many concurrent connections from your address, try again later\r\n";

/// How much a provider takes from one address.
#[derive(Clone, Copy, Debug)]
pub enum Allows {
    /// So many messages a second, and so many at once after a pause.
    Evenly { rate: f64, saved_max: f64 },
    /// So many in each hour by the clock; then none until it ends.
    Hourly(f64),
    /// So many a second for long: the more came lately beyond that, the more are put off.
    WhileTrusted(f64),
}

impl Allows {
    /// Messages a second, over hours.
    pub fn rate(self) -> f64 {
        match self {
            Allows::Evenly { rate, .. } | Allows::WhileTrusted(rate) => rate,
            Allows::Hourly(messages) => messages / HOUR_S,
        }
    }
}

/// What a provider allows each address, and what it has seen.
pub struct Provider {
    /// Messages.
    pub allows: Allows,
    /// Connections at a time.
    pub connections_max: usize,
    /// Messages on one connection.
    pub messages_per_connection_max: usize,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// How long it looks at each message before it takes it.
    pub looks_for: Duration,
    /// It wants nothing at all of this address.
    pub blocks: Option<IpAddr>,
    /// What is saved, was taken in the hour, or is held against each address; and when that was so.
    counted: BTreeMap<IpAddr, (f64, Instant)>,
    open: BTreeMap<IpAddr, usize>,
    /// How often the clients have died: what they left behind counts no more.
    deaths: u32,
    /// The most connections from one address at a time.
    pub open_most: usize,
    /// When each connection came, and from where.
    pub opened: Times,
    /// When each MAIL came, and from where.
    pub asked: Times,
    /// When each message was taken, and for whom.
    pub taken: Vec<(String, Instant)>,
}

/// Who came, and when.
pub type Times = Vec<(IpAddr, Instant)>;

/// As the tasks of a simulation share it.
pub type Shared = Rc<RefCell<Provider>>;

impl Provider {
    /// One that takes so many messages a second, and so many at once after a pause.
    pub fn new(rate: f64, saved_max: f64, connections_max: usize) -> Shared {
        Provider::that(Allows::Evenly { rate, saved_max }, connections_max)
    }

    /// One that allows that, and any number on a connection and to any number of recipients.
    pub fn that(allows: Allows, connections_max: usize) -> Shared {
        Rc::new(RefCell::new(Provider {
            allows,
            connections_max,
            messages_per_connection_max: usize::MAX,
            recipients_max: usize::MAX,
            looks_for: Duration::ZERO,
            blocks: None,
            counted: BTreeMap::new(),
            open: BTreeMap::new(),
            deaths: 0,
            open_most: 0,
            opened: Vec::new(),
            asked: Vec::new(),
            taken: Vec::new(),
        }))
    }

    /// The clients have died, and all their connections with them.
    pub fn died(&mut self) {
        self.deaths += 1;
        self.open.clear();
    }

    /// Messages a second that it takes of whoever keeps within all that it allows.
    pub fn rate(&self) -> f64 {
        let by_connections = self.connections_max as f64 / self.looks_for.as_secs_f64();
        self.allows.rate().min(by_connections)
    }

    /// The answer to the MAIL that is the `number`th on its connection; `chance` is between 0 and 1.
    fn mood(&mut self, client: IpAddr, number: usize, chance: f64, now: Instant) -> Answer {
        self.asked.push((client, now));
        if self.blocks == Some(client) {
            let text = format!("Service unavailable; client host [{client}] blocked using bl.test");
            return Answer::Refuse(reply::codes(554, 5, 7, 1).say(text));
        }
        if number > self.messages_per_connection_max {
            return Answer::Refuse(reply::codes(421, 4, 7, 0).say("Too many messages on this connection, closing it"));
        }
        match self.is_within(client, chance, now) {
            true => Answer::Accept,
            false => Answer::Refuse(self.too_much()),
        }
    }

    /// Whether one more message from that address is within what is allowed, which then counts.
    fn is_within(&mut self, client: IpAddr, chance: f64, now: Instant) -> bool {
        let before = if let Allows::Evenly { saved_max, .. } = self.allows { saved_max } else { 0.0 };
        let (counted, at) = self.counted.entry(client).or_insert((before, now));
        let passed_s = now.since(*at).as_secs_f64();
        let hour = |at: Instant| (at.since(Instant::default()).as_secs_f64() / HOUR_S) as u64;
        let is_new_hour = hour(now) != hour(*at);
        *at = now;
        match self.allows {
            Allows::Evenly { rate, saved_max } => {
                *counted = (*counted + rate * passed_s).min(saved_max);
                let is_within = *counted >= 1.0;
                *counted -= f64::from(is_within);
                is_within
            }
            Allows::Hourly(messages) => {
                *counted = if is_new_hour { 0.0 } else { *counted };
                let is_within = *counted < messages;
                *counted += f64::from(is_within);
                is_within
            }
            Allows::WhileTrusted(rate) => {
                *counted = *counted * (-passed_s / MEMORY_S).exp() + 1.0;
                let beyond = *counted / (rate * MEMORY_S) - 1.0;
                chance >= 2.0 * beyond
            }
        }
    }

    fn too_much(&self) -> Reply {
        let reply = |code, detail, text: &str| reply::codes(code, 4, 7, detail).say(text);
        match (self.allows, self.asked.len() % 3) {
            (Allows::WhileTrusted(_), _) => reply(
                421,
                0,
                "Our system has detected that this message is suspicious due to the very low reputation of the sending IP",
            ),
            (_, 0) => reply(421, 28, "An unusual rate of unsolicited mail: your address is temporarily rate limited"),
            (Allows::Hourly(_), _) => reply(450, 28, "You have sent too many messages this hour, try again later"),
            (_, 1) => reply(450, 1, "Message rate limit exceeded, slow down"),
            _ => reply(451, 1, "Too many messages from your address, try again later"),
        }
    }
}

/// The most from one address in any stretch of that length.
pub fn most(times: &Times, stretch: Duration) -> usize {
    let mut by_address: BTreeMap<IpAddr, Vec<Instant>> = BTreeMap::new();
    times.iter().for_each(|(client, at)| by_address.entry(*client).or_default().push(*at));
    let most = |times: &Vec<Instant>| {
        let from = |(first, begin): (usize, &Instant)| times[first..].partition_point(|at| at.since(*begin) < stretch);
        times.iter().enumerate().map(from).max().unwrap_or_default()
    };
    by_address.values().map(most).max().unwrap_or_default()
}

struct Taken;

impl Acceptance for Taken {
    fn text(&self) -> String {
        "taken".to_owned()
    }
}

/// A place among the connections of an address.
struct Place {
    provider: Shared,
    client: IpAddr,
    deaths: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &mut *self.provider.borrow_mut();
        if state.deaths == self.deaths
            && let Some(open) = state.open.get_mut(&self.client)
        {
            *open -= 1;
        }
    }
}

/// Serves on `address` until its node ends.
pub async fn serve(provider: Shared, reactor: Reactor, address: SocketAddr) {
    let listener = reactor.listen(address).expect("every provider has its own address");
    while let Ok(stream) = listener.accept().await {
        reactor.spawn(visit(provider.clone(), reactor.clone(), stream)).detach();
    }
}

async fn visit(provider: Shared, reactor: Reactor, mut stream: Stream) {
    let client = stream.peer().ip();
    let (is_too_many, deaths) = {
        let state = &mut *provider.borrow_mut();
        state.opened.push((client, reactor.now()));
        let open = state.open.entry(client).or_default();
        *open += 1;
        state.open_most = state.open_most.max(*open);
        (*open > state.connections_max, state.deaths)
    };
    let _place = Place { provider: provider.clone(), client, deaths };
    if is_too_many {
        // Whoever is turned away may be gone already.
        let _ = stream.send(&mut TOO_MANY.to_vec(), PATIENCE).await;
        return;
    }
    // What it allows it does not offer, but says when it is too much.
    let settings = Settings { messages_max: 0, ..(*settings("mx.provider.test")).clone() };
    let mut session = Session::new(Arc::new(settings), false);
    let (mut messages, mut recipients) = (0, 0);
    loop {
        match session.next() {
            Step::Send => {
                if stream.send(session.output(), PATIENCE).await.is_err() {
                    return;
                }
            }
            Step::Read(_) => match stream.receive(PATIENCE).await {
                Ok(chunk) => session.receive(&chunk),
                Err(_) => return,
            },
            Step::Ask(Question::Sender(_)) => {
                (messages, recipients) = (messages + 1, 0);
                let chance = (reactor.random() >> 11) as f64 / (1u64 << 53) as f64;
                let answer = provider.borrow_mut().mood(client, messages, chance, reactor.now());
                session.answer(answer);
            }
            Step::Ask(Question::Message(envelope, _)) => {
                let looks_for = provider.borrow().looks_for;
                reactor.sleep(looks_for).await;
                let recipients = envelope.recipients.iter().map(|to| (to.path.as_str().to_owned(), reactor.now()));
                provider.borrow_mut().taken.extend(recipients);
                session.accepted(&Taken);
            }
            Step::Ask(Question::Recipient(_)) => {
                recipients += 1;
                session.answer(match recipients > provider.borrow().recipients_max {
                    true => Answer::Refuse(reply::codes(452, 4, 5, 3).say("Too many recipients")),
                    false => Answer::Accept,
                });
            }
            Step::Ask(_) => session.answer(Answer::Accept),
            Step::Close => return,
            Step::StartTls => unreachable!("STARTTLS is not offered"),
        }
    }
}
