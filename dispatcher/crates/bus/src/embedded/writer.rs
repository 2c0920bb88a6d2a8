//! The only task that writes. Actions that arrive during a transaction share the next one, so that many callers share
//! one flush to the disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::store::{self, Action, Answer, Job};
use super::unavailable;
use crate::{Error, Result};

/// At most this many actions in one transaction.
const BATCH: usize = 512;

/// How often the consuming process checks whether another process has written.
const LOOK: Duration = Duration::from_millis(250);

/// How often old message ids are forgotten.
const FORGET: Duration = Duration::from_secs(1);

/// The way to the task. Cheap to clone; the task ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::UnboundedSender<Job>,
    news: Arc<News>,
}

/// Wakes those who wait for a message of a subject.
#[derive(Debug, Default)]
struct News {
    subjects: Mutex<HashMap<String, Arc<Notify>>>,
}

struct Task {
    connection: SqliteConnection,
    path: PathBuf,
    window: Duration,
    news: Arc<News>,
    /// Gives back what was leased for a caller that is gone. Weak, so that the task can end.
    back: mpsc::WeakUnboundedSender<Job>,
    forgot: Instant,
    data_version: i64,
}

impl Writer {
    pub(super) fn start(
        connection: SqliteConnection,
        path: PathBuf,
        window: Duration,
        watches: bool,
    ) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let news = Arc::new(News::default());
        let back = jobs.downgrade();
        let forgot = Instant::now();
        let task = Task { connection, path, window, news: Arc::clone(&news), back, forgot, data_version: 0 };
        tokio::spawn(task.run(queue, watches));
        Self { jobs, news }
    }

    /// Does the action; it is durable when this returns.
    pub(super) async fn run(&self, action: Action) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let closed = || Error::Unavailable("the queue is closed".to_owned());
        self.jobs.send(Job { action, answer }).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Is notified of every message of the subject that may have become due.
    pub(super) fn news(&self, subject: &str) -> Arc<Notify> {
        let mut subjects = self.news.subjects.lock();
        Arc::clone(subjects.entry(subject.to_owned()).or_default())
    }
}

impl News {
    /// Wakes the tasks that wait for one subject, or for any.
    fn tell(&self, subject: Option<&str>) {
        let subjects = self.subjects.lock();
        match subject {
            Some(subject) => subjects.get(subject).into_iter().for_each(|waiters| waiters.notify_waiters()),
            None => subjects.values().for_each(|waiters| waiters.notify_waiters()),
        }
    }
}

impl Task {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>, watches: bool) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = queue.recv_many(&mut batch, BATCH) => if count == 0 { break },
                _ = look.tick(), if watches => {
                    self.look().await;
                    continue;
                }
            }
            let closing = batch.iter().position(|job| matches!(job.action, Action::Close));
            let after: Vec<Job> = closing.map(|at| batch.split_off(at)).unwrap_or_default();
            self.write(std::mem::take(&mut batch)).await;
            if let Some(close) = after.into_iter().next() {
                let _ = self.connection.close().await;
                let _ = close.answer.send(Ok(Answer::Changed(true)));
                return;
            }
        }
        let _ = self.connection.close().await;
    }

    /// Another process has published or replayed: the version counter of the file tells.
    async fn look(&mut self) {
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await;
        match version {
            Ok(version) if version != self.data_version => {
                self.data_version = version;
                self.news.tell(None);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{}", unavailable(&self.path, &error)),
        }
    }

    /// Runs all actions in one transaction. If that fails, runs each in its own, so that an action that cannot work
    /// fails alone.
    async fn write(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        match self.transaction(batch.iter().map(|job| &job.action)).await {
            Ok(answers) => {
                for (job, answer) in batch.into_iter().zip(answers) {
                    self.reply(job, Ok(answer));
                }
            }
            Err(error) if batch.len() == 1 => {
                let error = unavailable(&self.path, &error);
                for job in batch {
                    self.reply(job, Err(error.clone()));
                }
            }
            Err(_) => {
                for job in batch {
                    let answer = self.transaction(std::iter::once(&job.action)).await;
                    let answer = answer.map(|mut answers| answers.pop().unwrap_or(Answer::Changed(false)));
                    let answer = answer.map_err(|error| unavailable(&self.path, &error));
                    self.reply(job, answer);
                }
            }
        }
    }

    async fn transaction<'a>(
        &mut self,
        actions: impl Iterator<Item = &'a Action>,
    ) -> std::result::Result<Vec<Answer>, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut answers = Vec::new();
        for action in actions {
            answers.push(store::run(&mut transaction, action, self.window, &self.back).await?);
        }
        if self.forgot.elapsed() > FORGET {
            store::forget_ids(&mut transaction, self.window).await?;
            self.forgot = Instant::now();
        }
        transaction.commit().await?;
        Ok(answers)
    }

    fn reply(&self, job: Job, answer: Result<Answer>) {
        if answer.is_ok() {
            match &job.action {
                Action::Publish { subject, .. } => self.news.tell(Some(subject)),
                // The due time of these messages has changed. That is rare, so wake all waiting tasks.
                Action::Nak { .. } | Action::GiveBack(_) => self.news.tell(None),
                _ => {}
            }
        }
        // If the caller is gone, a lease in the answer gives itself back when it is dropped.
        drop(job.answer.send(answer));
    }
}
