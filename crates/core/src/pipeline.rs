//! Puts threads between stations and knows none of them.
//!
//! Jobs run on a pool and come back in the order they were submitted, at most a window of them at a time: that bounds memory
//! and makes the output independent of the number of threads. With one thread every job runs where it is submitted, which
//! is the plain serial program and the oracle of the parallel one. The caller is never one of the pool's threads, so it may
//! block; a job waits for none but those before it, and jobs start in the order they were submitted, so the oldest never
//! waits.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::ScopeFifo;

use crate::error::{Error, Result};

/// The threads that run jobs.
#[derive(Clone, Copy)]
pub(crate) struct Workers<'a, 'scope> {
    scope: Option<&'a ScopeFifo<'scope>>,
    threads: usize,
}

/// Runs `body` with `threads` workers beside the caller's own thread; with one, the caller does all the work.
pub(crate) fn with_workers<'scope, R>(
    threads: usize,
    body: impl FnOnce(Workers<'_, 'scope>) -> Result<R>,
) -> Result<R> {
    if threads <= 1 {
        return body(Workers { scope: None, threads: 1 });
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("worker {number}"))
        .build()
        .map_err(|error| Error::System {
            what: "starting threads",
            source: std::io::Error::other(error),
        })?;
    pool.in_place_scope_fifo(|scope| body(Workers { scope: Some(scope), threads }))
}

/// Does both; one beside the other where a store answers several requests faster side by side.
pub(crate) fn beside<A: Send, B>(
    in_flight: usize,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> Result<(A, B)> {
    if in_flight <= 1 {
        return Ok((one(), other()));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("beside".to_owned())
            .spawn_scoped(scope, one)
            .map_err(|source| Error::System { what: "starting threads", source })?;
        let other = other();
        match thread.join() {
            Ok(one) => Ok((one, other)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What both give, or why one does not, the first before the second; as [`beside`]. One after the other the second is left
/// out when the first fails.
pub(crate) fn both<A: Send, B>(
    in_flight: usize,
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    if in_flight <= 1 {
        return Ok((one()?, other()?));
    }
    let (one, other) = beside(in_flight, one, other)?;
    Ok((one?, other?))
}

/// Threads that compute, and threads that wait for storage: as many as the store wants requests under way.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'a, 'scope> {
    pub(crate) workers: Workers<'a, 'scope>,
    pub(crate) requests: Workers<'a, 'scope>,
}

/// Runs `body` with both. With one request at a time there is no thread that only waits.
pub(crate) fn with_threads<'scope, R>(
    threads: usize,
    in_flight: usize,
    body: impl FnOnce(Threads<'_, 'scope>) -> Result<R>,
) -> Result<R> {
    with_workers(in_flight, |requests| {
        with_workers(threads, |workers| body(Threads { workers, requests }))
    })
}

impl<'a, 'scope> Workers<'a, 'scope> {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        self.threads
    }

    /// A queue of at most as many jobs as keep every thread busy while the caller deals with one.
    pub(crate) fn queue<T: Send + 'scope>(self) -> Ordered<'a, 'scope, T> {
        let window = if self.scope.is_some() { self.threads + 1 } else { 1 };
        Ordered { workers: self, window, pending: VecDeque::new() }
    }

    /// The items of `input`, each put through `job` on the pool, in order. An error ends it.
    pub(crate) fn map<A, B, I, F>(self, input: I, job: F) -> OrderedMap<'a, 'scope, I, B, F>
    where
        I: Iterator<Item = Result<A>>,
        F: Fn(A) -> Result<B> + Clone + Send + 'scope,
        A: Send + 'scope,
        B: Send + 'scope,
    {
        OrderedMap { queue: self.queue(), input, job, failed: None, ended: false }
    }

    /// As [`Workers::map`], for jobs with a part that must run in the order of the input: a state goes from each to the next.
    pub(crate) fn map_in_turn<A, B, S, I, F>(
        self,
        input: I,
        job: F,
    ) -> impl Iterator<Item = Result<B>>
    where
        I: Iterator<Item = Result<A>>,
        F: Fn(A, Turn<S>) -> Result<B> + Clone + Send + 'scope,
        A: Send + 'scope,
        B: Send + 'scope,
        S: Default + Send + 'scope,
    {
        let mut before = None;
        let in_turn = input.map(move |item| {
            let (after, next) = bounded(1);
            let before = before.replace(next);
            Ok((item?, Turn { before, after }))
        });
        self.map(in_turn, move |(item, turn)| job(item, turn))
    }
}

/// A job's place in the order of [`Workers::map_in_turn`].
pub(crate) struct Turn<S> {
    /// From the job before, if there is one.
    before: Option<Receiver<S>>,
    after: Sender<S>,
}

impl<S: Default> Turn<S> {
    /// Waits until the job before is done with the state; the next one has it when `work` returns.
    pub(crate) fn take<R>(self, work: impl FnOnce(&mut S) -> R) -> R {
        // Nothing comes from a job that panicked; its panic ends the whole scope.
        let mut state = self.before.and_then(|before| before.recv().ok()).unwrap_or_default();
        let result = work(&mut state);
        // The receiver is gone only when this was the last job.
        drop(self.after.send(state));
        result
    }
}

/// A bounded queue of jobs whose results come back in order.
pub(crate) struct Ordered<'a, 'scope, T> {
    workers: Workers<'a, 'scope>,
    window: usize,
    pending: VecDeque<Pending<T>>,
}

enum Pending<T> {
    Done(T),
    Running(Receiver<T>),
}

impl<'scope, T: Send + 'scope> Ordered<'_, 'scope, T> {
    /// Whether a result should be taken before the next job is submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= self.window
    }

    /// Whether there is no result left to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn submit(&mut self, job: impl FnOnce() -> T + Send + 'scope) {
        self.pending.push_back(match self.workers.scope {
            None => Pending::Done(job()),
            Some(scope) => {
                let (sender, receiver) = bounded(1);
                // The receiver is gone only when the caller gave up: then nobody wants the result.
                scope.spawn_fifo(move |_| drop(sender.send(job())));
                Pending::Running(receiver)
            }
        });
    }

    /// The result of the oldest job; waits for it.
    pub(crate) fn next(&mut self) -> Option<T> {
        Some(match self.pending.pop_front()? {
            Pending::Done(result) => result,
            Pending::Running(receiver) => {
                receiver.recv().expect("a job that panics ends the whole scope with its panic")
            }
        })
    }
}

/// See [`Workers::map`].
pub(crate) struct OrderedMap<'a, 'scope, I, B, F> {
    queue: Ordered<'a, 'scope, Result<B>>,
    input: I,
    job: F,
    failed: Option<Error>,
    ended: bool,
}

impl<'scope, A, B, I, F> Iterator for OrderedMap<'_, 'scope, I, B, F>
where
    I: Iterator<Item = Result<A>>,
    F: Fn(A) -> Result<B> + Clone + Send + 'scope,
    A: Send + 'scope,
    B: Send + 'scope,
{
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        while !self.ended && !self.queue.is_full() {
            match self.input.next() {
                Some(Ok(item)) => {
                    let job = self.job.clone();
                    self.queue.submit(move || job(item));
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
        match self.queue.next() {
            Some(result) => Some(result),
            None => self.failed.take().map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_after_what_came_before_it() {
        for threads in [1, 2, 5] {
            let input = (0..100).map(|n| if n < 40 { Ok(n) } else { Err(Error::NothingStored) });
            let got: Vec<Result<i32>> =
                with_workers(threads, |workers| Ok(workers.map(input, |n| Ok(n * n)).collect()))
                    .unwrap();
            let good: Vec<i32> =
                got.iter().take(40).map(|result| *result.as_ref().unwrap()).collect();
            assert_eq!(good, (0..40).map(|n| n * n).collect::<Vec<_>>());
            assert!(matches!(got[40], Err(Error::NothingStored)));
        }
    }
}
