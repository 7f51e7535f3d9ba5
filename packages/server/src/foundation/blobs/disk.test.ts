import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { blobStoreContract } from './contract.suite.js';
import { openDiskStore } from './disk.js';

blobStoreContract(
  'disk',
  async () => {
    const folder = await mkdtemp(join(process.env['T'] ?? tmpdir(), 'mbk-blobs-'));
    const store = await openDiskStore({ folder });
    return {
      store,
      close: async () => {
        await store.close();
        await rm(folder, { recursive: true });
      },
    };
  },
  { presigns: false },
);
