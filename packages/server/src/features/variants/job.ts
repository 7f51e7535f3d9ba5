import Type, { type Static } from 'typebox';

import { RecipeSchema } from '../../foundation/imaging/vocabulary.js';
import { defineJob, timetableAttempts } from '../../foundation/queue/define.js';

/** Variants of one file to make from one decode; their recipes as they were when it was planned. */
export const ImageProcessingJobSchema = Type.Object({
  fileId: Type.String(),
  variantsConfig: Type.Record(Type.String(), RecipeSchema),
});
export type ImageProcessingJob = Static<typeof ImageProcessingJobSchema>;

export const renderVariants = defineJob({
  name: 'render-variants',
  payload: ImageProcessingJobSchema,
  lane: 'normal',
  attempts: 5,
  // Four variants of a 50-megapixel picture take some 15 s; the rest is for a slow store.
  timeoutSeconds: 300,
});

/** Looks for variants whose job is gone (cancelled, or its last act lost) and plans them anew. */
export const reviveVariants = defineJob({
  name: 'revive-variants',
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 60,
});
