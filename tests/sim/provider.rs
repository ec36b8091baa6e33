//! A large provider: it takes so many connections and messages a second from one address, and says so as the large ones do.
//! It counts what comes, taken or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringpost::smtp::reply;
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Step};
use shards::net::Stream;
use shards::{Instant, Reactor};

use crate::destination::settings;

const PATIENCE: Duration = Duration::from_secs(300);
const TOO_MANY: &[u8] = b"421 4.7.0 Too many concurrent connections from your address, try again later\r\n";

/// What a provider allows each address, and what it has seen.
pub struct Provider {
    /// Messages a second.
    pub rate: f64,
    /// Messages that it takes at once after a pause.
    pub saved_max: f64,
    /// Connections at a time.
    pub connections_max: usize,
    /// It wants nothing at all of this address.
    pub blocks: Option<IpAddr>,
    saved: BTreeMap<IpAddr, (f64, Instant)>,
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
    pub fn new(rate: f64, saved_max: f64, connections_max: usize) -> Shared {
        Rc::new(RefCell::new(Provider {
            rate,
            saved_max,
            connections_max,
            blocks: None,
            saved: BTreeMap::new(),
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

    fn mood(&mut self, client: IpAddr, now: Instant) -> Answer {
        self.asked.push((client, now));
        if self.blocks == Some(client) {
            let text = format!("Service unavailable; client host [{client}] blocked using bl.test");
            return Answer::Refuse(reply::codes(554, 5, 7, 1).say(text));
        }
        let (rate, max) = (self.rate, self.saved_max);
        let (saved, at) = self.saved.entry(client).or_insert((max, now));
        *saved = (*saved + rate * now.since(*at).as_secs_f64()).min(max);
        *at = now;
        if *saved < 1.0 {
            let reply = match self.asked.len() % 3 {
                0 => reply::codes(421, 4, 7, 28)
                    .say("An unusual rate of unsolicited mail: your address is temporarily rate limited"),
                1 => reply::codes(450, 4, 7, 1).say("Message rate limit exceeded, slow down"),
                _ => reply::codes(451, 4, 7, 1).say("Too many messages from your address, try again later"),
            };
            return Answer::Refuse(reply);
        }
        *saved -= 1.0;
        Answer::Accept
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
    let mut session = Session::new(settings("mx.provider.test"), false);
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
                let answer = provider.borrow_mut().mood(client, reactor.now());
                session.answer(answer);
            }
            Step::Ask(Question::Message(envelope, _)) => {
                let recipient = envelope.recipients[0].path.as_str().to_owned();
                provider.borrow_mut().taken.push((recipient, reactor.now()));
                session.accepted(&Taken);
            }
            Step::Ask(_) => session.answer(Answer::Accept),
            Step::Close => return,
            Step::StartTls => unreachable!("STARTTLS is not offered"),
        }
    }
}
