//! The tests of a configuration: each is a question with the answer that its
//! author expects.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_control::{ExplainIdentity, FailedTest, RunTests, TestIdentity, TestReport};
use alknet_handler::Identity;
use alknet_ssh_config::{Expectation, PolicyTest, TestRequest};
use alknet_ssh_policy::Denied;

use super::explain::{Circumstances, Engine, Question, Verdict};
use crate::server::auth::Accounts;

/// Runs all tests of the configuration that the engine decides by.
pub(super) fn run(engine: &Engine, asked: &RunTests) -> TestReport {
    let known = asked.identities.iter();
    let known: HashMap<&str, &TestIdentity> = known
        .map(|identity| (identity.identity.id.as_str(), identity))
        .collect();
    let accounts = match &asked.accounts {
        None => Accounts::OfNode,
        Some(accounts) => Accounts::OfPeers {
            default: accounts.default.clone(),
        },
    };
    let mut report = TestReport::default();
    for (index, test) in engine.config.tests.iter().enumerate() {
        match run_one(engine, &known, &accounts, test) {
            Ok(()) => report.passed += 1,
            Err(failed) => report.failed.push(FailedTest {
                pointer: format!("/tests/{index}{}", failed.pointer),
                ..failed
            }),
        }
    }
    report
}

/// # Errors
/// How the test fails; the pointer is below the test.
fn run_one(
    engine: &Engine,
    known: &HashMap<&str, &TestIdentity>,
    accounts: &Accounts,
    test: &PolicyTest,
) -> Result<(), FailedTest> {
    let identity = identity(known, test).ok_or_else(|| FailedTest {
        pointer: "/identity".to_owned(),
        message: format!("no peer has the id {:?}", test.identity),
        rule: None,
    })?;
    let request = test.asked().map_err(|error| FailedTest {
        pointer: "/request".to_owned(),
        message: error.to_string(),
        rule: None,
    })?;
    let no_address = test.dns.as_ref().is_some_and(Vec::is_empty);
    let verdict = match may_log_in(&identity, accounts, test) {
        Ok(()) if no_address => Verdict::denied(Denied::NoAddress.to_string()),
        Ok(()) => {
            let log_in = Circumstances {
                from: test.from,
                at: Some(test.time().map_or(0, seconds)),
                certificate: None,
            };
            engine.explain(&identity.identity, &log_in, &question(request, test))
        }
        Err(reason) => Verdict::denied(reason),
    };
    let expected = test.expect == Expectation::Allow;
    if verdict.allowed == expected {
        return Ok(());
    }
    let word = |allowed| if allowed { "allowed" } else { "denied" };
    let denied = verdict.addresses.iter().find(|one| !one.allowed);
    let why = match denied.filter(|_| !verdict.allowed) {
        Some(one) => format!("for {} {}", one.address, one.reason),
        None => verdict.reason,
    };
    Err(FailedTest {
        pointer: String::new(),
        message: format!(
            "the test expects that {} is {} to {}, and it is {}: {why}",
            test.request,
            word(expected),
            test.identity,
            word(verdict.allowed),
        ),
        rule: verdict.rule.map(|rule| rule.pointer),
    })
}

/// Whom the test is about: the peer with its id, with the scopes and resources
/// that the test gives in place of the peer's own.
fn identity(known: &HashMap<&str, &TestIdentity>, test: &PolicyTest) -> Option<TestIdentity> {
    let peer = known.get(test.identity.as_str()).copied().cloned();
    let Some(scopes) = &test.scopes else {
        return peer;
    };
    let peer = peer.unwrap_or_default();
    Some(TestIdentity {
        identity: ExplainIdentity {
            id: test.identity.clone(),
            scopes: scopes.clone(),
            resources: peer.identity.resources,
        },
        disabled: peer.disabled,
    })
}

/// # Errors
/// Why it could not log in, in a sentence.
fn may_log_in(
    identity: &TestIdentity,
    accounts: &Accounts,
    test: &PolicyTest,
) -> Result<(), String> {
    if identity.disabled {
        return Err("the peer is disabled, so it cannot log in".to_owned());
    }
    let Some(user) = &test.user else {
        return Ok(());
    };
    let peer = Identity {
        resources: identity.identity.resources.clone(),
        ..Identity::default()
    };
    match accounts.choose(&peer, user) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(format!("it cannot log in as {user}: {refusal}")),
    }
}

fn question(request: TestRequest, test: &PolicyTest) -> Question {
    match request {
        TestRequest::Exec { command } => Question::Exec { command },
        TestRequest::Shell => Question::Shell,
        TestRequest::Sftp => Question::Sftp,
        TestRequest::Subsystem { name } => Question::Subsystem { name },
        TestRequest::Forward { host, port } => Question::Forward {
            host,
            port,
            addresses: test.dns.clone().unwrap_or_default(),
        },
        TestRequest::Listen { address, port } => Question::Listen { address, port },
        TestRequest::StreamLocal { path } => Question::Streamlocal { path },
        TestRequest::Agent => Question::Agent,
        TestRequest::Env { name } => Question::Env { name },
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
