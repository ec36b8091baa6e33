//! After a crash. A handle that is dropped without a checkpoint is a crash: what was not appended is forgotten.

use super::*;

/// After a crash every lease is due again.
#[test]
fn after_a_crash_every_lease_is_due_again() {
    for checkpointed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
            if checkpointed {
                checkpoint(&queue).await;
            }
            lease(&queue).await;
        });
        world.run(|_, queue| async move {
            assert_eq!(counts(&queue), (1, 0));
            let again = lease(&queue).await;
            assert_eq!(*queue.content(&again).await.expect("read back"), content());
            settle(&queue, &again, &delivered()).await;
            assert_eq!(counts(&queue), (0, 0));
        });
    }
}
