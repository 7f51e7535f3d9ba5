import pg from 'pg';

/** What an installation must know of the database that it stands on. */
export interface DatabaseFacts {
  /** As the server says it: `18.4`. */
  readonly version: string;
  /** Milliseconds of the quickest of a few round trips. */
  readonly latencyMs: number;
  /** Milliseconds that the database's clock is ahead of this machine's; negative when it is behind. */
  readonly clockAheadMs: number;
  /** Names of files are searched by trigrams. */
  readonly searchesByTrigrams: boolean;
  /** The server has the extension, whether or not it is used. */
  readonly hasTrigrams: boolean;
  /** Connections that the server takes at most, and those that are open. */
  readonly connections: { readonly most: number; readonly open: number };
}

const roundTrips = 5;
const limitMs = 5_000;

/**
 * Looks at a database and changes nothing in it; the schema may be absent, old or new.
 * @param url connection string.
 * @throws the driver's error when the server cannot be reached, or does not answer within 5 s.
 */
export async function examineDatabase(url: string): Promise<DatabaseFacts> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: limitMs,
    query_timeout: limitMs,
  });
  client.on('error', () => {
    // The query under way rejects with it.
  });
  try {
    await client.connect();
    const { latencyMs, clockAheadMs } = await measure(client);
    const { rows } = await client.query<
      Omit<DatabaseFacts, 'latencyMs' | 'clockAheadMs' | 'connections'> & Counts
    >(
      `SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
         to_regclass('files_name_search') IS NOT NULL AS "searchesByTrigrams",
         EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') AS "hasTrigrams",
         current_setting('max_connections')::integer AS most,
         (SELECT count(*)::integer FROM pg_stat_activity WHERE backend_type = 'client backend') AS open`,
    );
    const [row] = rows;
    if (!row) throw new TypeError('a SELECT without FROM has one row');
    const { most, open, ...facts } = row;
    return { ...facts, latencyMs, clockAheadMs, connections: { most, open } };
  } finally {
    await client.end();
  }
}

interface Counts {
  readonly most: number;
  readonly open: number;
}

/** The quickest round trip tells most of the clock too: the database looked at it within that time. */
async function measure(client: pg.Client): Promise<Pick<DatabaseFacts, 'latencyMs' | 'clockAheadMs'>> {
  let best = { latencyMs: Number.POSITIVE_INFINITY, clockAheadMs: 0 };
  for (let trip = 0; trip < roundTrips; trip += 1) {
    const sent = Date.now();
    const began = performance.now();
    const { rows } = await client.query<{ now: number }>(
      'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now',
    );
    const latencyMs = performance.now() - began;
    if (latencyMs >= best.latencyMs) continue;
    best = { latencyMs, clockAheadMs: (rows[0]?.now ?? sent) - (sent + latencyMs / 2) };
  }
  return best;
}
