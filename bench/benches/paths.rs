//! How long the paths through pure code take.

use bench::PATHS;
use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("message of 10 KiB");
    group.throughput(Throughput::Elements(1));
    for path in PATHS {
        let mut run = (path.prepare)();
        group.bench_function(path.name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
    criterion.final_summary();
}
