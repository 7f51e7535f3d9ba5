import { GetBucketCorsCommand, PutBucketCorsCommand, type CORSRule } from '@aws-sdk/client-s3';
import { Unsupported } from './blob-store.js';
import { openClients, type S3Access, type S3Clients } from './s3-clients.js';
import { isStatus, s3Error, statusOf } from './s3-errors.js';

/** What pages of some origins may ask the bucket for; names and order of members as S3 has them. */
export interface CorsRule {
  readonly ID?: string;
  readonly AllowedOrigins: readonly string[];
  readonly AllowedMethods: readonly string[];
  readonly AllowedHeaders: readonly string[];
  readonly ExposeHeaders: readonly string[];
  readonly MaxAgeSeconds?: number;
}

/** As `aws s3api put-bucket-cors --cors-configuration` takes it. */
export interface BucketCors {
  readonly CORSRules: readonly CorsRule[];
}

/** Chromium keeps a preflight's answer for 2 h at most, Firefox for 24 h. */
const maxAgeSeconds = 3600;
/** Beyond what a page may read anyway: uploads in parts need `ETag`, players and resumed downloads the rest. */
const exposed = ['ETag', 'Location', 'Accept-Ranges', 'Content-Range', 'Content-Disposition'];

/**
 * The rules under which browsers upload to the bucket and follow redirects into it. They say who may ask, not who is
 * answered: every request still needs a signature, and the bucket stays private.
 */
export function wantedCors(origins: readonly string[]): BucketCors {
  const shared = { AllowedHeaders: ['*'], ExposeHeaders: exposed, MaxAgeSeconds: maxAgeSeconds };
  const anybody = origins.includes('*');
  const uploads: CorsRule = {
    ID: 'mediablobkit-uploads',
    AllowedOrigins: anybody ? ['*'] : origins,
    AllowedMethods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'],
    ...shared,
  };
  // A page whose request goes to the API and is redirected here from there arrives as `Origin: null`
  // (Fetch, "redirect-tainted origin"), which no list of origins matches.
  const reads: CorsRule = {
    ID: 'mediablobkit-redirected-reads',
    AllowedOrigins: ['*'],
    AllowedMethods: ['GET', 'HEAD'],
    ...shared,
  };
  return { CORSRules: anybody ? [uploads] : [uploads, reads] };
}

/** Whether both let the same pages do the same; ids, order and the case of header names do not count. */
export function sameCors(a: BucketCors, b: BucketCors): boolean {
  return JSON.stringify(comparable(a)) === JSON.stringify(comparable(b));
}

function comparable({ CORSRules: rules }: BucketCors): readonly string[] {
  const sorted = (list: readonly string[]): string[] => [...new Set(list)].sort();
  const lower = (list: readonly string[]): string[] => sorted(list.map((text) => text.toLowerCase()));
  return rules
    .map((rule) =>
      JSON.stringify([
        sorted(rule.AllowedOrigins),
        sorted(rule.AllowedMethods),
        lower(rule.AllowedHeaders),
        lower(rule.ExposeHeaders),
        rule.MaxAgeSeconds ?? null,
      ]),
    )
    .sort();
}

/**
 * The bucket's present rules; undefined when it has none.
 * @throws Unsupported when the server has no such API; StoreUnavailable.
 */
export async function readCors(access: S3Access): Promise<BucketCors | undefined> {
  return withClients(access, async ({ read }) => {
    try {
      const { CORSRules: rules } = await read.send(new GetBucketCorsCommand({ Bucket: access.bucket }));
      return rules?.length ? { CORSRules: rules.map(ruleOf) } : undefined;
    } catch (error) {
      if (error instanceof Error && error.name === 'NoSuchCORSConfiguration') return undefined;
      throw corsError(error);
    }
  });
}

/**
 * Replaces all CORS rules of the bucket. Neither its policy nor an ACL is touched.
 * @throws Unsupported when the server has no such API; StoreUnavailable.
 */
export async function writeCors(access: S3Access, cors: BucketCors): Promise<void> {
  await withClients(access, async ({ write }) => {
    const rules: CORSRule[] = cors.CORSRules.map((rule) => ({
      ...rule,
      AllowedOrigins: [...rule.AllowedOrigins],
      AllowedMethods: [...rule.AllowedMethods],
      AllowedHeaders: [...rule.AllowedHeaders],
      ExposeHeaders: [...rule.ExposeHeaders],
    }));
    try {
      await write.send(
        new PutBucketCorsCommand({ Bucket: access.bucket, CORSConfiguration: { CORSRules: rules } }),
      );
    } catch (error) {
      throw corsError(error);
    }
  });
}

async function withClients<T>(access: S3Access, use: (clients: S3Clients) => Promise<T>): Promise<T> {
  const clients = openClients(access);
  try {
    return await use(clients);
  } finally {
    clients.close();
  }
}

/** 501 is what servers answer that have no CORS of buckets; 405 what some say that know no such query. */
function corsError(error: unknown): Error {
  if (isStatus(error, 501) || isStatus(error, 405)) {
    return new Unsupported(
      `the server has no CORS rules of buckets (it answers ${statusOf(error)}); set them in its own settings`,
      '',
      { cause: error },
    );
  }
  return s3Error(error, '');
}

function ruleOf(rule: CORSRule): CorsRule {
  return {
    ...(rule.ID !== undefined && { ID: rule.ID }),
    AllowedOrigins: rule.AllowedOrigins ?? [],
    AllowedMethods: rule.AllowedMethods ?? [],
    AllowedHeaders: rule.AllowedHeaders ?? [],
    ExposeHeaders: rule.ExposeHeaders ?? [],
    ...(rule.MaxAgeSeconds !== undefined && { MaxAgeSeconds: rule.MaxAgeSeconds }),
  };
}
