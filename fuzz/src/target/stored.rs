//! What a disk gives back: records of the journal, rows of the index, events for webhooks.

use ringpost::queue::row::{Entry, Row, visit};
use ringpost::queue::webhook::event::Event;
use ringpost::spool::Message;
use ringpost::spool::record::{Accepted, Record, delay_head, message_head, note, returned, settlement_head};

/// What is decoded is encoded again, and decoded to the same; contents lie within their record.
pub fn record(data: &[u8]) {
    let Ok(record) = Record::decode(data) else { return };
    let again = encoded(&record, data);
    assert_eq!(normal(Record::decode(&again).expect("our own record")), normal(record));
}

/// What [`Record::decode`] read from `data`, written anew.
fn encoded(record: &Record, data: &[u8]) -> Vec<u8> {
    let (mut bytes, messages) = match record {
        Record::Message(accepted) => {
            let message = message(accepted, data);
            (message_head(&message), vec![message])
        }
        Record::Settlement(changes, notices) => {
            let notices: Vec<Message> = notices.iter().map(|accepted| message(accepted, data)).collect();
            (settlement_head(changes, &notices.iter().collect::<Vec<_>>()), notices)
        }
        Record::Note(message, indices) => (note(*message, indices), Vec::new()),
        Record::Return(came) => (returned(came), Vec::new()),
        Record::Delay(about, indices, notices) => {
            let notices: Vec<Message> = notices.iter().take(1).map(|accepted| message(accepted, data)).collect();
            (delay_head(*about, indices, notices.first()), notices)
        }
    };
    messages.iter().for_each(|message| bytes.extend_from_slice(&message.content));
    bytes
}

fn message(accepted: &Accepted, data: &[u8]) -> Message {
    let (skip, len) = (accepted.skip as usize, accepted.len as usize);
    Message {
        id: accepted.id,
        arrival: accepted.arrival,
        envelope: accepted.envelope.clone(),
        account: accepted.account.clone(),
        client: accepted.client.clone(),
        tagged: accepted.tagged.clone(),
        content: data[skip..skip + len].to_vec(),
    }
}

/// Without where the contents lie, which differs between versions, and with the one notice of a delay that is written.
fn normal(mut record: Record) -> Record {
    match &mut record {
        Record::Message(accepted) => accepted.skip = 0,
        Record::Settlement(_, notices) => notices.iter_mut().for_each(|accepted| accepted.skip = 0),
        Record::Delay(_, _, notices) => {
            notices.truncate(1);
            notices.iter_mut().for_each(|accepted| accepted.skip = 0);
        }
        Record::Note(..) | Record::Return(_) => {}
    }
    record
}

/// A row is encoded as it was decoded; what start-up reads of it without making anything is the same.
pub fn row(data: &[u8]) {
    let _ = Event::decode(data);
    let Ok(row) = Row::decode(data) else {
        let _ = visit(data, &mut |_, _, _| {});
        return;
    };
    assert_eq!(Row::decode(&row.encode()).as_ref(), Ok(&row));
    let mut visited = Vec::new();
    let arrival = visit(data, &mut |lane, state, noted| visited.push((lane.to_owned(), state, noted)));
    assert_eq!(arrival, Ok(row.arrival));
    let entries = row.recipients.iter();
    let lane = |entry: &Entry| row.lane_of(entry.recipient.path.as_str()).into_owned();
    let read = entries.map(|entry| (lane(entry), entry.standing.state, entry.noted));
    assert_eq!(visited, read.collect::<Vec<_>>());
}
