import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { photo } from '../pictures.js';
import { createInstallation, type Installation, type Victim } from './installation.js';
import type { Spares } from './points.js';
import type { Postgres } from './postgres.js';
import type { Random } from './random.js';
import type { Scene } from './scene.js';
import { oneThread } from './tracer.js';

/** What all installations of a run share. */
export interface Scenery {
  readonly postgres: Postgres;
  readonly scratch: string;
  readonly picture: Buffer<ArrayBuffer>;
  /** Serves the picture to imports. */
  readonly source: Server;
}

export async function makeScenery(postgres: Postgres, scratch: string): Promise<Scenery> {
  const picture = await photo(160, 120);
  const source = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'image/jpeg' }).end(picture);
  });
  await new Promise<void>((resolve) => source.listen(0, '127.0.0.1', resolve));
  return { postgres, scratch, picture, source };
}

/** An installation of its own, with what trials need. */
export async function makeScene(
  { postgres, scratch, picture, source }: Scenery,
  options: {
    readonly name: string;
    readonly random: Random;
    readonly s3?: URL | undefined;
    readonly settings?: Readonly<Record<string, string>>;
  },
): Promise<Scene> {
  const { name, random, s3, settings } = options;
  const { port } = source.address() as AddressInfo;
  const installation = await createInstallation({
    postgres,
    name,
    scratch,
    s3,
    settings: { MBK_IMPORT_ALLOW: 'localhost', MBK_IMPORT_PORTS: String(port), ...oneThread, ...settings },
  });
  return { installation, api: installation.api, random, picture, source: `http://localhost:${port}` };
}

/** Processes to kill, the next of which are always being started while one is used. */
export function createSpares(
  installation: Installation,
  command: 'api' | 'worker',
  ahead: number,
): { readonly take: Spares; close(): Promise<void> } {
  const started: Promise<Victim>[] = [];
  const launch = (): void => {
    const victim = installation.start(command);
    // Whoever takes it hears of it.
    victim.catch(() => undefined);
    started.push(victim);
  };
  return {
    take() {
      while (started.length <= ahead) launch();
      const [first] = started.splice(0, 1);
      return first ?? installation.start(command);
    },
    async close() {
      for (const victim of await Promise.allSettled(started)) {
        if (victim.status === 'fulfilled') await victim.value.end();
      }
    },
  };
}
