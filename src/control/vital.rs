//! Work of the control plane that the process cannot do without: where it panics, the process ends and a new one recovers.
//! Half a server (one that asks no DNS server, or that nobody can look into) helps nobody, and its watchdog would be fed.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinHandle;

/// Spawns `task`, which is called `who` in the line that a panic leaves.
pub fn spawn<T: Send + 'static>(who: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(async move {
        AssertUnwindSafe(task).catch_unwind().await.unwrap_or_else(|panic| shards::launch::die(who, &*panic))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_panic_of_the_control_planes_work_ends_the_process() {
        const CHILD: &str = "CONTROL_PANICS_HERE";
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                super::spawn("the resolver", async { panic!("on purpose") });
                std::future::pending::<()>().await;
            });
        }
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "control::vital::tests::a_panic_of_the_control_planes_work_ends_the_process",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .output()
            .expect("runs itself");
        assert_eq!(child.status.code(), Some(70));
        assert!(String::from_utf8_lossy(&child.stderr).contains("\nthe resolver panicked (on purpose)"));
    }
}
