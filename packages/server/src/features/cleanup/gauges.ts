import type { Db } from '../../foundation/database/connect.js';
import type { Metrics } from '../../foundation/metrics.js';
import { countDamaged } from './integrity/damage-queries.js';
import { countQuarantined } from './sweep/quarantine-queries.js';
import { lastSweep } from './sweep/state-queries.js';
import { remainingOf } from './sweep/sweep.js';

/** What the last sweep and the integrity check know, told by every process that has metrics. */
export function cleanupGauges(db: Db, metrics: Metrics): void {
  metrics.gauge('sweep_findings', 'Findings of the last sweep that remain', [], async () => {
    const sweep = await lastSweep(db);
    return sweep ? [{ labels: {}, value: remainingOf(sweep) }] : [];
  });
  metrics.gauge('sweep_finished_seconds', 'When the last sweep finished, in Unix time', [], async () => {
    const finished = (await lastSweep(db))?.finished_at;
    return finished ? [{ labels: {}, value: finished.getTime() / 1000 }] : [];
  });
  metrics.gauge('quarantined_blobs', 'Blobs in quarantine', [], async () => [
    { labels: {}, value: (await countQuarantined(db)).blobs },
  ]);
  metrics.gauge('damaged_originals', 'Originals whose bytes are lost', ['kind'], async () => {
    const { missing, corrupt } = await countDamaged(db);
    return [
      { labels: { kind: 'missing' }, value: missing },
      { labels: { kind: 'corrupt' }, value: corrupt },
    ];
  });
}
