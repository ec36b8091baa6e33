//! A list of suppressed recipients as a file, in pieces: a table of millions is never in memory as a text.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};

use super::Refusal;
use super::suppression::{OfList, bad, known};
use crate::control::suppression::{Keeper, Refused, now_s, off_the_thread};
use crate::suppression::{Lists, Scope, table};

/// Octets of a piece, but for its last line. The next one is made when this one has gone.
const PIECE_BYTES: usize = 64 << 10;

/// A place in the lists: behind this address of this one.
type Place = (Scope, Box<str>);

pub(super) async fn export(
    State(keeper): State<Keeper>,
    asked: Result<Query<OfList>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(OfList { list }) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let wanted = known(&keeper, list.as_deref()).await?;
    let pieces = pieces(keeper.lists(), wanted);
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8")], Body::from_stream(pieces)).into_response())
}

/// The lists as they are now, or one of them. A defect ends it in the middle, which the receiver sees.
fn pieces(lists: Arc<Lists>, wanted: Option<Scope>) -> impl Stream<Item = Result<Bytes, Refused>> {
    let heading = stream::once(std::future::ready(Ok(Bytes::from_static(table::HEADING.as_bytes()))));
    heading.chain(stream::try_unfold(Some(None), move |place: Option<Option<Place>>| {
        let (lists, wanted) = (lists.clone(), wanted.clone());
        async move {
            let Some(after) = place else { return Ok(None) };
            let (text, next) = off_the_thread(move || piece(&lists, wanted.as_ref(), after.as_ref())).await?;
            Ok(Some((Bytes::from(text), next.map(Some))))
        }
    }))
}

/// The lines behind a place, and where they end; `None`: nothing is behind them.
fn piece(lists: &Lists, wanted: Option<&Scope>, after: Option<&Place>) -> (String, Option<Place>) {
    let (now_s, mut text) = (now_s(), String::new());
    for (scope, list) in lists.scopes().filter(|(scope, _)| wanted.is_none_or(|wanted| wanted == scope)) {
        let begin = match after {
            Some((last, _)) if scope < *last => continue,
            Some((last, address)) if scope == *last => Some(&**address),
            _ => None,
        };
        for (address, entry) in list.after(begin).filter(|(_, entry)| entry.suppresses(now_s)) {
            table::put_line(&mut text, &scope, address, &entry);
            if text.len() >= PIECE_BYTES {
                return (text, Some((scope, address.into())));
            }
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::config::suppression::Cause;
    use crate::suppression::{Change, Entry, FOR_EVER, Pending};

    /// Lists of so many addresses each.
    fn lists(count: usize) -> Arc<Lists> {
        let entry = Entry { cause: Cause::Operator, since_s: 7, until_s: FOR_EVER, strikes: 0 };
        let mut pending = Pending::default();
        for scope in [Scope::Everyone, Scope::Relayed, Scope::Account("u".into())] {
            (0..count).for_each(|n| {
                let address = format!("a{n:06}@a.test").into();
                pending.add(Change { scope: scope.clone(), address, entry: Some(entry) });
            });
        }
        Arc::new(Lists::default().with(&pending))
    }

    #[tokio::test]
    async fn an_export_comes_in_small_pieces_and_each_line_once() {
        const COUNT: usize = 5_000;
        let lists = lists(COUNT);
        let all: Vec<Bytes> = pieces(lists.clone(), None).try_collect().await.expect("no defect");
        assert!(all.len() > 5 && all.iter().all(|piece| piece.len() < PIECE_BYTES + 1024), "{} pieces", all.len());
        let text = String::from_utf8(all.concat()).expect("text");
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (1 + 3 * COUNT, table::HEADING.trim_end()));
        lines.dedup();
        assert_eq!(lines.len(), 1 + 3 * COUNT);
        let one: Vec<Bytes> = pieces(lists, Some(Scope::Relayed)).try_collect().await.expect("no defect");
        let one = String::from_utf8(one.concat()).expect("text");
        assert_eq!(one.lines().filter(|line| line.contains("relay")).count(), COUNT);
        let none: Vec<Bytes> = pieces(Arc::default(), None).try_collect().await.expect("no defect");
        assert_eq!(none.concat(), table::HEADING.as_bytes());
    }
}
