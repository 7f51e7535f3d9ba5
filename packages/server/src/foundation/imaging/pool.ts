import { extname } from 'node:path';

import type { Log } from '../log.js';
import { fewArenas, type AllocatorEnvironment } from './allocator.js';
import { Decoder } from './decoder.js';
import {
  ImagingError,
  type Imaging,
  type PictureFacts,
  type RenderRequest,
  type RenderResult,
} from './imaging.js';
import type { Task, TaskResult } from './messages.js';

export interface ImagingOptions {
  readonly log: Log;
  /** Most child processes; the first starts at once, the others when there is work for them. */
  readonly size: number;
  /** Resident memory in bytes at which a child is killed; a fresh one has about 60 MB. */
  readonly memoryLimitBytes: number;
  /** Longest time of one render in milliseconds. */
  readonly wallClockMs: number;
  /** Limit of width × height × frames; 50 million when absent. */
  readonly maxPixels?: number;
  /** Tasks after which a child is replaced; 500 when absent. */
  readonly recycleAfter?: number;
  /** Most tasks that wait for a child; 1,000 when absent. More are refused with `overloaded`. */
  readonly maxWaiting?: number;
  /** Rasterise SVG, whose rasteriser can be kept busy for ever by two kilobytes; false when absent. */
  readonly rasterizesSvg?: boolean;
  /** See `chooseAllocator`; glibc's own with few arenas when absent. */
  readonly allocator?: AllocatorEnvironment;
  /** The program of the children; `child.js` beside this file when absent. */
  readonly childEntry?: URL;
}

/** Wall clock of a probe: a header is read in a millisecond, but a saturated machine may let a child wait. */
const probeMs = 10_000;

interface Waiting {
  readonly task: Task;
  readonly signal: AbortSignal | undefined;
  readonly onQuick: RenderRequest['onQuick'];
  readonly resolve: (result: TaskResult) => void;
  readonly reject: (reason: Error) => void;
  readonly forget: () => void;
}

/** A pool of child processes that decode and encode; see `Imaging` for what it promises. */
export function createImaging(options: ImagingOptions): Imaging {
  const pool = new Pool(options);
  const maxPixels = options.maxPixels ?? 50_000_000;
  return {
    probe: async (source, signal) => {
      const facts = await pool.submit({ kind: 'probe', source, maxPixels }, signal);
      return facts as PictureFacts;
    },
    render: async ({ signal, onQuick, ...request }) => {
      // A compressed picture needs its bytes and its pixels at the same time.
      const maxBytes = Math.floor(options.memoryLimitBytes / 2);
      const { path, recipes, focalPoint, watermarks, outputFolder } = request;
      const task: Task = {
        kind: 'render',
        path,
        recipes,
        focalPoint,
        watermarks,
        outputFolder,
        maxPixels,
        maxBytes,
      };
      return (await pool.submit(task, signal, onQuick)) as RenderResult;
    },
    close: () => pool.close(),
  };
}

class Pool {
  readonly #options: ImagingOptions;
  readonly #entry: URL;
  readonly #recycleAfter: number;
  readonly #maxWaiting: number;
  readonly #decoders = new Set<Decoder>();
  readonly #idle: Decoder[] = [];
  /** Probes go first: somebody's upload waits for them, and they take a thousandth of a render. */
  #probes: Waiting[] = [];
  #renders: Waiting[] = [];
  #closed = false;

  constructor(options: ImagingOptions) {
    this.#options = options;
    this.#entry = options.childEntry ?? new URL(`./child${extname(import.meta.url)}`, import.meta.url);
    this.#recycleAfter = options.recycleAfter ?? 500;
    this.#maxWaiting = options.maxWaiting ?? 1000;
    this.#keepOneWarm();
  }

  async submit(
    task: Task,
    signal: AbortSignal | undefined,
    onQuick?: RenderRequest['onQuick'],
  ): Promise<TaskResult> {
    if (this.#closed) throw new ImagingError('aborted', 'The decoders have been stopped.');
    if (signal?.aborted) throw gaveUp(signal);
    if (this.#probes.length + this.#renders.length >= this.#maxWaiting) {
      throw new ImagingError('overloaded', 'Too many pictures are waiting for a decoder.', {
        limit: this.#maxWaiting,
      });
    }
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#probes = this.#probes.filter((other) => other !== waiting);
        this.#renders = this.#renders.filter((other) => other !== waiting);
        if (signal) reject(gaveUp(signal));
      };
      const forget = (): void => signal?.removeEventListener('abort', abort);
      const waiting: Waiting = { task, signal, onQuick, resolve, reject, forget };
      signal?.addEventListener('abort', abort, { once: true });
      (task.kind === 'probe' ? this.#probes : this.#renders).push(waiting);
      this.#pump();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { forget, reject } of [...this.#probes, ...this.#renders]) {
      forget();
      reject(new ImagingError('aborted', 'The decoders are being stopped.'));
    }
    this.#probes = [];
    this.#renders = [];
    await Promise.all([...this.#decoders].map((decoder) => decoder.end()));
  }

  /** Gives waiting tasks to idle children, and starts children while there are too few. */
  #pump(): void {
    while (this.#probes.length + this.#renders.length > 0) {
      const decoder = this.#idle.pop() ?? this.#start();
      if (!decoder) return;
      const next = this.#probes.shift() ?? this.#renders.shift();
      if (!next) return;
      next.forget();
      void this.#do(next, decoder); // #do settles the waiting promise and never rejects itself
    }
  }

  async #do({ task, signal, onQuick, resolve, reject }: Waiting, decoder: Decoder): Promise<void> {
    const wallClockMs = task.kind === 'probe' ? probeMs : this.#options.wallClockMs;
    try {
      resolve(await decoder.run(task, { wallClockMs, signal, onQuick }));
    } catch (error) {
      reject(error instanceof Error ? error : new Error(String(error)));
    }
    await this.#takeBack(decoder);
    this.#pump();
  }

  /** A child that has worked goes back among the idle ones, or is replaced when it is worn or has grown. */
  async #takeBack(decoder: Decoder): Promise<void> {
    const memory = decoder.finished ? undefined : await decoder.memory();
    if (decoder.finished || memory === undefined) return;
    // What a large picture leaves behind in the allocator would count against the next one's ceiling.
    if (decoder.tasks < this.#recycleAfter && memory <= this.#options.memoryLimitBytes / 2) {
      this.#idle.push(decoder);
      return;
    }
    this.#options.log.debug({ childPid: decoder.pid, tasks: decoder.tasks, memory }, 'decoder replaced');
    await decoder.end();
    this.#keepOneWarm();
  }

  #keepOneWarm(): void {
    if (this.#decoders.size > 0) return;
    const decoder = this.#start();
    if (decoder) this.#idle.push(decoder);
  }

  #start(): Decoder | undefined {
    if (this.#closed || this.#decoders.size >= this.#options.size) return undefined;
    const decoder = new Decoder({
      log: this.#options.log,
      entry: this.#entry,
      memoryLimitBytes: this.#options.memoryLimitBytes,
      rasterizesSvg: this.#options.rasterizesSvg ?? false,
      allocator: this.#options.allocator ?? fewArenas,
      onExit: () => {
        this.#decoders.delete(decoder);
        const at = this.#idle.indexOf(decoder);
        if (at >= 0) this.#idle.splice(at, 1);
        this.#pump();
      },
    });
    this.#decoders.add(decoder);
    return decoder;
  }
}

function gaveUp(signal: AbortSignal): ImagingError {
  return new ImagingError('aborted', 'The caller gave up.', { cause: signal.reason });
}
