//! The program: started once, asked over its standard input, heard on its
//! standard output, and started again when it ends or cannot be relied on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alknet_text::visible;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::account::Account;
use crate::config::LookupConfig;
use crate::lines::{Line, next_line};
use crate::protocol::Answer;
use crate::question::Question;
use crate::status::ProgramState;

/// The longest line of an answer, in bytes.
const MOST_OF_AN_ANSWER: usize = 64 * 1024;
/// The longest line of standard error that is logged as one, in bytes.
const MOST_OF_A_LOG_LINE: usize = 1024;
/// How many of those are logged in a second.
const LOG_LINES_A_SECOND: u32 = 20;
/// How much of a line a message shows, in characters.
const SHOWN: usize = 120;
/// How many questions may wait for their turn.
const QUEUE: usize = 1024;
/// How many questions are remembered whose answer was not waited for.
const MOST_LATE: usize = 4096;
/// The time until the program is started again, which doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A wait that questions sit out.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// The time for which it must have run to begin with the first wait again.
const STEADY: Duration = Duration::from_secs(60);
/// The time that it has to end once its standard input is closed.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The time in which what an ended program has said is still read.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The search path of the program.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The program does not run at the moment.
    #[error("the look-up program does not run: {why}")]
    NotRunning {
        /// What ended it, or kept it from starting.
        why: String,
    },
    /// It has not answered in time.
    #[error("the look-up program has not answered within {seconds} s")]
    Timeout {
        /// The time that it had.
        seconds: u64,
    },
    /// It says itself that it cannot tell.
    #[error("the look-up program cannot tell: {why}")]
    CannotTell {
        /// Its words.
        why: String,
    },
}

/// Why the program has to be started again.
#[derive(Debug)]
enum EndReason {
    NotStarted(io::Error),
    Exited(io::Result<ExitStatus>),
    ClosedOutput,
    Unreadable(io::Error),
    Hung(Duration),
    DoesNotRead,
    TooLong,
    Nonsense {
        line: String,
        why: String,
    },
    Twice(u64),
    NotAsked(u64),
    /// Nobody asks any more.
    NotNeeded,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "it could not be started: {error}"),
            Self::Exited(Ok(status)) => write!(f, "it ended with {status}"),
            Self::Exited(Err(error)) => write!(f, "it could not be waited for: {error}"),
            Self::ClosedOutput => f.write_str("it closed its standard output"),
            Self::Unreadable(error) => write!(f, "its standard output cannot be read: {error}"),
            Self::Hung(limit) => {
                write!(
                    f,
                    "it has said nothing for {} s after a question",
                    limit.as_secs()
                )
            }
            Self::DoesNotRead => f.write_str("it does not read its questions"),
            Self::TooLong => {
                write!(f, "it said a line of more than {MOST_OF_AN_ANSWER} bytes")
            }
            Self::Nonsense { line, why } => write!(f, "it said {line:?}, not an answer: {why}"),
            Self::Twice(id) => write!(f, "it answered question {id} twice"),
            Self::NotAsked(id) => write!(f, "it answered question {id}, which was not asked"),
            Self::NotNeeded => f.write_str("it is not needed any more"),
        }
    }
}

/// What the program answered to a question: an identity as it wrote it, or
/// nobody.
type Outcome = Result<Option<Value>, LookupError>;

struct Ask {
    question: Question,
    answer: oneshot::Sender<Outcome>,
}

/// A question that was sent.
struct Open {
    answer: oneshot::Sender<Outcome>,
    sent: Instant,
}

/// A program that is kept running.
pub(crate) struct Program {
    asks: mpsc::Sender<Ask>,
    limit: Duration,
    health: Arc<Mutex<Health>>,
}

/// How the program is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) state: ProgramState,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u64,
    pub(crate) last_error: Option<String>,
}

impl Program {
    /// Starts the program, and again whenever it ends, until this is dropped.
    pub(crate) fn start(config: LookupConfig, runtime: &Handle) -> Self {
        let (asks, asked) = mpsc::channel(QUEUE);
        let health: Arc<Mutex<Health>> = Arc::default();
        let limit = config.timeout();
        runtime.spawn(keep_running(config, asked, Arc::clone(&health)));
        Self {
            asks,
            limit,
            health,
        }
    }

    /// Asks the program.
    ///
    /// # Errors
    /// When it has not answered, for whatever reason.
    pub(crate) async fn ask(&self, question: &Question) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            question: question.clone(),
            answer,
        };
        let stopped = || LookupError::NotRunning {
            why: "the node stops".to_owned(),
        };
        let asking = async {
            self.asks.send(ask).await.map_err(|_| stopped())?;
            answered.await.map_err(|_| stopped())?
        };
        let seconds = self.limit.as_secs();
        let answered = timeout(self.limit, asking).await;
        answered.unwrap_or(Err(LookupError::Timeout { seconds }))
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.health).clone()
    }
}

fn lock(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_running(
    config: LookupConfig,
    mut asks: mpsc::Receiver<Ask>,
    health: Arc<Mutex<Health>>,
) {
    let name = config.program();
    let (mut next_id, mut wait) = (1, FIRST_WAIT);
    loop {
        let began = Instant::now();
        let end = match spawn(&config) {
            Ok(child) => {
                let pid = child.id();
                {
                    let mut health = lock(&health);
                    health.state = ProgramState::Running;
                    health.pid = pid;
                }
                tracing::info!(program = %name.display(), pid, "look-up program started");
                converse(&config, child, &mut asks, &mut next_id).await
            }
            Err(error) => EndReason::NotStarted(error),
        };
        let why = end.to_string();
        {
            let mut health = lock(&health);
            health.pid = None;
            if matches!(end, EndReason::NotNeeded) {
                health.state = ProgramState::Stopped;
                return;
            }
            health.state = ProgramState::Waiting;
            health.restarts += 1;
            health.last_error = Some(why.clone());
        }
        if began.elapsed() >= STEADY {
            wait = FIRST_WAIT;
        }
        tracing::error!(
            program = %name.display(),
            "look-up program: {why}; it is started again in {} ms",
            wait.as_millis()
        );
        let until = Instant::now() + wait;
        if wait <= SHORT_WAIT {
            sleep_until(until).await;
        } else {
            while let Ok(ask) = timeout_at(until, asks.recv()).await {
                let Some(ask) = ask else { return };
                let why = why.clone();
                let _ = ask.answer.send(Err(LookupError::NotRunning { why }));
            }
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn spawn(config: &LookupConfig) -> io::Result<Child> {
    let account = match &config.user {
        None => None,
        Some(user) => {
            let missing = || io::Error::other(format!("there is no account {user:?}"));
            let account = Account::named(user)?.ok_or_else(missing)?;
            Some(account)
        }
    };
    let mut command = Command::new(config.program());
    command
        .args(config.command.get(1..).unwrap_or_default())
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What it starts ends with it.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(account) = &account {
        command.env("HOME", &account.home);
        // As another account it has that one's own group and no other.
        if !account.is_own() {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
    } else if let Some(home) = std::env::home_dir() {
        command.env("HOME", home);
    }
    command.envs(&config.environment);
    command.spawn()
}

/// Asks and hears the program until one of the two ends it.
async fn converse(
    config: &LookupConfig,
    mut child: Child,
    asks: &mut mpsc::Receiver<Ask>,
    next_id: &mut u64,
) -> EndReason {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let group = group.and_then(Pid::from_raw);
    let concurrency = config.concurrency.max(1) as usize;
    let (questions, to_write) = mpsc::channel(concurrency);
    let (said, heard) = mpsc::channel(concurrency);
    if let Some(stdin) = child.stdin.take() {
        tokio::spawn(write(stdin, to_write));
    }
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(read(stdout, said));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log(stderr));
    }
    let mut conversation = Conversation {
        limit: config.timeout(),
        concurrency,
        questions: Some(questions),
        heard,
        open: BTreeMap::new(),
        late: BTreeSet::new(),
        last_heard: Instant::now(),
    };
    let end = conversation.hold(&mut child, asks, next_id).await;
    for (_, open) in std::mem::take(&mut conversation.open) {
        let why = end.to_string();
        let _ = open.answer.send(Err(LookupError::NotRunning { why }));
    }
    // Its standard input is closed with this.
    conversation.questions = None;
    if matches!(end, EndReason::NotNeeded | EndReason::ClosedOutput) {
        let _ = timeout(END_TIMEOUT, child.wait()).await;
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
    end
}

struct Conversation {
    limit: Duration,
    concurrency: usize,
    /// Dropped to close the program's standard input.
    questions: Option<mpsc::Sender<Zeroizing<Vec<u8>>>>,
    heard: mpsc::Receiver<io::Result<Line>>,
    open: BTreeMap<u64, Open>,
    /// Questions whose answer was not waited for any more.
    late: BTreeSet<u64>,
    last_heard: Instant,
}

impl Conversation {
    async fn hold(
        &mut self,
        child: &mut Child,
        asks: &mut mpsc::Receiver<Ask>,
        next_id: &mut u64,
    ) -> EndReason {
        loop {
            // Numbers grow with time.
            let earliest = self.open.values().next().map(|open| open.sent + self.limit);
            let too_late = async {
                match earliest {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            let end = tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some(Ok(line)) => self.hear(line, *next_id),
                    Some(Err(error)) => Some(EndReason::Unreadable(error)),
                    None => Some(EndReason::ClosedOutput),
                },
                ask = asks.recv(), if self.open.len() < self.concurrency => match ask {
                    Some(ask) => self.send(ask, next_id),
                    None => Some(EndReason::NotNeeded),
                },
                () = too_late => self.expire(),
                status = child.wait() => {
                    self.hear_the_rest(*next_id).await;
                    Some(EndReason::Exited(status))
                }
            };
            match end {
                // Which of the two is noticed first is chance.
                Some(EndReason::ClosedOutput) => {
                    return match timeout(END_TIMEOUT, child.wait()).await {
                        Ok(status) => EndReason::Exited(status),
                        Err(_) => EndReason::ClosedOutput,
                    };
                }
                Some(end) => return end,
                None => {}
            }
        }
    }

    fn send(&mut self, ask: Ask, next_id: &mut u64) -> Option<EndReason> {
        if ask.answer.is_closed() {
            return None;
        }
        let id = *next_id;
        *next_id += 1;
        let line = ask.question.line(id);
        let open = Open {
            answer: ask.answer,
            sent: Instant::now(),
        };
        self.open.insert(id, open);
        let sent = self.questions.as_ref().map(|to| to.try_send(line));
        match sent {
            // What is full has lines that were given up: nobody reads them.
            Some(Err(mpsc::error::TrySendError::Full(_))) => Some(EndReason::DoesNotRead),
            // That it has ended is noticed elsewhere.
            _ => None,
        }
    }

    fn hear(&mut self, line: Line, next_id: u64) -> Option<EndReason> {
        self.last_heard = Instant::now();
        let line = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return None,
            Line::Whole(line) => line,
            Line::TooLong(_) => return Some(EndReason::TooLong),
        };
        let nonsense = |why: String| {
            Some(EndReason::Nonsense {
                line: shown(&line, SHOWN),
                why,
            })
        };
        let answer: Answer = match serde_json::from_slice(&line) {
            Ok(answer) => answer,
            Err(error) => return nonsense(error.to_string()),
        };
        let outcome = match (answer.identity, answer.error) {
            (Some(Value::Null), None) => Ok(None),
            (Some(identity), None) => Ok(Some(identity)),
            (None, Some(why)) => Err(LookupError::CannotTell {
                why: shown(why.as_bytes(), SHOWN),
            }),
            (Some(_), Some(_)) => return nonsense("it has `identity` and `error`".to_owned()),
            (None, None) => return nonsense("it has no `identity` and no `error`".to_owned()),
        };
        match self.open.remove(&answer.id) {
            Some(open) => {
                let _ = open.answer.send(outcome);
                None
            }
            None if self.late.remove(&answer.id) => None,
            None if answer.id < next_id => Some(EndReason::Twice(answer.id)),
            None => Some(EndReason::NotAsked(answer.id)),
        }
    }

    /// Gives up what has waited for too long.
    fn expire(&mut self) -> Option<EndReason> {
        let now = Instant::now();
        let mut hangs = false;
        while let Some(entry) = self.open.first_entry() {
            if entry.get().sent + self.limit > now {
                break;
            }
            let (id, open) = entry.remove_entry();
            hangs |= self.last_heard < open.sent;
            let seconds = self.limit.as_secs();
            let _ = open.answer.send(Err(LookupError::Timeout { seconds }));
            self.late.insert(id);
        }
        while self.late.len() > MOST_LATE {
            self.late.pop_first();
        }
        hangs.then_some(EndReason::Hung(self.limit))
    }

    /// Hears what an ended program has said before.
    async fn hear_the_rest(&mut self, next_id: u64) {
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Some(Ok(line))) = timeout_at(until, self.heard.recv()).await {
            if self.hear(line, next_id).is_some() {
                return;
            }
        }
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Zeroizing<Vec<u8>>>) {
    while let Some(line) = lines.recv().await {
        // That the program has ended is noticed elsewhere.
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read(stdout: impl AsyncRead + Unpin, said: mpsc::Sender<io::Result<Line>>) {
    let mut stdout = BufReader::new(stdout);
    while let Some(line) = next_line(&mut stdout, MOST_OF_AN_ANSWER).await.transpose() {
        if said.send(line).await.is_err() {
            return;
        }
    }
}

/// Writes the program's standard error to the node's log, line by line.
async fn log(stderr: impl AsyncRead + Unpin) {
    let mut stderr = BufReader::new(stderr);
    let (mut second, mut lines, mut dropped) = (Instant::now(), 0, 0_u64);
    while let Ok(Some(line)) = next_line(&mut stderr, MOST_OF_A_LOG_LINE).await {
        if second.elapsed() >= Duration::from_secs(1) {
            if dropped > 0 {
                tracing::warn!("look-up program: {dropped} lines more");
            }
            (second, lines, dropped) = (Instant::now(), 0, 0);
        }
        lines += 1;
        if lines > LOG_LINES_A_SECOND {
            dropped += 1;
            // Whoever floods the log has to wait for it.
            sleep(Duration::from_millis(1)).await;
            continue;
        }
        let (Line::Whole(line) | Line::TooLong(line)) = line;
        tracing::warn!("look-up program: {}", shown(&line, MOST_OF_A_LOG_LINE));
    }
    if dropped > 0 {
        tracing::warn!("look-up program: {dropped} lines more");
    }
}

/// At most `most` characters of a text, made visible.
fn shown(text: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let beginning: String = text.chars().take(most).collect();
    let rest = if beginning.len() < text.len() {
        "…"
    } else {
        ""
    };
    format!("{}{rest}", visible(&beginning))
}
