//! A message's row: all that the queue knows of it but its content. It lives in the index, and in memory while it has
//! changes that the index has not yet.

use shards::Timestamp;
use shards::journal::{Extent, Position};

use super::{MessageId, lane};
use crate::message::Origin;
use crate::smtp::envelope::{Recipient, Sender};
use crate::spool::Client;
use crate::spool::encode::{self, Corrupt, Reader, put_bytes, put_number, put_optional};
use crate::spool::record::{Accepted, RECIPIENTS_MAX, Standing, State, Tagged};

/// The format of rows that this program writes. It still reads version 1, which had no tagged values, and version 2, which
/// had them at its end.
pub(super) const VERSION: u8 = 3;

/// A recipient's flags: [`Entry::noted`].
const NOTED: u8 = 1;
/// [`Entry::delay_told`].
const DELAY_TOLD: u8 = 1 << 1;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was accepted.
    pub arrival: Timestamp,
    /// MAIL.
    pub sender: Sender,
    /// Who submitted it.
    pub account: Option<Box<str>>,
    /// The submitting client.
    pub client: Option<Client>,
    /// What screening found, and before when it is not tried.
    pub tagged: Tagged,
    /// Octets of content that it had when it was accepted.
    pub content_bytes: u32,
    /// What is left of the content.
    pub content: Content,
    /// RCPTs and what became of them.
    pub recipients: Vec<Entry>,
}

/// A message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it, in the journal.
    Kept(Extent),
    /// Its header (perhaps cut) alone; the rest is gone from the disk or about to be.
    Removed(Box<[u8]>),
}

/// A recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// RCPT.
    pub recipient: Recipient,
    /// How it stands.
    pub standing: Standing,
    /// A note says that its content was sent to the end, and nothing yet says how that went.
    pub noted: bool,
    /// Its delay was told to the sender, which happens once.
    pub delay_told: bool,
}

impl Row {
    /// The row of a message that was just accepted, its content being in the frame at `position`.
    pub fn accepted(mut accepted: Accepted, position: Position) -> Row {
        let due_s = seconds(begin(accepted.arrival, &accepted.tagged));
        // From here on each recipient has its own.
        let noted = std::mem::take(&mut accepted.tagged.noted);
        let entry = |recipient| Entry { recipient, standing: Standing::fresh(due_s), noted, delay_told: false };
        Row {
            arrival: accepted.arrival,
            sender: accepted.envelope.sender,
            account: accepted.account,
            client: accepted.client,
            tagged: accepted.tagged,
            content_bytes: accepted.len,
            content: Content::Kept(Extent { position, skip: accepted.skip, len: accepted.len }),
            recipients: accepted.envelope.recipients.into_iter().map(entry).collect(),
        }
    }

    /// When it is due first, and its age begins to count: its arrival, or the later time that it is scheduled for.
    pub fn begin(&self) -> Timestamp {
        begin(self.arrival, &self.tagged)
    }

    /// Whether a recipient in that state waits for the time that the message is scheduled for.
    pub fn waits_for_its_time(&self, state: State, now: Timestamp) -> bool {
        let scheduled_s = self.tagged.scheduled.filter(|time| *time > now).map(seconds);
        matches!(state, State::Due { at_s } if scheduled_s == Some(at_s))
    }

    /// The lane in which recipient `address` is queued.
    pub fn lane_of<'a>(&self, address: &'a str) -> std::borrow::Cow<'a, str> {
        lane::name(domain_of(address), &self.tagged.origin)
    }

    /// When its last recipient ended, in seconds since the epoch; `None` while one is queued.
    pub fn ended_s(&self) -> Option<u32> {
        self.recipients.iter().try_fold(0, |last, entry| Some(entry.standing.state.ended_s()?.max(last)))
    }

    /// About how many bytes it occupies in memory.
    pub fn weight(&self) -> usize {
        let entry = |entry: &Entry| {
            let said = entry.standing.last.as_ref().map_or(0, |said| said.text.len() + 64);
            size_of::<Entry>() + entry.recipient.path.as_str().len() + said
        };
        let header = if let Content::Removed(header) = &self.content { header.len() } else { 0 };
        let screening = self.tagged.screening.as_ref().map_or(0, |screening| screening.len());
        let preflight = self.tagged.preflight.as_ref().map_or(0, |preflight| preflight.len());
        let message_id = self.tagged.message_id.as_ref().map_or(0, |message_id| message_id.len());
        let texts = header + screening + preflight + message_id;
        size_of::<Row>() + 128 + texts + self.recipients.iter().map(entry).sum::<usize>()
    }

    /// Its bytes in the index.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + 64 * self.recipients.len());
        out.push(VERSION);
        put_number(&mut out, self.arrival.as_millis());
        self.tagged.put(&mut out);
        encode::put_sender(&mut out, &self.sender);
        put_number(&mut out, self.recipients.len() as u64);
        for entry in &self.recipients {
            encode::put_recipient(&mut out, &entry.recipient);
            encode::put_standing(&mut out, &entry.standing);
            out.push((u8::from(entry.noted) * NOTED) | (u8::from(entry.delay_told) * DELAY_TOLD));
        }
        put_optional(&mut out, self.account.as_deref());
        encode::put_client(&mut out, self.client.as_ref());
        put_number(&mut out, u64::from(self.content_bytes));
        match &self.content {
            Content::Kept(extent) => {
                out.push(1);
                put_extent(&mut out, extent);
            }
            Content::Removed(header) => {
                out.push(0);
                put_bytes(&mut out, header);
            }
        }
        out
    }

    /// Reads what [`Row::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Row, Corrupt> {
        let (version, mut reader) = open(bytes)?;
        let arrival = Timestamp::from_millis(reader.number()?);
        let tagged = if version < 3 { Tagged::default() } else { Tagged::read(&mut reader)? };
        let sender = encode::sender(&mut reader)?;
        let recipients = (0..recipient_count(&mut reader)?).map(|_| entry(&mut reader)).collect::<Result<_, _>>()?;
        let row = Row {
            arrival,
            sender,
            recipients,
            account: reader.optional()?.map(Into::into),
            client: encode::client(&mut reader)?,
            content_bytes: reader.number_u32()?,
            content: match reader.byte()? {
                1 => Content::Kept(extent(&mut reader)?),
                0 => Content::Removed(reader.bytes()?.into()),
                _ => return Err(Corrupt("a content is neither kept nor removed")),
            },
            // Version 2 knew no origins, and [`visit`] does not read so far.
            tagged: if version == 2 {
                Tagged { origin: Origin::default(), ..Tagged::read(&mut reader)? }
            } else {
                tagged
            },
        };
        reader.end()?;
        Ok(row)
    }
}

fn begin(arrival: Timestamp, tagged: &Tagged) -> Timestamp {
    tagged.scheduled.map_or(arrival, |time| time.max(arrival))
}

/// What start-up needs of a queued row, read without making much: when the message arrived; `visit` is told each
/// recipient's lane, state, and whether it is noted.
pub fn visit(bytes: &[u8], visit: &mut dyn FnMut(&str, State, bool)) -> Result<Timestamp, Corrupt> {
    let (version, mut reader) = open(bytes)?;
    let arrival = Timestamp::from_millis(reader.number()?);
    // Earlier versions knew no origins.
    let origin = if version < 3 { Origin::default() } else { Tagged::read(&mut reader)?.origin };
    encode::skip_sender(&mut reader)?;
    for _ in 0..recipient_count(&mut reader)? {
        let address = encode::skip_recipient(&mut reader)?;
        let state = encode::skip_standing(&mut reader)?;
        visit(&lane::name(domain_of(address), &origin), state, reader.byte()? & NOTED != 0);
    }
    Ok(arrival)
}

/// A row's version, and the rest of it.
fn open(bytes: &[u8]) -> Result<(u8, Reader<'_>), Corrupt> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        version @ 1..=VERSION => Ok((version, reader)),
        _ => Err(Corrupt("a row of another version")),
    }
}

fn recipient_count(reader: &mut Reader<'_>) -> Result<usize, Corrupt> {
    let count = reader.count()?;
    if count > RECIPIENTS_MAX { Err(Corrupt("a message has too many recipients")) } else { Ok(count) }
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, Corrupt> {
    let (recipient, standing, flags) = (encode::recipient(reader)?, encode::standing(reader)?, reader.byte()?);
    Ok(Entry { recipient, standing, noted: flags & NOTED != 0, delay_told: flags & DELAY_TOLD != 0 })
}

fn put_extent(out: &mut Vec<u8>, extent: &Extent) {
    for number in [extent.position.segment, extent.position.offset, extent.skip, extent.len] {
        put_number(out, u64::from(number));
    }
}

fn extent(reader: &mut Reader<'_>) -> Result<Extent, Corrupt> {
    let position = Position { segment: reader.number_u32()?, offset: reader.number_u32()? };
    Ok(Extent { position, skip: reader.number_u32()?, len: reader.number_u32()? })
}

/// Whole seconds since the epoch, as rows and slices keep times; good until 2106.
pub fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// The time of whole seconds.
pub fn timestamp(at_s: u32) -> Timestamp {
    Timestamp::from_millis(u64::from(at_s) * 1000)
}

/// The domain part of an address, lower case: the destination that slices are counted by.
pub fn domain_of(address: &str) -> std::borrow::Cow<'_, str> {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        domain.to_ascii_lowercase().into()
    } else {
        domain.into()
    }
}

/// The key of a message in the index: its order is that of ids, which is nearly that of arrival.
pub fn key(id: MessageId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// The message of a key.
pub fn id_of(key: &[u8]) -> Result<MessageId, Corrupt> {
    key.try_into().map(|key| MessageId(u64::from_be_bytes(key))).map_err(|_| Corrupt("a key is not an id"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::bounce::classify::{Category, Reason};
    use crate::message::Demand;
    use crate::smtp::envelope::{Body, Notify};
    use crate::smtp::path::{Mailbox, ReversePath};
    use crate::smtp::reply::EnhancedCode;
    use crate::spool::record::Said;

    fn row() -> Row {
        let entry = |address: &str, state, noted| Entry {
            recipient: Recipient {
                path: Mailbox::parse(address, false).expect("an address"),
                notify: Notify { delay: true, ..Notify::default() },
                orcpt: None,
            },
            standing: Standing {
                state,
                attempts: 7,
                last: Some(Said {
                    status: EnhancedCode(4, 4, 1),
                    text: "refused".into(),
                    remote: None,
                    at_s: 40,
                    replied: false,
                    reason: Some(Reason::without_reply(Category::Network)),
                    tls: None,
                }),
            },
            noted,
            delay_told: !noted,
        };
        Row {
            arrival: Timestamp::from_millis(1_795_420_000_007),
            sender: Sender {
                path: ReversePath::Null,
                body: Body::SevenBit,
                smtputf8: false,
                size: Some(9),
                ret: None,
                envid: None,
                requiretls: false,
            },
            account: Some("user".into()),
            client: Some(Client { address: IpAddr::from([127, 0, 0, 1]), name: "client".into() }),
            tagged: Tagged {
                screening: Some("clean".into()),
                preflight: Some("pass".into()),
                scheduled: Some(Timestamp::from_millis(1_795_500_000_000)),
                message_id: Some("<1@sender.test>".into()),
                return_path: true,
                origin: Origin {
                    pool: Some("bulk".into()),
                    tenant: Some("acme".into()),
                    campaign: None,
                    demand: Demand::Required,
                },
                noted: false,
            },
            content_bytes: 1000,
            content: Content::Kept(Extent { position: Position { segment: 9, offset: 8 }, skip: 7, len: 1000 }),
            recipients: vec![
                entry("x@One.test", State::Due { at_s: 50 }, true),
                entry("y@two.test", State::Delivered { at_s: 60 }, false),
            ],
        }
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let mut row = row();
        assert_eq!(Row::decode(&row.encode()), Ok(row.clone()));
        row.content = Content::Removed(b"Subject: x\r\n"[..].into());
        assert_eq!(Row::decode(&row.encode()), Ok(row));
    }

    #[test]
    fn rows_of_the_first_version_are_read() {
        let row = Row { tagged: Tagged::default(), ..row() };
        let mut bytes = row.encode();
        // Behind the version and six bytes of arrival.
        assert_eq!(bytes.remove(7), 0, "no tagged values");
        bytes[0] = 1;
        assert_eq!(Row::decode(&bytes), Ok(row));
    }

    #[test]
    fn rows_of_the_second_version_are_read() {
        let tagged = Tagged { screening: Some("clean".into()), ..Tagged::default() };
        let mut bytes = Row { tagged: Tagged::default(), ..row() }.encode();
        bytes.remove(7);
        bytes[0] = 2;
        tagged.put(&mut bytes);
        assert_eq!(Row::decode(&bytes), Ok(Row { tagged, ..row() }));
        let mut lanes = Vec::new();
        assert!(visit(&bytes, &mut |lane, _, _| lanes.push(lane.to_owned())).is_ok());
        assert_eq!(lanes, ["one.test", "two.test"]);
    }

    #[test]
    fn a_visit_sees_what_decoding_does() {
        let mut seen = Vec::new();
        let arrival = visit(&row().encode(), &mut |lane, state, noted| seen.push((lane.to_owned(), state, noted)));
        assert_eq!(arrival, Ok(row().arrival));
        let lane = |address| row().lane_of(address).into_owned();
        let one = (lane("x@One.test"), State::Due { at_s: 50 }, true);
        assert_eq!(seen, [one, (lane("y@two.test"), State::Delivered { at_s: 60 }, false)]);
    }

    #[test]
    fn damaged_rows_are_errors_and_never_panic() {
        let whole = row().encode();
        for len in 0..whole.len() {
            assert!(Row::decode(&whole[..len]).is_err(), "cut after {len} bytes");
        }
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
            let _ = Row::decode(&bytes);
            let _ = visit(&bytes, &mut |_, _, _| {});
        }
    }

    #[test]
    fn a_message_has_ended_when_its_last_recipient_has() {
        let mut row = row();
        assert_eq!(row.ended_s(), None);
        row.recipients[0].standing.state = State::Held;
        assert_eq!(row.ended_s(), None);
        row.recipients[0].standing.state = State::Failed { at_s: 55 };
        assert_eq!(row.ended_s(), Some(60));
    }

    #[test]
    fn domains_do_not_depend_on_case() {
        assert_eq!(domain_of("\"a@b\"@One.TEST"), "one.test");
        assert_eq!(domain_of("x@[192.0.2.1]"), "[192.0.2.1]");
    }
}
