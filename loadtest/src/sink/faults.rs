//! Which fault happens now: the script's rules with their counts and their luck.

use std::time::Duration;

use super::script::{Action, At, Fault, Script, When};

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
        let rules = script.faults.iter().cloned().map(|fault| Rule { fault, occasions: 0, happened: 0 });
        Self { rules: rules.collect(), random: fastrand::Rng::with_seed(script.seed.wrapping_add(number as u64)) }
    }

    /// What happens `at` this point, with these recipients. Delays add up; the first action in the script's order wins.
    pub(super) fn choose<'a>(&mut self, at: At, recipients: impl Iterator<Item = &'a str> + Clone) -> Event {
        let mut event = Event::default();
        for rule in self.rules.iter_mut().filter(|rule| rule.fault.at == at) {
            let fault = &rule.fault;
            let meant = |pattern: &super::script::Pattern| recipients.clone().any(|text| pattern.matches(text));
            if fault.recipient.as_ref().is_some_and(|pattern| !meant(pattern)) {
                continue;
            }
            rule.occasions += 1;
            let lucky = match fault.when {
                When::Always => true,
                When::Share(share) => self.random.f64() < share,
                When::Every(every) => rule.occasions % every == 0,
            };
            if !lucky || fault.times.is_some_and(|times| rule.happened >= times) {
                continue;
            }
            rule.happened += 1;
            event.delay += fault.delay;
            if fault.action.is_some() {
                event.action.clone_from(&fault.action);
                event.accept = fault.accept;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::script::Pattern;

    fn fault(when: When, action: Option<Action>) -> Fault {
        Fault { at: At::Rcpt, recipient: None, when, times: None, delay: Duration::ZERO, action, accept: false }
    }

    fn play(faults: Vec<Fault>, occasions: usize) -> Vec<Event> {
        let mut faults = Faults::new(&Script { seed: 1, faults }, 0);
        (0..occasions).map(|_| faults.choose(At::Rcpt, ["a@b.test"].into_iter())).collect()
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
        let delay = Fault { delay: second, ..fault(When::Always, None) };
        let rules = vec![
            delay.clone(),
            Fault { delay: second, ..fault(When::Always, Some(Action::Reset)) },
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
        let mut faults = Faults::new(&Script { seed: 1, faults: vec![rule(None)] }, 0);
        assert_eq!(faults.choose(At::Mail, std::iter::empty()), Event::default());
    }
}
