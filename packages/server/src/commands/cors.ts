import type { Settings } from '../config.js';
import { Unsupported } from '../foundation/blobs/blob-store.js';
import type { BucketCors } from '../foundation/blobs/s3-cors.js';

export interface CorsOptions {
  /** Sets the rules instead of only printing them. */
  readonly apply: boolean;
  /** The rules as JSON and nothing else, so that they can go into a file. */
  readonly print: (line: string) => void;
  /** Everything said about them. */
  readonly remark: (line: string) => void;
}

/**
 * Prints the bucket CORS that browsers need for uploads straight to the bucket and for redirected reads, or sets it
 * and reads it back.
 * @returns whether what was asked for is done.
 */
export async function showCors(settings: Settings, { apply, print, remark }: CorsOptions): Promise<boolean> {
  if (settings.s3 === undefined) {
    remark(
      'The disk store needs no CORS of its own: its uploads and downloads go through this server, whose origins are MBK_CORS_ORIGINS.',
    );
    return true;
  }
  const access = settings.s3;
  // Loaded only here: the AWS SDK takes longer than the rest of the command.
  const { readCors, sameCors, wantedCors, writeCors } = await import('../foundation/blobs/s3-cors.js');
  const wanted = wantedCors(origins(settings));
  print(json(wanted));
  try {
    const present = await readCors(access);
    const right = present !== undefined && sameCors(present, wanted);
    if (right) remark(`The bucket ${access.bucket} has these rules.`);
    else if (present === undefined) remark(`The bucket ${access.bucket} has no CORS rules.`);
    else remark(`The present rules of the bucket ${access.bucket} differ:\n${json(present)}`);
    if (!apply) {
      if (!right) remark('Run the command with --apply to set the rules above in their place.');
      return true;
    }
    if (right) return true;
    await writeCors(access, wanted);
    const kept = await readCors(access);
    if (kept !== undefined && sameCors(kept, wanted)) {
      remark(`Set, and read back from the bucket ${access.bucket}.`);
      return true;
    }
    remark(
      `The bucket ${access.bucket} took the rules and has others:\n${kept === undefined ? 'none' : json(kept)}`,
    );
    return false;
  } catch (error) {
    // Printing works on every server; what the present rules are is only a remark.
    if (!(error instanceof Unsupported)) throw error;
    remark(`The rules cannot be ${apply ? 'set' : 'read'}: ${error.message}.`);
    return !apply;
  }
}

/** The pages that call the API, and the server's own, whose console uploads too. */
function origins({ corsOrigins, publicUrl }: Settings): readonly string[] {
  return [...new Set([...corsOrigins, new URL(publicUrl).origin])];
}

function json(cors: BucketCors): string {
  return JSON.stringify(cors, null, 2);
}
