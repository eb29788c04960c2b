//! What the process of a trial may use.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MIB: u64 = 1 << 20;
/// Bytes of memory that the process may write to (RLIMIT_DATA).
const MAX_DATA: u64 = 512 * MIB;
/// Bytes of address space (RLIMIT_AS): threads reserve a lot of it.
const MAX_ADDRESS_SPACE: u64 = 8192 * MIB;
/// CPU time for opening a library, in seconds: many times what the largest takes. One whose tables lead in circles ends
/// there.
const LOAD_CPU: u64 = 1;
/// CPU time for all steps, in seconds.
const ALL_CPU: u64 = 10;

/// Sets the limits for opening the library.
pub(super) fn begin() {
    limit(Resource::Core, 0);
    limit(Resource::Data, MAX_DATA);
    limit(Resource::As, MAX_ADDRESS_SPACE);
    limit(Resource::Cpu, ALL_CPU);
    limit_soft(Resource::Cpu, LOAD_CPU);
    // Where memory runs out, this process goes first.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// Sets the limits for the steps after the library was opened.
pub(super) fn opened() {
    limit_soft(Resource::Cpu, ALL_CPU);
}

/// Sets a limit unless a stricter one is in force. Where it cannot be set the
/// trial is worth as much; it may last longer.
fn limit(resource: Resource, most: u64) {
    let now = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(now));
    let _ = setrlimit(
        resource,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
}

fn limit_soft(resource: Resource, most: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(most.min(maximum.unwrap_or(u64::MAX)));
    let _ = setrlimit(resource, Rlimit { current, maximum });
}
