import {
  CompiledQuery,
  PostgresDialect,
  PostgresDriver,
  type DatabaseConnection,
  type Driver,
  type PostgresDialectConfig,
  type TransactionSettings,
} from 'kysely';

/** Names of server settings with their values in milliseconds. */
export type Timeouts = Readonly<Record<string, number>>;

/** PostgreSQL behind a transaction pooler: every transaction sets the timeouts for itself, along with its BEGIN. */
export class PooledDialect extends PostgresDialect {
  readonly #config: PostgresDialectConfig;
  readonly #timeouts: Timeouts;

  constructor(config: PostgresDialectConfig, timeouts: Timeouts) {
    super(config);
    this.#config = config;
    this.#timeouts = timeouts;
  }

  override createDriver(): Driver {
    return new PooledDriver(this.#config, this.#timeouts);
  }
}

class PooledDriver extends PostgresDriver {
  readonly #setting: string;

  constructor(config: PostgresDialectConfig, timeouts: Timeouts) {
    super(config);
    this.#setting = Object.entries(timeouts)
      .map(([name, value]) => `set local ${name} = ${Math.round(value)}`)
      .join('; ');
  }

  override async beginTransaction(
    connection: DatabaseConnection,
    settings: TransactionSettings,
  ): Promise<void> {
    const modes = [
      ...(settings.isolationLevel ? [`isolation level ${settings.isolationLevel}`] : []),
      ...(settings.accessMode ? [settings.accessMode] : []),
    ].join(' ');
    // One message of the simple protocol, hence one round trip.
    await connection.executeQuery(CompiledQuery.raw(`start transaction ${modes}; ${this.#setting}`));
  }
}
