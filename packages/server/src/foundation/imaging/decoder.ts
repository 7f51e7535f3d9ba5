import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import type { Log } from '../log.js';
import type { AllocatorEnvironment } from './allocator.js';
import { ImagingError, type RenderRequest } from './imaging.js';
import { lowerPriority } from './low-priority.js';
import { svgArgument, type ChildMessage, type Task, type TaskResult } from './messages.js';
import { residentMemory } from './resident-memory.js';
import { watchLimits } from './watch-limits.js';

/** What a task ends with. */
type TaskEnd = Extract<ChildMessage, { kind: 'done' | 'failed' }>;

export interface DecoderOptions {
  readonly log: Log;
  readonly entry: URL;
  /** Resident memory at which it is killed, while it works. */
  readonly memoryLimitBytes: number;
  /** Whether it may open SVG. */
  readonly rasterizesSvg: boolean;
  /** Environment variables of the memory allocator that it uses. */
  readonly allocator: AllocatorEnvironment;
  /** Called once, when the process is gone. */
  readonly onExit: (decoder: Decoder) => void;
}

export interface RunOptions {
  /** Longest time of the task in milliseconds; starting the child is not counted. */
  readonly wallClockMs: number;
  readonly signal: AbortSignal | undefined;
  /** See `RenderRequest.onQuick`. */
  readonly onQuick?: RenderRequest['onQuick'];
}

/** Longest time from the fork to `ready`; 150 ms are usual, seconds happen on a machine that is overloaded. */
const startMs = 30_000;
/** Last characters of standard error that are kept for the log: libvips complains there before it aborts. */
const complaintLength = 2000;

/** One child process: starts at once, does one task at a time, is killed when a task passes a limit. */
export class Decoder {
  readonly #child: ChildProcess;
  readonly #options: DecoderOptions;
  /** Resolves when the child can take tasks; also when it died before. */
  readonly #ready: Promise<void>;
  readonly #gone: Promise<void>;
  /** Why we killed it; undefined when it ends by itself. */
  #sentence: ImagingError | undefined;
  #ended = false;
  #complaint = '';
  #tasks = 0;

  constructor(options: DecoderOptions) {
    this.#options = options;
    const fromSource = options.entry.pathname.endsWith('.ts');
    this.#child = fork(fileURLToPath(options.entry), options.rasterizesSvg ? [svgArgument] : [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: childEnvironment(options.allocator),
      // Development runs the sources: the child needs the loader that its parent was started with.
      execArgv: [
        // For child.ts, which frees what a picture leaves behind.
        '--expose-gc',
        ...(fromSource ? process.execArgv.filter((word) => !word.startsWith('--inspect')) : []),
      ],
    });
    lowerPriority(this.#child.pid);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-complaintLength);
    });
    this.#gone = new Promise((resolve) => {
      const end = (): void => {
        if (this.#ended) return;
        this.#ended = true;
        resolve();
        options.onExit(this);
      };
      this.#child.once('exit', end);
      // Emitted instead of `exit` when the process could not be started, besides it when a message could not be sent.
      this.#child.on('error', (error) => {
        this.#complaint ||= error.message;
        if (this.#child.pid === undefined) end();
        else
          this.kill(
            new ImagingError('decoder-crashed', 'The decoder could not be reached.', { cause: error }),
          );
      });
    });
    this.#ready = this.#start();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** How many tasks it has been given. */
  get tasks(): number {
    return this.#tasks;
  }

  /**
   * Does one task; call again only when the promise has settled. It settles after the last write to the output
   * folder: after a failure that cost the child its life, only when the process is gone.
   */
  async run(task: Task, { wallClockMs, signal, onQuick }: RunOptions): Promise<TaskResult> {
    this.#tasks++;
    const abort = (): void =>
      this.kill(new ImagingError('aborted', 'The caller gave up.', { cause: signal?.reason }));
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    let stopWatching: (() => void) | undefined;
    try {
      await this.#ready;
      if (this.#ended) throw this.#obituary();
      const answer = this.#end(onQuick);
      const limits = { wallClockMs, memoryLimitBytes: this.#options.memoryLimitBytes };
      stopWatching = watchLimits(this.pid, 'The picture', limits, (why) => this.kill(why));
      this.#child.send(task);
      const message = await answer;
      if (message?.kind === 'done') return message.result;
      if (!message) throw this.#obituary();
      const { code, message: text, ...numbers } = message.failure;
      throw new ImagingError(code, text, numbers);
    } finally {
      stopWatching?.();
      signal?.removeEventListener('abort', abort);
      // Killed while its answer was on the way: it must not be given another task.
      if (this.#sentence) await this.#gone;
    }
  }

  /** Ends the process at once, whatever it does; `why` is what a running task fails with. */
  kill(why: ImagingError): void {
    this.#sentence ??= why;
    this.#child.kill('SIGKILL');
  }

  /** Kills it and waits until it is gone. */
  async end(): Promise<void> {
    this.kill(new ImagingError('aborted', 'The decoders are being stopped.'));
    await this.#gone;
  }

  /** True when it has been killed or has ended. */
  get finished(): boolean {
    return this.#ended || this.#sentence !== undefined;
  }

  async #start(): Promise<void> {
    const tooLate = setTimeout(() => {
      this.kill(new ImagingError('decoder-crashed', 'The decoder did not start in time.'));
    }, startMs);
    await this.#nextMessage();
    clearTimeout(tooLate);
  }

  /** The child's last word on a task, or undefined when it is gone without one. */
  #end(onQuick: RunOptions['onQuick']): Promise<TaskEnd | undefined> {
    return new Promise((resolve) => {
      const hear = (message: ChildMessage): void => {
        if (message.kind === 'quick') onQuick?.(message.images);
        else if (message.kind !== 'ready') settle(message);
      };
      const settle = (end: TaskEnd | undefined): void => {
        this.#child.off('message', hear);
        resolve(end);
      };
      // One listener for all: two messages may come in the same moment.
      this.#child.on('message', hear);
      void this.#gone.then(() => settle(undefined));
    });
  }

  /** The child's next message, or undefined when it is gone without one. */
  async #nextMessage(): Promise<ChildMessage | undefined> {
    const listening = new AbortController();
    const message = once(this.#child, 'message', { signal: listening.signal }).then(
      ([value]) => value as ChildMessage,
      () => undefined,
    );
    const first = await Promise.race([message, this.#gone.then(() => undefined)]);
    listening.abort();
    return first;
  }

  /** Resident memory in bytes; undefined when the process is gone. */
  async memory(): Promise<number | undefined> {
    return this.#child.pid === undefined ? undefined : residentMemory(this.#child.pid);
  }

  /** What a task fails with whose child is gone. */
  #obituary(): ImagingError {
    if (this.#sentence) return this.#sentence;
    const { exitCode, signalCode, pid } = this.#child;
    const how = signalCode ? `by ${signalCode}` : `with code ${exitCode ?? 'unknown'}`;
    this.#options.log.warn(
      { childPid: pid, exitCode, signalCode, complaint: this.#complaint },
      'decoder crashed',
    );
    return new ImagingError('decoder-crashed', `The decoder ended ${how}.`);
  }
}

/** All that a decoder is told of the world; its parent's secrets stay where they are. */
function childEnvironment(allocator: AllocatorEnvironment): NodeJS.ProcessEnv {
  return {
    ...allocator,
    // A second lock beside the loader list: operations that libvips itself calls untrusted. What child.ts unblocks by
    // its name is open in spite of it.
    VIPS_BLOCK_UNTRUSTED: '1',
    // libvips would spool large pictures to temporary files, which a SIGKILL leaves behind; memory has its ceiling.
    VIPS_DISC_THRESHOLD: '8g',
    // One task at a time needs one thread for libvips and one for files.
    UV_THREADPOOL_SIZE: '2',
    NODE_ENV: 'production',
  };
}
