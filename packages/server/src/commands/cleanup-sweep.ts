import { findingsOf, type FindingRow } from '../features/cleanup/sweep/finding-queries.js';
import { numbersOf } from '../features/cleanup/sweep/job.js';
import { remainingOf, sweepStore } from '../features/cleanup/sweep/sweep.js';
import { newId } from '../foundation/ids.js';
import { sweepOptions } from '../kit/room-options.js';
import type { CleanupScene } from './cleanup-scene.js';
import { count, size } from './copy-progress.js';

const headings: Readonly<Record<string, string>> = {
  orphan: 'without a row',
  missing: 'without a blob',
  foreign: 'foreign',
  unfinished: 'unfinished put',
};
const outcomes: Readonly<Record<string, string>> = {
  quarantined: 'moved into quarantine',
  dropped: 'dropped',
  mended: 'rendered again',
  marked: 'its file is marked',
  gone: 'no longer so',
  failed: 'it failed',
};

/** Compares the store with the rows, and says each difference in a line. */
export async function sweepNow(scene: CleanupScene): Promise<number> {
  const { settings, db, blobs, command } = scene;
  const { print, remark, json = false, project, signal } = command;
  const end = await sweepStore(sweepOptions(settings, { db, blobs }), {
    mode: command.delete ? 'delete' : command.dryRun ? 'dry-run' : 'report',
    ...(project === undefined ? {} : { projectId: project }),
    holder: newId(),
    signal,
  });
  if (end.kind === 'held') {
    remark(`Another sweep is under way, at least until ${end.until.toISOString()}.`);
    return 2;
  }
  if (end.kind === 'refused') {
    if (json) print(JSON.stringify({ type: 'refused', why: end.why }));
    else remark(end.why);
    return 2;
  }
  let kept = 0;
  for await (const finding of findingsOf(db, end.sweep.id)) {
    kept += 1;
    print(json ? asJson(finding) : asLine(finding));
  }
  const { sweep } = end;
  const all = sweep.orphans + sweep.missing + sweep.foreign_objects + sweep.unfinished_puts;
  const remaining = remainingOf(sweep);
  if (json) {
    print(JSON.stringify({ type: 'summary', ...numbersOf(sweep), remaining, refusal: sweep.refusal }));
  } else {
    if (all > kept) print(`and ${count(all - kept)} more`);
    for (const line of summary(numbersOf(sweep))) print(line);
    if (sweep.refusal !== null) print(sweep.refusal);
  }
  return remaining > 0 || sweep.refusal !== null ? 1 : 0;
}

type Kept = FindingRow & { readonly ageSeconds: number | null };

function asJson(finding: Kept): string {
  return JSON.stringify({
    type: 'finding',
    kind: finding.kind,
    key: finding.key,
    size: finding.size,
    ageSeconds: finding.ageSeconds === null ? null : Math.round(finding.ageSeconds),
    why: finding.why,
    outcome: finding.outcome,
    detail: finding.detail,
  });
}

function asLine(finding: Kept): string {
  const facts = [
    ...(finding.size === null ? [] : [size(finding.size)]),
    ...(finding.ageSeconds === null ? [] : [`${age(finding.ageSeconds)} old`]),
    finding.why,
  ];
  const outcome = finding.outcome === null ? '' : `; ${outcomes[finding.outcome] ?? finding.outcome}`;
  const detail = finding.detail === null ? '' : `: ${finding.detail}`;
  return `${headings[finding.kind] ?? finding.kind}: ${finding.key}: ${facts.join(', ')}${outcome}${detail}`;
}

/** A span of time in its largest whole unit. */
function age(seconds: number): string {
  for (const [unit, length] of [
    ['d', 86_400],
    ['h', 3_600],
    ['min', 60],
  ] as const) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function summary(numbers: ReturnType<typeof numbersOf>): readonly string[] {
  const { blobs, bytes, rows, orphans, orphanBytes, missing, foreign, unfinished } = numbers;
  const done = [
    [numbers.quarantined, 'moved into quarantine'],
    [numbers.removed, 'removed from quarantine'],
    [numbers.restored, 'brought back'],
    [numbers.dropped, 'unfinished puts dropped'],
    [numbers.mended, 'rendered again'],
    [numbers.failures, 'failed'],
  ] as const;
  const did = done.filter(([number]) => number > 0).map(([number, what]) => `${count(number)} ${what}`);
  return [
    `Seen: ${count(blobs)} blobs, ${size(bytes)}; ${count(rows)} rows (${numbers.mode}).`,
    `Found: ${count(orphans)} blobs without a row (${size(orphanBytes)}), ${count(missing)} rows without a blob, ${count(unfinished)} unfinished puts, ${count(foreign)} foreign objects.`,
    ...(did.length > 0 ? [`Done: ${did.join(', ')}.`] : []),
  ];
}
