import { basename, dirname } from 'node:path';

import type { StoreAddress } from '../config/store-address.js';

/** What a person does once everything is in the target. */
export function nextSteps(to: StoreAddress, marked: boolean): readonly string[] {
  return [
    'Everything is in the target, verified.',
    'Next: stop every process of the server, run the same command once more, set',
    ...settingsOf(to).map((line) => `  ${line}`),
    'and start again. Keep the old store until you are content.',
    ...(marked
      ? []
      : [
          'The source bears no mark, so the target has none: after the start, run mediablobkit storage adopt.',
        ]),
  ];
}

function settingsOf(to: StoreAddress): readonly string[] {
  if (to.backend === 'disk') {
    return basename(to.folder) === 'blobs'
      ? [
          'MBK_STORE=disk',
          `MBK_DATA_FOLDER=${dirname(to.folder)}   (also the place of secrets and the embedded database: move them, or move the blobs)`,
        ]
      : ['MBK_STORE=disk', `and move ${to.folder} to MBK_DATA_FOLDER/blobs`];
  }
  return [
    'MBK_STORE=s3',
    `MBK_S3_BUCKET=${to.bucket}`,
    ...(to.endpoint === undefined ? [] : [`MBK_S3_ENDPOINT=${to.endpoint}`]),
    `MBK_S3_REGION=${to.region}`,
    `MBK_S3_FORCE_PATH_STYLE=${to.forcePathStyle}`,
    ...(to.credentials === undefined ? [] : ['AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the bucket']),
  ];
}
