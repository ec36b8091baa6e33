//! The same targets under libFuzzer, which is guided by coverage: started by `fuzz/guided`, which names one in
//! `FUZZ_TARGET`.
#![no_main]

use std::sync::OnceLock;

use fuzz::Target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET: there is no target `{name}`"));
    let _ = TARGET.set(target);
}, |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
