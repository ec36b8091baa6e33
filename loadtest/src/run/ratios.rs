//! How many times as good the first server of a run is as the others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figure::{Better, FIGURES, Figure};
use super::record::{Run, ServerResult, Spread};

/// The ratios of a run with several servers.
#[derive(Clone, Debug, Serialize)]
pub struct Ratios {
    /// The scenario's name.
    pub scenario: String,
    /// The server that the others are compared with.
    pub first: String,
    /// Step by step, figure by figure.
    pub rows: Vec<Row>,
}

/// A figure of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The step.
    pub step: String,
    /// The figure's name.
    pub figure: &'static str,
    /// The first server's value.
    pub value: Spread,
    /// The others by name.
    pub others: BTreeMap<String, Other>,
}

/// What another server came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Other {
    /// Its value.
    pub value: Spread,
    /// How many times as good the first is: above 1 it is the better one. Servers take turns, so that repetitions of one
    /// number are compared with each other; this is the spread of those ratios. Absent where one of them is 0.
    pub times_as_good: Option<Spread>,
}

impl Ratios {
    /// Of a run; `None` where there is but one server.
    pub fn of(run: &Run) -> Option<Self> {
        let (first, others) = run.servers.split_first().filter(|(_, others)| !others.is_empty())?;
        let mut rows = Vec::new();
        for step in first.steps() {
            for figure in FIGURES.iter().filter(|figure| figure.better != Better::Neither) {
                let Some(value) = first.spread(step, figure.name) else { continue };
                let compare = |other: &ServerResult| {
                    let value = other.spread(step, figure.name)?;
                    let times_as_good = times_as_good(first, other, step, figure);
                    Some((other.server.clone(), Other { value, times_as_good }))
                };
                let others: BTreeMap<String, Other> = others.iter().filter_map(compare).collect();
                if !others.is_empty() {
                    rows.push(Row { step: step.to_owned(), figure: figure.name, value, others });
                }
            }
        }
        Some(Self { scenario: run.scenario.clone(), first: first.server.clone(), rows })
    }
}

/// Repetition by repetition.
fn times_as_good(first: &ServerResult, other: &ServerResult, step: &str, figure: &Figure) -> Option<Spread> {
    let pairs = first.values(step, figure.name).into_iter().zip(other.values(step, figure.name));
    let ratios = pairs.map(|(own, theirs)| if figure.better == Better::Lower { theirs / own } else { own / theirs });
    Spread::of(ratios.filter(|ratio| ratio.is_finite() && *ratio > 0.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Account, Repetition, StepResult};

    fn server(name: &str, figure: &str, values: &[f64]) -> ServerResult {
        let repetition = |value: &f64| Repetition {
            folder: name.into(),
            steps: vec![StepResult {
                name: "step".into(),
                began_ms: 0,
                ended_ms: 1,
                figures: BTreeMap::from([(figure.to_owned(), *value)]),
                load: None,
            }],
            account: Account::default(),
            sinks: BTreeMap::new(),
            cpu_from: String::new(),
        };
        let repetitions = values.iter().map(repetition).collect();
        ServerResult { server: name.into(), version: String::new(), repetitions }
    }

    fn ratios(figure: &str, own: &[f64], theirs: &[f64]) -> Option<Spread> {
        let servers = vec![server("a", figure, own), server("b", figure, theirs)];
        let run = Run { servers, ..Run::default() };
        Ratios::of(&run).expect("two servers").rows[0].others["b"].times_as_good
    }

    #[test]
    fn repetitions_are_compared_one_by_one() {
        let spread = ratios("messages_per_cpu_second", &[100.0, 200.0, 300.0], &[10.0, 10.0, 10.0]);
        assert_eq!(spread, Some(Spread { median: 20.0, min: 10.0, max: 30.0 }));
        let spread = ratios("dot_p99_ms", &[2.0, 4.0], &[8.0, 4.0]);
        assert_eq!(spread, Some(Spread { median: 2.5, min: 1.0, max: 4.0 }), "less is better here");
        assert_eq!(ratios("dot_p99_ms", &[0.0], &[8.0]), None);
    }

    #[test]
    fn one_server_has_nothing_to_be_compared_with() {
        assert!(Ratios::of(&Run { servers: vec![server("a", "seconds", &[1.0])], ..Run::default() }).is_none());
    }
}
