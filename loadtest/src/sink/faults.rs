//! Which fault happens now: the script's rules with their counts and their luck.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use ringpost::smtp::envelope::Recipient;
use shards::Instant;

use super::script::{Action, At, Fault, Script, When};

/// Triplets that a greylist remembers; when there are more, all are strangers again.
const GREYLIST_MAX: usize = 1_000_000;

/// One shard's faults.
pub(super) struct Faults {
    rules: Vec<Rule>,
    random: fastrand::Rng,
}

struct Rule {
    fault: Fault,
    occasions: u64,
    /// How often it happened.
    happened: u64,
    /// When the present stretch of time began, and its occasions.
    stretch: (Instant, u64),
    /// When each triplet was seen first.
    seen: HashMap<u64, Instant>,
}

/// A point of a conversation.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) at: At,
    pub(super) now: Instant,
    pub(super) client: IpAddr,
    /// The reverse-path, where there is one.
    pub(super) sender: &'a str,
    pub(super) recipients: &'a [Recipient],
    /// Connections that the sink has now.
    pub(super) connections: u64,
    /// Messages that this connection has brought.
    pub(super) messages: u32,
}

/// What happens at one occasion.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Event {
    /// First, this passes.
    pub(super) delay: Duration,
    /// Then this instead of the normal reply, if anything.
    pub(super) action: Option<Action>,
    /// The message is received all the same.
    pub(super) accept: bool,
}

impl Faults {
    /// The script's faults on shard `number`, which has its own luck.
    pub(super) fn new(script: &Script, number: usize) -> Self {
        let rules = script.faults.iter().cloned().map(|fault| Rule {
            fault,
            occasions: 0,
            happened: 0,
            stretch: (Instant::default(), 0),
            seen: HashMap::new(),
        });
        Self { rules: rules.collect(), random: fastrand::Rng::with_seed(script.seed.wrapping_add(number as u64)) }
    }

    /// Whether nothing can ever happen.
    pub(super) fn are_none(&self) -> bool {
        self.rules.is_empty()
    }

    /// What happens at an occasion. Delays add up; the first action in the script's order wins.
    pub(super) fn choose(&mut self, occasion: &Occasion) -> Event {
        let mut event = Event::default();
        for rule in &mut self.rules {
            if !rule.is_meant(occasion) {
                continue;
            }
            rule.occasions += 1;
            let lucky = rule.is_lucky(occasion, &mut self.random);
            if !lucky || rule.fault.times.is_some_and(|times| rule.happened >= times) {
                continue;
            }
            rule.happened += 1;
            let (least, most) = rule.fault.delay;
            event.delay += least + (most - least).mul_f64(self.random.f64());
            if rule.fault.action.is_some() {
                event.action.clone_from(&rule.fault.action);
                event.accept = rule.fault.accept;
                break;
            }
        }
        event
    }

    /// How often each rule happened, in the script's order.
    pub(super) fn happened(&self) -> Vec<u64> {
        self.rules.iter().map(|rule| rule.happened).collect()
    }
}

impl Rule {
    fn is_meant(&self, occasion: &Occasion) -> bool {
        let fault = &self.fault;
        let any = matches!(occasion.at, At::Ehlo | At::Mail | At::Rcpt | At::Data | At::Dot);
        let here = fault.at == occasion.at || fault.at == At::Any && any;
        let recipient = fault.recipient.as_ref();
        let them = || occasion.recipients.iter().map(|recipient| recipient.path.as_str());
        here && recipient.is_none_or(|pattern| them().any(|text| pattern.matches(text)))
            && fault.connections_over.is_none_or(|most| occasion.connections > most)
            && fault.messages_over.is_none_or(|most| occasion.messages >= most)
    }

    fn is_lucky(&mut self, occasion: &Occasion, random: &mut fastrand::Rng) -> bool {
        match self.fault.when {
            When::Always => true,
            When::Share(share) => random.f64() < share,
            When::Every(every) => self.occasions.is_multiple_of(every),
            When::Over(most, within) => {
                if self.stretch.1 == 0 || occasion.now.since(self.stretch.0) >= within {
                    self.stretch = (occasion.now, 0);
                }
                self.stretch.1 += 1;
                self.stretch.1 > most
            }
            When::Greylist(time) => {
                if self.seen.len() >= GREYLIST_MAX {
                    self.seen.clear();
                }
                let first = *self.seen.entry(triplet(occasion)).or_insert(occasion.now);
                occasion.now.since(first) < time
            }
        }
    }
}

/// A client, a sender and a recipient, as one number.
fn triplet(occasion: &Occasion) -> u64 {
    let mut hasher = DefaultHasher::new();
    (occasion.client, occasion.sender).hash(&mut hasher);
    occasion.recipients.iter().for_each(|recipient| recipient.path.as_str().hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::script::Pattern;
    use ringpost::smtp::envelope::Notify;
    use ringpost::smtp::path::Mailbox;

    const NONE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

    fn fault(when: When, action: Option<Action>) -> Fault {
        let (recipient, times, connections_over, messages_over) = (None, None, None, None);
        Fault {
            at: At::Rcpt,
            recipient,
            when,
            connections_over,
            messages_over,
            times,
            delay: NONE,
            action,
            accept: false,
        }
    }

    fn recipient() -> Recipient {
        let path = Mailbox::parse("a@b.test", false).expect("a good mailbox");
        Recipient { path, notify: Notify::default(), orcpt: None }
    }

    fn occasion(recipients: &[Recipient]) -> Occasion<'_> {
        let client = IpAddr::from([127, 0, 0, 1]);
        Occasion { at: At::Rcpt, now: Instant::default(), client, sender: "s", recipients, connections: 3, messages: 2 }
    }

    fn of(faults: Vec<Fault>) -> Faults {
        Faults::new(&Script { seed: 1, faults, ..Script::default() }, 0)
    }

    fn play(faults: Vec<Fault>, occasions: usize) -> Vec<Event> {
        let mut faults = of(faults);
        (0..occasions).map(|_| faults.choose(&occasion(&[recipient()]))).collect()
    }

    fn count(events: &[Event]) -> usize {
        events.iter().filter(|event| event.action.is_some()).count()
    }

    #[test]
    fn every_nth_a_share_and_a_number_of_times() {
        let every = play(vec![fault(When::Every(3), Some(Action::Drop))], 9);
        let hits: Vec<bool> = every.iter().map(|event| event.action.is_some()).collect();
        assert_eq!(hits, [false, false, true, false, false, true, false, false, true]);
        let share = count(&play(vec![fault(When::Share(0.3), Some(Action::Drop))], 10_000));
        assert!((2_800..3_200).contains(&share), "{share}");
        let twice = Fault { times: Some(2), ..fault(When::Always, Some(Action::Drop)) };
        assert_eq!(count(&play(vec![twice], 5)), 2);
    }

    #[test]
    fn delays_add_up_and_the_first_action_wins() {
        let second = Duration::from_secs(1);
        let delay = Fault { delay: (second, second), ..fault(When::Always, None) };
        let rules = vec![
            delay.clone(),
            Fault { delay: (second, second), ..fault(When::Always, Some(Action::Reset)) },
            delay,
            fault(When::Always, Some(Action::Drop)),
        ];
        assert_eq!(play(rules, 1), [Event { delay: second * 2, action: Some(Action::Reset), accept: false }]);
    }

    #[test]
    fn only_the_place_and_the_recipient_that_are_meant() {
        let pattern = |text: &str| Some(Pattern(text.into()));
        let rule = |recipient| Fault { recipient, ..fault(When::Always, Some(Action::Drop)) };
        assert_eq!(count(&play(vec![rule(pattern("a@*"))], 1)), 1);
        assert_eq!(count(&play(vec![rule(pattern("b@*"))], 1)), 0);
        let mail = Occasion { at: At::Mail, ..occasion(&[]) };
        assert_eq!(of(vec![rule(None)]).choose(&mail), Event::default());
        let crowded = |most| Fault { connections_over: Some(most), ..rule(None) };
        assert_eq!((count(&play(vec![crowded(2)], 1)), count(&play(vec![crowded(3)], 1))), (1, 0));
        let tired = |most| Fault { messages_over: Some(most), ..rule(None) };
        assert_eq!((count(&play(vec![tired(2)], 1)), count(&play(vec![tired(3)], 1))), (1, 0));
    }

    #[test]
    fn a_rate_is_counted_in_stretches_of_time() {
        let second = Duration::from_secs(1);
        let mut faults = of(vec![fault(When::Over(2, second), Some(Action::Drop))]);
        let mut at = |now: Instant| faults.choose(&Occasion { now, ..occasion(&[]) }).action.is_some();
        let start = Instant::from_nanos(5);
        assert_eq!([at(start), at(start), at(start + second / 2)], [false, false, true]);
        assert_eq!([at(start + second), at(start + second)], [false, false]);
    }

    #[test]
    fn a_greylist_lets_in_who_comes_again_later() {
        let wait = Duration::from_secs(30);
        let mut faults = of(vec![fault(When::Greylist(wait), Some(Action::Drop))]);
        let recipients = [recipient()];
        let mut come = |sender: &str, now: Instant| {
            faults.choose(&Occasion { now, sender, ..occasion(&recipients) }).action.is_some()
        };
        let start = Instant::from_nanos(5);
        assert!(come("a", start) && come("a", start + wait / 2) && come("b", start + wait));
        assert!(!come("a", start + wait) && !come("a", start + wait * 9));
    }

    #[test]
    fn any_reply_may_be_late_by_some_time() {
        let (least, most) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut faults = of(vec![Fault { at: At::Any, delay: (least, most), ..fault(When::Always, None) }]);
        let delays: Vec<_> = (0..100).map(|_| faults.choose(&occasion(&[])).delay).collect();
        assert!(delays.iter().all(|delay| (least..=most).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(200)));
        assert_eq!(faults.choose(&Occasion { at: At::Connect, ..occasion(&[]) }).delay, Duration::ZERO);
    }
}
