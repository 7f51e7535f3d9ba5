import type { Static, TSchema } from 'typebox';

import type { Tx } from '../database/connect.js';
import type { Log } from '../log.js';

/**
 * Lanes, most urgent first: somebody waits for the answer; a new upload; work nobody waits for.
 * A lower lane is only starved as long as higher ones have work.
 */
export const lanes = ['interactive', 'normal', 'background'] as const;
export type Lane = (typeof lanes)[number];

/** A kind of background work: its name, the shape of its payload and its retry policy. Data, no code. */
export interface JobKind<S extends TSchema = TSchema> {
  /** Stable name, stored in every row: `render-variants`. */
  readonly name: string;
  readonly payload: S;
  readonly lane: Lane;
  /** Attempts in all, the first included, before the job becomes a dead letter. */
  readonly attempts: number;
  /** Wall-clock limit of one attempt in seconds; then its `signal` aborts and the attempt counts as failed. */
  readonly timeoutSeconds: number;
}

/** Declares a kind of job with the policy most want. */
export function defineJob<S extends TSchema>(
  kind: Pick<JobKind<S>, 'name' | 'payload'> & Partial<JobKind<S>>,
): JobKind<S> {
  return { lane: 'normal', attempts: 5, timeoutSeconds: 300, ...kind };
}

/** What a handler is told about the job it runs. */
export interface JobContext<S extends TSchema = TSchema> {
  readonly id: string;
  readonly payload: Static<S>;
  readonly projectId: string | null;
  /**
   * 1 for the first attempt; no two attempts of a job share a number. Output of attempt n never goes where
   * attempt n−1 wrote.
   */
  readonly attempt: number;
  readonly lastAttempt: boolean;
  /** Aborts when the lease is lost, the attempt runs out of time, the job is cancelled or the process stops. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /**
   * Runs `work` and marks the job done in the same transaction, fenced by this attempt's lease: when another
   * process has taken the job over, nothing of it is committed and `LeaseLost` is thrown. A handler that
   * returns without calling it has its job marked done by the runner.
   */
  finish<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
}

/** What is left of a job that will not be tried again. */
export interface DeadJob<S extends TSchema = TSchema> {
  readonly id: string;
  readonly payload: Static<S>;
  readonly projectId: string | null;
}

export interface JobHandler<S extends TSchema = TSchema> {
  readonly kind: JobKind<S>;
  run(context: JobContext<S>): Promise<void>;
  /**
   * Called in the transaction that turns the job into a dead letter (attempts exhausted, or `PermanentFailure`),
   * so that what waited for it can be marked failed with the reason. When it throws, the job stays where it is
   * and the hook is called again after the lease. The payload is not checked again: it may be of an older shape.
   */
  dead?(tx: Tx, job: DeadJob<S>, reason: string): Promise<void>;
}

/** Ties a handler to its kind with the payload's type. */
export function handle<S extends TSchema>(
  kind: JobKind<S>,
  run: JobHandler<S>['run'],
  dead?: JobHandler<S>['dead'],
): JobHandler {
  return { kind, run, ...(dead ? { dead } : {}) };
}

/** Thrown by a handler when trying again cannot help; the job becomes a dead letter at once. */
export class PermanentFailure extends Error {
  override readonly name = 'PermanentFailure';
}

/** Another process has taken the job over; whatever this attempt did must not count. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

/**
 * Attempts of a job that only the timetable enqueues. Its next run would do as well, but a worker that was killed in the
 * middle is no reason for a dead letter that wakes somebody.
 */
export const timetableAttempts = 3;

/** A line of the timetable: enqueues `kind` at the times of the cron line, once in the whole installation. */
export interface TimetableEntry<S extends TSchema = TSchema> {
  readonly name: string;
  /** Five-field cron line, UTC. */
  readonly cron: string;
  readonly kind: JobKind<S>;
  readonly payload: Static<S>;
}
