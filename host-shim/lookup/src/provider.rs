//! The identity provider around the store of the peers.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use alknet_handler::{BoxFuture, CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_identity::PeerStore;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::cache::{Cache, Remembered};
use crate::config::{LookupConfig, WhenStale};
use crate::identity::{self, AnswerError};
use crate::known::Known;
use crate::program::{LookupError, Program};
use crate::question::Question;
use crate::status::{Counters, LookupStatus, count, read};

/// The shortest and the longest time between two looks for identities that are
/// to be asked about again.
const SHORTEST_ROUND: Duration = Duration::from_millis(500);
const LONGEST_ROUND: Duration = Duration::from_secs(15);

/// What a look-up has to know of its node, and to tell it.
pub struct Surroundings {
    /// The node's own files: no tree of an identity may hold or lie in them.
    pub closed: Vec<PathBuf>,
    /// The ids of those who have a session. May block.
    pub in_use: Box<dyn Fn() -> HashSet<String> + Send + Sync>,
    /// Called when somebody is known no more, or in another way: live sessions
    /// have to ask again who they are. May block.
    pub changed: Box<dyn Fn() + Send + Sync>,
}

/// An identity provider that asks a program about whom the peers file does not
/// know.
///
/// What the peers file knows it also decides: a key of a disabled peer or a
/// certificate of a disabled authority is not asked about, and an answer with
/// the id of a peer is refused.
#[derive(Clone)]
pub struct Lookup(Arc<Inner>);

struct Inner {
    config: LookupConfig,
    known: Known,
    program: Program,
    cache: Mutex<Cache>,
    /// Questions that are asked at the moment, each once.
    asking: Mutex<HashMap<Question, watch::Receiver<Option<Outcome>>>>,
    /// Since when no question is answered.
    outage: Mutex<Option<Instant>>,
    counters: Counters,
    surroundings: Arc<Surroundings>,
    runtime: Handle,
}

type Outcome = Result<Option<Arc<Identity>>, AskError>;

/// Why a question leads to nobody.
#[derive(Clone, Debug, thiserror::Error)]
enum AskError {
    /// It was not answered.
    #[error("{0}")]
    Outage(LookupError),
    /// Its answer is not an identity that may be let in.
    #[error("{0}")]
    Answer(AnswerError),
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

impl Lookup {
    /// Starts the program. Must be called inside a tokio runtime, which runs it.
    pub fn start(config: LookupConfig, peers: Arc<PeerStore>, surroundings: Surroundings) -> Self {
        let runtime = Handle::current();
        let inner = Arc::new(Inner {
            program: Program::start(config.clone(), &runtime),
            cache: Mutex::new(Cache::new(&config)),
            asking: Mutex::default(),
            outage: Mutex::default(),
            counters: Counters::default(),
            surroundings: Arc::new(surroundings),
            runtime: runtime.clone(),
            known: Known::new(peers),
            config,
        });
        runtime.spawn(ask_again(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// How the look-up is doing.
    pub fn status(&self) -> LookupStatus {
        self.0.status()
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lookup({})", self.0.config.program().display())
    }
}

impl IdentityProvider for Lookup {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async move {
            let known = &self.0.known;
            match known.peers().resolve_from_fingerprint(fingerprint).await? {
                None if !known.has_key(fingerprint) => {
                    let question = Question::Fingerprint(fingerprint.to_owned());
                    self.0.resolve(question).await
                }
                answer => Ok(answer),
            }
        })
    }

    fn resolve_from_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async move {
            match self.0.known.peers().resolve_from_token(token).await? {
                None => {
                    let question = Question::Token(Zeroizing::new(token.to_owned()));
                    self.0.resolve(question).await
                }
                answer => Ok(answer),
            }
        })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async move {
            let known = &self.0.known;
            match known.peers().resolve_from_certificate(certificate).await? {
                None if !known.refuses(certificate) => {
                    let question = Question::of_certificate(certificate);
                    self.0.resolve(question).await
                }
                answer => Ok(answer),
            }
        })
    }
}

impl Inner {
    async fn resolve(
        self: &Arc<Self>,
        question: Question,
    ) -> Result<Option<Identity>, IdentityError> {
        let remembered = lock(&self.cache).get(&question, Instant::now());
        let old = match remembered {
            Remembered::Fresh(answer) => {
                count(&self.counters.remembered);
                return self.let_in(answer);
            }
            Remembered::Old(identity) => Some(identity),
            Remembered::Nothing => None,
        };
        // Where it is known that nobody answers, nobody waits to find out.
        if let Some(identity) = &old
            && self.outage().is_some()
            && self.goes_on()
        {
            drop(self.asking(&question));
            return self.let_in_as_remembered(Arc::clone(identity));
        }
        match (self.ask_once(&question).await, old) {
            (Ok(answer), _) => self.let_in(answer),
            (Err(AskError::Outage(_)), Some(identity)) if self.goes_on() => {
                self.let_in_as_remembered(identity)
            }
            (Err(AskError::Outage(error)), Some(identity)) => Err(IdentityError(format!(
                "{error}; what is remembered of {} is older than /lookup/staleness_seconds allows",
                identity.id
            ))),
            (Err(error), _) => Err(IdentityError(error.to_string())),
        }
    }

    fn let_in_as_remembered(
        &self,
        identity: Arc<Identity>,
    ) -> Result<Option<Identity>, IdentityError> {
        count(&self.counters.remembered);
        count(&self.counters.stale);
        self.let_in(Some(identity))
    }

    /// Refuses whom the peers file has a peer for by now.
    fn let_in(&self, identity: Option<Arc<Identity>>) -> Result<Option<Identity>, IdentityError> {
        match identity {
            Some(identity) if self.known.has_id(&identity.id) => {
                let id = identity.id.clone();
                Err(IdentityError(AnswerError::Taken { id }.to_string()))
            }
            identity => Ok(identity.map(Arc::unwrap_or_clone)),
        }
    }

    /// Whether remembered identities are let in although nobody answers.
    fn goes_on(&self) -> bool {
        self.config.when_stale == WhenStale::Serve
            || self
                .outage()
                .is_none_or(|outage| outage <= self.config.staleness())
    }

    /// How long no question has been answered.
    fn outage(&self) -> Option<Duration> {
        lock(&self.outage).map(|since| since.elapsed())
    }

    /// Asks the program, or waits for the answer where somebody asks already.
    async fn ask_once(self: &Arc<Self>, question: &Question) -> Outcome {
        let mut answered = self.asking(question);
        let outcome = answered.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(AskError::Stopped))
    }

    fn asking(self: &Arc<Self>, question: &Question) -> watch::Receiver<Option<Outcome>> {
        let mut asking = lock(&self.asking);
        let under_way = asking.get(question);
        if let Some(answered) = under_way.filter(|answered| answered.has_changed().is_ok()) {
            return answered.clone();
        }
        let (answer, answered) = watch::channel(None);
        asking.insert(question.clone(), answered.clone());
        drop(asking);
        let (inner, question) = (Arc::clone(self), question.clone());
        // The answer is of use also where whoever asked is gone.
        self.runtime.spawn(async move {
            let outcome = inner.ask(&question).await;
            lock(&inner.asking).remove(&question);
            answer.send_replace(Some(outcome));
        });
        answered
    }

    async fn ask(&self, question: &Question) -> Outcome {
        count(&self.counters.asked);
        let answer = match self.program.ask(question).await {
            Ok(answer) => answer,
            Err(error) => {
                count(&self.counters.failed);
                self.failed(&error);
                return Err(AskError::Outage(error));
            }
        };
        self.answered();
        let checked = answer
            .map(|answer| identity::checked(answer, &self.known, &self.surroundings.closed))
            .transpose();
        match checked {
            Ok(None) => {
                count(&self.counters.unknown);
                self.remember(question, None);
                Ok(None)
            }
            Ok(Some(identity)) => {
                count(&self.counters.found);
                let identity = Arc::new(identity);
                self.remember(question, Some(Arc::clone(&identity)));
                Ok(Some(identity))
            }
            Err(error) => {
                count(&self.counters.invalid);
                tracing::error!("{error}");
                let before = lock(&self.cache).forget(question);
                if before.is_some() {
                    self.tell_of_change();
                }
                Err(AskError::Answer(error))
            }
        }
    }

    fn remember(&self, question: &Question, identity: Option<Arc<Identity>>) {
        let before = lock(&self.cache).put(question, identity.clone(), Instant::now());
        if before.is_some() && before != identity {
            self.tell_of_change();
        }
    }

    fn tell_of_change(&self) {
        let surroundings = Arc::clone(&self.surroundings);
        self.runtime
            .spawn_blocking(move || (surroundings.changed)());
    }

    fn failed(&self, error: &LookupError) {
        let mut outage = lock(&self.outage);
        if outage.is_none() {
            *outage = Some(Instant::now());
            tracing::warn!(
                "{error}; until it answers again nobody is let in but who is in the peers file or remembered"
            );
        }
    }

    fn answered(&self) {
        if let Some(since) = lock(&self.outage).take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!("the look-up program answers again, after {seconds} s");
        }
    }

    /// Asks again about whoever has a session and was asked about too long ago.
    /// Others are forgotten once they are of no use even in an outage.
    async fn ask_again(self: &Arc<Self>) {
        let due = lock(&self.cache).due(Instant::now());
        if due.is_empty() {
            return;
        }
        let surroundings = Arc::clone(&self.surroundings);
        let in_use = self
            .runtime
            .spawn_blocking(move || (surroundings.in_use)())
            .await;
        // Without an answer nobody is forgotten, and everybody asked about.
        let in_use = in_use.ok();
        let mut questions = Vec::new();
        for (question, identity, over) in due {
            let is_in_use = in_use.as_ref().is_none_or(|ids| ids.contains(&identity.id));
            if is_in_use {
                questions.push(question);
            } else if over > self.config.staleness() && self.config.when_stale == WhenStale::Refuse
            {
                lock(&self.cache).forget(&question);
            }
        }
        for some in questions.chunks(self.config.concurrency.max(1) as usize) {
            let answers: Vec<_> = some.iter().map(|question| self.asking(question)).collect();
            for mut answer in answers {
                let outcome = answer.wait_for(Option::is_some).await;
                let outcome = outcome.ok().and_then(|outcome| outcome.clone());
                if !matches!(outcome, Some(Ok(_) | Err(AskError::Answer(_)))) {
                    // Another round will tell.
                    return;
                }
            }
        }
    }

    fn status(&self) -> LookupStatus {
        let health = self.program.health();
        let outage = self.outage();
        let counters = &self.counters;
        let (cached_identities, cached_unknown) = lock(&self.cache).sizes();
        LookupStatus {
            command: self.config.program().display().to_string(),
            state: health.state,
            pid: health.pid,
            restarts: health.restarts,
            last_error: health.last_error,
            outage_seconds: outage.map(|outage| outage.as_secs()),
            refuses_log_ins: outage.is_some() && !self.goes_on(),
            asked: read(&counters.asked),
            found: read(&counters.found),
            unknown: read(&counters.unknown),
            failed: read(&counters.failed),
            invalid: read(&counters.invalid),
            remembered: read(&counters.remembered),
            stale: read(&counters.stale),
            cached_identities,
            cached_unknown,
        }
    }
}

async fn ask_again(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else {
            return;
        };
        let round = strong.config.cache() / 4;
        strong.ask_again().await;
        drop(strong);
        sleep(round.clamp(SHORTEST_ROUND, LONGEST_ROUND)).await;
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
