import { readToday } from '../features/cleanup/integrity/check-queries.js';
import { checkIntegrity, type Damaged } from '../features/cleanup/integrity/check.js';
import { countDamaged } from '../features/cleanup/integrity/damage-queries.js';
import { remedies } from '../kit/room-options.js';
import type { CleanupScene } from './cleanup-scene.js';
import { count, size } from './copy-progress.js';

/** Compares blobs with their rows by reading them, and says each that differs in a line. */
export async function checkNow({ settings, db, blobs, command }: CleanupScene): Promise<number> {
  const { print, remark, json = false, signal } = command;
  const bytes = command.bytes ?? settings.integrityBytesPerDay - (await readToday(db)).bytes;
  if (bytes <= 0) {
    remark('What MBK_INTEGRITY_BYTES_PER_DAY allows for today was read already; --bytes reads more.');
    return 2;
  }
  let helpless = 0;
  const end = await checkIntegrity(
    { db, blobs, remedies },
    {
      bytes,
      signal,
      onDamaged: (damaged) => {
        if (damaged.blob.variant !== null && damaged.remedy !== 'mended') helpless += 1;
        print(json ? asJson(damaged) : asLine(damaged));
      },
    },
  );
  if (end.refusal !== undefined) {
    if (json) print(JSON.stringify({ type: 'refused', why: end.refusal }));
    else remark(end.refusal);
    return 2;
  }
  const originals = await countDamaged(db);
  const remaining = originals.missing + originals.corrupt + helpless;
  if (json) print(JSON.stringify({ type: 'summary', ...end, originals, remaining }));
  else {
    print(
      `Read: ${count(end.blobs)} blobs, ${size(end.bytes)}; ${count(end.missing)} missing, ${count(end.corrupt)} corrupt, of which ${count(end.mended)} variants are rendered again.`,
    );
    print(
      `Originals that are known to be lost: ${count(originals.missing)} missing, ${count(originals.corrupt)} corrupt.`,
    );
  }
  return remaining > 0 ? 1 : 0;
}

function asJson({ blob, kind, remedy, why }: Damaged): string {
  const { key, size: bytes, fileId, variant, checkedAt } = blob;
  return JSON.stringify({ type: 'finding', kind, key, size: bytes, fileId, variant, checkedAt, why, remedy });
}

function asLine({ blob, kind, remedy, why }: Damaged): string {
  const outcome = {
    mended: 'rendered again',
    marked: 'its file is marked',
    left: 'left as it is',
    gone: 'gone',
  };
  return `${kind}: ${blob.key}: ${size(blob.size)}, ${why}; ${outcome[remedy]}`;
}
