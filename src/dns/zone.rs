//! DNS as the rules of [`crate::preflight`] ask it: records of a kind, as text.

use std::net::IpAddr;

use super::{Answer, Cache, Question};
use crate::preflight::{Kind, Zone};

/// Octets of a name (RFC 1035 §2.3.4, written with dots).
const NAME_BYTES_MAX: usize = 253;

impl Zone for Cache {
    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<String>, String> {
        match question(name, kind) {
            Some(question) => {
                let answer = Cache::ask(self, question).await;
                records(kind, &answer)
            }
            None => Ok(Vec::new()),
        }
    }
}

/// The question for records of `name`. `None`: no zone has such a name.
pub fn question(name: &str, kind: Kind) -> Option<Question> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase().into();
    Some(match kind {
        Kind::A => Question::Ipv4(name),
        Kind::Aaaa => Question::Ipv6(name),
        Kind::Mx => Question::Mx(name),
        Kind::Ptr => Question::Names(name),
        Kind::Txt => Question::Texts(name),
    })
}

/// What an answer to such a question says.
///
/// # Errors
/// There was none; why, for people.
pub fn records(kind: Kind, answer: &Answer) -> Result<Vec<String>, String> {
    let is_wanted = |address: &IpAddr| address.is_ipv4() == (kind == Kind::A);
    match answer {
        Answer::Addresses(found, _) => {
            Ok(found.iter().filter(|address| is_wanted(address)).map(IpAddr::to_string).collect())
        }
        Answer::Mx(hosts, _) => Ok(hosts.iter().map(|(_, host)| host.to_string()).collect()),
        Answer::Texts(texts, _) => Ok(texts.iter().map(|text| text.to_string()).collect()),
        Answer::Trouble(why) => Err(why.to_string()),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn a_question_has_its_kind_and_a_name_that_can_be() {
        assert_eq!(question("A.test", Kind::Txt), Some(Question::Texts("a.test".into())));
        assert_eq!(
            question("7.2.0.192.in-addr.arpa", Kind::Ptr),
            Some(Question::Names("7.2.0.192.in-addr.arpa".into()))
        );
        assert_eq!(question("", Kind::A), None);
        assert_eq!(question(&"a".repeat(NAME_BYTES_MAX + 1), Kind::A), None);
    }

    #[test]
    fn absence_is_an_answer_and_trouble_is_none() {
        let both = Answer::Addresses(vec![[192, 0, 2, 1].into(), "2001:db8::1".parse().expect("an address")], TTL);
        assert_eq!(records(Kind::A, &both), Ok(vec!["192.0.2.1".into()]));
        assert_eq!(records(Kind::Aaaa, &both), Ok(vec!["2001:db8::1".into()]));
        let texts = Answer::Texts(vec!["v=spf1 -all".into()], TTL);
        assert_eq!(records(Kind::Txt, &texts), Ok(vec!["v=spf1 -all".into()]));
        for nothing in [Answer::NoData(TTL), Answer::NoSuchName(TTL)] {
            assert_eq!(records(Kind::Txt, &nothing), Ok(Vec::new()));
        }
        assert_eq!(records(Kind::Txt, &Answer::Trouble("SERVFAIL".into())), Err("SERVFAIL".into()));
    }
}
