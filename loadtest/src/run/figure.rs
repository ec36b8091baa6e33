//! The figures that are measured, with what they mean.

/// A figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// In files.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// How a value is written.
    pub unit: Unit,
    /// Which way is good.
    pub better: Better,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Messages, connections.
    Count,
    /// A second.
    PerSecond,
    /// Octets.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// So many for each.
    Ratio,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Neither.
    Neither,
}

use Better::{Higher, Lower, Neither};

const fn figure(name: &'static str, label: &'static str, unit: Unit, better: Better) -> Figure {
    Figure { name, label, unit, better }
}

/// All figures, in the order in which they are shown.
pub const FIGURES: &[Figure] = &[
    figure("messages", "messages", Unit::Count, Neither),
    figure("connections", "connections", Unit::Count, Neither),
    figure("seconds", "duration", Unit::Seconds, Neither),
    figure("messages_per_cpu_second", "messages per server CPU-second", Unit::PerSecond, Higher),
    figure("messages_per_second", "messages per second", Unit::PerSecond, Higher),
    figure("connections_per_second", "connections per second", Unit::PerSecond, Higher),
    figure("cpu_us_per_message", "server CPU per message", Unit::Micros, Lower),
    figure("user_us_per_message", "… in user mode", Unit::Micros, Lower),
    figure("system_us_per_message", "… in the kernel", Unit::Micros, Lower),
    figure("cpu_us_per_connection", "server CPU per connection", Unit::Micros, Lower),
    figure("flushes_per_message", "flushes per message (server's count)", Unit::Ratio, Lower),
    figure("flush_calls_per_message", "flushes per message (kernel's count)", Unit::Ratio, Lower),
    figure("disk_flushes_per_message", "flushes per message (disk's count)", Unit::Ratio, Lower),
    figure("written_bytes_per_message", "disk bytes per message", Unit::Bytes, Lower),
    figure("dot_p50_ms", "dot to 250, p50", Unit::Millis, Lower),
    figure("dot_p99_ms", "dot to 250, p99", Unit::Millis, Lower),
    figure("due_p50_ms", "due to 250, p50", Unit::Millis, Lower),
    figure("due_p99_ms", "due to 250, p99", Unit::Millis, Lower),
    figure("due_p999_ms", "due to 250, p99.9", Unit::Millis, Lower),
    figure("memory_bytes", "server memory at the end", Unit::Bytes, Lower),
    figure("memory_peak_bytes", "server memory at most", Unit::Bytes, Lower),
    figure("mapped_bytes", "mapped files at the end", Unit::Bytes, Neither),
    figure("memory_bytes_per_connection", "memory per idle connection", Unit::Bytes, Lower),
    figure("memory_bytes_per_queued", "memory per queued recipient", Unit::Bytes, Lower),
    figure("queued", "queued recipients at the end", Unit::Count, Neither),
    figure("start_s", "from start to greeting", Unit::Seconds, Lower),
    figure("generator_us_per_message", "generator's own CPU per message", Unit::Micros, Neither),
];

impl Figure {
    /// The figure of this name.
    pub fn of(name: &str) -> Option<&'static Figure> {
        FIGURES.iter().find(|figure| figure.name == name)
    }

    /// A value for people, with its unit.
    pub fn write(&self, value: f64) -> String {
        match self.unit {
            Unit::Count => grouped(value),
            Unit::PerSecond => format!("{}/s", grouped(value)),
            Unit::Bytes => bytes(value),
            Unit::Seconds => format!("{} s", short(value)),
            Unit::Millis => format!("{} ms", short(value)),
            Unit::Micros => format!("{} µs", short(value)),
            Unit::Ratio => short(value),
        }
    }
}

/// A number with three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => grouped(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A whole number in groups of three digits.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{} {}", short(value), UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_people() {
        let write = |name: &str, value: f64| Figure::of(name).expect("a figure").write(value);
        assert_eq!(write("messages", 1_234_567.0), "1,234,567");
        assert_eq!(write("messages_per_second", 999.6), "1,000/s");
        assert_eq!(write("memory_bytes", 1536.0 * 1024.0), "1.50 MiB");
        assert_eq!(write("memory_bytes_per_queued", 96.4), "96 B");
        assert_eq!(write("flushes_per_message", 0.0312), "0.0312");
        assert_eq!(write("dot_p99_ms", 12.34), "12.3 ms");
        assert_eq!(write("memory_bytes_per_connection", -5.0), "-5 B");
    }
}
